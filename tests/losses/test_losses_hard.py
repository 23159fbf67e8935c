"""Losses on distances where they could break: equal rows, lone identities, masked NaN, far rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from losses_cases import Compiled

from jaxreid import losses

IDS = np.array([0, 0, 1, 2, 0, 1, 1, 2])
MASK = np.array([True, True, False, True] * 2)


def every(x, labels, where):
    """All losses on distances of 8 rows; the second half serves as the other set."""
    n = len(x) // 2
    one, two = (x[:n], labels[:n]), (x[n:], labels[n:])
    first, second = (None, None) if where is None else (where[:n], where[n:])
    both = None if where is None else first & second
    pairs = losses.mine_pairs(*one, *two, where=second)
    centers = jnp.linspace(-1, 1, 9 * x.shape[1]).reshape(9, -1)
    results = {
        "pairwise_distance": losses.pairwise_distance(*_visible(x, x, where)),
        "pairwise_distance, squared": losses.pairwise_distance(
            *_visible(x, x, where), squared=True
        ),
        "triplet": losses.triplet(x, labels, margin=1.0, where=where),
        "triplet, soft": losses.triplet(
            x, labels, margin="soft", include_anchor=False, where=where
        ),
        "center": losses.center(x, labels, centers, where=where),
        "intra_modality": losses.intra_modality(x, labels, margin=1.0, where=where),
        "mmd": losses.mmd(one[0], two[0], where=first, other_where=second)[None],
        "intra_modality, pairs": losses.intra_modality(*two, margin=1.0, pairs=pairs, where=first),
    }
    for negatives in ("real", "fake", "all"):
        results[f"fake_triplet, {negatives}"] = losses.fake_triplet(
            *one, *two, margin=1.0, negatives=negatives, real_where=first, fake_where=second
        )
    for positives in ("hardest", "all"):
        results[f"cross_modality, {positives}"] = jnp.concatenate(
            losses.cross_modality(
                *one,
                *two,
                margin=1.0,
                positives=positives,
                visible_where=first,
                thermal_where=second,
            )
        )
    for axis in ("features", "batch"):
        results[f"tone, {axis}"] = losses.tone(*one, *two, normalize_axis=axis, where=both)
    for numerics in ("clamped", "tensorflow", "pytorch"):
        results[f"contrastive, {numerics}"] = losses.contrastive(
            one[0], two[0], one[1] == two[1], margin=1.0, numerics=numerics, where=both
        )
        results[f"spgan_contrastive, {numerics}"] = losses.spgan_contrastive(
            one[0], two[0], two[0], one[0], margin=2.0, numerics=numerics, where=both
        )
    return results


def _visible(x, y, where):
    """`pairwise_distance` knows no masks."""
    return (x, y) if where is None else [jnp.where(where[:, None], a, 0) for a in (x, y)]


@jax.jit
def weighted(x, labels, where, weights):
    def total(x):
        values = every(x, labels, where)
        return sum(weights[i] * values[n].sum() for i, n in enumerate(sorted(values))), values

    (_, values), gradient = jax.value_and_grad(total, has_aux=True)(x)
    return values, gradient


def values_and_gradients(x, labels, where):
    """Of the sum of each loss: one compilation for all of them."""
    names = sorted(jax.eval_shape(every, x, labels, where))
    results = [weighted(x, labels, where, weights) for weights in np.eye(len(names))]
    return results[0][0], {name: slope for name, (_, slope) in zip(names, results, strict=True)}


def rows(scale=1.0, offset=0.0, seed=0):
    return offset + scale * np.random.default_rng(seed).normal(size=(8, 16)) / 2


NAN = np.where(MASK[:, None], rows(), np.nan)
INF = np.where(MASK[:, None], rows(), np.resize([np.inf, -np.inf, np.nan], 16))
PLACES = {
    "random": (rows(), IDS, None),
    "all rows equal": (0 * rows() + rows()[:1], IDS, None),
    "all rows zero": (0 * rows(), IDS, None),
    "duplicates": (rows()[[0, 0, 1, 1, 0, 1, 2, 2]], IDS, None),
    "one identity": (rows(), 0 * IDS, None),
    "every identity once": (rows(), np.arange(8), None),
    "no fake of an identity": (rows(), np.array([0, 1, 2, 3, 4, 5, 6, 7]), None),
    "no row": (rows(), IDS, ~MASK & MASK),
    "no row, all NaN": (rows() * np.nan, IDS, ~MASK & MASK),
    "masked NaN": (NAN, IDS, MASK),
    "masked infinity": (INF, IDS, MASK),
    "far away": (rows(offset=1e6), IDS, None),
    "far away, masked NaN": (NAN + 1e6, IDS, MASK),
    "tiny": (rows(1e-8), IDS, None),
    "denormal": (rows(1e-40), IDS, None),
    "large": (rows(1e6), IDS, None),
    "very large": (rows(1e17), IDS, None),
}


@pytest.mark.usefixtures("quick_compiler")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_values_and_gradients_are_finite(dtype):
    for place, (x, labels, where) in PLACES.items():
        x = jnp.asarray(x, dtype)
        where = np.ones(8, bool) if where is None else where
        values, gradients = values_and_gradients(x, labels, where)
        for name, value in values.items():
            assert value.dtype == jnp.float32 and np.all(np.isfinite(value)), (place, name)
            assert np.all(value >= 0), (place, name)
            gradient = np.asarray(gradients[name], np.float32)
            assert gradients[name].dtype == dtype and np.all(np.isfinite(gradient)), (place, name)
            assert not gradient[~where].any(), (place, name)
            if not where.any() and "pairwise" not in name:
                assert not value.any(), (place, name)


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_masked_rows_might_as_well_be_missing(offset, proof):
    x = np.where(MASK[:, None], rows(offset=offset), np.nan).astype(np.float32)
    masked = values_and_gradients(x, IDS, MASK)
    alone = values_and_gradients(x[MASK], IDS[MASK], None)
    for name, value in alone[0].items():
        if "pairwise" in name:
            continue
        kept = np.resize(MASK, masked[0][name].shape)
        assert not np.any(masked[0][name][~kept])
        pairs = (masked[0][name][kept], value), (masked[1][name][MASK], alone[1][name])
        for what, (a, b) in zip(("", ", gradient"), pairs, strict=True):
            quantity = f"{name}{what}, NaN in masked rows, relative"
            error = np.max(np.abs(a - b)) / max(1, np.max(np.abs(b)))
            proof(quantity, "the same without those rows", error, 1e-5)


@pytest.mark.parametrize("which", ["all rows equal", "one identity", "every identity once"])
def test_rows_without_partners(which):
    x, labels, _ = PLACES[which]
    values = values_and_gradients(np.float32(x), labels, np.ones(8, bool))[0]
    if which == "all rows equal":  # distances are 1e-6, so every hinge shows its margin
        for name in ("triplet", "fake_triplet, all", "cross_modality, hardest", "intra_modality"):
            np.testing.assert_allclose(values[name][values[name] > 0], 1, atol=2e-6, err_msg=name)
        return
    nothing = {"triplet, soft", "intra_modality, pairs"} | {n for n in values if "modality," in n}
    nothing |= {n for n in values if "fake_triplet" in n}
    nothing |= {"triplet", "intra_modality"} if which == "one identity" else set()
    for name in nothing:
        assert not values[name].any(), name
    if which != "one identity":  # the anchor is its own positive
        nearest = np.asarray(losses.pairwise_distance(x, x) + 1e3 * jnp.eye(8)).min(1)
        np.testing.assert_allclose(values["triplet"], np.maximum(1 - nearest, 0), atol=1e-5)


def test_equally_near_negatives_share_the_gradient():
    """Negatives on a circle: the loss must not choose one by the last bit of its distance."""
    angle = np.arange(7)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    x = np.float32(np.concatenate([[[0, 0]], circle]) + [0.1, 0.7])
    slope = jax.grad(lambda x: losses.triplet(x, np.arange(8), margin=9.0)[0])(x)
    np.testing.assert_allclose(slope[1:], -circle / 7, atol=1e-6)
    np.testing.assert_allclose(slope[0], circle.mean(0), atol=1e-6)


def test_mined_pairs_are_the_first_of_equals():
    others = np.float32(np.repeat([[0.3, 0.1]], 6, 0) + 1e3)
    anchors = np.float32([[1.3, 0.1], [0.2, 4.0]]) + 1e3
    pairs = losses.mine_pairs(anchors, np.array([0, 1]), others, np.array([1, 0, 0, 1, 1, 2]))
    np.testing.assert_array_equal(np.array(pairs), [[1, 0], [0, 1]])
    none = losses.mine_pairs(anchors, np.array([7, 7]), others, np.full(6, 7))
    np.testing.assert_array_equal(np.array(none), [[0, 0], [-1, -1]])


def test_pairs_never_read_other_rows():
    x = np.float32([[0, 0], [0, 0.5], [np.nan, np.inf], [np.nan, 0]])
    pairs = np.array([0, 3, -1, 1]), np.array([1, 2, 0, -1])

    def loss(x):
        where = np.array([True, False, True, True])
        return losses.intra_modality(x, np.zeros(4), margin=2.0, pairs=pairs, where=where).sum()

    value, slope = jax.value_and_grad(loss)(x)
    np.testing.assert_allclose(value, 1.5)
    np.testing.assert_array_equal(slope, [[0, 1], [0, -1], [0, 0], [0, 0]])


def test_a_difference_that_cancels_the_epsilon_of_pytorch():
    """|x - y + 1e-6| has no slope at x - y = -1e-6."""
    y = jnp.full(3, 1e-6)
    slope = jax.grad(lambda y: losses.contrastive(0 * y, y, False, margin=1, numerics="pytorch"))(y)
    assert np.all(np.isfinite(slope))


@pytest.mark.usefixtures("quick_compiler")
def test_empty_batches():
    losses = Compiled()
    none, two, ids = np.zeros((0, 16)), rows()[:2], np.array([0, 1])
    some, empty = (two, ids), (none, np.zeros(0, int))
    assert losses.triplet(*empty, margin=1.0).shape == (0,)
    assert losses.center(*empty, two).shape == (0,)
    assert losses.intra_modality(*empty, margin=1.0).shape == (0,)
    assert losses.pairwise_distance(none, two).shape == (0, 2)
    for negatives in ("real", "fake", "all"):
        options = {"margin": 1.0, "negatives": negatives}
        assert losses.fake_triplet(*empty, *some, **options).shape == (0,)
        np.testing.assert_array_equal(losses.fake_triplet(*some, *empty, **options), [0, 0])
    for positives in ("hardest", "all"):
        sides = losses.cross_modality(*some, *empty, margin=1.0, positives=positives)
        assert sides[1].shape == (0,) and not sides[0].any()
    assert losses.mmd(none, none) == losses.mmd(none, two) == 0
    for pair in losses.mine_pairs(*some, *empty):
        np.testing.assert_array_equal(pair, [-1, -1])
    assert not losses.intra_modality(
        *empty, margin=1.0, pairs=losses.mine_pairs(*some, *empty)
    ).any()


def test_people_without_a_center_get_nothing():
    points, centers = jnp.array([[3.0, 4.0]] * 3), jnp.zeros((2, 2))
    labels = jnp.array([-1, 1, 2])
    np.testing.assert_array_equal(losses.center(points, labels, centers), [0, 25, 0])
    gradient = jax.grad(lambda c: losses.center(points, labels, c).sum())(centers)
    np.testing.assert_array_equal(gradient, [[0, 0], [-6, -8]])


@pytest.mark.parametrize("positives", ["hardest", "all"])
def test_the_soft_margin_of_two_modalities(positives):
    # One positive at distance 1, one negative at distance 3, seen from either side.
    points, labels = jnp.array([[0.0], [4.0]]), jnp.array([0, 1])
    others = jnp.array([[1.0], [3.0]])
    for side in losses.cross_modality(
        points, labels, others, labels, margin="soft", positives=positives
    ):
        np.testing.assert_allclose(side, np.log1p(np.exp(-2.0)), rtol=1e-6)
