"""LOMO and its parts: against the authors' code, a slow oracle, and by hand."""

import colorsys

import features_cases as cases
import numpy as np
import pytest

from jaxreid.features import lomo
from jaxreid.features.colour import grey, hsv, retinex
from jaxreid.features.lomo import siltp


def histograms(patterns, bins):
    """Strips of one image: the largest count of every pattern over the windows in a row."""
    found = []
    for top in range(0, patterns.shape[0] - 9, 5):
        strip = np.zeros(bins)
        for left in range(0, patterns.shape[1] - 9, 5):
            counts = np.zeros(bins)
            for pattern in patterns[top : top + 10, left : left + 10].ravel():
                counts[int(pattern)] += 1
            strip = np.maximum(strip, counts)
        found.append(strip)
    return np.concatenate(found)


def texture(brightness, radius):
    """Ternary patterns, one neighbour at a time."""
    height, width = brightness.shape
    found = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            centre = brightness[y, x]
            for power, (dy, dx) in enumerate(((0, 1), (-1, 0), (0, -1), (1, 0))):
                at = np.clip(y + dy * radius, 0, height - 1), np.clip(x + dx * radius, 0, width - 1)
                digit = 1 if brightness[at] < 0.7 * centre else 2 * (brightness[at] > 1.3 * centre)
                found[y, x] += digit * 3**power
    return found


