"""The weights, inputs and recorded outputs of PyTorch nets that the golden files stand for.

Each `tests/golden/nets_*.npz` was recorded with PyTorch 2.13 on the CPU in float32. It stores
`keys` and `shapes` of the module's state dict, and what the module returned; the state dict itself
and the input are drawn again here.
"""

from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden"


def draw_state(keys, shapes, seed=0):
    """A state dict: keys in sorted order, each drawn from one generator."""
    rng = np.random.default_rng(seed)
    return {key: _draw(rng, key, shape) for key, shape in sorted(zip(keys, shapes, strict=True))}


def draw_images(shape, seed=1):
    """Images [B,H,W,3] in [-1,1]."""
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def load(name):
    """The recorded arrays and the state dict they belong to."""
    with np.load(GOLDEN / f"nets_{name}.npz", allow_pickle=False) as file:
        golden = dict(file)
    shapes = [tuple(int(n) for n in text.split(",") if n) for text in golden["shapes"]]
    return golden, draw_state([str(key) for key in golden["keys"]], shapes)


def _draw(rng, key, shape):
    noise = rng.standard_normal(shape)
    if key.endswith("num_batches_tracked"):
        return np.array(0)
    if key.endswith("running_var"):
        return (1 + 0.5 * np.tanh(noise)).astype(np.float32)
    if len(shape) > 1:
        return (noise * (1.5 / np.prod(shape[1:])) ** 0.5).astype(np.float32)
    offset = 1 if key.endswith("weight") else 0
    return (offset + 0.1 * noise).astype(np.float32)
