"""PN-GAN's nets: counts, sizes, starts, and PyTorch's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import differences, draw_images, drawn

from jaxreid.nets.convert import pngan_from_torch
from jaxreid.nets.pngan import Discriminator, Generator

pytestmark = pytest.mark.usefixtures("quick_compiler")

ORACLE = "naiq/PN_GAN, PyTorch 2.13"


def shapes_of(net, size, inputs=1):
    """Shapes of the net's output and variables, without computing anything."""
    images = [jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)] * inputs
    return jax.eval_shape(net.init_with_output, jax.random.key(0), *images)


@pytest.mark.parametrize(
    ("net", "inputs", "expected"), [(Generator(), 2, 11_387_584), (Discriminator(), 1, 2_764_672)]
)
def test_parameter_counts(net, inputs, expected):
    _, variables = shapes_of(net, (64, 64), inputs)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected


@pytest.mark.parametrize("size", [(64, 32), (128, 64), (256, 128), (256, 256), (384, 128)])
def test_the_generator_keeps_the_size(size):
    assert shapes_of(Generator(4, 1), size, 2)[0].shape == (1, *size, 3)


@pytest.mark.parametrize(
    ("size", "scores"),
    [((128, 64), (10, 2)), ((256, 128), (26, 10)), ((256, 256), (26, 26)), ((384, 128), (42, 10))],
)
def test_score_maps(size, scores):
    assert shapes_of(Discriminator(4), size)[0].shape == (1, *scores, 1)


def test_sizes_that_do_not_fit_say_what_would():
    with pytest.raises(ValueError, match=r"64x32 .*56x56 or more.*lower `layers`"):
        shapes_of(Discriminator(4), (64, 32))
    assert shapes_of(Discriminator(4, layers=2), (64, 32))[0].shape == (1, 10, 2, 1)
    with pytest.raises(ValueError, match=r"64x30 .* multiples of 4\."):
        shapes_of(Generator(4), (64, 30), 2)


def test_initial_parameters_are_those_of_pytorch_in_its_day():
    images = jnp.zeros((1, 8, 8, 3))
    params = jax.jit(Generator(32, 1, 1).init)(jax.random.key(0), images, images)["params"]
    for layer in (params["model_4"], params["model_7"]["conv_block_5"], params["model_8"]):
        bound = np.prod(layer["kernel"].shape[:3]) ** -0.5
        assert 0.99 * bound < np.abs(layer["kernel"]).max() <= bound
        np.testing.assert_allclose(layer["kernel"].std(), bound / 3**0.5, rtol=0.02)
        assert 0.8 * bound < np.abs(layer["bias"]).max() <= bound
    assert set(params["model_12"]) == {"kernel"}
    _, variables = shapes_of(Discriminator(), (64, 64))
    biased = {name for name, layer in variables["params"].items() if "bias" in layer}
    assert biased == {"model_2", "model_5", "model_8"}


def test_the_pose_arrives():
    net, images = Generator(4, 1, 1), draw_images((1, 16, 8, 3))
    variables = drawn(net, images, images)
    translate = jax.jit(net.apply)
    black = translate(variables, images, jnp.full(images.shape, -1.0))
    posed = translate(variables, images, draw_images(images.shape, 2))
    assert np.abs(black - posed).max() > 0.01 and np.abs(posed).max() <= 1


def test_half_precision_keeps_float32_parameters():
    images = draw_images((1, 56, 56, 3))
    generator, judge = Generator(2, 1, dtype=jnp.bfloat16), Discriminator(2, dtype=jnp.bfloat16)
    for net, inputs in ((generator, [images, images]), (judge, [images])):
        variables = drawn(net, *inputs)
        output = jax.jit(net.apply)(variables, *inputs)
        assert output.dtype == jnp.float32 and np.isfinite(output).all()
        _, kept = shapes_of(net, (56, 56), len(inputs))
        assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {jnp.dtype("float32")}


def test_generator_equals_pytorch(proof):
    inputs = [draw_images((2, 16, 8, 3)), draw_images((2, 16, 8, 3), 2)]
    found, _ = differences("pngan_generator", Generator(4, 2), inputs, pngan_from_torch)
    for quantity, error in found.items():
        proof(f"PN-GAN generator, {quantity}, relative", ORACLE, error, 5e-5)


def test_discriminator_equals_pytorch(proof):
    images = draw_images((1, 64, 56, 3))
    found, _ = differences("pngan_discriminator", Discriminator(4), [images], pngan_from_torch)
    for quantity, error in found.items():
        proof(f"PN-GAN discriminator, {quantity}, relative", ORACLE, error, 5e-5)
