"""Pictures and features for the tests, drawn from their seeds."""

import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden" / "features.json"


def golden(name):
    """The case of this name of the golden file."""
    return json.loads(GOLDEN.read_text())[name]


def pictures(seed, n, height, width):
    """Coloured blobs under noise, uint8 ``[n, height, width, 3]``."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = rng.integers(1, 9, (n, 3, 2)) / 7
    phases = rng.integers(0, 60, (n, 3)) / 10
    angle = waves[..., 0, None, None] * rows / 5 + waves[..., 1, None, None] * columns / 4
    smooth = 120 + 90 * np.sin(angle + phases[..., None, None])
    noise = rng.integers(-25, 26, smooth.shape)
    return np.moveaxis(np.clip(np.rint(smooth + noise), 0, 255), 1, -1).astype(np.uint8)


def off_borders(images):
    """The pictures without hues and saturations that are multiples of 1/8.

    Rounding alone decides on which side of a border of bins those fall, and programs differ.
    """
    high, low = images.max(-1).astype(int), images.min(-1).astype(int)
    middle = images.sum(-1, dtype=int) - high - low
    spread = np.maximum(high - low, 1)
    bordering = (8 * spread % np.maximum(high, 1) == 0) | (4 * (middle - low) % spread == 0)
    found = images.copy()
    found[bordering] = (200, 90, 40)
    return found


def people(seed, identities, each, d, noise=0.6, gap=1.0):
    """Features of both modalities and their labels: visible, labels, infrared, labels."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(identities, d))
    shift = gap * rng.normal(size=d)
    labels = np.repeat(np.arange(identities), each)
    sides = [
        centres[labels] + noise * rng.normal(size=(len(labels), d)) + k * shift for k in (0, 1)
    ]
    sides = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides]
    return sides[0], labels, sides[1], labels


def checks(values):
    """Few numbers that no other vector has: weighted sums and every 101st value."""
    values = np.asarray(values, np.float64)
    waves = np.cos(np.arange(values.shape[1])[:, None] * np.array([0.0, 0.37, 1.91]))
    return {"sums": (values @ waves).tolist(), "some": values[:, 5::101].tolist()}
