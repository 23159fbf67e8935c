"""What must change nothing, or change the losses in a known way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from losses_cases import double

from jaxreid import losses

pytestmark = pytest.mark.usefixtures("quick_compiler")

RNG = np.random.default_rng(11)
IDS, OTHER = RNG.integers(0, 3, (2, 8))
WHERE, OTHER_WHERE = RNG.random((2, 8)) < 0.8
X, Y = RNG.normal(size=(2, 8, 4))
IMAGES = RNG.random((3, 4, 9, 8, 2))
MASKS = RNG.random((2, 4, 9, 8, 1))


def distances(x, y, ids=IDS, other=OTHER, where=WHERE, other_where=OTHER_WHERE, margin=1.0):
    """Losses of the first set's rows, in their order, and of the second's."""
    fakes = [
        losses.fake_triplet(
            x, ids, y, other, margin=margin, negatives=n, real_where=where, fake_where=other_where
        )
        for n in ("real", "fake", "all")
    ]
    sides = [
        losses.cross_modality(
            x,
            ids,
            y,
            other,
            margin=margin,
            positives=p,
            visible_where=where,
            thermal_where=other_where,
        )
        for p in ("hardest", "all")
    ]
    pairs = losses.mine_pairs(x, ids, y, other, where=other_where)
    first = [
        losses.triplet(x, ids, margin=margin, where=where),
        losses.triplet(x, ids, margin=margin, where=where, include_anchor=False),
        losses.intra_modality(x, ids, margin=margin, where=where),
        losses.intra_modality(y, other, margin=2 * margin, pairs=pairs, where=where),
    ]
    return jnp.stack([*first, *fakes, *(a for a, _ in sides)]), jnp.stack([b for _, b in sides])


distances = jax.jit(distances)


@pytest.fixture
def same(proof):
    def check(quantity, results, expected, tolerance=1e-12):
        for a, b in zip(results, expected, strict=True):
            error = np.max(np.abs(np.asarray(a) - np.asarray(b)))
            proof(f"losses on distances, {quantity}", "the same before", error, tolerance)

    return check


@double
def test_order_of_the_rows(same):
    p, q = RNG.permutation(8), RNG.permutation(8)
    plain = distances(X, Y)
    moved = distances(X[p], Y[q], IDS[p], OTHER[q], WHERE[p], OTHER_WHERE[q])
    same("rows permuted", moved, (plain[0][:, p], plain[1][:, q]))


@double
def test_rigid_motions_and_names(same):
    turn = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
    plain = distances(X, Y)
    same("translated", distances(X + 7, Y + 7), plain)
    same("rotated and mirrored", distances(X @ turn, Y @ turn), plain)
    names = np.array([70, -5, 1000])
    same("identities renamed", distances(X, Y, names[IDS], names[OTHER]), plain)


@double
def test_scale(same):
    """Distances and margins are of one unit; only the anchor's own 1e-6 is not."""
    plain, large = distances(X, Y), distances(3 * X, 3 * Y, margin=3.0)
    same("scaled with the margin", large, [3 * a for a in plain], 4e-6)
    single = np.arange(8)  # the anchor is its only positive
    near = losses.triplet(X, single, margin=2.0) - 1e-6
    far = losses.triplet(3 * X, single, margin=6.0) - 1e-6
    np.testing.assert_allclose(far, np.where(near > 0, 3 * near, far), atol=1e-9)


@double
def test_sides_change_places(same):
    forth = losses.cross_modality(X, IDS, Y, OTHER, margin=1.0)
    back = losses.cross_modality(Y, OTHER, X, IDS, margin=1.0)
    same("modalities exchanged", back, forth[::-1])
    for numerics in ("clamped", "tensorflow"):
        a, b = (
            losses.contrastive(*z, IDS == 1, margin=3, numerics=numerics) for z in ((X, Y), (Y, X))
        )
        same("pairs exchanged", [a], [b])
    for pairs in ("paper", "tensorflow", "pytorch"):
        a = losses.spgan_contrastive(X, Y, Y**2, X**2, margin=3, pairs=pairs)
        b = losses.spgan_contrastive(Y**2, X**2, X, Y, margin=3, pairs=pairs)
        same("SPGAN's domains exchanged", [a], [b])
    same("table transposed", [losses.pairwise_distance(X, Y)], [losses.pairwise_distance(Y, X).T])
    a, b = losses.feature_matching(X, Y), losses.feature_matching(Y, X)
    same("features exchanged", [a], [b])


