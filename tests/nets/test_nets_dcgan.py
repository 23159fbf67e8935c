"""DCGAN: counts, sizes, initialisation, labels, sampling, and numbers of a PyTorch module."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import differences, draw_images, drawn

from jaxreid.nets.convert import from_torch
from jaxreid.nets.dcgan import (
    LSRO_TEXT,
    ConditionalDiscriminator,
    ConditionalGenerator,
    Discriminator,
    Generator,
)

pytestmark = pytest.mark.usefixtures("quick_compiler")

ORACLE = "PyTorch 2.13 module written from the layer table"
SIZES = [(64, 32), (128, 64), (256, 128), (256, 256), (384, 128)]
NOISE = np.random.default_rng(1).uniform(-1, 1, (4, 10)).astype(np.float32)
LABELS = np.eye(3, dtype=np.float32)[[0, 2, 1, 0]]


def shapes_of(net, shape, *labels, **options):
    """Shapes of the net's output and variables, without computing anything."""
    inputs = [jax.ShapeDtypeStruct(s, jnp.float32) for s in (shape, *labels)]
    return jax.eval_shape(net.init_with_output, jax.random.key(0), *inputs, **options)


def count(net, shape, *labels):
    variables = shapes_of(net, shape, *labels)[1]
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("size", "generator", "discriminator"),
    [((128, 128), 7_617_539, 4_341_121), ((128, 64), 5_962_755, 4_324_737)],
)
def test_parameter_count(size, generator, discriminator):
    assert count(Generator(size), (1, 100)) == generator
    assert count(Discriminator(), (1, *size, 3)) == discriminator


def test_the_second_linear_layer_of_the_conditional_form_is_large():
    net = ConditionalGenerator((128, 128))
    params = shapes_of(net, (1, 100), (1, 6))[1]["params"]
    assert params["g_h1_lin"]["kernel"].shape == (1024 + 6, 128 * 32 * 32)
    assert 134e6 < params["g_h1_lin"]["kernel"].size < 136e6


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size):
    assert shapes_of(Generator(size), (2, 100))[0].shape == (2, *size, 3)
    assert shapes_of(Generator(size, **LSRO_TEXT), (2, 100))[0].shape == (2, *size, 3)
    for depth in (4, 5):
        assert shapes_of(Discriminator(depth=depth), (2, *size, 3))[0].shape == (2, 1)
    assert shapes_of(ConditionalGenerator(size), (2, 100), (2, 6))[0].shape == (2, *size, 3)
    assert shapes_of(ConditionalDiscriminator(), (2, *size, 3), (2, 6))[0].shape == (2, 1)


def test_the_start_map_of_the_text_has_16_channels_of_4x4():
    params = shapes_of(Generator(**LSRO_TEXT), (1, 100))[1]["params"]
    assert params["g_h0_lin"]["kernel"].shape == (100, 4 * 4 * 16)
    assert [params[f"g_h{i}"]["kernel"].shape[-1] for i in range(1, 7)] == [
        512,
        512,
        256,
        128,
        64,
        3,
    ]
    assert "g_bn0" not in params


