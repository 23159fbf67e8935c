"""SiaNet: counts of its three versions, sizes, unit length, dropout, and PyTorch's numbers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import draw_images, drawn, load

from jaxreid.nets.convert import sianet_from_torch
from jaxreid.nets.layers import xavier_uniform
from jaxreid.nets.sianet import SiaNet

pytestmark = pytest.mark.usefixtures("quick_compiler")

TENSORFLOW = {"blocks": 4, "fc_bias": True, "initializer": xavier_uniform(), "floor": 1e-12}
PAPER = {"blocks": 4, "units": (128,), "fc_bias": True}


def shapes_of(net, size):
    """Shapes of the net's output and variables, without computing anything."""
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    return jax.eval_shape(net.init_with_output, jax.random.key(0), images)


@pytest.mark.parametrize(
    ("options", "size", "flat", "expected"),
    [
        (PAPER, (256, 256), 512, 2_822_208),
        (TENSORFLOW, (256, 256), 512, 2_830_464),
        ({}, (256, 128), 2048, 929_216),
    ],
)
def test_parameter_counts_of_the_three_versions(options, size, flat, expected):
    _, variables = shapes_of(SiaNet(**options), size)
    assert variables["params"]["fc1"]["kernel"].shape == (flat, 128)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected


@pytest.mark.parametrize(
    ("size", "blocks"),
    [((64, 32), 2), ((128, 64), 3), ((256, 128), 3), ((256, 256), 4), ((384, 128), 3)],
)
def test_output_shape(size, blocks):
    assert shapes_of(SiaNet(blocks=blocks), size)[0].shape == (2, 64)


@pytest.mark.parametrize(("size", "blocks", "most"), [((64, 32), 3, 2), ((256, 128), 4, 3)])
def test_sizes_that_do_not_fit_say_how_many_blocks_would(size, blocks, most):
    with pytest.raises(ValueError, match=rf"{size[0]}x{size[1]}: set blocks={most}"):
        shapes_of(SiaNet(blocks=blocks), size)
    assert shapes_of(SiaNet(blocks=most), size)[0].shape == (2, 64)


def test_embeddings_have_unit_length_and_dropout_never_stops():
    net, images = SiaNet(4, 2), draw_images((3, 32, 16, 3))
    variables = drawn(net, images)
    embed = jax.jit(partial(net.apply, train=False))
    first, again, other = (
        embed(variables, images, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), np.ones(3), rtol=1e-6)
    calm = jax.jit(net.clone(dropout=0.0).apply)(variables, images)
    np.testing.assert_allclose(np.linalg.norm(calm, axis=1), np.ones(3), rtol=1e-6)


def test_black_weights_have_a_finite_gradient():
    net, images = SiaNet(2, 1, units=(4,), dropout=0.0), draw_images((1, 8, 8, 3))
    zeros = jax.tree.map(jnp.zeros_like, drawn(net, images))
    gradients = jax.jit(jax.grad(lambda v: net.apply(v, images).sum()))(zeros)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradients))


@pytest.mark.parametrize(
    ("options", "conv", "linear"),
    [({}, (1 / 16 / 16) ** 0.5, 256**-0.5), (TENSORFLOW, (6 / 16 / 48) ** 0.5, (6 / 384) ** 0.5)],
)
def test_initial_parameters(options, conv, linear):
    net = SiaNet(16, **(options | {"blocks": 2}))
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 32, 64, 3)))["params"]
    for kernel, bound in ((params["conv2"], conv), (params["fc1"], linear)):
        assert 0.99 * bound < np.abs(kernel["kernel"]).max() <= bound
        np.testing.assert_allclose(kernel["kernel"].std(), bound / 3**0.5, rtol=0.02)
    assert params["conv2"]["bias"].any() == (not options)
    assert ("bias" in params["fc1"]) == bool(options)


def test_half_precision_keeps_float32_parameters_and_embeddings():
    net, images = SiaNet(4, 2, dropout=0.0, dtype=jnp.bfloat16), draw_images((2, 32, 16, 3))
    output = jax.jit(net.apply)(drawn(net, images), images)
    assert output.dtype == jnp.float32
    np.testing.assert_allclose(np.linalg.norm(output, axis=1), np.ones(2), rtol=1e-6)
    _, kept = shapes_of(net, (32, 16))
    assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {jnp.dtype("float32")}


def test_sianet_equals_pytorch(proof):
    """Its mean square is constant, so the recorded gradients are those of a weighted sum."""
    golden, state = load("sianet")
    net, images = SiaNet(4, units=(8, 4), dropout=0.0), draw_images((2, 128, 64, 3))
    convert = partial(sianet_from_torch, size=images.shape[1:3])
    zeros = jax.tree.map(
        lambda a: np.zeros(a.shape, a.dtype), jax.eval_shape(net.init, jax.random.key(0), images)
    )
    variables, report = convert(state, zeros)
    assert (report.missing, report.unexpected) == ((), ())

    def weighted(variables, images):
        output = net.apply(variables, images)
        return (output * jnp.linspace(-1, 1, 8).reshape(2, 4)).sum(), output

    run = jax.jit(jax.grad(weighted, (0, 1), has_aux=True))
    (by_weights, by_images), output = run(variables, images)
    recorded = {k.partition(":")[2]: v for k, v in golden.items() if "gradient:" in k}
    expected, _ = convert({k: recorded.get(k, np.zeros_like(v)) for k, v in state.items()}, zeros)
    pairs = list(zip(jax.tree.leaves(by_weights), jax.tree.leaves(expected), strict=True))
    found = {
        "output": [(output, golden["eval_output"])],
        "input gradient": [(by_images[:, ::4, ::4], golden["eval_input_gradient"])],
        "weight gradients": [(a, b) for a, b in pairs if b.any()],
    }
    assert len(found["weight gradients"]) == len(recorded) == 4
    for quantity, pairs in found.items():
        error = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
        proof(f"SiaNet, {quantity}, relative", "Simon4Yan/eSPGAN, PyTorch 2.13", error, 5e-5)
