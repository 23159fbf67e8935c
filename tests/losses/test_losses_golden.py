"""Losses on distances: the values that the specifications print, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from losses_cases import Compiled, double

losses = Compiled()
pytestmark = pytest.mark.usefixtures("quick_compiler")

REAL, FAKE = np.array([[0.0], [0.2], [1.0], [1.3]]), np.array([[-0.1], [0.5], [0.9], [1.6]])
IDS = np.array([0, 0, 1, 1])


@double
def test_triplets_of_one_dimension(golden):
    fake = {
        n: functools.partial(losses.fake_triplet, REAL, IDS, FAKE, IDS, negatives=n)
        for n in ("real", "fake", "all")
    }
    for margin, *rows in (
        (0.3, [0, 0, 0, 0], [0, 0, 0.1, 0], [0, 0, 0.4, 0]),
        (1.0, [0.2, 0.4, 0.5, 0.2], [0.5, 0.5, 0.8, 0.3], [0.6, 0.6, 1.1, 0.6]),
    ):
        golden(f"triplet, margin {margin}", losses.triplet(REAL, IDS, margin=margin), rows[0])
        golden(f"fake_triplet, margin {margin}", fake["real"](margin=margin), rows[1])
        for negatives in ("fake", "all"):
            result = fake[negatives](margin=margin)
            golden(f"fake_triplet, {negatives}, margin {margin}", result, rows[2])

    def mean(real, generated):
        return losses.fake_triplet(real, IDS, generated, IDS, margin=1.0).mean()

    slope = jax.grad(lambda x: losses.triplet(x, IDS, margin=1.0).mean())(REAL)
    golden("triplet, gradient", slope.ravel(), [-0.25, 1.25, -1.25, 0.25])
    slopes = jax.grad(mean, (0, 1))(REAL, FAKE)
    golden("fake_triplet, gradient by real", slopes[0].ravel(), [0, 0.75, -1, 0])
    golden("fake_triplet, gradient by fake", slopes[1].ravel(), [-0.125, 0.375, -0.25, 0.25])


@double
def test_triplets_of_four_dimensions(golden):
    def rows(n, each, scale, wave, step):
        i, j = np.mgrid[:n, :4]
        return scale * (j == i // each) + 0.5 * wave(step + 3 * i), np.arange(n) // each

    i, j = np.mgrid[:6, :4]
    real = 2.0 * (j == i // 2) + 0.5 * np.sin(1 + 3 * i + 5 * j)
    k, m = np.mgrid[:9, :4]
    fake = 1.5 * (m == k // 3) + 0.5 * np.cos(2 + 3 * k + 7 * m)
    y, fake_y = np.arange(6) // 2, np.arange(9) // 3
    table = {
        "real": ([0.148610, 0.897686, 0.426405, 0.317751, 0.474398, 0.386169], 0.441837),
        "fake": ([0.254108, 1.186215, 0.532204, 0.487817, 0.373242, 0.577047], 0.568439),
        "all": ([0.254108, 1.186215, 0.532204, 0.487817, 0.474398, 0.577047], 0.585298),
    }
    values = losses.triplet(real, y, margin=1.5)
    expected = [0.029802, 0.968497, 0.536084, 0.047060, 0.859515, 0.124549]
    golden("triplet, 4 dimensions", values, expected)
    golden(
        "triplet, 4 dimensions, sum and mean", [values.sum(), values.mean()], [2.565508, 0.427585]
    )
    for negatives, (expected, mean) in table.items():
        values = losses.fake_triplet(real, y, fake, fake_y, margin=1.5, negatives=negatives)
        golden(f"fake_triplet, {negatives}, 4 dimensions", values, expected)
        golden(f"fake_triplet, {negatives}, 4 dimensions, mean", values.mean(), mean)
        assert not losses.fake_triplet(real, y, fake, fake_y, margin=0.3, negatives=negatives).any()
    assert not losses.triplet(real, y, margin=0.3).any()


@double
def test_margin_ranking_and_center(golden):
    def one(an, ap):  # an anchor at 0, its positive at ap, a negative at an
        real, fake = np.array([[0.0], [an]]), np.array([[ap]])
        return losses.fake_triplet(real, np.array([0, 1]), fake, np.array([0]), margin=0.3)[0]

    mean = np.mean([one(an, ap) for an, ap in ((1, 1.2), (2, 1), (3, 3))])
    golden("margin ranking", mean, 0.266667)
    x, centers = np.array([[1.0, 0], [0, 2]]), np.zeros((2, 2))
    golden("center", losses.center(x, np.array([0, 1]), centers).mean(), 2.5)


@double
def test_contrastive_pairs(golden):
    def d(a, b, margin, numerics="clamped"):
        a, b = jnp.array(a), jnp.array(b)
        return losses.contrastive(a, b, False, margin=margin, numerics=numerics)

    right, up, a, b = [1.0, 0], [0.0, 1], [0.6, 0.8], [0.8, 0.6]
    same = [
        losses.contrastive(np.array(p), np.array(q), True, margin=2)
        for p, q in ((right, up), (a, b))
    ]
    golden("contrastive, same", same, [2.0, 0.08], 9)
    values = [d(right, up, 2), d(right, up, 1), d(a, b, 2), d(a, b, 1)]
    golden("contrastive, different", values, [0.3431457505, 0, 2.9486291501, 0.5143145751], 10)
    golden("contrastive, TensorFlow's numerics", d(right, up, 2, "tensorflow"), 0.3431453363, 10)
    golden("contrastive, PyTorch's numerics", d(right, up, 2, "pytorch"), 0.3431457505, 10)
    slope = jax.grad(lambda s: d(jnp.array([s, 0]), [0.0, 0], 2))(2**0.5)
    golden("contrastive, slope of the hinge", slope, -1.1715728753, 10)
    golden("contrastive, opposite vectors", d(right, [-1.0, 0], 2), 0)
    golden("contrastive, equal vectors", d(right, right, 2), 4, 5)


@double
def test_spgan(golden):
    x, gx, y, fy = (np.array(v) for v in ([[1.0, 0]], [[0.8, 0.6]], [[0.0, 1]], [[0.6, 0.8]]))

    def value(**options):
        return losses.spgan_contrastive(x, gx, y, fy, margin=2, **options)[0]

    golden("spgan_contrastive, paper", value(pairs="paper"), 3.2445824720, 9)
    tensorflow = value(pairs="tensorflow", numerics="tensorflow")
    golden("spgan_contrastive, TensorFlow", value(pairs="tensorflow"), 0.4954305003, 10)
    assert abs(tensorflow - 0.4954305003) < 1e-6
    golden("spgan_contrastive, PyTorch, generators", value(), 0.5055728090, 10)
    golden("spgan_contrastive, PyTorch, siamese net", value(role="siamese"), 0.4954305003, 10)
    different = losses.contrastive(np.array([[0.8, 0.6]]), y, False, margin=2)
    golden("contrastive, G(x) and y", different, [1.2222912360], 10)


@double
def test_mmd(golden):
    s, t = np.array([[0.0, 0], [1, 0]]), np.array([[0.0, 1], [2, 0]])
    values = [
        losses.mmd(s, t, bandwidths=(1.0,), unit="one"),
        losses.mmd(s, t, bandwidths=(1.0,), unit="one", estimate="unbiased"),
        losses.mmd(s, t, unit="one"),
        losses.mmd(s, s[::-1]),
    ]
    golden("mmd", values, [0.4861698, -0.1695224, 1.5429159, 0], 7)


@double
def test_cross_modality_example_a(golden):
    v, t = _unit([[1, 0], [0, 1], [1, 1.2]]), _unit([[1, 0.2], [0.2, 1], [0.3, 1]])
    ids = np.arange(3)
    forward, backward = losses.cross_modality(v, ids, t, ids, margin=0.5)
    golden("cross_modality, example A, visible", forward, [0, 0.40664895, 0.40832139], 8)
    golden("cross_modality, example A, infrared", backward, [0.03136214, 0.20484243, 0.61012791], 8)
    means = forward.mean(), backward.mean()
    golden("cross_modality, example A, means", means, [0.2716567784, 0.2821108263], 10)
    for anchors, others in ((v, t), (t, v)):
        p, k = losses.mine_pairs(anchors, ids, others, ids)
        np.testing.assert_array_equal(np.array([p, k]), [[0, 1, 2], [2, 2, 1]])
    pairs = losses.mine_pairs(v, ids, t, ids)
    intra = losses.intra_modality(t, ids, margin=0.1, pairs=pairs)
    golden("intra_modality, example A", intra, [0, 0.00597344, 0.00597344], 8)
    pairs = losses.mine_pairs(t, ids, v, ids)
    golden(
        "intra_modality, example A, visible",
        losses.intra_modality(v, ids, margin=0.1, pairs=pairs),
        [0] * 3,
    )
    total, slope = jax.value_and_grad(_rank_loss)(jnp.array([[1, 0], [0, 1], [1, 1.2]]), t, ids)
    golden("BDTR's ranking loss, example A", total, 0.5541658338, 10)
    golden(
        "BDTR's ranking loss, example A, gradient",
        slope[jnp.array([0, 2])],
        [[0, -0.33171108], [0.1580288, -0.13169064]],
        6,
    )


def _unit(x):
    x = jnp.asarray(x, float)
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)


def _rank_loss(v, t, ids):
    v, t = _unit(v), _unit(t)
    total = sum(side.mean() for side in losses.cross_modality(v, ids, t, ids, margin=0.5))
    for anchors, others in ((v, t), (t, v)):
        pairs = losses.mine_pairs(anchors, ids, others, ids)
        total += 0.1 * losses.intra_modality(others, ids, margin=0.1, pairs=pairs).mean()
    return total


@double
def test_cross_modality_example_b(golden):
    v = _unit([[1, 0], [1, 0.3], [0, 1], [0.4, 1]])
    t = _unit([[1, 0.2], [0.6, 1], [0.22, 1], [0.68, 1]])
    forward, backward = losses.cross_modality(v, IDS, t, IDS, margin=0.5)
    expected = [0.54978021, 0.55321102, 0.55447542, 0.55650392]
    golden("cross_modality, example B, visible", forward, expected, 8)
    golden("cross_modality, example B, infrared", backward, [0, 1.32565484, 0, 0.41932973], 8)
    means = forward.mean(), backward.mean()
    golden("cross_modality, example B, means", means, [0.5534926416, 0.4362461428], 10)
    every = losses.cross_modality(v, IDS, t, IDS, margin=0.5, positives="all")
    expected = [0.54978021, 0.55321102, 0.73673569, 1.06053362]
    golden("cross_modality, all positives, visible", every[0], expected, 8)
    golden("cross_modality, all positives, infrared", every[1], [0, 2.38813593, 0, 0.46656358], 8)
    means = [side.sum() / 8 for side in every]
    golden("cross_modality, all positives, means", means, [0.3625325672, 0.3568374385], 10)
    pairs = np.array(losses.mine_pairs(v, IDS, t, IDS))
    np.testing.assert_array_equal(pairs, [[1, 1, 3, 3], [3, 3, 1, 1]])
    np.testing.assert_array_equal(
        np.array(losses.mine_pairs(t, IDS, v, IDS)), [[0, 0, 2, 2], [3, 3, 1, 1]]
    )
    anchored = losses.intra_modality(t, IDS, margin=0.1, pairs=tuple(pairs))
    golden("intra_modality, example B, anchored", anchored.mean(), 0.0432504600, 10)
    nearest = losses.intra_modality(t, IDS, margin=0.1)
    golden("intra_modality, example B, nearest", nearest, [0, 0.04325046, 0, 0.04325046], 8)
    golden("BDTR's ranking loss, example B", _rank_loss(v, t, IDS), 0.9940638304, 10)
