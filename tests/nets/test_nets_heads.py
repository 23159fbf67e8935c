"""Re-ID heads: which array each loss and the retrieval find under which name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import differences, draw_images, drawn

from jaxreid.nets.convert import from_torch
from jaxreid.nets.heads import FC512, FC1024, HEADS, BNNeck, Direct, MidLevel, matconvnet
from jaxreid.nets.layers import normal
from jaxreid.nets.pooling import local_max_pool, unit
from jaxreid.nets.reid import ReID
from jaxreid.nets.resnet import ResNet

pytestmark = pytest.mark.usefixtures("quick_compiler")

CLASSES = 7


@pytest.fixture
def maps():
    return 1 + jax.random.normal(jax.random.key(0), (6, 4, 2, 16))


def run(head, maps, train=False):
    variables = jax.jit(head.init)(jax.random.key(1), maps)
    output, _ = head.apply(
        variables, maps, train, mutable=["batch_stats"], rngs={"dropout": jax.random.key(2)}
    )
    return variables, output


def test_direct_classifies_the_average(maps):
    variables, output = run(Direct(CLASSES), maps)
    pooled = np.asarray(maps).mean((1, 2))
    layer = variables["params"]["classifier"]
    np.testing.assert_allclose(output["test"], pooled, rtol=1e-5)
    np.testing.assert_allclose(output["metric"], pooled, rtol=1e-5)
    expected = pooled @ np.asarray(layer["kernel"]) + layer["bias"]
    np.testing.assert_allclose(output["logits"], expected, atol=1e-5)
    assert 0.1 < np.abs(layer["bias"]).max() <= 16**-0.5


def test_fc1024_retrieves_by_the_pooled_maps_and_drops_units_when_training(maps):
    variables, output = run(FC1024(CLASSES, width=2048), maps)
    pooled = np.asarray(maps).mean((1, 2))
    length = np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(output["test"], pooled / length, rtol=1e-5)
    np.testing.assert_allclose(output["metric"], pooled, rtol=1e-5)
    params = variables["params"]
    np.testing.assert_allclose(params["feat"]["kernel"].std(), (2 / 2048) ** 0.5, rtol=0.03)
    np.testing.assert_allclose(params["classifier"]["kernel"].std(), 0.001, rtol=0.03)
    assert not params["feat"]["bias"].any()
    _, trained = run(FC1024(CLASSES, dropout=0.0), maps, train=True)
    _, dropped = run(FC1024(CLASSES, dropout=0.9), maps, train=True)
    assert np.abs(trained["logits"] - dropped["logits"]).max() > 1e-3


def test_bnneck_separates_metric_and_test_embeddings(maps):
    variables, output = run(BNNeck(CLASSES), maps, train=True)
    pooled = np.asarray(maps).mean((1, 2))
    necked = (pooled - pooled.mean(0)) / np.sqrt(pooled.var(0) + 1e-5)
    np.testing.assert_allclose(output["metric"], pooled, rtol=1e-5)
    np.testing.assert_allclose(
        output["test"], necked / np.linalg.norm(necked, axis=1, keepdims=True), atol=1e-5
    )
    kernel = np.asarray(variables["params"]["classifier"]["kernel"])
    np.testing.assert_allclose(output["logits"], necked @ kernel, atol=1e-5)
    assert set(variables["params"]["classifier"]) == {"kernel"}
    assert set(variables["params"]["bottleneck"]) == {"scale"}


def test_direct_drops_features_and_starts_as_told(maps):
    variables, output = run(Direct(CLASSES, normalise=True), maps)
    np.testing.assert_allclose(np.linalg.norm(output["test"], axis=1), 1, rtol=1e-6)
    _, trained = run(HEADS["direct_lsro"](CLASSES), maps, train=True)
    _, calm = run(HEADS["direct_lsro"](CLASSES), maps)
    assert np.abs(trained["logits"] - calm["logits"]).max() > 1e-3
    np.testing.assert_array_equal(trained["metric"], calm["metric"])
    wide = jnp.ones((1, 1, 1, 2048))
    for init, std, bound in (
        (matconvnet(), 0.1 * 2048**-0.5, 0.1 * (3 / 2048) ** 0.5),
        (normal(0.001), 0.001, 0.006),
    ):
        layer = run(Direct(50, initializer=init), wide)[0]["params"]["classifier"]
        np.testing.assert_allclose(layer["kernel"].std(), std, rtol=0.02)
        assert np.abs(layer["kernel"]).max() <= bound and not layer["bias"].any()


def test_the_triplet_branch_leaves_before_the_dropout(maps):
    head = FC1024(CLASSES, width=64, triplet=128, dropout=0.9)
    variables, output = run(head, maps, train=True)
    params = variables["params"]
    _, calm = run(FC1024(CLASSES, width=64, triplet=128, dropout=0.0), maps, train=True)
    np.testing.assert_array_equal(output["metric"], calm["metric"])
    assert output["metric"].shape == (6, 128) and output["test"].shape == (6, 16)
    np.testing.assert_allclose(params["triplet"]["kernel"].std(), 0.001, rtol=0.03)


def test_the_hidden_layer_is_retrieved_by_behind_its_norm(maps):
    variables, output = run(FC1024(CLASSES, width=64, hidden=True), maps, train=True)
    _, pooled = run(FC1024(CLASSES, width=64), maps, train=True)
    x = np.asarray(maps).mean((1, 2)) @ variables["params"]["feat"]["kernel"]
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    np.testing.assert_allclose(output["test"], unit(x), atol=1e-5)
    for same in ("logits", "metric"):
        np.testing.assert_array_equal(output[same], pooled[same])


def test_fc512_starts_its_norm_around_one(maps):
    params = run(FC512(CLASSES, width=4096), maps)[0]["params"]
    np.testing.assert_allclose(params["fc_1"]["scale"].mean(), 1, atol=0.002)
    np.testing.assert_allclose(params["fc_1"]["scale"].std(), 0.02, rtol=0.05)
    np.testing.assert_allclose(params["fc_0"]["kernel"].std(), (2 / 4096) ** 0.5, rtol=0.03)
    np.testing.assert_allclose(params["classifier"]["kernel"].std(), 0.001, rtol=0.03)


def test_midlevel_joins_the_last_block_and_the_fused_middle(maps):
    three = (maps, maps + 1, maps + 2)
    variables, output = run(MidLevel(CLASSES, width=512), three)
    assert output["test"].shape == (6, 16 + 512)
    np.testing.assert_allclose(output["test"][:, :16], (maps + 2).mean((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(output["test"], output["metric"])
    kernel = variables["params"]["fc_fuse_0"]["kernel"]
    assert kernel.shape == (32, 512)
    np.testing.assert_allclose(kernel.std(), 0.01, rtol=0.03)
    with pytest.raises(ValueError, match="tuple of three maps"):
        run(MidLevel(CLASSES), maps)


COUNTS = {
    "direct": (25_046_831, 24_946_430, 25_079_615),
    "direct_lsro": (25_046_831, 24_946_430, 25_079_615),
    "direct_caffe": (25_046_831, 24_946_430, 25_079_615),
    "direct_dropout": (25_046_831, 24_946_430, 25_079_615),
    "fc1024": (26_378_031, 26_327_806, 26_394_431),
    "fc1024_hidden": (26_378_031, 26_327_806, 26_394_431),
    "fc1024_triplet": (26_509_231, 26_459_006, 26_525_631),
    "fc512": (24_943_407, 24_918_270, 24_951_615),
    "midlevel": (30_013_231, 29_862_654, 30_062_399),
    "bnneck": (25_050_176 - 2_048, 24_949_824 - 2_048, 25_082_944 - 2_048),  # no frozen offset
}


@pytest.mark.parametrize("name", HEADS)
def test_parameter_count(name):
    maps = jax.ShapeDtypeStruct((1, 2, 1, 2048), jnp.float32)
    inputs = (maps,) * 3 if name == "midlevel" else maps
    for classes, expected in zip((751, 702, 767), COUNTS[name], strict=True):
        params = jax.eval_shape(HEADS[name](classes).init, jax.random.key(0), inputs)["params"]
        trunk = 23_508_032  # ResNet-50: test_nets_resnet
        assert trunk + sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


WIDTHS = {
    "midlevel": (32 + 1024,) * 2,
    "fc1024_hidden": (32, 1024),
    "fc1024_triplet": (128, 32),
}


@pytest.mark.parametrize("name", HEADS)
def test_reid_splits_parameters_into_backbone_and_head(name):
    head, depth = HEADS[name](CLASSES, dtype=jnp.bfloat16), 34 if name == "midlevel" else 18
    net = ReID(ResNet(depth, 4, stem="small", dtype=jnp.bfloat16), head)
    images = jnp.zeros((2, 16, 8, 3))
    output, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), images)
    assert set(variables["params"]) == {"backbone", "head"}
    metric, test = WIDTHS.get(name, (32, 32))
    assert {key: value.shape for key, value in output.items()} == {
        "logits": (2, CLASSES),
        "metric": (2, metric),
        "test": (2, test),
    }
    leaves = jax.tree.leaves((output, variables))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", HEADS)
def test_half_precision_is_finite_and_near(name, maps):
    inputs = (maps, maps + 1, maps + 2) if name == "midlevel" else maps
    _, exact = run(HEADS[name](CLASSES), inputs, train=False)
    halved = jax.tree.map(lambda a: a.astype(jnp.bfloat16), inputs)
    _, output = run(HEADS[name](CLASSES, dtype=jnp.bfloat16), halved, train=False)
    for key, value in output.items():
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, exact[key], atol=0.05 * np.abs(exact[key]).max())


def test_retrieval_by_mirror_image_and_stripes_shares_the_weights():
    net = ReID(ResNet(18, 4, stem="small"), FC512(CLASSES))
    images = draw_images((2, 64, 32, 3))
    variables = drawn(net, images)

    @jax.jit
    def all_of_them(variables, images):
        one, other = (net.apply(variables, x)["metric"] for x in (images, images[:, :, ::-1]))
        maps = net.backbone.apply({k: v["backbone"] for k, v in variables.items()}, images)
        mirrored = net.clone(mirror=True).apply(variables, images)
        striped = net.clone(parts=4, pool="average").apply(variables, images)
        return one, other, maps, mirrored, striped

    one, other, maps, mirrored, striped = all_of_them(variables, images)
    np.testing.assert_allclose(mirrored["test"], unit(one + other), atol=1e-6)
    np.testing.assert_array_equal(mirrored["metric"], one)
    np.testing.assert_allclose(striped["test"], unit(maps.mean(2).reshape(2, -1)), atol=1e-6)
    with pytest.raises(ValueError, match="5 stripes of maps with 4 rows"):
        jax.eval_shape(net.clone(parts=5).apply, variables, images)


def test_local_max_pool_golden_values():
    values = jnp.arange(32.0).reshape(1, 8, 2, 2)
    # Both channels as the specification has them: 0..31 in row-major order, the second negated.
    maps = values * jnp.asarray([1.0, -1.0])
    for parts, mode, expected in (
        (2, "max", [14, -1, 30, -17]),
        (2, "average", [7, -8, 23, -24]),
        (3, "max", [10, -1, 22, -9, 30, -21]),
    ):
        np.testing.assert_allclose(local_max_pool(maps, parts, mode)[0], expected)
    np.testing.assert_allclose(local_max_pool(maps, 7)[0, :4], [6, -1, 10, -5])
    np.testing.assert_allclose(local_max_pool(maps, 8, "average")[0, -4:], [25, -26, 29, -30])
    np.testing.assert_allclose(local_max_pool(maps, 1, "average"), maps.mean((1, 2)))


@pytest.mark.parametrize(
    ("rows", "parts", "stripes"),
    [
        (7, 2, [(0, 4), (3, 7)]),
        (7, 3, [(0, 3), (2, 5), (4, 7)]),
        (8, 7, [(0, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7), (6, 8)]),
        (16, 3, [(0, 6), (5, 11), (10, 16)]),
        (16, 7, [(0, 3), (2, 5), (4, 7), (6, 10), (9, 12), (11, 14), (13, 16)]),
    ],
)
def test_local_max_pool_stripes(rows, parts, stripes):
    row = jnp.arange(float(rows)).reshape(1, rows, 1, 1)
    last, first = local_max_pool(row, parts)[0], -local_max_pool(-row, parts)[0]
    assert [(int(a), int(b) + 1) for a, b in zip(first, last, strict=True)] == stripes


def test_local_max_pool_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"8 stripes of maps with 7 rows: ask for 1 to 7"):
        local_max_pool(jnp.zeros((1, 7, 7, 4)), 8)
    with pytest.raises(ValueError, match="no mode 'min'"):
        local_max_pool(jnp.zeros((1, 7, 7, 4)), 2, "min")


class Picked:
    """A net that returns some of its outputs, in the order of the golden file."""

    def __init__(self, net, *keys):
        self.net, self.keys, self.init = net, keys, net.init

    def apply(self, *args, **options):
        output, updates = self.net.apply(*args, **options)
        return [output[key] for key in self.keys], updates


PEERS = {
    "bnneck": (
        "michuanhaohao/reid-strong-baseline",
        ReID(ResNet(18, 4, last_stride=1, stem_relu=False), BNNeck(7)),
        ("logits", "test"),
        "eval",
    ),
    "fc1024_triplet": (
        "zhunzhong07/HHL",
        ReID(ResNet(18, 4), FC1024(7, width=24, dropout=0.0, triplet=8)),
        ("logits", "metric"),
        "train",
    ),
    "fc512": (
        "Simon4Yan/Person_reID_baseline_pytorch",
        ReID(ResNet(18, 4), FC512(7, width=24, dropout=0.0), mirror=True),
        ("logits", "test"),
        "eval",
    ),
    "midlevel": (
        "michuanhaohao/deep-person-reid",
        ReID(ResNet(34, 4), MidLevel(7, width=24)),
        ("logits", "test"),
        "eval",
    ),
}


@pytest.mark.parametrize("name", PEERS)
def test_reid_net_equals_the_official_code(name, proof):
    oracle, net, keys, mode = PEERS[name]
    # Batch statistics of three rows amplify float32 rounding, so training runs in float64.
    dtype, tolerance = {"train": (np.float64, 1e-6), "eval": (np.float32, 1e-5)}[mode]
    images, picked = draw_images((3, 40, 24, 3)), Picked(net, *keys)
    with jax.enable_x64(mode == "train"):
        found, _ = differences(f"reid_{name}", picked, [images], from_torch, mode, dtype)
    for quantity, error in found.items():
        row = f"re-ID net with head {name}, {mode} {np.dtype(dtype)}, {quantity}, relative"
        proof(row, f"{oracle} at width 4, PyTorch 2.13", error, tolerance)


def test_unit_rows_are_finite_at_zero():
    rows = jnp.asarray([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(unit(rows), [[0.6, 0.8], [0, 0]])
    assert np.isfinite(jax.grad(lambda x: unit(x).sum())(rows)).all()
