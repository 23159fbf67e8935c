"""Gradients: central differences, both modes of differentiation, and who receives them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from losses_cases import double

from jaxreid import losses

pytestmark = pytest.mark.usefixtures("quick_compiler")

RNG = np.random.default_rng(5)
X, Y, Z, V = RNG.normal(size=(4, 6, 3))
A, B = RNG.uniform(0.1, 0.9, (2, 2, 9, 8, 1))
C = 0.7 * A + 0.3 * B
IDS, OTHER = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 2, 2, 1, 0])
WHERE = np.array([True, True, False, True, True, True])
TARGETS = RNG.dirichlet(np.ones(3), 6)
KEY = jax.random.key(3)


def critic(images):
    return jnp.tanh(3 * images).sum(-1) + (images**2).sum((-1, -2))[..., None] * 0.1


def cross(positives):
    return lambda a, b: jnp.concatenate(
        losses.cross_modality(a, IDS, b, OTHER, margin=2.0, positives=positives)
    )


def fake(negatives, margin):
    return lambda a, b: losses.fake_triplet(a, IDS, b, OTHER, margin=margin, negatives=negatives)


def pairs_of(a, b):
    pairs = losses.mine_pairs(b, OTHER, a, IDS)
    return losses.intra_modality(a, IDS, margin=4.0, pairs=pairs)


def normalized(a):
    state = losses.LossScale(jnp.float64(1.5), jnp.float64(0.7))
    return losses.scheduled_normalization(a.sum(), state, update=False)[0]


DIFFERENTIABLE = {
    "pairwise_distance": (losses.pairwise_distance, X, Y),
    "pairwise_distance, squared": (lambda a, b: losses.pairwise_distance(a, b, squared=True), X, Y),
    "triplet": (lambda a: losses.triplet(a, IDS, margin=3.0, where=WHERE), X),
    "triplet, soft": (lambda a: losses.triplet(a, IDS, margin="soft", include_anchor=False), X),
    "center": (lambda a, c: losses.center(a, IDS, c, where=WHERE), X, Y[:3]),
    "cross_modality": (cross("hardest"), X, Y),
    "cross_modality, all": (cross("all"), X, Y),
    "intra_modality": (lambda a: losses.intra_modality(a, IDS, margin=4.0), X),
    "intra_modality, pairs": (lambda a: pairs_of(a, Y), X),
    "cross_entropy": (losses.cross_entropy, X, TARGETS),
    "joint_cross_entropy": (lambda a, b: losses.joint_cross_entropy(a, b, TARGETS), X, Y),
    "domain_classification": (lambda a: losses.domain_classification(a, IDS, where=WHERE), X),
    "mean": (losses.mean, X, Y**2),
    "mmd": (lambda a, b: losses.mmd(a, b, unit="one", where=WHERE), X, Y),
    "mmd, unbiased": (lambda a, b: losses.mmd(a, b, unit="one", estimate="unbiased"), X, Y),
    "gradient_penalty": (lambda a, b: losses.gradient_penalty(critic, a, b, KEY), X, Y),
    "feature_matching": (lambda a, b: losses.feature_matching([a, a**2], [b, b**2]), X, Y),
    "cycle": (losses.cycle, A, B),
    "identity_mapping": (losses.identity_mapping, A, B),
    "masked_identity": (losses.masked_identity, A, B, A * B),
    "masked_identity, l2": (lambda *a: losses.masked_identity(*a, norm="l2"), A, B, A * B),
    "context": (lambda a, b: jnp.stack(losses.context(a, b, A, B, A)), A * B, B),
    "ms_ssim": (losses.ms_ssim, A, C),
    "ms_ssim, signed": (lambda a, b: losses.ms_ssim(a, b, absolute=False, per_image=True), A, C),
    "scheduled_normalization": (normalized, X),
    "style_weights, flow": (lambda a: losses.style_weights(a, weight_grad="flow"), A[:, 0]),
    "style_unity, flow": (
        lambda a, b: losses.style_unity(a, b, weight_grad="flow", weight_norm="none"),
        X[0],
        Y[:3] ** 2,
    ),
}
for margin in (3.0, "soft"):
    for negatives in ("real", "fake", "all"):
        DIFFERENTIABLE[f"fake_triplet, {negatives}, {margin}"] = (fake(negatives, margin), X, Y)
for numerics in ("clamped", "tensorflow", "pytorch"):
    DIFFERENTIABLE[f"contrastive, {numerics}"] = (
        lambda a, b, n=numerics: losses.contrastive(a, b, IDS == 1, margin=6.0, numerics=n),
        X,
        Y,
    )
for axis in ("features", "batch"):
    DIFFERENTIABLE[f"tone, {axis}"] = (
        lambda a, b, n=axis: losses.tone(a, IDS, b, OTHER, margin=3.0, normalize_axis=n),
        X,
        Y,
    )
for pairs in ("paper", "tensorflow", "pytorch"):
    DIFFERENTIABLE[f"spgan_contrastive, {pairs}"] = (
        lambda *a, p=pairs: losses.spgan_contrastive(*a, margin=6.0, pairs=p),
        *(X, Y, Z, V),
    )
for name in losses.__all__:
    if name.endswith(("generator", "discriminator", "critic")):
        scores = (X, Y) if not name.endswith("generator") else (X,)
        DIFFERENTIABLE[name] = (getattr(losses, name), *scores)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@double
def test_central_differences(name, proof):
    """One compiled sum with fixed weights; the difference is taken along random directions."""
    loss, *points = DIFFERENTIABLE[name]
    rng, step = np.random.default_rng(1), 1e-5
    shape = jax.eval_shape(loss, *points).shape
    weights = rng.normal(size=shape)

    def total(*args):
        return (weights * loss(*args)).sum()

    run = jax.jit(jax.value_and_grad(total, range(len(points))))
    gradients = run(*points)[1]
    for _ in range(8):
        ways = [rng.normal(size=p.shape) for p in points]
        slope = sum((g * w).sum() for g, w in zip(gradients, ways, strict=True))
        sides = [
            run(*(p + sign * step * w for p, w in zip(points, ways, strict=True)))[0]
            for sign in (1, -1)
        ]
        error = abs((sides[0] - sides[1]) / (2 * step) - slope) / max(1, abs(slope))
        proof(f"{name}, gradient, relative", "central differences", float(error), 1e-6)


@pytest.mark.parametrize(
    "name", ["triplet", "fake_triplet, all, soft", "cross_entropy", "gradient_penalty", "ms_ssim"]
)
@double
def test_both_modes(name):
    loss, *points = DIFFERENTIABLE[name]
    points = [jnp.asarray(p) for p in points]
    check_grads(
        jax.jit(loss), points, order=1, modes=["fwd", "rev"], eps=1e-5, atol=1e-5, rtol=1e-5
    )


def test_fakes_of_other_identities_receive_nothing():
    """Anchor by anchor: with real negatives only fakes of the anchor's identity have a slope."""
    labels, fake_ids = np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2, 1, 3])

    def loss(z, negatives):
        return losses.fake_triplet(X[:4], labels, z, fake_ids, margin=9.0, negatives=negatives)

    def received(negatives):
        jacobian = jax.jacobian(lambda z: loss(z, negatives))(jnp.asarray(Y))
        return np.abs(jacobian).max(-1) > 0

    own = labels[:, None] == fake_ids
    assert not np.any(received("real") & ~own) and np.all(received("real").any(1))
    assert np.all((received("fake") & ~own).any(1))


