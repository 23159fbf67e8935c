"""ResNet and IBN-Net trunks: counts, shapes, which norms change, parity with the IBN-Net code."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import differences, draw_images, drawn

from jaxreid.nets.convert import from_torch
from jaxreid.nets.resnet import Block, ResNet

pytestmark = pytest.mark.usefixtures("quick_compiler")


def shapes_of(net, shape, *args):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)

    def init(key, images):
        return net.init_with_output(key, images, *args)

    return jax.eval_shape(init, jax.random.key(0), images)


def paths(net):
    _, variables = shapes_of(net, (1, 64, 32, 3))
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    return {"/".join(str(part.key) for part in path): leaf for path, leaf in leaves}


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (ResNet(18), 11_176_512),
        (ResNet(34), 21_284_672),
        (ResNet(50), 23_508_032),
        (ResNet(101), 42_500_160),
        (ResNet(50, ibn="a"), 23_508_032),
        (ResNet(50, ibn="b"), 23_508_032 + 1_536),
        (ResNet(50, stem_relu=False, last_stride=1), 23_508_032),
    ],
)
def test_parameter_count(net, expected):
    assert sum(leaf.size for leaf in paths(net).values()) == expected


@pytest.mark.parametrize("ibn", ["", "a", "b"])
@pytest.mark.parametrize(
    ("size", "last_stride", "expected"),
    [
        ((64, 32), 2, (2, 1)),
        ((64, 32), 1, (4, 2)),
        ((128, 64), 2, (4, 2)),
        ((256, 128), 2, (8, 4)),
        ((256, 128), 1, (16, 8)),
        ((224, 224), 2, (7, 7)),
        ((256, 256), 2, (8, 8)),
        ((384, 128), 2, (12, 4)),
    ],
)
def test_output_shape(ibn, size, last_stride, expected):
    net = ResNet(18, last_stride=last_stride, ibn=ibn)
    assert shapes_of(net, (1, *size, 3))[0].shape == (1, *expected, 512)


def test_stages_of_a_full_picture():
    seen = {}

    def record(next_call, args, kwargs, context):
        output = next_call(*args, **kwargs)
        if context.module.name:
            seen[context.module.name] = output.shape[1:]
        return output

    with nn.intercept_methods(record):
        shapes_of(ResNet(50), (1, 256, 128, 3))
    ends = [seen[name] for name in ("layer1_2", "layer2_3", "layer3_5", "layer4_2")]
    assert ends == [(64, 32, 256), (32, 16, 512), (16, 8, 1024), (8, 4, 2048)]


def test_ibn_a_changes_the_first_norm_of_every_block_but_layer_4s():
    changed = {path.rsplit("/", 2)[0] for path in paths(ResNet(34, 4, ibn="a")) if "/IN/" in path}
    blocks = [f"layer{stage}_{i}" for stage, n in ((1, 3), (2, 4), (3, 6)) for i in range(n)]
    assert changed == {f"{block}/bn1" for block in blocks}


def test_ibn_b_adds_a_norm_to_the_last_block_of_layers_1_and_2():
    added = paths(ResNet(50, ibn="b")).keys() - paths(ResNet(50)).keys()
    assert added == {
        f"{b}/IN/{leaf}" for b in ("layer1_2", "layer2_3") for leaf in ("scale", "bias")
    }
    _, variables = shapes_of(ResNet(50, ibn="b"), (1, 64, 32, 3))
    assert "bn1" not in variables["batch_stats"]


def test_the_last_blocks_are_returned_when_asked_for():
    net = ResNet(34, 4)
    maps, _ = shapes_of(net, (2, 64, 32, 3), False, 3)
    assert [m.shape for m in maps] == [(2, 2, 1, 32)] * 3
    net, images = ResNet(18, 4, stem="small"), draw_images((2, 16, 8, 3))
    variables = drawn(net, images)
    one, two = jax.jit(lambda v, x: (net.apply(v, x), net.apply(v, x, False, 2)))(variables, images)
    np.testing.assert_array_equal(one, two[-1])
    assert np.abs(one - two[0]).max() > 0.1
    with pytest.raises(ValueError, match=r"ResNet-18 has 2: take depth 34"):
        shapes_of(ResNet(18, 4), (2, 64, 32, 3), False, 3)


@pytest.mark.parametrize("ibn", ["a", "b"])
def test_ibn_refuses_maps_of_one_pixel(ibn):
    with pytest.raises(ValueError, match=r"maps of one pixel.*64x32 is enough"):
        shapes_of(ResNet(18, 4, ibn=ibn), (2, 8, 8, 3))


def test_initial_distribution():
    block = Block(128, stride=2, bottleneck=False, ibn="a")
    variables = jax.jit(block.init)(jax.random.key(0), jnp.zeros((1, 4, 4, 8)))
    params = variables["params"]
    np.testing.assert_allclose(params["conv2"]["kernel"].std(), (2 / (9 * 128)) ** 0.5, rtol=0.01)
    norm = params["bn1"]
    assert (norm["IN"]["scale"] == 1).all() and (norm["BN"]["scale"] == 1).all()
    assert not norm["IN"]["bias"].any() and not norm["BN"]["bias"].any()
    assert (variables["batch_stats"]["bn1"]["BN"]["var"] == 1).all()


@pytest.mark.parametrize("ibn", ["a", "b"])
def test_half_precision(ibn):
    net = ResNet(18, 4, ibn=ibn, dtype=jnp.bfloat16)
    images = draw_images((2, 64, 32, 3))
    variables = drawn(net, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    run = jax.jit(lambda v, x: net.apply(v, x, True, mutable=["batch_stats"]))
    maps, updates = run(variables, images)
    assert maps.dtype == jnp.bfloat16 and jnp.isfinite(maps.astype(jnp.float32)).all()
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("name", "net", "mode", "dtype", "tolerance"),
    [
        ("resnet50_ibn_a", ResNet(50, 4, ibn="a"), "eval", np.float32, 2e-5),
        ("resnet18_ibn_b", ResNet(18, 4, ibn="b"), "eval", np.float32, 2e-5),
        # Norms over a few pixels amplify float32 rounding a hundredfold in deep nets.
        ("resnet18_ibn_b", ResNet(18, 4, ibn="b"), "train", np.float64, 1e-6),
    ],
)
def test_ibn_equals_the_official_code(name, net, mode, dtype, tolerance, proof):
    with jax.enable_x64(dtype == np.float64):
        found, _ = differences(name, net, [draw_images((2, 48, 32, 3))], from_torch, mode, dtype)
    label = name.replace("resnet", "ResNet-").replace("_ibn_", "-IBN-")
    for quantity, error in found.items():
        row = f"{label} {mode} {np.dtype(dtype)}, {quantity}, relative"
        proof(row, "XingangPan/IBN-Net at width 4, PyTorch 2.13", error, tolerance)
