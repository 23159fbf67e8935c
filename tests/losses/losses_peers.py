"""The inputs of `tests/golden/losses.json`, drawn again from their seeds."""

import numpy as np

IDS = np.repeat(np.arange(4), 3)  # four identities with three rows each
CLASSES = np.array([0, 3, 1, 4, 4, 2])


def draw(seed, *shapes):
    """Standard normal arrays from one generator."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


INPUTS = {
    "scores": draw(1, (3, 4, 2), (3, 4, 2)),
    "logits": draw(2, (6, 5)),
    "embeddings": draw(3, (12, 5)),
    "centers": draw(4, (4, 5)),
    "pairs": [unit(x) for x in draw(5, (6, 4), (6, 4), (6, 4), (6, 4))],
    "features": draw(6, (4, 3, 2, 5), (4, 3, 2, 5), (4, 7), (4, 7)),
    "critic": draw(7, (3, 12), (12, 6), (6, 4)),
    "modalities": draw(8, (8, 2), (8, 2)),
    "images": draw(9, (2, 3, 4, 3), (2, 3, 4, 3)),
}


def pictures(size):
    """Smooth pictures in [0,1] and disturbed ones, [2,size,size,3]."""
    h, w, c = np.mgrid[:size, :size, :3]
    x = np.stack([0.5 + 0.4 * np.sin(h / (7 + k) + c) * np.cos(w / (9 - k)) for k in range(2)])
    noise = np.random.default_rng(10).standard_normal(x.shape)
    return x, np.clip(0.8 * x + 0.1 + 0.05 * noise, 0, 1)


def thinned(gradient):
    """Every 29th pixel of a gradient [2,size,size,3]: enough to compare, small enough to keep."""
    return np.asarray(gradient)[:, 3::29, 5::29]


def checksum(arrays):
    return [round(float(np.asarray(a).sum()), 9) for a in arrays]
