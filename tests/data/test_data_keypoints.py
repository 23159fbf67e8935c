"""Keypoints: what files of several formats say, what is refused, and that they follow pictures."""

import json
import shutil

import numpy as np
import pytest

from jaxreid.data import (
    generated,
    keypoint_files,
    load,
    prepare,
    require_keypoints,
    write_generated,
)
from jaxreid.data.builder import Reid
from jaxreid.data.joined import concatenate
from jaxreid.data.keypoints import to_pixels, to_shares

SIZE = (8, 4)
PERSON = np.column_stack([np.arange(18) % 4, np.arange(18) % 8, np.arange(18) % 3 > 0]).astype(
    float
)
OF_18 = PERSON * PERSON[:, 2:]


def person(name):
    """The keypoints that the tests give to a picture: a function of its name."""
    rng = np.random.default_rng(sum(name.encode()))
    return np.column_stack([rng.integers(0, 4, 18), rng.integers(0, 8, 18), rng.integers(0, 2, 18)])


@pytest.fixture
def posed(official):
    """A tiny Market-1501 with a file of keypoints."""
    root = official("market1501")
    names = [p.name for p in root.glob("*/*.jpg") if not p.name.startswith("._")]
    keypoint_files.write(root / "keypoints.npz", names, np.array([person(n) for n in names]))
    return root


def records(root, directory, keypoints="keypoints.npz"):
    prepare("market1501", root, directory, allow_partial=True, keypoints=root / keypoints)
    return load(directory, SIZE)


def test_keypoints_come_back_with_their_pictures(posed, tmp_path):
    splits = records(posed, tmp_path / "records")
    shutil.rmtree(posed)  # the records hold them
    for split in splits.values():
        rows = np.arange(len(split))[::-1]
        expected = np.array([person(split.names[row]) for row in rows])
        np.testing.assert_allclose(split.keypoints(rows), expected, atol=1e-5)
        assert split.keypoints(rows).dtype == np.float32


def test_selections_sizes_and_joins_keep_keypoints(posed, tmp_path):
    splits = records(posed, tmp_path / "records")
    train, gallery = splits["train"], splits["gallery"]
    whole = train.keypoints(np.arange(4))
    picked = train.take(np.array([3, 1])).take(np.array([1, 0]))
    np.testing.assert_array_equal(picked.keypoints(np.arange(2)), whole[[1, 3]])
    large = train.resized((32, 8)).keypoints(np.array([2]))[0]
    # pixel 0 of 8 rows covers rows 0 to 3 of 32, whose middle is 1.5
    np.testing.assert_allclose(large[:, 0], 2 * whole[2, :, 0] + 0.5, atol=1e-5)
    np.testing.assert_allclose(large[:, 1], 4 * whole[2, :, 1] + 1.5, atol=1e-5)
    both = concatenate([gallery.take(np.array([2, 0])), train])
    np.testing.assert_array_equal(both.keypoints(np.arange(2, 6)), whole)
    prepare("market1501", posed, tmp_path / "plain", allow_partial=True)
    bare = load(tmp_path / "plain", SIZE)["train"]
    said = "The 4 training pictures have no keypoints, the first is '0002_c1s1.*keypoints=FILE.*"
    with pytest.raises(ValueError, match=said + "world DIR --keypoints"):
        require_keypoints("training", bare)
    with pytest.raises(ValueError, match="The 8 selected pictures have no"):
        concatenate([bare, train]).keypoints(np.array([0]))


def test_shares_of_sides_and_pixels_are_each_others_reverse():
    points = np.random.default_rng(0).uniform(-3, 300, (5, 18, 3)).astype(np.float32)
    np.testing.assert_allclose(
        to_pixels(to_shares(points, (256, 128)), (256, 128)), points, atol=1e-4
    )
    assert to_shares(np.array([[-0.5, -0.5, 1], [3.5, 7.5, 0]]), SIZE).tolist() == [
        [0, 0, 1],
        [1, 1, 0],
    ]


def openpose(joints):
    return {"people": [{"pose_keypoints_2d": joints.ravel().tolist()}]}


def of_25(path):
    """OpenPose's 25: middle of the hips at 8, feet at the end."""
    joints = np.insert(np.vstack([OF_18, np.full((6, 3), 9)]), 8, 7, axis=0)
    faint = np.zeros_like(joints)
    faint[:, 2] = 0.01
    both = {"people": openpose(faint)["people"] + openpose(joints)["people"]}
    (path / "x").mkdir(parents=True)
    (path / "x" / "a_keypoints.json").write_text(json.dumps(both))
    (path / "x" / "b_keypoints.json").write_text('{"people": []}')
    return "x/a"


