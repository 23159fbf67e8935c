"""CycleGAN's nets in the forms that were released: counts, sizes, starts, PyTorch's numbers.

PTGAN's code needs TensorFlow 1; its oracle is a PyTorch module written from the layer table, with
every uneven padding spelled out.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from nets_golden import differences, draw_images, drawn, load

from jaxreid.nets.convert import from_torch, generator_from_torch, spgan_from_torch
from jaxreid.nets.cyclegan import DISCRIMINATORS, GENERATORS, PatchGAN, ResnetGenerator
from jaxreid.nets.layers import around_one

pytestmark = pytest.mark.usefixtures("quick_compiler")

PIX2PIX = {"norm": "batch", "conv_bias": False, "scale_init": around_one}


def shapes_of(net, size, channels=3):
    """Shapes of the net's output and variables, without computing anything."""
    images = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    return jax.eval_shape(net.init_with_output, jax.random.key(0), images)


def count(net, channels=3):
    _, variables = shapes_of(net, (64, 64), channels)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("form", "generator", "discriminator"),
    [
        ("camstyle", 11_378_179, 2_764_737),
        ("lua", 11_388_675, 2_766_529),
        ("ptgan", 11_383_424, 2_765_568),
        ("spgan_tensorflow", 11_388_675, 2_766_529),
        ("spgan_torch", 11_375_235, 2_763_841),
    ],
)
def test_parameter_counts_of_the_released_forms(form, generator, discriminator):
    assert count(ResnetGenerator(**GENERATORS[form])) == generator
    assert count(PatchGAN(**DISCRIMINATORS[form])) == discriminator


@pytest.mark.parametrize(
    ("blocks", "weights", "biases"), [(9, 11_372_928, 5_251), (6, 7_833_984, 3_715)]
)
def test_parameter_counts_of_the_generator_in_pieces(blocks, weights, biases):
    affine = 10_496 if blocks == 9 else 7_424
    assert count(ResnetGenerator(blocks=blocks)) == weights + biases
    bare = ResnetGenerator(blocks=blocks, conv_bias=False, end_bias=False)
    assert count(bare) == weights
    assert count(bare.clone(norm_affine=True)) == weights + affine
    assert count(bare.clone(end_bias=True)) == weights + 3


@pytest.mark.parametrize(
    ("options", "channels", "expected"),
    [
        ({}, 3, 2_763_776 + 961),
        ({"conv_bias": False, "end_bias": False}, 3, 2_763_776),
        ({"norm_affine": True}, 3, 2_764_737 + 1_792),
        (PIX2PIX, 6, 2_768_705),
        (PIX2PIX | {"conv_bias": True}, 6, 2_769_601),
    ],
)
def test_parameter_counts_of_the_discriminator(options, channels, expected):
    assert count(PatchGAN(**options), channels) == expected


@pytest.mark.parametrize("form", ["camstyle", "ptgan"])
@pytest.mark.parametrize("size", [(64, 32), (128, 64), (256, 128), (256, 256), (384, 128)])
def test_the_generator_keeps_the_size(form, size):
    net = ResnetGenerator(8, blocks=1, **GENERATORS[form])
    assert shapes_of(net, size)[0].shape == (1, *size, 3)


@pytest.mark.parametrize(
    ("form", "size", "expected"),
    [
        ("camstyle", (64, 32), (6, 2)),
        ("camstyle", (128, 64), (14, 6)),
        ("camstyle", (256, 128), (30, 14)),
        ("camstyle", (256, 256), (30, 30)),
        ("camstyle", (384, 128), (46, 14)),
        ("ptgan", (256, 128), (32, 16)),
        ("ptgan", (256, 256), (32, 32)),
        ("ptgan", (32, 16), (4, 2)),
        ("spgan_torch", (256, 128), (32, 16)),
    ],
)
def test_score_maps(form, size, expected):
    assert shapes_of(PatchGAN(4, **DISCRIMINATORS[form]), size)[0].shape == (1, *expected, 1)


def test_inner_maps_of_spgan():
    net = PatchGAN(**DISCRIMINATORS["spgan_torch"])
    images = jax.ShapeDtypeStruct((1, 256, 128, 3), jnp.float32)
    _, maps = jax.eval_shape(
        lambda x: net.init_with_output(jax.random.key(0), x, features=True)[0], images
    )
    assert [m.shape for m in maps] == [(1, 64, 32, 128), (1, 32, 16, 256), (1, 31, 17, 512)]


