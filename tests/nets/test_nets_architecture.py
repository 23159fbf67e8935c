"""Parameter counts, shapes, initial distributions and running statistics of the nets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.nets.cyclegan import PatchGAN, ResnetGenerator
from jaxreid.nets.heads import FC1024, BNNeck, Direct
from jaxreid.nets.layers import Conv, batch_norm, kaiming_fan_out, normal, torch_default
from jaxreid.nets.reid import ReID
from jaxreid.nets.resnet import Block, ResNet, imagenet_normalise


def shapes_of(net, shape):
    """Shapes of the net's output and variables, without computing anything."""
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(net.init_with_output, jax.random.key(0), images)


def count(net, shape=(1, 64, 32, 3)):
    _, variables = shapes_of(net, shape)
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (ResnetGenerator(), 11_378_179),
        (ResnetGenerator(blocks=6), 7_837_699),
        (ResnetGenerator(norm_affine=True), 11_388_675),
        (ResnetGenerator(norm_affine=True, conv_bias=False), 11_383_427),
        (PatchGAN(), 2_764_737),
        (PatchGAN(norm_affine=True), 2_764_737 + 1_792),
        (PatchGAN(conv_bias=False), 2_763_776 + 64 + 1),
        (ResNet(18), 11_176_512),
        (ResNet(34), 21_284_672),
        (ResNet(50), 23_508_032),
        (ReID(ResNet(50), Direct(751)), 25_046_831),
        (ReID(ResNet(50), FC1024(702)), 26_327_806),
        (ReID(ResNet(50), FC1024(767)), 26_394_431),
        (ReID(ResNet(50), BNNeck(751)), 25_050_176 - 2_048),  # we store no frozen offset
    ],
)
def test_parameter_count(net, expected):
    assert count(net) == expected


@pytest.mark.parametrize(
    ("net", "shape", "expected"),
    [
        (ResNet(50), (1, 256, 128, 3), (1, 8, 4, 2048)),
        (ResNet(50, last_stride=1), (1, 256, 128, 3), (1, 16, 8, 2048)),
        (ResNet(50), (1, 224, 224, 3), (1, 7, 7, 2048)),
        (ResNet(18, 16, stem="small"), (1, 64, 32, 3), (1, 4, 2, 128)),
        (ResnetGenerator(8, 1), (2, 256, 128, 3), (2, 256, 128, 3)),
        (PatchGAN(), (1, 256, 256, 3), (1, 30, 30, 1)),
        (PatchGAN(), (1, 256, 128, 3), (1, 30, 14, 1)),
        (PatchGAN(), (1, 128, 64, 3), (1, 14, 6, 1)),
    ],
)
def test_output_shape(net, shape, expected):
    assert shapes_of(net, shape)[0].shape == expected


@pytest.mark.parametrize(
    ("initializer", "kernel_std", "bias_bound"),
    [
        (normal(0.02), 0.02, 0.0),
        (torch_default(), 0.041666 / 3**0.5, 0.041666),
        (kaiming_fan_out(), 0.0416, 0.0),
    ],
)
def test_initial_distribution(initializer, kernel_std, bias_bound):
    layer = Conv(128, 3, initializer=initializer)
    params = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))["params"]
    assert abs(params["kernel"].mean()) < 0.01 * kernel_std * 3
    np.testing.assert_allclose(params["kernel"].std(), kernel_std, rtol=0.01)
    bias = np.abs(params["bias"]).max()
    assert 0.9 * bias_bound <= bias <= bias_bound


def test_initial_generator():
    net = ResnetGenerator(16, 1, norm_affine=True)
    params = jax.jit(net.init)(jax.random.key(0), jnp.zeros((1, 16, 8, 3)))["params"]
    np.testing.assert_allclose(params["model_11"]["kernel"].std(), 0.02, rtol=0.03)
    assert not params["model_18"]["bias"].any()
    assert (params["model_2"]["scale"] == 1).all()


def test_initial_residual_block():
    block = Block(128, stride=1, bottleneck=False)
    variables = jax.jit(block.init)(jax.random.key(0), jnp.zeros((1, 4, 4, 128)))
    kernel = variables["params"]["conv2"]["kernel"]
    np.testing.assert_allclose(kernel.std(), (2 / (9 * 128)) ** 0.5, rtol=0.01)
    assert (variables["params"]["bn1"]["scale"] == 1).all()
    assert (variables["batch_stats"]["bn1"]["var"] == 1).all()


def test_the_backbone_normalises_its_input():
    black_and_white = jnp.asarray([[-1.0] * 3, [1.0] * 3])
    expected = (np.array([[0.0] * 3, [1.0] * 3]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(imagenet_normalise(black_and_white), expected, rtol=1e-6)


def test_running_statistics_keep_nine_tenths():
    norm = batch_norm(True, "bn")
    rows = jnp.asarray([[1.0], [2.0], [3.0], [4.0]])
    variables = norm.init(jax.random.key(0), rows)
    _, once = norm.apply(variables, rows, mutable=["batch_stats"])
    _, twice = norm.apply({**variables, **once}, rows, mutable=["batch_stats"])
    for statistics, mean, variance in ((once, 0.25, 1.025), (twice, 0.475, 1.0475)):
        np.testing.assert_allclose(statistics["batch_stats"]["mean"], [mean], rtol=1e-6)
        np.testing.assert_allclose(statistics["batch_stats"]["var"], [variance], rtol=1e-6)


def test_generator_output_and_dropout():
    net = ResnetGenerator(4, 1, dropout=0.5)
    images = jax.random.uniform(jax.random.key(0), (2, 16, 8, 3), minval=-1)
    variables = jax.jit(net.init)(jax.random.key(1), images)
    translate = jax.jit(net.apply, static_argnums=2)
    calm = translate(variables, images)
    assert np.abs(calm).max() <= 1
    np.testing.assert_array_equal(calm, translate(variables, images))
    drops = [
        translate(variables, images, True, rngs={"dropout": jax.random.key(i)}) for i in (0, 1)
    ]
    assert np.abs(drops[0] - drops[1]).max() > 1e-3


def test_half_precision_trunk_keeps_float32_parameters_and_statistics():
    net = ReID(ResNet(18, 4, stem="small", dtype=jnp.bfloat16), BNNeck(5, dtype=jnp.bfloat16))
    output, variables = shapes_of(net, (2, 16, 8, 3))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(output)} == {jnp.dtype("float32")}
    maps, _ = shapes_of(net.backbone, (2, 16, 8, 3))
    assert maps.dtype == jnp.bfloat16
