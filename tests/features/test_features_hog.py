"""HOG: against scikit-image's saved numbers, a slow oracle, and by hand."""

import math

import features_cases as cases
import numpy as np
import pytest

from jaxreid.features import hog
from jaxreid.features.colour import grey


def oracle(brightness):
    """The definition, one pixel and one block at a time."""
    height, width = brightness.shape
    cells = np.zeros((height // 8, width // 8, 9))
    for y in range(height // 8 * 8):
        for x in range(width // 8 * 8):
            down = brightness[y + 1, x] - brightness[y - 1, x] if 0 < y < height - 1 else 0
            right = brightness[y, x + 1] - brightness[y, x - 1] if 0 < x < width - 1 else 0
            bin_ = int(math.degrees(math.atan2(down, right)) % 180 // 20)
            cells[y // 8, x // 8, min(bin_, 8)] += math.hypot(down, right) / 64
    found = []
    for y in range(len(cells) - 1):
        for x in range(cells.shape[1] - 1):
            block = cells[y : y + 2, x : x + 2].ravel()
            block = np.minimum(block / math.sqrt((block**2).sum() + 1e-10), 0.2)
            found.append(block / math.sqrt((block**2).sum() + 1e-10))
    return np.concatenate(found)


def test_scikit_image_gives_the_same(proof):
    saved, images = cases.golden("hog"), cases.pictures(1, 2, 128, 64)
    assert int(images.sum()) == saved["inputs"], "this NumPy draws other numbers"
    values = hog(images)
    assert values.shape == (2, saved["length"]) == (2, 3780) and values.dtype == np.float32
    found = cases.checks(values)
    proof("hog", "scikit-image 0.26", np.abs(np.subtract(found["some"], saved["some"])).max(), 1e-6)
    proof(
        "hog, sums",
        "scikit-image 0.26",
        np.abs(np.subtract(found["sums"], saved["sums"])).max(),
        1e-4,
    )


@pytest.mark.parametrize("size", [(16, 16), (35, 27)])
def test_the_oracle_agrees(size, proof):
    images = cases.pictures(7, 3, *size)
    expected = np.stack([oracle(image) for image in grey(images)])
    proof("hog, other sizes", "one pixel at a time", np.abs(hog(images) - expected).max(), 1e-6)


def test_one_edge_votes_in_one_direction():
    images = np.zeros((1, 16, 16, 3), np.uint8)
    images[:, 8:] = 200  # brightness changes downwards: 90 degrees, the fifth of nine
    votes = hog(images).reshape(4, 9)
    assert np.abs(np.delete(votes, 4, axis=1)).max() == 0
    np.testing.assert_allclose(votes[:, 4], 0.5, atol=1e-6)  # four equal cells of a unit vector


def test_light_and_the_sign_of_contrast_change_nothing():
    images = (cases.pictures(8, 2, 64, 32) // 4).astype(np.uint8)
    bright = hog(2 * images)
    np.testing.assert_allclose(bright, hog(254 - 2 * images), atol=0.02)  # grey is rounded
    np.testing.assert_allclose(bright, hog(2 * images + 60), atol=0.02)
    order = np.array([1, 0])
    np.testing.assert_array_equal(hog(2 * images[order]), bright[order])


def test_a_flat_image_has_no_direction():
    assert not hog(np.full((1, 24, 16, 3), 90, np.uint8)).any()


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((1, 15, 16, 3), np.uint8), "16 pixels a side or more, not 15x16"),
        (np.zeros((1, 32, 16, 3)), "uint8 images .* not float64"),
        (np.zeros((32, 16, 3), np.uint8), r"\(32, 16, 3\)"),
    ],
)
def test_other_arrays_are_refused(images, said):
    with pytest.raises(ValueError, match=f"hog takes.*{said}"):
        hog(images)
