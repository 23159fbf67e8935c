"""Foreground masks: where they lie, what is refused, and that they follow their pictures."""

import shutil

import numpy as np
import pytest
from PIL import Image

from jaxreid.data import generated, load, prepare, require_masks, with_masks, write_generated
from jaxreid.data.builder import Reid
from jaxreid.data.check import check
from jaxreid.data.joined import concatenate
from jaxreid.data.masks import made_up, mask_path
from jaxreid.data.pictures import decode_mask, encode_mask

SIZE = (8, 4)
TRAIN = "bounding_box_train"


def outline(path):
    """The mask that the tests give to a picture: a function of its name."""
    rng = np.random.default_rng(len(path.name) + sum(path.name.encode()))
    return (255 * rng.integers(0, 2, SIZE)).astype(np.uint8)


@pytest.fixture
def masked(official):
    """A tiny Market-1501 with a mask for every picture."""
    root = official("market1501")
    for picture in [p for p in root.glob("*/*.jpg") if not p.name.startswith("._")]:
        path = mask_path(picture, root, root / "masks")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(outline(picture)).save(path)
    return root


def records(root, directory, masks=None):
    prepare("market1501", root, directory, allow_partial=True, masks=masks or root / "masks")
    return load(directory, SIZE)


def test_masks_lie_at_their_pictures_place(tmp_path):
    picture = tmp_path / "set" / "query" / "1488_c1s6_023071_00.jpg.jpg"
    found = mask_path(picture, tmp_path / "set", tmp_path / "elsewhere")
    assert found == tmp_path / "elsewhere" / "query" / "1488_c1s6_023071_00.jpg.png"


def test_masks_come_back_with_their_pictures(masked, tmp_path):
    splits = records(masked, tmp_path / "records")
    shutil.rmtree(masked)  # the records hold them
    for name, folder in (("train", TRAIN), ("query", "query"), ("gallery", "bounding_box_test")):
        split = splits[name]
        rows = np.arange(len(split))[::-1]
        masks = split.masks(rows)
        assert masks.shape == (len(split), *SIZE, 1) and masks.dtype == np.uint8
        for mask, row in zip(masks[..., 0], rows, strict=True):
            np.testing.assert_array_equal(mask, outline(masked / folder / split.names[row]))


def test_masks_may_lie_elsewhere_and_are_for_those_who_ask(masked, tmp_path):
    shutil.move(masked / "masks", tmp_path / "mine")
    train = records(masked, tmp_path / "records", tmp_path / "mine")["train"]
    assert train.masks(np.array([0])).any()
    prepare("market1501", masked, tmp_path / "plain", allow_partial=True)
    plain = load(tmp_path / "plain", SIZE)["train"]
    np.testing.assert_array_equal(plain.images(np.arange(4)), train.images(np.arange(4)))
    said = r"The 4 source pictures have no foreground masks, the first is '0002_c1s1.*masks=FOLDER"
    said += r".*python -m jaxreid.stages.masks ROOT --masks ROOT/masks.*ones or centre_ellipse"
    with pytest.raises(ValueError, match=said):
        require_masks("source", plain)
    with pytest.raises(ValueError, match="no foreground masks"):
        plain.masks(np.array([0]))
    require_masks("source", train)


def test_selections_sizes_and_joins_keep_masks(masked, tmp_path):
    splits = records(masked, tmp_path / "records")
    train, gallery = splits["train"], splits["gallery"]
    whole = train.masks(np.arange(4))
    np.testing.assert_array_equal(train.take(np.array([3, 1])).masks(np.arange(2)), whole[[3, 1]])
    small = train.resized((4, 2)).masks(np.array([2]))
    np.testing.assert_array_equal(small[0], decode_mask(encode_mask(whole[2]), (4, 2)))
    both = concatenate([gallery.take(np.array([2, 0])), train])
    np.testing.assert_array_equal(both.masks(np.arange(2, 6)), whole)
    np.testing.assert_array_equal(
        both.take(np.array([0])).masks(np.array([0])), gallery.masks(np.array([2]))
    )
    prepare("market1501", masked, tmp_path / "plain", allow_partial=True)
    bare = load(tmp_path / "plain", SIZE)["train"]
    with pytest.raises(ValueError, match="The 8 selected pictures have no"):
        concatenate([bare, train]).masks(np.array([0]))


def test_resizing_averages_and_never_overshoots():
    mask = np.zeros((32, 16, 1), np.uint8)
    mask[8:24, 4:12] = 255
    half = decode_mask(encode_mask(mask), (16, 8))[..., 0]
    # the triangle of four pixels: 1/8, 3/8, 3/8, 1/8
    edge = [0, 0, 0, 32, 223, 255, 255, 255]
    assert half[:, 4].tolist() == edge + edge[::-1]
    assert half[8].tolist() == [0, 32, 223, 255, 255, 223, 32, 0]
    np.testing.assert_array_equal(half, half[::-1, ::-1])
    np.testing.assert_array_equal(decode_mask(encode_mask(mask), (32, 16)), mask)


def first(root, folder=TRAIN):
    return sorted((root / "masks" / folder).iterdir())[0]


def lose_two(root):
    for path in sorted((root / "masks" / TRAIN).iterdir())[1:3]:
        path.unlink()


