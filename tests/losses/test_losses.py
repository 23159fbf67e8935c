"""Losses against published values, a NumPy oracle, PyTorch's numbers and hard inputs."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import losses

LOGITS = np.array([1.0, 2.0, 0.5])


def oracle_cross_entropy(logits, targets):
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return -(np.asarray(targets, np.float64) * log_p).sum(-1)


def test_camstyle_golden_values():
    hard = losses.cross_entropy(LOGITS, losses.smooth_labels(1, 3))
    soft = losses.cross_entropy(LOGITS, losses.smooth_labels(1, 3, 0.1))
    assert float(hard) == pytest.approx(0.464369, abs=1e-6)
    assert float(hard + soft) == pytest.approx(1.012071, abs=1e-6)
    assert float(hard + hard) == pytest.approx(0.928738, abs=1e-6)


def test_label_smoothing_golden_values():
    logits = np.array([2.0, 1.0, 0.0, -1.0])
    plain, smooth = (
        float(losses.cross_entropy(logits, losses.smooth_labels(0, 4, e))) for e in (0.0, 0.1)
    )
    assert plain == pytest.approx(0.440190, abs=1e-6)
    assert smooth == pytest.approx(0.590190, abs=1e-6)


def test_smooth_labels_spread_over_all_classes():
    np.testing.assert_allclose(
        losses.smooth_labels(np.array([2, 0]), 4, 0.2),
        [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]],
        atol=1e-7,
    )
    per_label = losses.smooth_labels(np.array([1, 1]), 2, np.array([0.0, 1.0]))
    np.testing.assert_allclose(per_label, [[0, 1], [0.5, 0.5]], atol=1e-7)


def test_lsro_is_uniform_on_generated_images_only():
    targets = losses.lsro_labels(np.array([1, 1]), np.array([False, True]), 4)
    np.testing.assert_allclose(targets, [[0, 1, 0, 0], [0.25] * 4], atol=1e-7)


@pytest.mark.parametrize("seed", range(20))
def test_cross_entropy_equals_the_oracle(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(7, 11)) * 10.0 ** rng.integers(-2, 3)
    labels, epsilon = rng.integers(0, 11, 7), rng.uniform(size=7)
    targets = np.asarray(losses.smooth_labels(labels, 11, epsilon))
    np.testing.assert_allclose(targets.sum(-1), 1, rtol=1e-6)
    got = jax.jit(losses.cross_entropy)(logits, targets)
    np.testing.assert_allclose(got, oracle_cross_entropy(logits, targets), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_cross_entropy_is_finite_at_extreme_logits(dtype):
    logits = jnp.array([1e4, -1e4, 0.0], dtype)

    def loss(x):
        return losses.cross_entropy(x, losses.smooth_labels(1, 3, 0.1)).sum()

    value, gradient = jax.value_and_grad(loss)(logits)
    assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_least_squares_golden_values():
    real, fake = np.array([1.2, 0.5]), np.array([0.3, -0.4])
    assert float(losses.lsgan_discriminator(real, fake).mean()) == pytest.approx(0.135)
    assert float(losses.lsgan_generator(fake).mean()) == pytest.approx(1.225)


def test_image_losses_are_means_per_image():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 5, 6, 4, 3))
    expected = np.abs(x - y).mean((1, 2, 3))
    for loss in (losses.cycle, losses.identity_mapping):
        np.testing.assert_allclose(loss(x, y), expected, rtol=1e-6)
        np.testing.assert_allclose(jax.vmap(loss)(x, y), expected, rtol=1e-6)


def test_cyclegan_objective_golden_value():
    # a = 0.2, b = -0.4, G(x) = x + 0.1, F(x) = x / 2, D_B(x) = 2 x, D_A(x) = x.
    a, b = (np.full((1, 1, 1, 1), v) for v in (0.2, -0.4))

    def forward(x):
        return x + 0.1

    def back(x):
        return 0.5 * x

    total = (
        losses.lsgan_generator(2 * forward(a)).mean()
        + losses.lsgan_generator(back(b)).mean()
        + 10 * losses.cycle(a, back(forward(a))).mean()
        + 10 * losses.cycle(b, forward(back(b))).mean()
        + 5 * losses.identity_mapping(b, forward(b)).mean()
        + 5 * losses.identity_mapping(a, back(a)).mean()
    )
    assert float(total) == pytest.approx(6.1, abs=1e-5)


def test_importing_losses_is_light():
    code = (
        "import sys, jaxreid.losses\n"
        "heavy = {'tensorflow', 'tensorflow_datasets', 'PIL', 'matplotlib', 'orbax', 'flax'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
