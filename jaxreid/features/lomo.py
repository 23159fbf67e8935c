"""Local maximal occurrence (LOMO): colours and textures of horizontal strips."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from jaxreid.features.colour import grey, hsv, require_images, retinex

SCALES = 3
WINDOW, STEP = 10, 5
LEVELS = 8  # of each of hue, saturation and value
RADII, TOLERANCE = (3, 5), 0.3


def lomo(images: np.ndarray, *, even_light: bool = True) -> np.ndarray:
    r"""LOMO: 26,960 values of a 128x48 image.

    Windows of 10x10 pixels slide in steps of 5; each has a joint histogram of 8x8x8 colours and
    one of 81 textures for each of two radii (see ``siltp``). Of all windows at one height, every
    bin keeps its largest count, which forgives where along a strip a thing is seen. This is done at
    three scales, each half as large as the one before. Counts c become $\log(1 + c)$, and each of
    the three kinds gets unit length, so all descriptors have the length $\sqrt 3$.

    As in the authors' code, the numbers of colour bins are what is averaged (and rounded down) from
    scale to scale, not colours; textures are those of averaged grey. A scale that has no room for a
    window, or for the neighbours of a texture, is left out.

    Args:
        images: uint8 ``[n, H, W, 3]`` RGB, 11x11 or larger. Resize to 128x48 first.
        even_light: colours are those after ``colour.retinex``; False takes them as they are.

    Returns:
        float32 ``[n, d]`` >= 0; first colours, then the textures of radius 3, then of radius 5;
        in each scales, strips from the top and bins.

    Raises:
        ValueError: for other arrays or smaller images.

    References:
        Liao, Hu, Zhu, Li, "Person Re-identification by Local Maximal Occurrence Representation and
        Metric Learning", CVPR 2015, and its authors' code (seeds 001, 003).
    """
    images = require_images("lomo", images, 2 * max(RADII) + 1)
    kinds = [_colours(images, even_light), *(_textures(images, radius) for radius in RADII)]
    return np.concatenate([_unit(np.log1p(counts)) for counts in kinds], 1).astype(np.float32)


def siltp(brightness: np.ndarray, radius: int) -> np.ndarray:
    r"""Scale-invariant local ternary patterns: whether four neighbours are darker or brighter.

    A digit is 1 where the neighbour is below $0.7 c$ of the pixel's own brightness c, 2 where it is
    above $1.3 c$, else 0; neighbours right, above, left and below count 1, 3, 9 and 27. Beyond the
    border the image goes on as it ends.

    Args:
        brightness: ``[n, H, W]``.
        radius: how far the neighbours are, in pixels.

    Returns:
        int64 ``[n, H, W]`` in [0, 80].

    References:
        Liao et al., "Modeling Pixel Process with Scale Invariant Local Patterns for Background
        Subtraction in Complex Scenes", CVPR 2010; its code for LOMO.
    """
    height, width = brightness.shape[1:]
    wide = np.pad(brightness, ((0, 0), (radius, radius), (radius, radius)), "edge")
    low, high = (1 - TOLERANCE) * brightness, (1 + TOLERANCE) * brightness
    found = np.zeros(brightness.shape, np.int64)
    for weight, (down, right) in zip((1, 3, 9, 27), ((1, 2), (0, 1), (1, 0), (2, 1)), strict=True):
        top, left = down * radius, right * radius
        beside = wide[:, top : top + height, left : left + width]
        found += weight * ((beside < low) + 2 * (beside > high))
    return found


def _colours(images: np.ndarray, even_light: bool) -> np.ndarray:
    bins = hsv(retinex(images) if even_light else images)
    bins = np.minimum(np.floor(bins * LEVELS), LEVELS - 1)
    found = []
    for _ in range(SCALES):
        if min(bins.shape[1:3]) < WINDOW:
            break
        joint = bins @ LEVELS ** np.arange(3)
        found.append(_strips(joint.astype(np.int64), LEVELS**3))
        bins = np.floor(_halved(bins))
    return np.concatenate(found, 1)


def _textures(images: np.ndarray, radius: int) -> np.ndarray:
    brightness, found = grey(images), []
    for _ in range(SCALES):
        if min(brightness.shape[1:]) < max(WINDOW, 2 * radius + 1):
            break
        found.append(_strips(siltp(brightness, radius), 81))
        brightness = _halved(brightness)
    return np.concatenate(found, 1)


def _strips(patterns: np.ndarray, bins: int) -> np.ndarray:
    """Largest counts ``[n, strips * bins]`` of patterns ``[n, H, W]`` in the windows of a strip."""
    windows = sliding_window_view(patterns, (WINDOW, WINDOW), axis=(1, 2))[:, ::STEP, ::STEP]
    place = np.arange(windows.shape[0] * windows.shape[1] * windows.shape[2])
    place = place.reshape(*windows.shape[:3], 1, 1)
    counts = np.bincount((place * bins + windows).ravel(), minlength=place.size * bins)
    return counts.reshape(*windows.shape[:3], bins).max(2).reshape(len(patterns), -1)


def _halved(maps: np.ndarray) -> np.ndarray:
    """Means of 2x2 pixels ``[n, H/2, W/2, ...]``; an odd last row or column is dropped."""
    height, width = (side // 2 * 2 for side in maps.shape[1:3])
    even = maps[:, :height, :width]
    # In the order of the authors' code: a texture may hang on the last digit.
    return (even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]) / 4


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