def lose_all(root):
    shutil.rmtree(root / "masks")


def lose_one_of_the_gallery(root):
    first(root, "bounding_box_test").unlink()


def squeeze(root):
    Image.new("L", (4, 4), 255).save(first(root))


def colour(root):
    Image.new("RGB", (4, 8), (255, 0, 0)).save(first(root))


def truncate(root):
    first(root).write_bytes(first(root).read_bytes()[:40])


def ones(root):
    for path in (root / "masks").glob("*/*.png"):
        Image.fromarray(np.ones(SIZE, np.uint8)).save(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lose_two, ["2 of 4 train pictures of Market-1501", "0002_c2s1", "world DIR --masks"]),
        (lose_all, ["4 of 4 train pictures", "{root}/masks/bounding_box_train/0002_c1s1"]),
        (lose_one_of_the_gallery, ["1 of 5 gallery pictures", "-1_c1s1_000401_03.png"]),
        (squeeze, ["1 of 11 masks", "(4, 4) pixels", "its picture is (4, 8)"]),
        (colour, ["1 of 11 masks", "0002_c1s1_000451_03.png (pixel mode RGB: convert it"]),
        (truncate, ["1 of 11 masks cannot be used: make them again", "0002_c1s1_000451_03.png ("]),
        (ones, ["No mask is above 1", "write 255, not 1"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_missing_and_unfit_masks_stop_before_anything_is_written(masked, tmp_path, spoil, said):
    spoil(masked)
    with pytest.raises(ValueError) as raised:
        records(masked, tmp_path / "records")
    for part in said:
        assert part.format(root=masked) in str(raised.value)
    assert not (tmp_path / "records").exists()


def test_a_test_set_may_go_without(masked, tmp_path):
    shutil.rmtree(masked / "masks" / "query")
    splits = records(masked, tmp_path / "records")
    assert splits["query"].foreground is None and splits["gallery"].foreground is not None


def test_generated_pictures_have_a_mask_only_if_given_one(tmp_path):
    image = np.zeros((*SIZE, 3), np.uint8)
    mask = np.arange(32, dtype=np.uint8).reshape(*SIZE, 1)
    label = {"pid": 1, "camera": 0, "domain": "w", "source": "", "style": 1}
    with_mask = [generated(image, name="a", **label, mask=mask)]
    without = [generated(image, name="b", **label)]
    write_generated(tmp_path / "fakes", {"a": with_mask, "b": without, "c": with_mask + without})
    splits = load(tmp_path / "fakes", SIZE)
    np.testing.assert_array_equal(splits["a"].masks(np.array([0]))[0], mask)
    assert splits["b"].foreground is None and splits["c"].foreground is None
    with pytest.raises(ValueError, match=r"Expected uint8 \[H, W, 1\], got uint8 \[8, 4\]"):
        generated(image, name="c", **label, mask=mask[..., 0])


def test_records_of_before_there_were_masks_still_load(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    info, examples = Reid._info, Reid._generate_examples

    def without_feature(self):
        new = info(self)
        old = {key: value for key, value in dict(new.features).items() if key != "mask"}
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(old), disable_shuffling=True
        )

    def without_value(self, rows):
        for index, example in examples(self, rows):
            yield index, {key: value for key, value in example.items() if key != "mask"}

    monkeypatch.setattr(Reid, "_info", without_feature)
    monkeypatch.setattr(Reid, "_generate_examples", without_value)
    image = np.full((*SIZE, 3), 7, np.uint8)
    old = generated(image, pid=3, camera=0, domain="w", name="a", source="", style=1)
    write_generated(tmp_path / "old", {"train": [old]})
    monkeypatch.undo()
    assert '"mask"' not in (tmp_path / "old" / "features.json").read_text()
    train = load(tmp_path / "old", SIZE)["train"]
    assert train.pids.tolist() == [3] and train.foreground is None
    np.testing.assert_array_equal(train.images(np.array([0]))[0], image)


def test_a_folder_of_masks_is_not_taken_for_the_set(masked):
    shutil.rmtree(masked / "query")
    (said,) = [line.text for line in check("market1501", masked)]
    assert "lacks query" in said and "masks instead" not in said


def test_every_picture_can_be_given_one_mask(masked, tmp_path):
    train = records(masked, tmp_path / "records")["train"].take(np.array([3, 1]))
    rows = np.arange(2)
    ones = with_masks(train, "ones")
    assert (ones.masks(rows) == 255).all() and ones.masks(rows).shape == (2, *SIZE, 1)
    np.testing.assert_array_equal(ones.images(rows), train.images(rows))
    ellipse = with_masks(train, "centre_ellipse").resized((64, 32)).masks(rows)
    assert (ellipse[0] == ellipse[1]).all()
    shape = ellipse[0, ..., 0].astype(int)
    np.testing.assert_array_equal(shape, shape[::-1, ::-1])
    assert shape.mean() / 255 == pytest.approx(np.pi / 4, abs=0.005)
    assert shape[32, 0] > 200 and shape[0, 16] > 200 and not shape[0, 0]
    with pytest.raises(ValueError, match="no masks 'zeros': choose ones or centre_ellipse"):
        made_up("zeros")
