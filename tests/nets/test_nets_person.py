"""People on photographs: into the network and back, what is said where one is missing."""

import sys

import numpy as np
import pytest

from jaxreid.nets import person
from jaxreid.nets.weights import fetch

SIZES = pytest.mark.parametrize("size", [(128, 64), (60, 90), (33, 17)])


@SIZES
def test_a_mask_lies_on_its_picture(size):
    picture = np.zeros((*size, 3), np.uint8)
    top, left = size[0] // 4, size[1] // 3
    picture[top : 2 * top, left : 2 * left] = 255
    crops = []

    def bright(crop):
        crops.append(crop)
        return {person.MASK: 40 * (crop.mean(-1) - 0.5)[None, ..., None]}

    found = person._segment(bright, picture)
    assert found.shape == size and found.dtype == np.float32
    assert np.mean((found > 0.5) == (picture[..., 0] > 0)) > 0.99
    assert 0 <= found.min() < 0.01 and 0.99 < found.max() <= 1
    (crop,) = crops
    assert crop.shape == (256, 256, 3) and crop.dtype == np.float32
    whole = (crop[..., 0] > 0.5).mean()  # proportions are kept: the share of a square 1.25 as large
    assert whole == pytest.approx(top * left / (1.25 * max(size)) ** 2, rel=0.1)


@SIZES
def test_landmarks_lie_where_they_are_seen(size):
    picture = np.zeros((*size, 3), np.uint8)
    row, column = size[0] // 3, 2 * size[1] // 3
    picture[row - 2 : row + 3, column - 2 : column + 3] = 255

    def brightest(crop):
        """A landmark on the middle of what is bright, in units of the crop; 32 at its corner."""
        y, x = np.argwhere(crop.mean(-1) > 0.5).mean(0) + 0.5
        points = np.zeros((39, 5), np.float32)
        points[4, :4] = x, y, 7, 2
        return {person.SCORE: np.array([[0.25]]), person.POINTS: points.reshape(1, -1)}

    pose = person._find(brightest, picture)
    assert pose.score == 0.25
    assert pose.landmarks.shape == (33, 3) and pose.landmarks.dtype == np.float32
    np.testing.assert_allclose(pose.landmarks[4, :2], (column, row), atol=0.3)
    assert pose.landmarks[4, 2] == pytest.approx(1 / (1 + np.exp(-2)))
    assert (pose.landmarks[0, :2] < 0).all() and pose.landmarks[0, 2] == 0.5


def test_the_border_goes_on_around_a_picture():
    picture = np.full((100, 50, 3), (10, 120, 250), np.uint8)
    seen = []
    blank = {person.MASK: np.zeros(person.MASK, np.float32)}
    person._segment(lambda crop: seen.append(crop) or blank, picture)
    np.testing.assert_allclose(seen[0] * 255, np.broadcast_to((10, 120, 250), (256, 256, 3)))


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXREID_WEIGHTS", str(tmp_path))
    for tool in (person.segmenter, person.landmarker):
        with pytest.raises(FileNotFoundError, match="weights.fetch pose_landmark_full'"):
            tool()
    np.savez(tmp_path / "pose_landmark_full.npz", tflite=np.zeros(3, np.uint8))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ModuleNotFoundError, match=r"-e '\.\[masks\]'"):
        person.segmenter()


def test_another_file_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("ai_edge_litert")
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    with pytest.raises(ValueError, match="other.npz' does not hold the network"):
        person.segmenter(tmp_path / "other.npz")


def test_the_network_finds_a_person():
    pytest.importorskip("ai_edge_litert", reason="needs the extra masks")
    path = fetch.directory() / f"{person.NAME}.npz"
    if not path.is_file():
        pytest.skip(f"no '{path}': run python -m jaxreid.nets.weights.fetch {person.NAME}")
    # a figure of a head, a trunk and two legs, on a lawn
    y, x = np.mgrid[0:128, 0:64]
    head = (y - 18) ** 2 + (x - 32) ** 2 < 90
    trunk = (abs(x - 32) < 13) & (y > 28) & (y < 70)
    legs = (abs(abs(x - 32) - 7) < 5) & (y >= 70) & (y < 122)
    picture = np.empty((128, 64, 3), np.uint8)
    picture[:] = (90, 140, 80)
    for part, colour in ((head, (220, 180, 150)), (trunk, (160, 30, 30)), (legs, (30, 30, 90))):
        picture[part] = colour
    true, found = head | trunk | legs, person.segmenter(path)(picture) > 0.5
    assert (true & found).sum() > 0.75 * (true | found).sum()
