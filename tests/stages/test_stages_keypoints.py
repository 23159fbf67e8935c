"""Keypoints of a folder of pictures: 18 of 33, which, again after a stop, and what looks odd."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxreid import data
from jaxreid.data import keypoint_files
from jaxreid.data.world import Spec, truth, write
from jaxreid.nets import person
from jaxreid.nets.weights import fetch
from jaxreid.stages import keypoints

NAMES = (  # MediaPipe's, by number
    *("nose", "left eye inner", "left eye", "left eye outer", "right eye inner", "right eye"),
    *("right eye outer", "left ear", "right ear", "mouth left", "mouth right"),
    *("left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist"),
    *("left pinky", "right pinky", "left index", "right index", "left thumb", "right thumb"),
    *("left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle"),
    *("left heel", "right heel", "left foot index", "right foot index"),
)


def pose(score=1.0, **columns):
    """All landmarks visible on a diagonal, half a pixel apart, but for the columns given."""
    points = np.repeat(np.arange(33)[:, None] / 2, 3, axis=1).astype(np.float32)
    points[:, 2] = 0.9
    for name, values in columns.items():
        points[NAMES.index(name.replace("_", " "))] = values
    return person.Pose(score, points)


def test_joints_are_the_landmarks_of_their_names():
    found = keypoints.joints(pose(left_shoulder=(2, 8, 0.6), nose=(3, 5, 0.7)), (40, 30), 0.5)
    assert found.shape == (18, 3) and found.dtype == np.float32
    for joint, name in enumerate(data.poses.JOINTS):
        if name not in ("neck", "nose", "left shoulder"):
            number = NAMES.index(name)
            np.testing.assert_allclose(found[joint], (number / 2, number / 2, 0.9), rtol=1e-6)
    np.testing.assert_allclose(found[0], (3, 5, 0.7), rtol=1e-6)
    np.testing.assert_allclose(found[1], (4, 7, 0.6), rtol=1e-6)  # right shoulder: (6, 6, 0.9)


def test_what_is_unsure_or_outside_or_nobodys_is_not_visible():
    some = pose(nose=(3, 3, 0.4), left_knee=(-0.6, 3, 0.9), right_knee=(3, 39.4, 0.9))
    found = keypoints.joints(some, (40, 30), 0.5)
    joints = dict(zip(data.poses.JOINTS, found.tolist(), strict=True))
    assert joints["nose"] == joints["left knee"] == [0, 0, 0]
    assert joints["right knee"][2] > 0
    assert not keypoints.joints(pose(score=0.4), (40, 30), 0.5).any()


def test_people_seen_from_behind_show_no_face():
    torso = {"right_shoulder": (6, 8), "left_shoulder": (4, 8), "right_hip": (6, 12)}
    for left, behind in ((5.5, True), (6.5, False)):  # on average 1.25 and 0.75 of 4 pixels
        places = torso | {"left_hip": (left, 12)}
        found = keypoints.joints(pose(**{k: (*v, 0.9) for k, v in places.items()}), (40, 30), 0.5)
        hidden = {data.poses.JOINTS[joint] for joint in np.flatnonzero(found[:, 2] == 0)}
        assert hidden == ({"nose", "right eye", "left eye"} if behind else set())


def by_hand(picture):
    """A landmarker by hand: a bright picture shows nobody, a grey one no hips."""
    shade, (height, width) = picture.mean(), picture.shape[:2]
    found = pose(score=float(shade < 250))
    found.landmarks[:, :2] *= np.array([width, height]) / 33
    found.landmarks[[23, 24], 2] = shade < 100
    return found


def paint(path, shade=0, size=(8, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), shade, np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    for name in ("train/a.png", "train/b.jpg.png", "query/a.png", "c.bmp"):
        paint(root / name)
    for name in (".cache/d.png", "masks/train/a.png", "masks_sheet.png", "keypoints_sheet.png"):
        paint(root / name)
    return root


@pytest.fixture
def run(monkeypatch):
    """The command, with the landmarker by hand; counts the pictures that it saw."""
    seen = []
    monkeypatch.setattr(person, "landmarker", lambda path: lambda x: seen.append(x) or by_hand(x))

    def command(*arguments):
        seen.clear()
        return keypoints.main([str(each) for each in arguments]), len(seen)

    return command


def test_every_picture_gets_keypoints_under_its_path(folder, run, capsys):
    paint(folder / "c.bmp", size=(66, 33))
    assert run(folder, "--batch", 3) == (0, 4)
    people = keypoint_files.read(folder / "keypoints.npz").people
    assert sorted(people) == ["c.bmp", "query/a.png", "train/a.png", "train/b.jpg.png"]
    np.testing.assert_allclose(people["c.bmp"][9], (13, 26, 0.9), rtol=1e-6)  # right knee, 26th
    said = capsys.readouterr().out
    assert "4 pictures, 0 have keypoints" in said and "4 of 4, " in said and "nobody" not in said
    with Image.open(folder / "keypoints_sheet.png") as sheet:
        colours = {tuple(pixel) for pixel in np.asarray(sheet.convert("RGB")).reshape(-1, 3)}
    assert set(data.poses.COLOURS) & colours
    assert not list(folder.glob(".keypoints*"))


def test_a_stopped_command_goes_on_where_it_was(folder, run, monkeypatch):
    monkeypatch.setattr(person, "landmarker", lambda path: stop)
    done = []

    def stop(picture):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(picture)
        return by_hand(picture)

    with pytest.raises(KeyboardInterrupt):
        keypoints.main([str(folder), "--batch", "1"])
    assert not (folder / "keypoints.npz").exists()  # half a set is none
    monkeypatch.setattr(person, "landmarker", lambda path: lambda x: done.append(x) or by_hand(x))
    assert keypoints.main([str(folder)]) == 0 and len(done) == 4
    assert len(keypoint_files.read(folder / "keypoints.npz").people) == 4


def test_what_is_there_is_not_made_again(folder, run):
    run(folder)
    before = keypoint_files.read(folder / "keypoints.npz").people
    mine = before | {"c.bmp": np.full((18, 3), 2.0)}
    keypoint_files.write(folder / "keypoints.npz", list(mine), np.array([*mine.values()]))
    paint(folder / "train" / "new.png")
    assert run(folder) == (0, 1)
    people = keypoint_files.read(folder / "keypoints.npz").people
    assert len(people) == 5 and (people["c.bmp"] == 2).all()
    assert run(folder) == (0, 0)


def test_odd_people_and_broken_pictures_are_told(folder, run, capsys):
    paint(folder / "train" / "nobody.png", shade=255)
    paint(folder / "train" / "bust.png", shade=150)
    (folder / "train" / "broken.jpg").write_bytes(b"no picture")
    assert run(folder) == (1, 6)
    said = capsys.readouterr()
    assert "1 pictures show nobody: " in said.out and "nobody.png" in said.out
    assert "1 pictures show no torso" in said.out and "bust.png" in said.out
    assert "1 pictures have no keypoints" in said.err and "broken.jpg (" in said.err
    people = keypoint_files.read(folder / "keypoints.npz").people
    assert not people["train/nobody.png"].any() and "train/broken.jpg" not in people


def test_files_of_a_run(folder, run, capsys, tmp_path):
    assert run(folder, "--keypoints", tmp_path / "mine.npz") == (0, 4)
    assert (tmp_path / "mine_sheet.png").is_file() and not (folder / "keypoints.npz").exists()
    for flags, message in (
        ((folder, "--keypoints", tmp_path / "mine.json"), "the format written is NAME.npz"),
        ((folder, "--threshold", "1.5"), "--threshold is 1.5: a probability"),
        ((tmp_path / "nowhere",), "is no folder"),
    ):
        assert run(*flags) == (1, 0)
        assert message in capsys.readouterr().err
    (folder / "keypoints.npz").write_bytes(b"no file of keypoints")
    assert run(folder) == (1, 0)
    assert "cannot be read as keypoints" in capsys.readouterr().err


def test_another_threshold_is_no_continuation(folder, run, capsys):
    run(folder)
    paint(folder / "train" / "new.png")
    assert run(folder, "--threshold", "0.8") == (1, 0)
    assert "keypoints.npz was made with 0.5: move it away" in capsys.readouterr().err
    assert run(folder, "--threshold", "0.5") == (0, 1)


def test_broken_pictures_alone_are_told_and_batches_are_positive(folder, run, capsys, tmp_path):
    run(folder)
    for path in [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".npz"]:
        path.unlink()
    (folder / "broken.jpg").write_bytes(b"no picture")
    assert run(folder) == (1, 0)
    assert "1 pictures have no keypoints:" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(folder, "--batch", "-1")
    assert "--batch: invalid positive value: '-1'" in capsys.readouterr().err


def test_importing_needs_no_runtime():
    code = "import sys, jaxreid.stages.keypoints; sys.exit('ai_edge_litert' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_network_finds_the_joints_of_the_worlds_people(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="needs the extra masks")
    path = fetch.directory() / f"{person.NAME}.npz"
    if not path.is_file():
        pytest.skip(f"no '{path}': run python -m jaxreid.nets.weights.fetch {person.NAME}")
    few = {"train_identities": 4, "test_identities": 2, "distractors": 0, "junk": 0}
    write(Spec(**few, seed=900), tmp_path / "w")
    pictures = sorted((tmp_path / "w" / "bounding_box_train").iterdir())
    true = truth(tmp_path / "w", [picture.name for picture in pictures])[1]
    made = [keypoints.make(person.landmarker(path), 0.5, picture) for picture in pictures]
    found = np.array([each.keypoints for each in made])
    both = (true[..., 2] > 0) & (found[..., 2] > 0)
    near = np.linalg.norm(found[..., :2] - true[..., :2], axis=-1) < 8
    assert both.mean() > 0.3 and near[both].mean() > 0.8
