"""EfficientNet-Lite0: counts, shapes, names, parity with the PyTorch package."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import differences, draw_images, drawn

from jaxreid.nets.convert import from_torch
from jaxreid.nets.efficientnet import EfficientNetLite0, InvertedBlock
from jaxreid.nets.heads import BNNeck
from jaxreid.nets.reid import ReID

pytestmark = pytest.mark.usefixtures("quick_compiler")


def shapes_of(net, shape):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(net.init_with_output, jax.random.key(0), images)


def test_parameter_count():
    _, variables = shapes_of(EfficientNetLite0(), (1, 64, 32, 3))
    parameters, statistics = (
        sum(leaf.size for leaf in jax.tree.leaves(variables[name]))
        for name in ("params", "batch_stats")
    )
    classifier = 1280 * 1000 + 1000
    assert parameters + classifier == 4_652_008
    assert round((parameters + classifier + statistics) / 1e6, 2) == 4.69


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 32), (2, 1)),
        ((128, 64), (4, 2)),
        ((256, 128), (8, 4)),
        ((256, 256), (8, 8)),
        ((384, 128), (12, 4)),
        ((33, 1), (2, 1)),
    ],
)
def test_output_shape(size, expected):
    assert shapes_of(EfficientNetLite0(), (2, *size, 3))[0].shape == (2, *expected, 1280)


def test_stages_and_width():
    for width, channels in (
        (1, (16, 24, 40, 80, 112, 192, 320)),
        (0.25, (8, 8, 16, 24, 32, 48, 80)),
    ):
        _, variables = shapes_of(EfficientNetLite0(width), (1, 64, 32, 3))
        params = variables["params"]
        ends = [params[f"_blocks_{n}"]["_project_conv"]["kernel"] for n in (0, 2, 4, 7, 10, 14, 15)]
        assert tuple(kernel.shape[-1] for kernel in ends) == channels
        assert params["_blocks_3"]["_depthwise_conv"]["kernel"].shape == (5, 5, 1, 6 * channels[1])


def test_initial_distribution():
    block = InvertedBlock(64, size=5, stride=2, expansion=6)
    params = jax.jit(block.init)(jax.random.key(0), jnp.zeros((1, 4, 4, 32)))["params"]
    for name, std in (("_expand_conv", 192), ("_depthwise_conv", 25), ("_project_conv", 64)):
        np.testing.assert_allclose(params[name]["kernel"].std(), (2 / std) ** 0.5, rtol=0.03)
    assert (params["_bn2"]["scale"] == 1).all() and not params["_bn2"]["bias"].any()


def test_half_precision():
    net = EfficientNetLite0(0.25, dtype=jnp.bfloat16)
    images = draw_images((2, 32, 16, 3))
    variables = drawn(net, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    run = jax.jit(lambda v, x: net.apply(v, x, True, mutable=["batch_stats"]))
    maps, updates = run(variables, images)
    assert maps.dtype == jnp.bfloat16 and jnp.isfinite(maps.astype(jnp.float32)).all()
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}


def test_it_is_a_backbone():
    output, variables = shapes_of(ReID(EfficientNetLite0(0.25), BNNeck(5)), (2, 64, 32, 3))
    assert output["test"].shape == (2, 1280)
    assert set(variables["params"]) == {"backbone", "head"}


def test_running_statistics_keep_99_hundredths():
    block = InvertedBlock(4, size=3, stride=1, expansion=1)
    x = 3 + draw_images((2, 8, 4, 4))
    variables = drawn(block, x)
    means = []
    for momentum in (0.99, 0.9):
        run = jax.jit(block.clone(momentum=momentum).apply, static_argnames=("train", "mutable"))
        _, updates = run(variables, x, train=True, mutable=("batch_stats",))
        means.append(
            updates["batch_stats"]["_bn1"]["mean"] - variables["batch_stats"]["_bn1"]["mean"]
        )
    np.testing.assert_allclose(10 * means[0], means[1], rtol=1e-3)


def test_efficientnet_equals_pytorch(proof):
    net, images = EfficientNetLite0(0.25), draw_images((2, 40, 32, 3))
    found, _ = differences("efficientnet_lite0", net, [images], from_torch)
    for quantity, error in found.items():
        oracle = "efficientnet-lite-pytorch 0.1.0, PyTorch 2.13"
        proof(f"EfficientNet-Lite0 eval float32, {quantity}, relative", oracle, error, 1e-5)