def of_openpose_18(path):
    path.mkdir()
    (path / "a.jpg_keypoints.json").write_text(json.dumps(openpose(OF_18)))
    return "a.jpg"


def of_json(path):
    path.write_text(json.dumps({"a": OF_18.tolist()}))
    return "a"


def of_fd_gan(path):
    path.mkdir()
    rows = [f"{y:.0f} {x:.0f}" if seen else "-1 -1" for x, y, seen in PERSON]
    (path / "a.txt").write_text("\n".join(rows) + "\n")
    return "a"


def of_pose_transfer(path):
    x, y = (
        [int(v) if seen else -1 for v, seen in zip(PERSON[:, i], PERSON[:, 2], strict=True)]
        for i in (0, 1)
    )
    path.write_text(f"name:keypoints_y:keypoints_x\na.jpg: {y}: {x}\n")
    return "a.jpg"


@pytest.mark.parametrize(
    ("file", "writer"),
    [
        ("folder", of_25),
        ("folder", of_openpose_18),
        ("k.json", of_json),
        ("folder", of_fd_gan),
        ("k.csv", of_pose_transfer),
    ],
)
def test_formats_of_18_joints_agree(tmp_path, file, writer):
    name = writer(tmp_path / file)
    found = keypoint_files.read(tmp_path / file)
    assert list(found.people) == [name]
    np.testing.assert_array_equal(found.people[name], OF_18)
    assert found.stems == (file == "folder")
    assert found.size == ((128, 64) if file == "k.csv" else None)


COCO = (
    "nose leye reye lear rear lsho rsho lelb relb lwri rwri lhip rhip lkne rkne lank rank".split()
)
OPENPOSE = (
    "nose neck rsho relb rwri lsho lelb lwri rhip rkne rank lhip lkne lank reye leye rear lear"
).split()


@pytest.mark.parametrize("kind", ["alphapose", "coco"])
def test_cocos_17_joints_become_18_with_a_neck_between_the_shoulders(tmp_path, kind):
    joints = np.array([[3 * i, 50 + i, 0.3 if i == 3 else 0.5 + i / 100] for i in range(17)])
    surest, faint = joints.ravel().tolist(), (joints * [1, 1, 0.9]).ravel().tolist()
    if kind == "alphapose":
        content = [{"image_id": "a.jpg", "keypoints": k, "score": 1} for k in (faint, surest)]
    else:
        marked = np.where(joints[:, 2:] < 0.4, 0, 1 + np.arange(17)[:, None] % 2)
        flat = np.hstack([joints[:, :2], marked]).ravel().tolist()
        content = {"images": [{"id": 7, "file_name": "a.jpg"}]}
        content["annotations"] = [{"image_id": 7, "keypoints": k} for k in ([0] * 51, flat)]
    (tmp_path / "k.json").write_text(json.dumps(content))
    found = keypoint_files.read(tmp_path / "k.json").people["a.jpg"]
    for joint, name in enumerate(OPENPOSE):
        if name != "neck":
            at = COCO.index(name)
            assert found[joint, :2].tolist() == [3 * at, 50 + at]
            sure = 0.5 + at / 100 if kind == "alphapose" else 1
            assert found[joint, 2] == pytest.approx(0 if name == "lear" else sure)
    assert found[1].tolist() == pytest.approx([16.5, 55.5, 0.55 if kind == "alphapose" else 1])


def test_pixels_of_another_size_are_scaled_to_the_pictures(official, tmp_path):
    root = official("market1501")
    lines = ["name:keypoints_y:keypoints_x"]
    for folder in ("bounding_box_train", "query"):
        for path in (root / folder).glob("[01]*.jpg"):
            lines.append(f"{path.name}:{[127] * 17 + [-1]}:{[16] * 17 + [-1]}")
    (root / "k.csv").write_text("\n".join(lines))
    splits = records(root, tmp_path / "r", "k.csv")
    expected = np.tile([16.5 / 16 - 0.5, 127.5 / 16 - 0.5, 1], (18, 1))
    expected[17] = -0.5 + 0.5 / 16, -0.5 + 0.5 / 16, 0
    np.testing.assert_allclose(splits["train"].keypoints(np.array([1]))[0], expected, atol=1e-5)
    assert splits["gallery"].joints is None  # of which no picture has any


