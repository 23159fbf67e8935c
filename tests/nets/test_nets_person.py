"""People on photographs: into the network and back, what is said where one is missing."""

import sys

import numpy as np
import pytest

from jaxreid.nets import person
from jaxreid.nets.weights import fetch


@pytest.mark.parametrize("size", [(128, 64), (60, 90), (33, 17)])
def test_a_mask_lies_on_its_picture(size):
    picture = np.zeros((*size, 3), np.uint8)
    top, left = size[0] // 4, size[1] // 3
    picture[top : 2 * top, left : 2 * left] = 255
    crops = []

    def bright(crop):
        crops.append(crop)
        return 40 * (crop.mean(-1) - 0.5)

    found = person._segment(bright, picture)
    assert found.shape == size and found.dtype == np.float32
    assert np.mean((found > 0.5) == (picture[..., 0] > 0)) > 0.99
    assert 0 <= found.min() < 0.01 and 0.99 < found.max() <= 1
    (crop,) = crops
    assert crop.shape == (256, 256, 3) and crop.dtype == np.float32
    whole = (crop[..., 0] > 0.5).mean()  # proportions are kept: the share of a square 1.25 as large
    assert whole == pytest.approx(top * left / (1.25 * max(size)) ** 2, rel=0.1)


def test_the_border_goes_on_around_a_picture():
    picture = np.full((100, 50, 3), (10, 120, 250), np.uint8)
    seen = []
    person._segment(lambda crop: seen.append(crop) or np.zeros((256, 256), np.float32), picture)
    np.testing.assert_allclose(seen[0] * 255, np.broadcast_to((10, 120, 250), (256, 256, 3)))


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXREID_WEIGHTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="weights.fetch pose_landmark_full'"):
        person.segmenter()
    np.savez(tmp_path / "pose_landmark_full.npz", tflite=np.zeros(3, np.uint8))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'jaxreid\[masks\]'"):
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