@pytest.mark.parametrize(
    ("net", "inputs", "message"),
    [
        (Generator((100, 60)), [(1, 100)], "100x60 .* 4 doublings.* multiples of 16"),
        (Generator((64, 16), depth=5), [(1, 100)], "64x16 .* multiples of 32"),
        (ConditionalGenerator((30, 28)), [(1, 100), (1, 2)], "30x28 .* multiples of 4"),
    ],
)
def test_sizes_that_do_not_fit_say_what_would(net, inputs, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(net, *inputs)


def test_initial_parameters():
    drawing = Generator((8, 4), 32, depth=2)
    params = jax.jit(drawing.init)(jax.random.key(0), jnp.zeros((1, 100)))["params"]
    for name in ("g_h0_lin", "g_h1"):
        np.testing.assert_allclose(params[name]["kernel"].std(), 0.02, rtol=0.03)
        assert np.abs(params[name]["kernel"]).max() > 0.05
        assert not params[name]["bias"].any()
    assert (params["g_bn0"]["scale"] == 1).all() and not params["g_bn0"]["bias"].any()
    judge = Discriminator(32, depth=2)
    params = jax.jit(judge.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    kernel = params["d_h1_conv"]["kernel"]
    np.testing.assert_allclose(kernel.std(), 0.01757, rtol=0.02)  # cut at two deviations
    assert np.abs(kernel).max() <= 0.04 and not params["d_h1_conv"]["bias"].any()


def test_samples_do_not_depend_on_the_batch_they_are_drawn_in():
    net = Generator((16, 8), 2, 2)
    variables, sample = drawn(net, NOISE), jax.jit(net.apply)
    together = sample(variables, NOISE)
    np.testing.assert_allclose(sample(variables, NOISE[1:2])[0], together[1], atol=1e-6)
    assert np.abs(together).max() <= 1


def test_labels_join_noise_and_images():
    drawing, judge, images = Generator((8, 8), 2, 2), Discriminator(2, 2), draw_images((4, 8, 8, 3))
    for net, first in ((drawing, NOISE), (judge, images)):
        variables, run = drawn(net, first, labels=LABELS), jax.jit(net.apply)
        first_way, other = (run(variables, first, labels=y) for y in (LABELS, LABELS[::-1]))
        change = np.abs(first_way - other).reshape(4, -1).max(1)
        assert (change > 1e-4).tolist() == [False, True, True, False]  # the rows that differ


def test_half_precision_keeps_float32_parameters_and_statistics():
    half = jnp.bfloat16
    cases = [
        (Generator((8, 8), 2, 2, dtype=half), [NOISE]),
        (Discriminator(2, 2, half), [draw_images((4, 8, 8, 3))]),
        (ConditionalGenerator((8, 8), 2, 8, half), [NOISE, LABELS]),
        (ConditionalDiscriminator(2, 8, half), [draw_images((4, 8, 8, 3)), LABELS]),
    ]
    for net, inputs in cases:
        output = jax.jit(net.apply)(drawn(net, *inputs), *inputs)
        assert output.dtype == jnp.float32 and np.isfinite(output).all()
        variables = jax.eval_shape(net.init, jax.random.key(0), *inputs)
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def convert(state, variables):
    doubled = {key[:4] for key, array in state.items() if key[:3] == "g_h" and array.ndim == 4}
    return from_torch(state, variables, transposed=doubled)


@pytest.mark.parametrize(
    ("name", "net", "inputs", "mode"),
    [
        ("generator", Generator((32, 16), 2), [NOISE], "eval"),
        ("generator", Generator((32, 16), 2), [NOISE], "train"),
        ("generator_text", Generator((32, 32), 2, **LSRO_TEXT), [NOISE], "train"),
        ("discriminator", Discriminator(2), [draw_images((4, 32, 16, 3))], "eval"),
        ("discriminator", Discriminator(2), [draw_images((4, 32, 16, 3))], "train"),
        (
            "conditional_generator",
            ConditionalGenerator((16, 8), 2, 12),
            [NOISE, LABELS],
            "eval",
        ),
        (
            "conditional_generator",
            ConditionalGenerator((16, 8), 2, 12),
            [NOISE, LABELS],
            "train",
        ),
        (
            "conditional_discriminator",
            ConditionalDiscriminator(4, 12),
            [draw_images((4, 16, 8, 3)), LABELS],
            "eval",
        ),
    ],
)
def test_equals_the_layer_table(name, net, inputs, mode, proof):
    found, _ = differences(f"dcgan_{name}", net, inputs, convert, mode)
    # Batch statistics of four rows amplify float32 rounding, PyTorch's as much as ours.
    tolerance = {"eval": 2e-5, "train": 1e-4}[mode]
    for part, error in found.items():
        label = f"DCGAN {name.replace('_', ' ')}, {mode}, {part}, relative"
        proof(label, ORACLE, error, tolerance)
