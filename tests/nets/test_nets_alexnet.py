"""Two-stream AlexNet: counts, shapes, response norm, batch norm's options, parity."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import differences, draw_images, drawn

from jaxreid.nets.alexnet import TwoStream, bgr_normalise, local_response_norm, small
from jaxreid.nets.convert import from_torch

pytestmark = pytest.mark.usefixtures("quick_compiler")

TINY = {"width": 6, "hidden": 12, "embedding": 8, "dropout": 0.0}


def shapes_of(net, visible, thermal):
    pair = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (visible, thermal)]
    return jax.eval_shape(net.init_with_output, jax.random.key(0), *pair)


@pytest.mark.parametrize(
    ("classes", "expected"), [(206, 84_588_494), (296, 84_680_744), (395, 84_782_219)]
)
def test_parameter_count(classes, expected):
    output, variables = shapes_of(TwoStream(classes), (3, 227, 227, 3), (2, 227, 227, 3))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected
    assert {key: value.shape for key, value in output.items()} == {
        "logits": (5, classes),
        "metric": (5, 1024),
        "test": (5, 1024),
    }
    shapes = {
        path: variables["params"]["thermal"][path]["kernel"].shape
        for path in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6")
    }
    assert shapes == {
        "conv1": (11, 11, 3, 96),
        "conv2": (5, 5, 48, 256),
        "conv3": (3, 3, 256, 384),
        "conv4": (3, 3, 192, 384),
        "conv5": (3, 3, 192, 256),
        "fc6": (9216, 4096),
    }


def test_tone_has_a_relu_in_the_place_of_the_norm():
    net = TwoStream(206, fc6="relu", embedding=2048)
    _, variables = shapes_of(net, *[(1, 227, 227, 3)] * 2)
    assert variables.keys() == {"params"}
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 88_986_574
    images = draw_images((4, 16, 8, 3))
    tiny = small(7, fc6="relu", dropout=0.0)
    variables = drawn(tiny, images, images)
    low = jax.tree.map(jnp.array, variables)
    low["params"]["visible"]["fc6"]["bias"] = jnp.full(128, -1e3)  # nothing passes the ReLU
    found = tiny.apply(low, images, images)["metric"]
    np.testing.assert_allclose(found[:4], jnp.tile(found[:1], (4, 1)), atol=1e-6)
    assert np.ptp(found[4:], axis=0).max() > 1e-3


@pytest.mark.parametrize("size", [(64, 32), (128, 64), (256, 128), (256, 256), (384, 128)])
def test_image_sizes(size):
    images = (2, *size, 3)
    output, _ = shapes_of(small(7), images, images)
    assert output["test"].shape == (4, 64) and output["logits"].shape == (4, 7)
    with pytest.raises(ValueError, match=rf"227x227 images, not {size[0]}x{size[1]}: resize"):
        shapes_of(TwoStream(7), images, images)


def test_response_norm_golden_values(proof):
    x = jnp.arange(100.0, 800, 100).reshape(1, 1, 1, 7)
    expected = (
        [36.74195852, 46.47361605, 46.53024296, 43.95363431]
        + [41.07726132, 51.81139455, 66.65030836]
    )  # fmt: skip
    error = np.abs(local_response_norm(x)[0, 0, 0] - np.array(expected)).max()
    proof("local response norm", "specification's values (TensorFlow's formula)", error, 2e-5)


def test_input_is_bgr_minus_the_mean():
    red = jnp.asarray([1.0, -1.0, -1.0])
    np.testing.assert_allclose(bgr_normalise(red), [-103.939, -116.779, 255 - 123.68], rtol=1e-5)
    as_code = bgr_normalise(red, "as_code")
    np.testing.assert_allclose(as_code, [-123.68, -116.779, 255 - 103.939], rtol=1e-5)


def test_each_modality_has_its_stream_and_shares_the_top():
    net = small(7)
    visible, thermal = draw_images((3, 16, 8, 3)), draw_images((2, 16, 8, 3), 2)
    variables = drawn(net, visible, thermal)

    def loss(params, visible, thermal):
        output = net.apply({**variables, "params": params}, visible, thermal)
        return jnp.square(output["logits"][:3]).sum(), output

    gradient = jax.jit(jax.grad(loss, has_aux=True))
    by_visible, output = gradient(variables["params"], visible, thermal)
    touched = {name: any(g.any() for g in jax.tree.leaves(t)) for name, t in by_visible.items()}
    assert touched == {"visible": True, "thermal": False, "fc7": True, "fc8": True}
    np.testing.assert_allclose(np.linalg.norm(output["test"], axis=1), 1, rtol=1e-5)
    embed = partial(net.apply, method="embed")
    for modality, images, rows in (
        ("visible", visible, slice(3)),
        ("thermal", thermal, slice(3, 5)),
    ):
        alone = jax.jit(embed, static_argnums=2)(variables, images, modality)
        np.testing.assert_allclose(alone["metric"], output["metric"][rows], atol=1e-5)


@pytest.mark.parametrize("statistics", ["running", "batch"])
def test_batch_statistics_at_test_are_an_option(statistics):
    net = small(7, fc6_bn_eval=statistics)
    images = draw_images((4, 16, 8, 3))
    variables = drawn(net, images, images)
    embed = jax.jit(lambda v, x: net.apply(v, x, "visible", method="embed")["metric"])
    whole, half = embed(variables, images), embed(variables, images[:2])
    depends = np.abs(whole[:2] - half).max() > 1e-2
    assert depends == (statistics == "batch")


def test_batch_statistics_at_test_are_those_of_training():
    net = TwoStream(7, **TINY, fc6_bn_eval="batch")
    images = draw_images((4, 227, 227, 3))
    variables = drawn(net, images, images)
    calm = net.apply(variables, images, images)
    trained, updates = net.apply(variables, images, images, True, mutable=["batch_stats"])
    np.testing.assert_allclose(calm["metric"], trained["metric"], atol=1e-4)
    old, new = (v["batch_stats"]["visible"]["fc6_bn"]["var"] for v in (variables, updates))
    kept = TwoStream(7, **TINY, decay=0.5).apply(
        variables, images, images, True, mutable=["batch_stats"]
    )[1]
    half = kept["batch_stats"]["visible"]["fc6_bn"]["var"]
    np.testing.assert_allclose((new - old) / 1e-3, (half - old) / 0.5, rtol=2e-3)


def test_initial_distribution():
    net = small(7, hidden=256, width=32)
    images = jnp.zeros((1, 32, 16, 3))
    params = jax.jit(net.init)(jax.random.key(0), images, images)["params"]
    np.testing.assert_allclose(
        params["visible"]["conv4"]["kernel"].std(), (2 / (9 * 128)) ** 0.5, rtol=0.02
    )
    bound = (3 / 256) ** 0.5
    assert 0.98 * bound < np.abs(params["fc7"]["kernel"]).max() <= bound
    assert not any(params[name]["bias"].any() for name in ("fc7", "fc8"))
    assert not params["thermal"]["fc6_offset"].any()
    assert np.abs(params["visible"]["fc6"]["kernel"] - params["thermal"]["fc6"]["kernel"]).max() > 0


@pytest.mark.parametrize(
    ("net", "size"),
    [(TwoStream(5, **TINY, dtype=jnp.bfloat16), 227), (small(5, dtype="bfloat16"), 16)],
)
def test_half_precision(net, size):
    images = draw_images((2, size, size, 3))
    variables = drawn(net, images, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}

    def run(variables, images):
        rngs = {"dropout": jax.random.key(0)}
        return net.apply(variables, images, images, True, mutable=["batch_stats"], rngs=rngs)

    output, updates = jax.jit(run)(variables, images)
    leaves = jax.tree.leaves((output, updates))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    assert all(jnp.isfinite(leaf).all() for leaf in leaves)


class Rows:
    """The net with an offset per row of the visible images: its gradient is small to store."""

    def __init__(self, net):
        self.net = net

    def init(self, key, rows, visible, thermal):
        return self.net.init(key, visible + rows, thermal)

    def apply(self, variables, rows, visible, thermal, **options):
        output, updates = self.net.apply(variables, visible + rows, thermal, **options)
        return [output["logits"], output["metric"]], updates


@pytest.mark.parametrize(
    ("mode", "dtype", "tolerance"), [("eval", np.float32, 2e-5), ("train", np.float64, 1e-5)]
)
def test_two_stream_equals_a_pytorch_module(mode, dtype, tolerance, proof):
    rows = np.zeros((3, 227, 1, 3))
    inputs = [rows, draw_images((3, 227, 227, 3)), draw_images((2, 227, 227, 3), 2)]
    with jax.enable_x64(mode == "train"):
        net = Rows(TwoStream(5, **TINY))
        found, _ = differences("two_stream", net, inputs, from_torch, mode, dtype)
    for quantity, error in found.items():
        row = f"two-stream AlexNet {mode} {np.dtype(dtype)}, {quantity}, relative"
        proof(row, "PyTorch 2.13 module written from the layer table", error, tolerance)
