"""The U-Net: counts, sizes, dropout places, initialisation, and PyTorch's numbers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import differences, draw_images, drawn, load

from jaxreid.nets.convert import unet_from_torch
from jaxreid.nets.unet import Level, UNet

pytestmark = pytest.mark.usefixtures("quick_compiler")

ORACLE = "pytorch-CycleGAN-and-pix2pix, PyTorch 2.13"


def shapes_of(net, size, channels=3):
    """Shapes of the net's output and variables, without computing anything."""
    images = jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)
    return jax.eval_shape(net.init_with_output, jax.random.key(0), images)


def tree_size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("downs", "conv_bias", "expected"),
    [
        (8, False, 54_413_955),
        (8, True, 54_419_459),
        (7, False, 41_828_995),
        (7, True, 41_833_475),
    ],
)
def test_parameter_count(downs, conv_bias, expected):
    _, variables = shapes_of(UNet(downs, conv_bias=conv_bias), (256, 256))
    assert tree_size(variables["params"]) == expected


@pytest.mark.parametrize(
    ("size", "downs"),
    [
        ((64, 32), 5),
        ((128, 64), 6),
        ((256, 128), 7),
        ((256, 256), 8),
        ((384, 128), 7),
    ],
)
def test_output_has_the_size_of_the_input(size, downs):
    assert shapes_of(UNet(downs), size, channels=6)[0].shape == (1, *size, 3)


def watched(net, size, kind):
    """PyTorch's names of the modules of one kind, each with the sides of its input."""
    seen = {}

    def watch(next_call, args, kwargs, context):
        if isinstance(context.module, kind):
            seen[".".join(context.module.path).replace("_", ".")] = args[0].shape[1:3]
        return next_call(*args, **kwargs)

    with nn.intercept_methods(watch):
        shapes_of(net, size)
    return seen


def test_the_bottleneck_of_upright_images_has_two_rows():
    seen = watched(UNet(7, 1), (256, 128), Level)
    assert len(seen) == 7
    assert min(seen.values()) == (4, 2)  # what the innermost level halves


@pytest.mark.parametrize(
    ("net", "size", "message"),
    [
        (UNet(7), (64, 32), r"64x32 .* multiples of 128.* fewer `downs`"),
        (UNet(8), (256, 128), r"256x128 .* multiples of 256"),
        (UNet(4), (64, 32), "at least 5 `downs`, not 4"),
    ],
)
def test_sizes_that_do_not_fit_say_what_would(net, size, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(net, size)


@pytest.mark.parametrize("downs", [5, 6, 7, 8])
def test_dropout_is_where_pytorch_has_it(downs):
    recorded = {str(name) for name in load("unet")[0][f"dropouts_{downs}"]}
    assert len(recorded) == downs - 5
    assert set(watched(UNet(downs, 1, dropout_levels="torch"), (256, 256), nn.Dropout)) == recorded


def test_dropout_is_where_lua_has_it():
    level = "model.model.1" + 4 * ".model.3"  # the third from within
    expected = {
        level + ".model.7",
        level + ".model.3.model.7",
        level + ".model.3.model.3.model.5",
    }
    assert set(watched(UNet(8, 1), (256, 256), nn.Dropout)) == expected


def test_dropout_acts_when_training_only():
    net, images = UNet(5, 4), draw_images((1, 64, 32, 3))
    variables = drawn(net, images)

    @jax.jit
    def noisy(key):
        rngs = {"dropout": key}
        return net.apply(variables, images, True, rngs=rngs, mutable=["batch_stats"])[0]

    first, second = (noisy(jax.random.key(i)) for i in (0, 1))
    assert np.abs(first - second).max() > 1e-3
    calm = jax.jit(net.apply)(variables, images)
    assert np.isfinite(calm).all() and np.abs(calm).max() <= 1


def test_initial_parameters():
    level = Level((64, 64), (0.5, 0.5), conv_bias=True, outer=64)
    params = jax.jit(level.init)(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))["params"]
    for name in ("model_1", "model_5"):
        np.testing.assert_allclose(params[name]["kernel"].std(), 0.02, rtol=0.03)
        assert not params[name]["bias"].any()
    scales = np.concatenate([params["model_2"]["scale"], params["model_6"]["scale"]])
    assert abs(scales.mean() - 1) < 0.01 and 0.015 < scales.std() < 0.025
    assert not params["model_2"]["bias"].any()


def test_half_precision_keeps_float32_parameters_and_statistics():
    net, images = UNet(5, 2, dtype=jnp.bfloat16), draw_images((1, 64, 32, 3))
    output = jax.jit(net.apply)(drawn(net, images), images)
    assert output.dtype == jnp.float32 and np.isfinite(output).all()
    _, variables = shapes_of(net, (64, 32))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_every_weight_finds_its_place():
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes_of(UNet(5, 2), (64, 32))[1])
    _, report = unet_from_torch(load("unet")[1], zeros)
    assert (report.missing, report.unexpected) == ((), ())


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_unet_equals_pytorch(mode, proof):
    images, net = draw_images((1, 64, 32, 3)), UNet(5, 2, dropout=0.0)
    found, updates = differences("unet", net, [images], unet_from_torch, mode)
    for part, error in found.items():
        name = {"eval": "evaluation", "train": "training"}[mode]
        proof(f"U-Net, {name}, {part}, relative", ORACLE, error, 2e-5)
    if mode == "train":
        golden, _ = load("unet")
        ours = updates["batch_stats"]["model"]["model_1"]["model_3"]["model_2"]["mean"]
        theirs = golden["after:model.model.1.model.3.model.2.running_mean"]
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