def rewrite(root, change):
    with np.load(root / "keypoints.npz") as arrays:
        names, points = change(arrays["names"].tolist(), arrays["keypoints"])
    keypoint_files.write(root / "keypoints.npz", names, points)


def other_names(root):
    rewrite(root, lambda names, points: ([f"{name}.png" for name in names], points))


def shares(root):
    rewrite(root, lambda names, points: (names, points / 8))


def rows_first(root):
    rewrite(root, lambda names, points: (names, points[..., [1, 0, 2]] + [4, 0, 0]))


def hidden(root):
    rewrite(root, lambda names, points: (names, 0 * points))


def infinite(root):
    rewrite(root, lambda names, points: (names, points / np.zeros(3)))


def seventeen(root):
    rewrite(root, lambda names, points: (names, points[:, :17]))


def truncate(root):
    path = root / "keypoints.npz"
    path.write_bytes(path.read_bytes()[:100])


def lose(root):
    (root / "keypoints.npz").unlink()


def empty_folder(root):
    lose(root)
    (root / "keypoints.npz").mkdir()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            other_names,
            ["None of the 4 train pictures", "0002_c1s1_000451_03.jpg", ".jpg.png", "--keypoints"],
        ),
        (shares, ["no place is above", "write pixels, not shares"]),
        (rows_first, ["joints lie outside of their pictures: write x before y"]),
        (hidden, ["no joint is visible"]),
        (infinite, ["keypoints must be 18 finite triples"]),
        (seventeen, ["18 finite triples (x, y, visible), got (17, 3)"]),
        (truncate, ["keypoints.npz cannot be read as keypoints"]),
        (lose, ["keypoints.npz is missing"]),
        (empty_folder, ["holds no keypoints: give NAME.npz"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_unfit_keypoints_stop_before_anything_is_written(posed, tmp_path, spoil, said):
    spoil(posed)
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        records(posed, tmp_path / "records")
    for part in said:
        assert part in str(raised.value)
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("k.json", '[{"image_id": "a", "keypoints": [1, 2, 3]}]', "has 3 numbers where COCO's 17"),
        ("k.json", "{", "k.json cannot be read as keypoints"),
        ("k.csv", "a,b\n1,2\n", "keypoints_y"),
        ("k.pkl", "", "not a file of keypoints"),
    ],
)
def test_broken_files_are_named(tmp_path, file, text, said):
    (tmp_path / file).write_text(text)
    with pytest.raises(ValueError, match=said):
        keypoint_files.read(tmp_path / file)


@pytest.mark.parametrize("entry", [False, True])
def test_pictures_without_keypoints_show_nobody_and_are_told(posed, tmp_path, capsys, entry):
    nobody = np.zeros((1, 18, 3))
    rewrite(
        posed,
        lambda names, points: (
            (names, np.concatenate([nobody, points[1:]])) if entry else (names[1:], points[1:])
        ),
    )
    lost = next(p.name for p in posed.glob("*/*.jpg") if not p.name.startswith("._"))
    splits = records(posed, tmp_path / "records")
    assert (
        f"have no visible keypoints in {posed}/keypoints.npz, so they show no pose"
        in capsys.readouterr().out
    )
    for split in splits.values():
        for row, name in enumerate(split.names):
            assert split.keypoints(np.array([row]))[0, :, 2].any() == (name != lost)


def test_a_name_that_two_pictures_share_is_refused(posed, tmp_path):
    shared = min(p.name for p in (posed / "query").glob("0*.jpg"))
    shutil.copy(posed / "query" / shared, posed / "bounding_box_test" / shared)
    with pytest.raises(ValueError, match=f"{shared}', which may be .* or .*path below"):
        records(posed, tmp_path / "records")


def test_records_without_the_feature_still_load(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    info, examples = Reid._info, Reid._generate_examples

    def without_feature(self):
        old = {key: value for key, value in dict(info(self).features).items() if key != "keypoints"}
        features = tfds.features.FeaturesDict(old)
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def without_value(self, rows):
        for index, example in examples(self, rows):
            yield index, {key: value for key, value in example.items() if key != "keypoints"}

    monkeypatch.setattr(Reid, "_info", without_feature)
    monkeypatch.setattr(Reid, "_generate_examples", without_value)
    image = np.full((*SIZE, 3), 7, np.uint8)
    old = generated(image, pid=3, camera=0, domain="w", name="a", source="", style=1)
    write_generated(tmp_path / "old", {"train": [old]})
    monkeypatch.undo()
    train = load(tmp_path / "old", SIZE)["train"]
    assert train.pids.tolist() == [3] and train.joints is None