def test_spgan_routes():
    """TensorFlow's negatives join two real images and never reach the generators."""

    def far(gx, fy, pairs, role):  # the same pairs coincide: only negatives can have a slope
        where = np.ones(6, bool)
        return losses.spgan_contrastive(
            X, gx, Y, fy, margin=20.0, pairs=pairs, role=role, where=where
        ).sum()

    def slopes(pairs, role="generators"):
        return np.abs(np.stack(jax.grad(far, (0, 1))(X, Y, pairs, role))).max()

    assert slopes("tensorflow") == 0 and slopes("pytorch", "siamese") == 0
    assert slopes("paper") > 1 and slopes("pytorch") > 0.1


@double
def test_the_median_distance_is_a_constant():
    both = jnp.concatenate([X, Y])
    median = np.median(losses.pairwise_distance(both, both)[np.triu_indices(12, 1)])
    scaled = tuple(q * median for q in (0.5, 1.0, 2.0))
    found = jax.value_and_grad(losses.mmd, (0, 1))(X, Y)
    expected = jax.value_and_grad(losses.mmd, (0, 1))(X, Y, bandwidths=scaled, unit="one")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)


def test_masked_identity_receives_nothing_outside_the_mask():
    mask = (B > 0.5).astype(float)
    for norm in ("mean_square", "l2"):
        slope = jax.grad(lambda y, n=norm: losses.masked_identity(A, y, mask, norm=n).sum())(B)
        assert not slope[mask == 0].any() and np.all(slope[mask == 1] != 0)
        empty = jax.grad(lambda y, n=norm: losses.masked_identity(A, y, 0 * mask, norm=n).sum())(B)
        assert not empty.any()


def test_running_scale_has_no_gradient():
    def two_steps(value, state):
        first, state = losses.scheduled_normalization(value, state, update=True, beta=0.5)
        return losses.scheduled_normalization(value, state, update=True, beta=0.5)[0]

    state = losses.loss_scale()
    by_value, by_state = jax.grad(two_steps, (0, 1))(jnp.float32(3.0), state)
    _, last = losses.scheduled_normalization(3.0, state, update=True, beta=0.5)
    _, last = losses.scheduled_normalization(3.0, last, update=True, beta=0.5)
    np.testing.assert_allclose(by_value, 1 / last.denominator, rtol=1e-6)
    assert not any(jax.tree.leaves(by_state))


def test_style_weights_stop_or_flow():
    terms = jnp.array([1.0, 2.0])
    for norm in ("sum1", "none"):

        def loss(maps, grad, norm=norm):
            return losses.style_unity(terms, maps, weight_grad=grad, weight_norm=norm)

        assert not jax.grad(loss)(A[:, 0], "stop").any()
        assert np.abs(jax.grad(loss)(A[:, 0], "flow")).max() > 1e-3


def test_mined_pairs_are_constants():
    slope = jax.grad(lambda y: pairs_of(X, y).sum())(Y)
    assert not slope.any()
    slope = jax.grad(lambda x: pairs_of(x, Y).sum())(X)
    assert np.abs(slope).max() > 0.1


def test_masks_stop_gradients():
    hidden = ~WHERE
    for name, loss in {
        "cross_entropy": lambda x: losses.cross_entropy(x, TARGETS, where=WHERE),
        "lsgan_generator": lambda x: losses.lsgan_generator(x, where=WHERE),
        "wasserstein_critic": lambda x: losses.wasserstein_critic(x, X, where=WHERE),
        "center": lambda x: losses.center(x, IDS, Y, where=WHERE),
        "feature_matching": lambda x: losses.feature_matching(x, Y, real_where=WHERE),
        "mean": lambda x: losses.mean(x, WHERE),
    }.items():
        slope = jax.grad(lambda x, f=loss: f(x).sum())(jnp.asarray(X))
        assert not slope[hidden].any() and np.abs(slope[WHERE]).max() > 0, name
