"""LPIPS: recorded values of the package, a slow oracle, and what a distance must keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import draw_images, drawn
from nets_golden import load as load_golden

from jaxreid.nets import convert, lpips
from jaxreid.nets.lpips import LPIPS
from jaxreid.nets.trunks import AlexNetTrunk, VGG16Trunk
from jaxreid.nets.weights import fetch

pytestmark = pytest.mark.usefixtures("quick_compiler")

TRUNKS = {"alexnet": AlexNetTrunk, "vgg16": VGG16Trunk}
# LPIPS 0.1 of the pair of pictures below, and of a picture and its negative, recorded where
# implementations in PyTorch and in JAX agreed to 3e-7.
RECORDED = {
    "alexnet": {
        (64, 64): (0.0341969, 0.2508740),
        (128, 64): (0.0463822, 0.3701319),
        (256, 128): (0.0251583, 0.5901669),
    },
    "vgg16": {
        (64, 64): (0.1084663, 0.7163043),
        (128, 64): (0.1072494, 0.8173425),
        (256, 128): (0.0491102, 0.9210376),
    },
}


def pictures(rows, columns, shift):
    h, w, c = np.meshgrid(np.arange(rows), np.arange(columns), np.arange(3), indexing="ij")
    waves = np.sin(2 * np.pi * (c + 1) * h / rows) * np.cos(2 * np.pi * (w + shift) / columns)
    return waves[None].astype(np.float32)


def drawn_taps(seed):
    """Two images' features after a ReLU; at one place no channel is on, at one hardly any."""
    rng = np.random.default_rng(seed)
    taps = [np.maximum(rng.normal(size=(2, *shape)), 0) for shape in ((5, 3, 4), (2, 1, 6))]
    taps[0][0, 1, 2] = 0
    taps[0][0, 3, 1] = 1e-9 * (np.arange(4) == seed)
    return [np.float32(tap) for tap in taps]


def slow_map(f, g, weights):
    """One tap of one pair, place by place."""
    result = np.zeros(f.shape[:2])
    for place in np.ndindex(result.shape):
        u, v = (np.float64(x[place]) / (np.sqrt(sum(x[place] ** 2)) + 1e-10) for x in (f, g))
        result[place] = sum(w * (a - b) ** 2 for w, a, b in zip(weights, u, v, strict=True))
    return result


def slow_bilinear(image, size):
    """PyTorch's bilinear enlargement without aligned corners, pixel by pixel."""
    result = np.zeros(size)
    for place in np.ndindex(size):
        total, ends = 0.0, []
        for at, large, small in zip(place, size, image.shape, strict=True):
            x = max((at + 0.5) * small / large - 0.5, 0)
            low = int(x)
            ends.append(((low, 1 - (x - low)), (min(low + 1, small - 1), x - low)))
        for row, by_row in ends[0]:
            for column, by_column in ends[1]:
                total += by_row * by_column * image[row, column]
        result[place] = total
    return result


HEADS = [np.abs(np.random.default_rng(5).normal(size=n)).astype(np.float32) for n in (4, 6)]


@pytest.mark.parametrize("heads", [HEADS, None])
def test_distance_equals_the_slow_oracle(heads, proof):
    first, second = drawn_taps(0), drawn_taps(1)
    weights = heads or [np.ones(4), np.ones(6)]
    maps = [
        [slow_map(f[i], g[i], w) for f, g, w in zip(first, second, weights, strict=True)]
        for i in range(2)
    ]
    expected = [sum(m.mean() for m in pair) for pair in maps]
    found = lpips.distance(first, second, heads)
    assert found.shape == (2,) and min(expected) > 0.5
    oracle = "NumPy, place by place"
    proof("LPIPS from taps and heads", oracle, np.abs(np.float64(found) - expected).max(), 1e-6)
    enlarged = [sum(slow_bilinear(m, (20, 12)) for m in pair) for pair in maps]
    found = lpips.distance_image(first, second, heads, (20, 12))
    error = np.abs(np.float64(found) - enlarged).max()
    proof("LPIPS from taps and heads, spatial", oracle, error, 2e-6)