def oracle(image):
    """The descriptor of one image as it is."""
    colours = [[colorsys.rgb_to_hsv(*pixel) for pixel in row] for row in image / 255]
    bins = np.minimum(np.floor(np.array(colours) * 8 + 1e-12), 7)
    kinds = [[], [], []]
    brightness = grey(image[None])[0]
    for _ in range(3):
        height, width = brightness.shape
        if min(height, width) >= 10:
            kinds[0].append(histograms(bins @ [1, 8, 64], 512))
        for k, radius in ((1, 3), (2, 5)):
            if min(height, width) >= max(10, 2 * radius + 1):
                kinds[k].append(histograms(texture(brightness, radius), 81))
        even = np.s_[: height // 2 * 2, : width // 2 * 2]
        corners = [np.s_[i::2, j::2] for j in (0, 1) for i in (0, 1)]
        bins = np.floor(sum(bins[even][corner] for corner in corners) / 4)
        brightness = sum(brightness[even][corner] for corner in corners) / 4
    logs = [np.log(np.concatenate(kind) + 1) for kind in kinds]
    return np.concatenate([log / np.sqrt((log**2).sum()) for log in logs])


@pytest.mark.parametrize(
    ("name", "size", "length"), [("lomo", (128, 48), 26960), ("lomo_small", (45, 22), None)]
)
def test_the_authors_code_gives_the_same(name, size, length, proof):
    saved, images = cases.golden(name), cases.off_borders(cases.pictures(2, 2, *size))
    assert int(images.sum()) == saved["inputs"], "this NumPy draws other numbers"
    values = lomo(images, even_light=False)
    assert values.shape == (2, saved["length"]) and length in (None, saved["length"])
    found = cases.checks(values)
    for key, allowed in (("some", 1e-6), ("sums", 1e-4)):
        error = np.abs(np.subtract(found[key], saved[key])).max()
        proof(f"{name}, {key}", "LOMO.m without Retinex, Octave 7.3", error, allowed)


def test_the_oracle_agrees(proof):
    images = cases.pictures(9, 2, 44, 23)
    expected = np.stack([oracle(image) for image in images])
    error = np.abs(lomo(images, even_light=False) - expected).max()
    proof("lomo, other size", "one pixel at a time", error, 1e-6)


def test_all_descriptors_have_the_length_root_three():
    images = cases.pictures(10, 3, 128, 48)
    for even in (True, False):
        values = lomo(images, even_light=even)
        np.testing.assert_allclose(np.linalg.norm(values, axis=1), 3**0.5, atol=1e-5)
        order = np.array([2, 0, 1])
        np.testing.assert_array_equal(lomo(images[order], even_light=even), values[order])


def test_where_along_a_strip_a_thing_is_seen_is_forgotten():
    images = np.full((2, 40, 40, 3), 120, np.uint8)
    images[0, 10:20, 5:15] = images[1, 10:20, 25:35] = (200, 30, 30)
    first, second = lomo(images, even_light=False)
    plain = lomo(np.full((1, 40, 40, 3), 120, np.uint8), even_light=False)[0]
    strips = 512 * 7  # of the first scale
    np.testing.assert_allclose(first[:strips], second[:strips], atol=1e-6)
    assert np.abs(first - plain).max() > 0.05


def test_patterns_know_ratios_alone(proof):
    brightness = grey(cases.pictures(11, 2, 20, 15)) + 0.01
    for radius in (3, 5):
        found = siltp(brightness, radius)
        expected = np.stack([texture(one, radius) for one in brightness])
        proof("siltp", "one neighbour at a time", np.abs(found - expected).max(), 0)
        np.testing.assert_array_equal(siltp(brightness / 4, radius), found)
    by_hand = np.array([[[1.0, 2, 1], [2, 1, 0.5], [1, 1.2, 1]]])
    # of the middle: right 1, above 2, left 2, below 0
    assert siltp(by_hand, 1)[0, 1, 1] == 1 + 2 * 3 + 2 * 9 + 0 * 27


def test_hue_saturation_and_value(proof):
    colours = np.random.default_rng(0).integers(0, 256, (500, 3)) / 255
    colours[:3] = [[0, 0, 0], [1, 1, 1], [0.2, 0.2, 0.2]]
    expected = np.array([colorsys.rgb_to_hsv(*colour) for colour in colours])
    proof("hsv", "colorsys", np.abs(hsv(255 * colours) - expected).max(), 1e-12)


def test_retinex_evens_out_light():
    """A shadow over half of an image all but disappears; so does the light's colour."""
    images = cases.pictures(12, 1, 128, 48)
    shadow = images.copy()
    shadow[:, :, 24:] = shadow[:, :, 24:] // 3
    tinted = (images * np.array([0.9, 0.6, 0.5])).astype(np.uint8)

    def changes(prepare, other):
        return np.abs(prepare(images) * 1.0 - prepare(other))[:, :, 34:].mean()

    for other, at_most in ((shadow, 0.5), (tinted, 0.5)):
        assert changes(retinex, other) < at_most * changes(lambda x: x, other)


def test_retinex_by_its_definition(proof):
    images = cases.pictures(13, 2, 12, 9)
    values = images.astype(float)
    expected = np.zeros(values.shape)
    for n, y, x in np.ndindex(2, 12, 9):
        for scale in (5, 20):
            weights = np.exp(
                -((np.arange(12)[:, None] - y) ** 2 + (np.arange(9) - x) ** 2) / (2 * scale**2)
            )
            around = (values[n] * weights[..., None]).sum((0, 1)) / weights.sum()
            expected[n, y, x] += (np.log(1 + values[n, y, x]) - np.log(1 + around)) / 2
    low, high = expected.min((1, 2, 3), keepdims=True), expected.max((1, 2, 3), keepdims=True)
    error = np.abs(retinex(images) - 255 * (expected - low) / (high - low)).max()
    proof("retinex", "one pixel at a time", error, 1e-10)


def test_retinex_keeps_grey_grey_and_an_even_image_finite():
    infrared = np.repeat(cases.pictures(14, 1, 32, 16)[..., :1], 3, axis=-1)
    found = retinex(infrared)
    assert found.min() == 0 and found.max() == 255 and np.ptp(found, axis=-1).max() < 1e-9
    assert not retinex(np.full((1, 16, 16, 3), 70, np.uint8)).any()


def test_small_images_are_refused():
    with pytest.raises(ValueError, match="lomo takes images of 11 pixels a side"):
        lomo(np.zeros((1, 32, 10, 3), np.uint8))
