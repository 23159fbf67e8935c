"""DiscoGAN: counts, sizes, initialisation, the image range, and PyTorch's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import differences, draw_images, drawn, load

from jaxreid.nets.convert import discogan_generator_from_torch, from_torch
from jaxreid.nets.discogan import Discriminator, Generator

pytestmark = pytest.mark.usefixtures("quick_compiler")

ORACLE = "SKTBrain/DiscoGAN, PyTorch 2.13"


def shapes_of(net, size):
    """Shapes of the net's output and variables, without computing anything."""
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    return jax.eval_shape(net.init_with_output, jax.random.key(0), images)


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (Generator(), 5_513_856),
        (Generator(bottleneck=True), 7_153_480),
        (Discriminator(), 2_765_568),
    ],
)
def test_parameter_count(net, expected):
    _, variables = shapes_of(net, (64, 64))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected


@pytest.mark.parametrize("size", [(64, 32), (128, 64), (256, 128), (256, 256), (384, 128)])
def test_the_generator_keeps_the_size(size):
    assert shapes_of(Generator(), size)[0].shape == (2, *size, 3)


@pytest.mark.parametrize("size", [(64, 64), (128, 64), (256, 128), (256, 256), (384, 128)])
def test_sizes_with_an_unpadded_kernel(size):
    assert shapes_of(Generator(bottleneck=True), size)[0].shape == (2, *size, 3)
    (scores, features), _ = shapes_of(Discriminator(), size)
    rows, columns = size[0] // 16, size[1] // 16
    assert scores.shape == (2, rows - 3, columns - 3, 1)
    expected = [(2, rows * 4 // n, columns * 4 // n, 128 * n) for n in (1, 2, 4)]
    assert [maps.shape for maps in features] == expected


@pytest.mark.parametrize("net", [Generator(bottleneck=True), Discriminator()])
def test_sizes_that_do_not_fit_say_what_would(net):
    with pytest.raises(ValueError, match="64x32 .* at least 64"):
        shapes_of(net, (64, 32))
    with pytest.raises(ValueError, match="72x64 .* multiples of 16"):
        shapes_of(net, (72, 64))


def test_initial_parameters():
    net = Generator(32)
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((2, 16, 16, 3)))["params"]
    for name in ("main_5", "main_11"):  # down and up
        kernel = params[name]["kernel"]
        bound = np.prod(kernel.shape[:3]) ** -0.5
        assert set(params[name]) == {"kernel"} and 0.99 * bound < np.abs(kernel).max() <= bound
        np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.02)
    assert (params["main_3"]["scale"] == 1).all() and not params["main_3"]["bias"].any()


def test_half_precision_keeps_float32_parameters_and_statistics():
    images = draw_images((1, 64, 64, 3))
    for net in (Generator(2, True, jnp.bfloat16), Discriminator(2, jnp.bfloat16)):
        for y in jax.tree.leaves(jax.jit(net.apply)(drawn(net, images), images)):
            assert y.dtype == jnp.float32 and np.isfinite(y).all()
        _, variables = shapes_of(net, (64, 64))
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("name", "net", "convert"),
    [
        ("generator", Generator(3), discogan_generator_from_torch),
        ("generator_bottleneck", Generator(1, True), discogan_generator_from_torch),
        ("discriminator", Discriminator(1), from_torch),
    ],
)
def test_every_weight_finds_its_place(name, net, convert):
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes_of(net, (64, 64))[1])
    _, report = convert(load(f"discogan_{name}")[1], zeros)
    assert (report.missing, report.unexpected) == ((), ())


@pytest.mark.parametrize(
    ("name", "net", "shape", "convert", "mode"),
    [
        ("generator", Generator(3), (2, 32, 16, 3), discogan_generator_from_torch, "eval"),
        ("generator", Generator(3), (2, 32, 16, 3), discogan_generator_from_torch, "train"),
        (
            "generator_bottleneck",
            Generator(1, bottleneck=True),
            (1, 64, 64, 3),
            discogan_generator_from_torch,
            "eval",
        ),
        ("discriminator", Discriminator(1), (1, 80, 64, 3), from_torch, "train"),
    ],
)
def test_equals_pytorch(name, net, shape, convert, mode, proof):
    # The originals were run on (x + 1) / 2, and their pictures y recorded as 2 y - 1.
    found, updates = differences(f"discogan_{name}", net, [draw_images(shape)], convert, mode)
    label = f"DiscoGAN {name.replace('_', ' with ')}, {mode}"
    for part, error in found.items():
        proof(f"{label}, {part}, relative", ORACLE, error, 2e-5)
    if name == "discriminator":
        theirs = load("discogan_discriminator")[0]["after:bn3.running_mean"]
        np.testing.assert_allclose(updates["batch_stats"]["bn3"]["mean"], theirs, atol=1e-6)
