"""The weights, inputs and recorded outputs of PyTorch nets that the golden files stand for.

Each `tests/golden/nets_*.npz` was recorded with PyTorch 2.13 on the CPU in float32. It stores
`keys` and `shapes` of the module's state dict, and what the module returned; the state dict itself
and the input are drawn again here.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
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


def differences(name, net, inputs, convert, mode="eval", dtype=np.float32):
    """How far a net is from the recorded PyTorch, each relative to PyTorch's largest magnitude.

    Args:
        name: of the golden file.
        net: called as `net(*inputs, train=...)`; it may return several arrays, which the file then
            holds as `<mode>_output_0` and so on.
        inputs: the first is the one whose gradient was recorded.
        convert: (state dict, variables) to (variables, report).
        mode: 'eval' or 'train'.
        dtype: of inputs and parameters.

    Returns:
        Differences by quantity, and the updated `batch_stats`. Gradients are those of the sum over
        outputs of the mean square.
    """
    golden, state = load(name)
    inputs = [np.asarray(x, dtype) for x in inputs]
    shapes = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, dtype), shapes)
    variables, report = convert(state, zeros)
    assert report.missing == ()

    def loss(params, first):
        variables_now = {**variables, "params": params}
        output, updates = net.apply(
            variables_now, first, *inputs[1:], train=mode == "train", mutable=["batch_stats"]
        )
        outputs = jax.tree.leaves(output)
        return sum(jnp.square(y).mean() for y in outputs), (outputs, updates)

    run = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
    (by_params, by_input), (outputs, updates) = run(variables["params"], inputs[0])
    numbered = [f"{mode}_output_{i}" for i in range(len(outputs))]
    theirs = [golden[k] for k in ([f"{mode}_output"] if len(outputs) == 1 else numbered)]
    found = {"output": max(map(_relative, outputs, theirs))}
    found["input gradient"] = _relative(by_input, golden[f"{mode}_input_gradient"])
    found["weight gradients"] = _of_weights(golden, mode, state, convert, zeros, by_params)
    return found, updates


def _of_weights(golden, mode, state, convert, zeros, by_params):
    """Recorded gradients of single parameters, put among zeros and converted like weights."""
    prefix = f"{mode}_gradient:"
    recorded = {k[len(prefix) :]: v for k, v in golden.items() if k.startswith(prefix)}
    state = {key: recorded.get(key, np.zeros_like(array)) for key, array in state.items()}
    expected = jax.tree.leaves(convert(state, zeros)[0]["params"])
    pairs = list(zip(jax.tree.leaves(by_params), expected, strict=True))
    assert recorded and sum(bool(b.any()) for _, b in pairs) == len(recorded)
    return max(_relative(a, b) for a, b in pairs if b.any())


def _relative(ours, theirs):
    assert ours.shape == theirs.shape
    return float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())


def drawn(net, *inputs, seed=0, **options):
    """Variables of a net, drawn with NumPy: compiling `init` takes longer than most tests."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(net.init, jax.random.key(0), *inputs, **options)

    def draw(path, leaf):
        noise = rng.standard_normal(leaf.shape)
        if leaf.ndim > 1:
            noise *= np.prod(leaf.shape[:-1]) ** -0.5
        else:
            noise = (path[-1].key in ("scale", "var")) + 0.1 * noise
        return noise.astype(leaf.dtype)

    return jax.tree.map_with_path(draw, shapes)
