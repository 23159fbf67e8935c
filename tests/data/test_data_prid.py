"""PRID-2011: two views in two folders of equal file names, and two ways to split them."""

import numpy as np
import pytest
from PIL import Image

from jaxreid.data import LAYOUTS, load, prepare, scan
from jaxreid.data.check import check
from jaxreid.data.masks import mask_path

NAMES = ("prid2011", "prid2011_official")


def rows(entries):
    return [(entry.name, entry.pid, entry.camera) for entry in entries]


def problems(name, root):
    return [line.text for line in check(name, root) if line.wrong]


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """As many pictures as the real set, each of one colour of its own."""
    root = tmp_path_factory.mktemp("complete") / "prid_2011"
    for view, people in (("cam_a", 385), ("cam_b", 749)):
        folder = root / "single_shot" / view
        folder.mkdir(parents=True)
        for pid in range(1, people + 1):
            colour = (pid % 256, pid // 256, ord(view[-1]))
            Image.new("RGB", (4, 8), colour).save(folder / f"person_{pid:04d}.png")
    return root


def test_views_are_cameras_and_odd_people_train(official):
    splits = scan("prid2011", official("prid2011"))
    assert rows(splits["train"]) == [
        ("cam_a/person_0001.png", 1, 0),
        ("cam_a/person_0003.png", 3, 0),
        ("cam_b/person_0001.png", 1, 1),
        ("cam_b/person_0003.png", 3, 1),
    ]
    assert rows(splits["query"]) == [
        ("cam_a/person_0002.png", 2, 0),
        ("cam_a/person_0004.png", 4, 0),
    ]
    assert [(e.pid, e.camera) for e in splits["gallery"]] == [(2, 1), (4, 1), (201, 1), (749, 1)]


def test_official_training_people_are_nobody_of_the_gallery(official):
    splits = scan("prid2011_official", official("prid2011"))
    assert rows(splits["train"]) == [
        ("cam_a/person_0201.png", 750, 0),
        ("cam_a/person_0203.png", 752, 0),
    ]
    assert [(e.pid, e.camera) for e in splits["query"]] == [(1, 0), (2, 0), (3, 0), (4, 0)]
    assert [e.pid for e in splits["gallery"]] == [1, 2, 3, 4, 201, 749]


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("prid2011", [(200, 100, "c1:100 c2:100"), (100, 100, "c1:100"), (649, 649, "c2:649")]),
        ("prid2011_official", [(185, 185, "c1:185"), (200, 200, "c1:200"), (749, 749, "c2:749")]),
    ],
)
def test_the_published_numbers_of_both_protocols(complete, name, table):
    lines = check(name, complete)
    assert not [line for line in lines if line.wrong]
    text = [line.text for line in lines]
    assert "published counts: ok" in text and LAYOUTS[name].notice in text
    start = next(i for i, line in enumerate(text) if line.startswith("train"))
    found = [line.split(maxsplit=5) for line in text[start : start + 3]]
    assert [(int(row[1]), int(row[2]), row[5]) for row in found] == table


@pytest.mark.parametrize("name", NAMES)
def test_every_query_has_one_match_in_the_other_view_and_no_training_picture(complete, name):
    splits = scan(name, complete)
    gallery = [entry.pid for entry in splits["gallery"]]
    assert all(gallery.count(entry.pid) == 1 for entry in splits["query"])
    trained = {entry.pid for entry in splits["train"]}
    assert not trained & {*gallery, *(entry.pid for entry in splits["query"])}
    tested = {entry.path for split in ("query", "gallery") for entry in splits[split]}
    assert not tested & {entry.path for entry in splits["train"]}


def test_records_and_masks_keep_the_two_views_apart(official, tmp_path):
    root = official("prid2011")
    for picture in (root / "single_shot").glob("cam_*/person_*.png"):
        mask = mask_path(picture, root, root / "masks")
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 8), 100 if picture.parent.name == "cam_a" else 200).save(mask)
    prepare("prid2011", root, tmp_path / "records", allow_partial=True, masks=root / "masks")
    train = load(tmp_path / "records", (8, 4))["train"]
    assert train.names[::2] == ("cam_a/person_0001.png", "cam_b/person_0001.png")
    assert train.pids.tolist() == [1, 3, 1, 3] and train.cameras.tolist() == [0, 0, 1, 1]
    images, masks = train.images(np.arange(4)), train.masks(np.arange(4))
    for image, mask, name, camera in zip(images, masks, train.names, train.cameras, strict=True):
        with Image.open(root / "single_shot" / name) as file:
            np.testing.assert_array_equal(image, np.asarray(file))
        assert (mask == (100, 200)[camera]).all()


def without_view(views):
    for path in (views / "cam_b").iterdir():
        path.unlink()
    (views / "cam_b").rmdir()


def empty_view(views):
    for path in (views / "cam_b").iterdir():
        path.unlink()


def misnamed(views):
    (views / "cam_a" / "person_5.png").write_bytes(b"")


def corrupt(views):
    path = views / "cam_b" / "person_0002.png"
    path.write_bytes(path.read_bytes()[:-30])


def nobody_trains(views):
    for path in views.glob("cam_*/person_000[13].png"):
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_view, ["{root} lacks single_shot/cam_b,", "PRID-2011", "holds multi_shot"]),
        (empty_view, ["{root}/single_shot/cam_b holds no pictures", "'gallery'", "unpack"]),
        (misnamed, ["1 of 13 file names", "cam_a/person_5.png", "Remove or rename"]),
        (corrupt, ["1 of 10 pictures", "cam_b/person_0002.png", "truncated"]),
        (nobody_trains, ["cam_a and ", "cam_b holds no pictures for the split 'train'"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_wrong_is_named_with_its_view(official, tmp_path, spoil, said):
    root = official("prid2011")
    spoil(root / "single_shot")
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        prepare("prid2011", root, tmp_path / "records", allow_partial=True)
    for part in said:
        assert part.format(root=root) in str(raised.value)
    assert not (tmp_path / "records").exists()
    assert len(problems("prid2011", root)) >= 1


def test_roots_of_toolkits_and_of_one_kind_of_shot_lead_to_the_set(official):
    root = official("prid2011")
    for given in (root.parent, root / "single_shot", root / "multi_shot"):
        (said,) = problems("prid2011", given)
        assert f"pass {root} instead" in said


def test_missing_pictures_read_as_partial_and_lonely_queries_are_named(official):
    root = official("prid2011")
    (root / "single_shot" / "cam_b" / "person_0004.png").unlink()
    partial, lonely = problems("prid2011", root)
    assert partial.startswith("published counts: partial") and "gallery has images 3" in partial
    assert lonely.startswith("1 of 2 queries have no picture") and "cam_a/person_0004" in lonely