def test_sizes_that_do_not_fit_say_what_would():
    with pytest.raises(ValueError, match=r"66x32 .* multiples of 4\..*lower `halvings`"):
        shapes_of(ResnetGenerator(4), (66, 32))
    with pytest.raises(ValueError, match=r"1x1 .* reflection"):
        shapes_of(ResnetGenerator(4), (4, 4))
    for size in ((32, 16), (24, 23)):
        with pytest.raises(ValueError, match=rf"{size[0]}x{size[1]} .*24x24 or more.*`layers`"):
            shapes_of(PatchGAN(4), size)
    assert shapes_of(PatchGAN(4), (24, 24))[0].shape == (1, 1, 1, 1)
    assert shapes_of(PatchGAN(4, layers=2), (32, 16))[0].shape == (1, 6, 2, 1)
    wide = PatchGAN(4, tail=DISCRIMINATORS["spgan_torch"]["tail"])
    assert shapes_of(wide, (16, 8))[0].shape == (1, 2, 1, 1)
    with pytest.raises(ValueError, match="16x8 or more"):
        shapes_of(wide, (8, 8))


@pytest.mark.parametrize(("layers", "field"), list(enumerate([16, 34, 70, 142, 286, 574], start=1)))
def test_receptive_field(layers, field):
    net = PatchGAN(1, layers)
    images = draw_images((1, 20 * 2**layers, 4 * 2**layers, 1))
    _, variables = shapes_of(net, images.shape[1:3], 1)
    params = jax.tree.map(lambda a: jnp.full(a.shape, 0.1), variables["params"])

    # Instance norm sees the whole image; as the identity it leaves the field of the convolutions.
    def identity(next_call, args, kwargs, context):
        norm = type(context.module).__name__ == "InstanceNorm"
        return args[0] if norm else next_call(*args, **kwargs)

    def centre(images):
        with nn.intercept_methods(identity):
            y = net.apply({"params": params}, images)
        return y[0, y.shape[1] // 2, 0, 0]

    touched = jnp.flatnonzero(jnp.abs(jax.jit(jax.grad(centre))(images)).sum((0, 2, 3)))
    assert int(touched[-1] - touched[0]) + 1 == len(touched) == field


def test_features_leave_the_leaky_relu_of_the_normalised_layers():
    net, images = PatchGAN(4), draw_images((2, 48, 32, 3))
    variables = drawn(net, images)
    scores, maps = jax.jit(lambda v, x: net.apply(v, x, features=True))(variables, images)
    np.testing.assert_allclose(scores, jax.jit(net.apply)(variables, images), atol=1e-6)
    assert [m.shape[-1] for m in maps] == [8, 16, 32]
    for found in maps:
        mean = jnp.where(found < 0, found / 0.2, found).mean((1, 2))  # undone, normalised maps
        np.testing.assert_allclose(mean, np.zeros(mean.shape), atol=1e-5)


@pytest.mark.parametrize(
    ("form", "std", "bound"),
    [
        ("lua", 0.02, None),
        ("ptgan", 0.01757, 0.04),
        ("spgan_tensorflow", (1 / 9 / 32) ** 0.5, (3 / 9 / 32) ** 0.5),
        ("spgan_torch", (1 / 27 / 32) ** 0.5, (1 / 9 / 32) ** 0.5),
    ],
)
def test_initial_generators(form, std, bound):
    net = ResnetGenerator(32, blocks=1, halvings=0, **GENERATORS[form])
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    block = params["model_4"]
    kernel = block["conv_block_1"]["kernel"]
    np.testing.assert_allclose(kernel.std(), std, rtol=0.03)
    assert bound is None or 0.98 * bound < np.abs(kernel).max() <= bound
    if form == "spgan_torch":
        assert set(params) == {"model_1", "model_4", "model_6"}
        assert [set(layer) for layer in block.values()] == [{"kernel"}, {"kernel", "bias"}]
        assert 0.8 * bound < np.abs(block["conv_block_5"]["bias"]).max() <= bound
    else:
        scales = block["conv_block_2"]["scale"]
        np.testing.assert_allclose([scales.mean(), scales.std()], [1, 0.02], atol=0.01)
        biases = [v for path, v in flatten_dict(params).items() if path[-1] == "bias"]
        assert len(biases) == (3 if form == "ptgan" else 7) and not any(b.any() for b in biases)


@pytest.mark.parametrize(
    ("options", "std"), [(DISCRIMINATORS["spgan_torch"], (1 / 3 / 256) ** 0.5), (PIX2PIX, 0.02)]
)
def test_initial_discriminators(options, std):
    net = PatchGAN(16, 1, **options)
    variables = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    params = variables["params"]
    np.testing.assert_allclose(params["model_2"]["kernel"].std(), std, rtol=0.03)
    assert set(params["model_2"]) == {"kernel"} and set(params["model_0"]) == {"kernel", "bias"}
    if options is PIX2PIX:
        scales = params["model_3"]["scale"]
        np.testing.assert_allclose([scales.mean(), scales.std()], [1, 0.02], atol=0.01)
        assert (variables["batch_stats"]["model_3"]["var"] == 1).all()


def test_half_precision_keeps_float32_parameters_and_statistics():
    images = draw_images((2, 24, 24, 3))
    net = ResnetGenerator(4, blocks=1, norm_affine=True, dtype=jnp.bfloat16)
    judge = PatchGAN(4, norm="batch", dtype=jnp.bfloat16)
    outputs = []
    for each in (net, judge):
        variables = drawn(each, images)
        output, updates = jax.jit(
            lambda v, x, each=each: each.apply(v, x, train=True, mutable=["batch_stats"])
        )(variables, images)
        outputs.append(output)
        kept = jax.tree.leaves((shapes_of(each, (24, 24))[1], updates))
        assert {leaf.dtype for leaf in kept} == {jnp.dtype("float32")}
    for y in outputs:
        assert y.dtype == jnp.float32 and np.isfinite(y).all()
    assert np.abs(outputs[0]).max() <= 1


TABLE = "PyTorch 2.13 module written from the layer table"
SPGAN = "Simon4Yan/eSPGAN, PyTorch 2.13"


@pytest.mark.parametrize(
    ("name", "net", "size", "convert", "oracle"),
    [
        (
            "ptgan_generator",
            ResnetGenerator(4, 2, **GENERATORS["ptgan"]),
            (16, 8),
            generator_from_torch,
            TABLE,
        ),
        (
            "ptgan_discriminator",
            PatchGAN(4, **DISCRIMINATORS["ptgan"]),
            (32, 16),
            from_torch,
            TABLE,
        ),
        (
            "spgan_generator",
            ResnetGenerator(4, **GENERATORS["spgan_torch"]),
            (16, 8),
            spgan_from_torch,
            SPGAN,
        ),
        (
            "spgan_discriminator",
            PatchGAN(4, **DISCRIMINATORS["spgan_torch"]),
            (32, 16),
            spgan_from_torch,
            SPGAN,
        ),
    ],
)
def test_released_forms_equal_pytorch(name, net, size, convert, oracle, proof):
    found, _ = differences(name, net, [draw_images((2, *size, 3))], convert)
    system, _, part = name.partition("_")
    for quantity, error in found.items():
        proof(f"{system.upper()} {part}, {quantity}, relative", oracle, error, 5e-5)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_pix2pix_discriminator_equals_pytorch(mode, proof):
    images, oracle = draw_images((2, 32, 24, 6)), "pytorch-CycleGAN-and-pix2pix, PyTorch 2.13"
    name = "pix2pix_patchgan"
    found, updates = differences(name, PatchGAN(4, **PIX2PIX), [images], from_torch, mode)
    for quantity, error in found.items():
        proof(f"pix2pix discriminator ({mode}), {quantity}, relative", oracle, error, 5e-5)
    if mode == "train":
        golden, state = load(name)
        ours, key, positions = updates["batch_stats"]["model_6"], "model.6.running", 2 * 4 * 3
        np.testing.assert_allclose(ours["mean"], golden[f"after:{key}_mean"], atol=1e-6)
        kept = 0.9 * state[f"{key}_var"]  # PyTorch adds the unbiased variance of the batch
        unbiased = kept + (ours["var"] - kept) * positions / (positions - 1)
        np.testing.assert_allclose(unbiased, golden[f"after:{key}_var"], rtol=1e-5)
