"""Scores, logits, images and features where losses could break: all that comes out is finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import losses

pytestmark = pytest.mark.usefixtures("quick_compiler")

HALF = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
X, Y = np.random.default_rng(0).uniform(size=(2, 4, 16, 17, 2)).astype(np.float32)
WHERE = np.array([True, False, True, False])
NAN = np.where(WHERE[:, None, None, None], X, np.nan)


def check(loss, *args):
    """Value and gradients of the sum are finite; returns both."""

    @jax.jit
    def run(*args):
        values, pull = jax.vjp(loss, *args)
        return values, pull(jax.tree.map(jnp.ones_like, values))

    values, slopes = run(*map(jnp.asarray, args))
    for leaf in jax.tree.leaves((values, slopes)):
        assert np.all(np.isfinite(np.asarray(leaf, np.float32)))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(values))
    return values, slopes


SCORES = [n for n in losses.__all__ if n.endswith(("_generator", "_discriminator", "_critic"))]


@HALF
@pytest.mark.parametrize("name", SCORES)
def test_extreme_scores(name, dtype):
    count = 1 if name.endswith("generator") else 2
    largest = 1e18 if name.startswith("lsgan") else 1e38  # squares of more leave float32
    scores = jnp.array([0, 1e-30, 1e4, -1e4, largest, -largest], dtype)
    check(getattr(losses, name), *[scores, -scores][:count])
    hidden = jnp.array([np.nan, np.inf, -np.inf, 1, 2, 3], dtype)
    where = np.arange(6) > 2
    values, slopes = check(
        lambda *a: getattr(losses, name)(*a, where=where), *[hidden, jnp.ones(6, dtype)][:count]
    )
    assert not values[:3].any() and not any(s[:3].any() for s in slopes)


@HALF
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_extreme_logits(dtype, epsilon):
    targets = losses.smooth_labels(np.arange(5) % 3, 3, epsilon)
    large = [[1e4, -1e4, 0], [-1e4, 1e4, 0], [0, 0, 0], [1e38, -1e38, 0], [-1e38, 1e38, 1e38]]
    values, slopes = check(losses.cross_entropy, jnp.array(large, dtype), targets)
    assert np.all(values >= 0) and values[0] == pytest.approx(1e4 * epsilon, rel=1e-2)
    slope = jax.grad(lambda z: losses.cross_entropy(z, targets).sum())(jnp.array(large, dtype))
    np.testing.assert_allclose(slope.astype(np.float32).sum(-1), 0, atol=1e-2)


@HALF
def test_infinite_logits(dtype):
    """-inf takes a class out where its target is 0; the largest floats may sit on the target."""
    logits = jnp.array([[1.0, -np.inf, 2.0], [3e38, -3e38, -np.inf]], dtype)
    targets = losses.smooth_labels(np.array([2, 0]), 3)
    values, slope = jax.vjp(lambda z: losses.cross_entropy(z, targets), logits)
    np.testing.assert_allclose(values, [np.log1p(np.exp(-1)), 0], rtol=1e-5)
    gradient = np.asarray(slope(jnp.ones(2))[0], np.float32)
    assert np.all(np.isfinite(gradient)) and not gradient[0, 1]
    without = losses.cross_entropy(np.array([1.0, 2.0]), losses.smooth_labels(1, 2))
    np.testing.assert_allclose(values[0], without, rtol=1e-6)
    # a value that float32 cannot hold becomes infinite, its gradient does not
    slope = jax.grad(lambda z: losses.cross_entropy(z, targets[0]))(jnp.array([3e38, 0, -3e38]))
    np.testing.assert_allclose(slope, [1, 0, -1])


def test_one_class_and_no_class():
    for epsilon in (0.0, 0.3, 1.0):
        targets = losses.smooth_labels(np.zeros(3, int), 1, epsilon)
        np.testing.assert_allclose(targets, 1, atol=1e-7)
        values, slopes = check(
            lambda z, t=targets: losses.cross_entropy(z, t), np.float32([[9], [-9], [0]])
        )
        assert not values.any() and not slopes[0].any()
    missing = losses.smooth_labels(np.array([-1, 7]), 3)
    assert not missing.any() and not losses.cross_entropy(np.ones((2, 3)), missing).any()


@HALF
def test_masked_logits(dtype):
    logits = jnp.array([[1, 2, 3], [np.nan, np.inf, -np.inf], [0, 1, 0], [np.nan] * 3], dtype)
    targets = losses.smooth_labels(np.array([0, 5, 1, -3]), 3, 0.1)
    for loss in (
        lambda z: losses.cross_entropy(z, targets, where=WHERE),
        lambda z: losses.joint_cross_entropy(z, 2 * z, targets, where=WHERE),
        lambda z: losses.domain_classification(z, np.array([0, 9, 1, -2]), where=WHERE),
    ):
        values, slopes = check(loss, logits)
        assert not values[~WHERE].any() and not slopes[0][~WHERE].any()
        np.testing.assert_allclose(losses.mean(values, WHERE), values[WHERE].mean(), rtol=1e-6)


@HALF
def test_slope_of_a_flat_critic(dtype):
    for power, expected in ((0, 1.0), (1, 1.0)):  # 0 * x and |x| at 0

        def penalty(scale, power=power):
            def critic(images):
                return scale * jnp.maximum(images, 0).sum((1, 2, 3)) * power

            zeros = jnp.zeros((4, 3, 2, 1), dtype)
            return losses.gradient_penalty(critic, zeros - 1, zeros - 1, jax.random.key(0))

        values, slopes = check(penalty, jnp.float32(2.0))
        np.testing.assert_allclose(values, expected)
        assert slopes[0] == 0
    key = jax.random.key(0)
    values, slopes = check(
        lambda x: losses.gradient_penalty(lambda z: (z**2).sum((1, 2, 3)), x, x, key, where=WHERE),
        jnp.asarray(NAN, dtype),
    )
    assert not values[~WHERE].any() and not slopes[0][~WHERE].any()


IMAGES = {
    "equal": (X, X),
    "equal, constant": (0 * X + 0.3, 0 * X + 0.3),
    "black": (0 * X, 0 * X),
    "black and white": (0 * X, 0 * X + 1),
    "negative": (X, 1 - X),
    "constant and noise": (0 * X + 0.5, X),
    "unrelated": (X, Y),
}


@HALF
@pytest.mark.parametrize("options", [{}, {"absolute": False}], ids=["absolute", "signed"])
def test_similarity_of_special_images(dtype, options):
    loss = jax.jit(lambda x, y: losses.ms_ssim(x, y, per_image=True, **options))
    run = jax.jit(lambda x, y: (loss(x, y), jax.grad(lambda a, b: loss(a, b).sum(), (0, 1))(x, y)))
    for name, (x, y) in IMAGES.items():
        values, slopes = run(jnp.asarray(x, dtype), jnp.asarray(y, dtype))
        assert values.dtype == jnp.float32 and np.all((values >= 0) & (values <= 1 + 1e-6)), name
        assert all(np.all(np.isfinite(s.astype(np.float32))) for s in slopes), name
        if name in ("equal", "equal, constant", "black"):
            np.testing.assert_allclose(values, 1, atol=1e-6, err_msg=name)
        if name == "negative" and options:
            assert not values.any() and not slopes[0].any(), name


@pytest.mark.parametrize("per_image", [False, True])
def test_similarity_of_masked_images(per_image):
    loss = jax.jit(
        lambda x, y, where: losses.ms_ssim(x, y, where=where, per_image=per_image, absolute=False)
    )
    values, slopes = check(lambda x, y: loss(x, y, WHERE), NAN, Y)
    expected = losses.ms_ssim(X[WHERE], Y[WHERE], per_image=per_image, absolute=False)
    np.testing.assert_allclose(values[WHERE] if per_image else values, expected, rtol=1e-5)
    assert not any(s[~WHERE].any() for s in slopes)
    nothing, slopes = check(lambda x, y: loss(x, y, ~WHERE & WHERE), NAN * np.nan, Y)
    assert not np.any(nothing) and not any(s.any() for s in slopes)


@HALF
def test_images(dtype):
    x, nan, mask = (jnp.asarray(a, dtype) for a in (X, NAN, X[..., :1] > 0.5))
    masked = {
        "cycle": lambda a: losses.cycle(a, Y, where=WHERE),
        "masked_identity": lambda a: losses.masked_identity(a, Y, a[..., :1], where=WHERE),
        "masked_identity, l2": lambda a: losses.masked_identity(a, Y, mask, norm="l2", where=WHERE),
        "context": lambda a: losses.context(a, Y, Y, mask, a[..., 1:], norm="l2", where=WHERE),
    }
    for name, loss in masked.items():
        values, slopes = check(loss, nan)
        plain, _ = check(loss, x)
        for value, other in zip(*map(jax.tree.leaves, (values, plain)), strict=True):
            np.testing.assert_array_equal(value, other, err_msg=name)
            assert not value[~WHERE].any()
        assert not slopes[0][~WHERE].any(), name
    for norm in ("mean_square", "l2"):  # equal images
        _, slopes = check(lambda a, n=norm: losses.masked_identity(a, x, mask, norm=n), x)
        assert not slopes[0].any()
    assert not check(lambda a: losses.identity_mapping(a, x), x)[1][0].any()


@HALF
def test_features(dtype):
    nan, y = jnp.asarray(NAN, dtype), jnp.asarray(Y, dtype)
    value, slopes = check(
        lambda a: losses.feature_matching([a, a[:, 0]], [y, y[:, 1]], real_where=WHERE), nan
    )
    assert value > 0 and not slopes[0][~WHERE].any()
    nobody = ~WHERE & WHERE
    value, slopes = check(lambda a, b: losses.feature_matching(a, b, fake_where=nobody), y, nan)
    assert value == 0 and not any(s.any() for s in slopes)
    for real, fake in ((y[:0], y), (y, y[:0]), (y[:0], y[:0])):
        assert losses.feature_matching(real, fake) == 0


def test_nothing_to_average():
    assert losses.mean(np.zeros(0)) == 0 and losses.mean(np.zeros((0, 3)), np.zeros(0)) == 0
    value, slopes = check(lambda v: losses.mean(v, np.zeros(3)), np.float32([np.nan, np.inf, 1]))
    assert value == 0 and not slopes[0].any()
    values = np.float32([1, 2, np.nan])
    assert losses.mean(values, np.array([1, 3, 0])) == pytest.approx(1.75)
    for loss in (losses.ms_ssim, losses.cycle):
        assert not np.any(np.isnan(loss(X[:0], X[:0])))
    assert losses.ms_ssim(X[:0], X[:0], per_image=True).shape == (0,)


def test_cameras_without_attention():
    maps, terms = np.zeros((3, 2)), np.float32([1, 2, 3])
    for grad in ("stop", "flow"):
        value, slopes = check(
            lambda a, m, g=grad: losses.style_unity(a, m, weight_grad=g), terms, maps
        )
        assert value == 0 and not slopes[0].any()
    hidden = np.float32([1, np.nan, np.inf]), np.float32([[1, 1], [np.nan, 1], [np.inf, 2]])
    seen = np.array([True, False, False])
    value, slopes = check(lambda a, m: losses.style_unity(a, m, where=seen), *hidden)
    assert value == 1 and not slopes[0][1:].any() and not slopes[1][1:].any()


def test_a_loss_of_zero_normalised():
    state = losses.loss_scale()
    for _ in range(3):
        value, state = losses.scheduled_normalization(0.0, state, update=True, beta=0.0)
        assert value == 0 and state.denominator == 0