@double
def test_more_negatives_never_lower_the_loss():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        ids, other = rng.integers(0, 3, (2, 8))
        x, y = rng.normal(size=(2, 8, 4))
        values = {
            n: distances(x, y, ids, other)[0][4 + i] for i, n in enumerate("real fake all".split())
        }
        every = np.asarray(values["all"])
        for negatives in ("real", "fake"):
            assert np.all(every >= np.asarray(values[negatives]) - 1e-12)
        np.testing.assert_allclose(every, np.maximum(values["real"], values["fake"]), atol=1e-12)


@double
def test_one_positive_each_makes_hardest_and_all_equal():
    ids = np.arange(8)
    sides = [
        losses.cross_modality(X, ids, Y, ids, margin=1.0, positives=p) for p in ("hardest", "all")
    ]
    for a, b in zip(*sides, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@double
def test_anchored_pairs_are_never_nearer_than_the_nearest():
    """With p_i = i the anchored constraint is at most that of the nearest negative."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        t, ids = rng.normal(size=(8, 3)), rng.integers(0, 4, 8)
        other = losses.mine_pairs(rng.normal(size=(8, 3)), ids, t, ids)[1]
        anchored = losses.intra_modality(t, ids, margin=2.0, pairs=(np.arange(8), other))
        nearest = losses.intra_modality(t, ids, margin=2.0)
        assert np.all(nearest >= anchored - 1e-12)


@double
def test_images_flipped_with_their_masks(proof):
    def values(x, y, z, m, n):
        return [
            losses.cycle(x, y),
            losses.masked_identity(x, y, m),
            losses.masked_identity(x, y, m, norm="l2"),
            *losses.context(z, x, y, m, n),
            losses.feature_matching(x, y),
        ]

    plain = values(*IMAGES, *MASKS)
    for axis in (1, 2):
        flipped = values(*np.flip(IMAGES, axis + 1), *np.flip(MASKS, axis + 1))
        for a, b in zip(plain, flipped, strict=True):
            proof("losses on images, flipped", "the same before", np.max(np.abs(a - b)), 1e-12)
    exchanged = values(IMAGES[1], IMAGES[0], IMAGES[2], *MASKS)
    for k in (0, 1, 2, 5):
        np.testing.assert_allclose(exchanged[k], plain[k], atol=1e-12)
    for options in ({}, {"absolute": False, "per_image": True}):
        a = losses.ms_ssim(IMAGES[0], IMAGES[1], **options, window=7)  # odd: centred
        b = losses.ms_ssim(IMAGES[1][:, ::-1], IMAGES[0][:, ::-1], **options, window=7)
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_targets_sum_to_one():
    labels = RNG.integers(0, 7, (5, 3))
    for epsilon in (0.0, 0.1, 1.0, RNG.random((5, 3))):
        targets = losses.smooth_labels(labels, 7, epsilon)
        np.testing.assert_allclose(targets.sum(-1), 1, atol=1e-6)
        np.testing.assert_allclose(
            np.take_along_axis(np.asarray(targets), labels[..., None], -1)[..., 0],
            1 - epsilon + epsilon / 7,
            atol=1e-6,
        )
    np.testing.assert_allclose(
        losses.lsro_labels(labels, RNG.random((5, 3)) < 0.5, 7).sum(-1), 1, atol=1e-6
    )


@double
def test_equal_shift_of_logits():
    targets = losses.smooth_labels(IDS, 4, 0.1)
    values = [losses.cross_entropy(x, targets) for x in (X, X + 50)]
    np.testing.assert_allclose(*values, atol=1e-12)
    joint = losses.joint_cross_entropy(X, Y, targets)
    both = losses.cross_entropy(np.concatenate([X, Y]), np.concatenate([targets, targets]))
    np.testing.assert_allclose(joint.mean(), 2 * both.mean(), atol=1e-12)  # as documented


def test_weights_of_cameras_sum_to_one_and_scale_freely():
    maps = RNG.random((5, 2, 3))
    np.testing.assert_allclose(losses.style_weights(maps).sum(), 1, atol=1e-6)
    np.testing.assert_allclose(
        losses.style_weights(maps), losses.style_weights(9 * maps), atol=1e-6
    )
    kept = np.array([True, False, True, True, False])
    part = losses.style_unity(np.arange(5.0), maps, where=kept)
    np.testing.assert_allclose(
        part, losses.style_unity(np.arange(5.0)[kept], maps[kept]), atol=1e-6
    )


def test_penalty_uses_its_key_alone():
    x = np.float32(IMAGES[0])

    def penalty(key, count=4):
        return losses.gradient_penalty(
            lambda z: (z**2).sum((1, 2, 3)), x[:count], 0 * x[:count], key
        )

    one, again, other = (
        penalty(jax.random.key(0)),
        penalty(jax.random.key(0)),
        penalty(jax.random.key(1)),
    )
    np.testing.assert_array_equal(one, again)
    assert not np.any(one == other)
