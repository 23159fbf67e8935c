"""StarGAN: counts, sizes, initialisation, how the label gets in, and PyTorch's numbers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import differences, draw_images, drawn, load

from jaxreid.nets import stargan
from jaxreid.nets.convert import from_torch, stargan_generator_from_torch
from jaxreid.nets.layers import Conv
from jaxreid.nets.stargan import Discriminator, Generator

pytestmark = pytest.mark.usefixtures("quick_compiler")

ORACLE = "yunjey/stargan, PyTorch 2.13"


def shapes_of(net, size, domains=None):
    """Shapes of the net's output and variables, without computing anything."""
    inputs = [jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)]
    inputs += [jax.ShapeDtypeStruct((2, domains), jnp.float32)] if domains else []
    return jax.eval_shape(net.init_with_output, jax.random.key(0), *inputs)


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(("domains", "expected"), [(5, 8_430_528), (6, 8_433_664), (8, 8_439_936)])
def test_parameter_count_of_the_generator(domains, expected):
    assert count(shapes_of(Generator(), (64, 32), domains)[1]) == expected


@pytest.mark.parametrize(
    ("size", "domains", "expected"),
    [
        ((128, 128), 5, 44_762_048),
        ((256, 128), 6, 44_819_392),
        ((256, 128), 8, 44_852_160),
        ((128, 64), 6, 44_745_664),
    ],
)
def test_parameter_count_of_the_discriminator(size, domains, expected):
    assert count(shapes_of(Discriminator(domains), size)[1]) == expected


@pytest.mark.parametrize("size", [(64, 32), (128, 64), (256, 128), (256, 256), (384, 128)])
def test_the_generator_keeps_the_size(size):
    assert shapes_of(Generator(), size, 6)[0].shape == (2, *size, 3)


@pytest.mark.parametrize(
    ("size", "layers", "maps"),
    [
        ((64, 32), 5, (2, 1)),
        ((128, 64), 6, (2, 1)),
        ((256, 128), 6, (4, 2)),
        ((256, 256), 6, (4, 4)),
        ((384, 128), 6, (6, 2)),
    ],
)
def test_the_discriminator_returns_patches_and_classes(size, layers, maps):
    (scores, logits), variables = shapes_of(Discriminator(7, layers=layers), size)
    assert (scores.shape, logits.shape) == ((2, *maps, 1), (2, 7))
    width = 64 * 2 ** (layers - 1)
    assert variables["params"]["conv2"]["kernel"].shape == (*maps, width, 7)


def test_sizes_that_do_not_fit_say_what_would():
    with pytest.raises(ValueError, match=r"64x32 .* multiples of 64.* fewer `layers`"):
        shapes_of(Discriminator(6), (64, 32))
    with pytest.raises(ValueError, match=r"66x32 .* multiples of 4\..*Resize"):
        shapes_of(Generator(), (66, 32), 6)


def test_labels_must_be_one_hot_rows():
    with pytest.raises(ValueError, match=r"one-hot rows \[B,K\], but have shape \(2,\)"):
        jax.eval_shape(Generator().init, jax.random.key(0), draw_images((2, 8, 8, 3)), jnp.ones(2))


@pytest.mark.parametrize("reflect", [False, True])
def test_the_label_arrives_only_where_zeros_pad(reflect, monkeypatch):
    monkeypatch.setattr(stargan, "Conv", partial(Conv, reflect=reflect))
    net, images = Generator(8, blocks=0, halvings=1), draw_images((1, 32, 16, 3)).repeat(2, 0)
    variables = drawn(net, images, jnp.eye(2))
    first, second = jax.jit(net.apply)(variables, images, jnp.eye(2))
    change = np.abs(first - second).max()
    assert change < 1e-5 if reflect else change > 0.01
    assert np.abs(first).max() <= 1


def test_initial_parameters_are_those_of_pytorch_in_its_day():
    net = Generator(32, blocks=1, halvings=1)
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), jnp.eye(5)[:1])["params"]
    for kernel in (params["main_3"], params["main_6"]["main_3"], params["main_7"]):
        bound = np.prod(kernel["kernel"].shape[:3]) ** -0.5
        assert set(kernel) == {"kernel"}
        assert 0.99 * bound < np.abs(kernel["kernel"]).max() <= bound
        np.testing.assert_allclose(kernel["kernel"].std(), bound / 3**0.5, rtol=0.02)
    assert (params["main_1"]["scale"] == 1).all() and not params["main_1"]["bias"].any()
    net = Discriminator(5, 32, layers=2)
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 16, 8, 3)))["params"]
    assert 0.9 * 512**-0.5 < np.abs(params["main_2"]["bias"]).max() <= 512**-0.5
    assert set(params["conv1"]) == set(params["conv2"]) == {"kernel"}


def test_half_precision_keeps_float32_parameters():
    images = draw_images((2, 8, 8, 3))
    net = Generator(4, blocks=1, halvings=1, dtype=jnp.bfloat16)
    judge = Discriminator(2, 4, layers=2, dtype=jnp.bfloat16)
    translated = jax.jit(net.apply)(drawn(net, images, jnp.eye(2)), images, jnp.eye(2))
    for y in (translated, *jax.jit(judge.apply)(drawn(judge, images), images)):
        assert y.dtype == jnp.float32 and np.isfinite(y).all()
    for variables in (shapes_of(net, (8, 8), 2)[1], shapes_of(judge, (8, 8))[1]):
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_generator_equals_pytorch(proof):
    inputs = [draw_images((2, 16, 8, 3)), np.eye(4)[[2, 0]]]
    net = Generator(6, blocks=2)
    found, _ = differences("stargan_generator", net, inputs, stargan_generator_from_torch, "train")
    for part, error in found.items():
        proof(f"StarGAN generator, {part}, relative", ORACLE, error, 2e-5)


@pytest.mark.parametrize(
    ("name", "net", "size", "oracle"),
    [
        ("", Discriminator(4, 4, layers=4), (32, 16), f"{ORACLE}, class kernel as in HHL"),
        ("_square", Discriminator(5, 2, layers=3), (32, 32), ORACLE),
    ],
)
def test_discriminator_equals_pytorch(name, net, size, oracle, proof):
    images = draw_images((2, *size, 3))
    found, _ = differences(f"stargan_discriminator{name}", net, [images], from_torch)
    for part, error in found.items():
        proof(f"StarGAN discriminator, {part}, relative", oracle, error, 2e-5)


def test_the_report_names_running_statistics_as_unexpected():
    _, state = load("stargan_generator")
    shapes = shapes_of(Generator(6, blocks=2), (16, 8), 4)[1]
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes)
    _, report = stargan_generator_from_torch(state, zeros)
    assert report.missing == () and len(report.used) == len(jax.tree.leaves(zeros))
    assert report.unexpected and all(".running_" in key for key in report.unexpected)
