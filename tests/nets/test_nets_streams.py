"""Networks of two modalities: counts, what is shared, the padded input, given weights."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import draw_images, drawn

from jaxreid.nets.alexnet import TwoStream
from jaxreid.nets.convert_streams import load_streams
from jaxreid.nets.streams import VARIANTS, ResNet6, TwoStreamResNet

pytestmark = pytest.mark.usefixtures("quick_compiler")
SMALL = {"width": 2, "embedding": 6, "dropout": 0.0}


def shapes_of(net, size=(32, 16)):
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    return jax.eval_shape(net.init_with_output, jax.random.key(0), images, images)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_a_resnet_with_two_stems_has_one_more_stem():
    output, variables = shapes_of(TwoStreamResNet(206), (288, 144))
    params = variables["params"]
    assert count(params["visible"]) == count(params["thermal"]) == 7 * 7 * 3 * 64 + 2 * 64
    assert count(params) - count(params["head"]) == 23_517_568 == 23_508_032 + 9_536
    assert output["logits"].shape == (4, 206) and output["test"].shape == (4, 2048)


def block(into, width):
    """Parameters of two basic units, the first with a shortcut convolution."""
    return 9 * into * width + 27 * width**2 + 8 * width + into * width + 2 * width


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_of_resnet6(variant):
    front = 9 * 16 + 9 * 16 * 16 + 4 * 16
    stages = sum(block(i, o) for i, o in ((16, 64), (64, 128), (128, 256), (256, 512)))
    linear = 512 * 256 + 256
    expected = front + stages + linear + 257 * 206
    expected += {"two_stream": front, "asymmetric_fc": linear, "zero_padding": 144}.get(variant, 0)
    output, variables = shapes_of(ResNet6(206, variant), (224, 224))
    assert count(variables["params"]) == expected
    assert output["test"].shape == (4, 256)


NETS = [ResNet6(5, variant, **SMALL) for variant in VARIANTS[1:]]
NETS += [TwoStreamResNet(5, 18, 2, stem="small")]
PRIVATE = {  # by visible images alone: what of the network learns nothing
    "two_stream": {"thermal_conv1", "thermal_bn1", "thermal_conv2", "thermal_bn2"},
    "asymmetric_fc": {"thermal_fc"},
    "zero_padding": set(),
    "resnet": {"thermal"},
}


@pytest.mark.parametrize("net", NETS, ids=PRIVATE)
def test_each_modality_has_its_part_and_shares_the_rest(net):
    visible, thermal = draw_images((3, 32, 16, 3)), draw_images((2, 32, 16, 3), 2)
    variables = drawn(net, visible, thermal)

    def loss(params):
        given = {**variables, "params": params}
        alone = net.apply(given, visible, "visible", method="embed")
        return jnp.square(alone["logits"]).sum(), (alone, net.apply(given, visible, thermal))

    gradient, (alone, both) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    touched = {name: any(g.any() for g in jax.tree.leaves(t)) for name, t in gradient.items()}
    name = getattr(net, "variant", "resnet")
    assert {name for name, is_touched in touched.items() if not is_touched} == PRIVATE[name]
    np.testing.assert_allclose(both["metric"][:3], alone["metric"], atol=1e-5)
    if name == "resnet":
        np.testing.assert_allclose(np.linalg.norm(both["test"], axis=1), 1, rtol=1e-5)
    else:  # Wu et al. rank the Euclidean distances of the embedding itself
        np.testing.assert_array_equal(both["test"], both["metric"])
    if name == "zero_padding":
        kernel = gradient["conv1"]["kernel"]
        assert kernel[:, :, 0].any() and not kernel[:, :, 1].any()


@pytest.mark.parametrize("modality, filled", [("visible", 0), ("thermal", 1)])
def test_a_padded_image_has_one_channel(modality, filled):
    images = draw_images((2, 8, 4, 3))
    padded = ResNet6(5, "zero_padding")._input(images, modality)
    grey = (images + 1) / 2 @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(padded[..., filled], grey, atol=1e-6)
    assert not padded[..., 1 - filled].any()


def test_half_precision_computes_and_keeps_floats():
    net, images = ResNet6(5, **SMALL, dtype=jnp.bfloat16), jnp.zeros((2, 32, 16, 3))

    def run(key):
        variables = net.init(key, images, images)
        return variables, net.apply(variables, images, images, True, mutable=["batch_stats"])

    leaves = jax.tree.leaves(jax.eval_shape(run, jax.random.key(0)))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def alexnet_file(path, params, without=()):
    arrays = {}
    for layer in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6"):
        for leaf, short in (("kernel", "w"), ("bias", "b")):
            shape = params["visible"][layer][leaf].shape
            arrays[f"{layer}_{short}"] = np.random.default_rng(len(arrays)).normal(size=shape)
    np.savez(path, **{name: each for name, each in arrays.items() if name not in without})
    return arrays


def test_weights_of_one_alexnet_start_both_streams(tmp_path):
    net = TwoStream(5, width=6, hidden=12, embedding=8)
    blank = jnp.zeros((1, 227, 227, 3))
    variables = jax.eval_shape(net.init, jax.random.key(0), blank, blank)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables)
    arrays = alexnet_file(tmp_path / "alexnet.npz", variables["params"])
    loaded, report = load_streams(tmp_path / "alexnet.npz", variables)
    for stream in ("visible", "thermal"):
        for layer in ("conv1", "conv2", "fc6"):
            kernel = loaded["params"][stream][layer]["kernel"]
            np.testing.assert_allclose(kernel, arrays[f"{layer}_w"], rtol=1e-6)
    assert len(report.used) == 24 and not report.unexpected
    assert not loaded["params"]["fc7"]["kernel"].any()
    alexnet_file(tmp_path / "less.npz", variables["params"], without=("conv3_w",))
    with pytest.raises(ValueError, match=r"lacks 2 arrays of the streams .*conv3.*conv1, conv2"):
        load_streams(tmp_path / "less.npz", variables)


def test_weights_of_one_resnet_start_both_stems(tmp_path):
    rng, state = np.random.default_rng(0), {}
    net = TwoStreamResNet(5, 18, 2, stem="small")
    blank = jnp.zeros((1, 32, 16, 3))
    variables = jax.eval_shape(net.init, jax.random.key(0), blank, blank)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables)
    names = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    for part in variables.values():
        kept = {**part["visible"], **part["shared"]}
        for path, leaf in jax.tree_util.tree_leaves_with_path(kept):
            *layers, last = [entry.key for entry in path]
            shape = [leaf.shape[i] for i in (3, 2, 0, 1)] if leaf.ndim == 4 else leaf.shape
            layer = re.sub(r"_(\d)", r".\1", ".".join(layers))
            state[f"{layer}.{names.get(last, last)}"] = rng.normal(size=shape)
    np.savez(tmp_path / "resnet.npz", **state)
    loaded, report = load_streams(tmp_path / "resnet.npz", variables)
    assert not report.unexpected and all(name.count("/head/") for name in report.missing)
    kernel = state["conv1.weight"].transpose(2, 3, 1, 0)
    for stem in ("visible", "thermal"):
        found = loaded["params"][stem]["conv1"]["kernel"]
        np.testing.assert_allclose(found, kernel, rtol=1e-6)