@pytest.mark.parametrize("name", TRUNKS)
def test_the_module_weighs_the_taps_of_its_trunk(name):
    trunk, images = TRUNKS[name](2), draw_images((6, 40, 33, 3))
    x, y = images[:3], images[3:]
    net = LPIPS(trunk)
    ours, measure = drawn(net, x, y), jax.jit(net.apply, static_argnums=3)
    found = measure(ours, x, y)
    heads = [ours["params"][f"lin{i}"]["model_1"]["kernel"].reshape(-1) for i in range(5)]
    rest = {k: v for k, v in ours["params"].items() if not k.startswith("lin")}
    taps = jax.jit(trunk.apply)({"params": rest}, images)
    parts = [np.asarray(tap[:3]) for tap in taps], [np.asarray(tap[3:]) for tap in taps]
    distance, image = jax.jit(lambda *a: (lpips.distance(*a), lpips.distance_image(*a, (40, 33))))(
        *parts, heads
    )
    np.testing.assert_allclose(found, distance, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(measure(ours, x, y, True), image, rtol=1e-4, atol=1e-5)
    assert np.abs(found).min() > 1e-3
    permuted = measure(ours, x[::-1], y[::-1])
    np.testing.assert_allclose(permuted, found[::-1], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(measure(ours, y, x), found)
    np.testing.assert_array_equal(measure(ours, x, x), 0)


def test_gradients_are_finite_where_features_are_zero_or_equal():
    first, second = drawn_taps(0), drawn_taps(1)
    second[0][1] = first[0][1]

    @jax.jit
    def loss(taps):
        return lpips.distance(taps, second, HEADS).sum()

    gradients = jax.jit(jax.grad(loss))(first)
    assert all(np.isfinite(g).all() and g.any() for g in gradients)
    assert not gradients[0][0, 1, 2].any() and not gradients[0][1].any()
    taps, step = [np.float64(tap) for tap in first], 1e-6
    with jax.enable_x64(True):
        exact = np.asarray(jax.jit(jax.grad(loss))(taps)[1])
        steepest = np.unravel_index(np.abs(exact).argmax(), exact.shape)
        moved = [tap.copy() for tap in taps]
        moved[1][steepest] += step
        difference = (loss(moved) - loss(taps)) / step
        np.testing.assert_allclose(difference, exact[steepest], rtol=1e-4)


def test_every_convolution_has_full_precision():
    net, images = LPIPS(AlexNetTrunk(2)), draw_images((1, 64, 32, 3))
    program = str(jax.make_jaxpr(net.apply)(drawn(net, images, images), images, images))
    operations = program.count("conv_general_dilated[") + program.count("dot_general[")
    # Those with a precision say so twice: for either operand.
    assert operations >= 15 and program.count("Precision.HIGHEST") == 2 * operations


def test_parameters_and_errors():
    net, pair = LPIPS(AlexNetTrunk()), [jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)] * 2
    shapes = jax.eval_shape(net.init, jax.random.key(0), *pair)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 2_469_696 + 1_152
    with pytest.raises(ValueError, match=r"Pairs .* \(1, 64, 64, 3\) and \(2, 64, 64, 3\)"):
        jax.eval_shape(
            net.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)), draw_images((2, 64, 64, 3))
        )
    with pytest.raises(ValueError, match="images of 31x31 pixels or more"):
        jax.eval_shape(net.init, jax.random.key(0), *[jnp.zeros((1, 30, 64, 3))] * 2)


def test_without_weights_every_channel_weighs_one():
    net, images = LPIPS(AlexNetTrunk(2)), draw_images((2, 32, 32, 3))
    _, state = load_golden("alexnet_trunk")
    shapes = jax.eval_shape(net.init, jax.random.key(0), images, images)
    variables, report = convert.from_torch(state, shapes)
    assert report.unexpected == () and all(name.startswith("params/lin") for name in report.missing)
    params = jax.jit(net.init)(jax.random.key(0), images, images)["params"]
    assert all((params[f"lin{i}"]["model_1"]["kernel"] == 1).all() for i in range(5))


@pytest.mark.parametrize("name", TRUNKS)
def test_fetched_weights_give_the_distances_of_lpips(name, proof):
    path = fetch.directory() / f"lpips_{name}.npz"
    if not path.is_file():
        pytest.skip(f"no '{path}': run python -m jaxreid.nets.weights.fetch lpips_{name}")
    net, a = LPIPS(TRUNKS[name]()), pictures(64, 64, 0)
    variables, report = convert.load(path, jax.eval_shape(net.init, jax.random.key(0), a, a))
    assert (report.missing, report.unexpected) == ((), ())
    heads = [variables["params"][f"lin{i}"]["model_1"]["kernel"] for i in range(5)]
    assert min(head.min() for head in heads) >= 0
    measure, worst = jax.jit(net.apply), 0
    for size, expected in RECORDED[name].items():
        a, b = pictures(*size, 0), pictures(*size, 4)
        # As one batch, so that the pairs cannot leak into one another.
        found = measure(variables, np.concatenate([a, a, a]), np.concatenate([b, -a, a]))
        assert found[2] == 0
        worst = max(worst, np.abs(found[:2] - np.array(expected)).max())
    proof(f"LPIPS by {name}'s fetched weights", "LPIPS 0.1, recorded from PyTorch", worst, 1e-6)
