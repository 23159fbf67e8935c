"""Losses of classifiers, GANs, images and cameras: the values that the specifications print."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from losses_cases import double, jitted
from losses_oracle_images import gaussian

from jaxreid import losses

pytestmark = pytest.mark.usefixtures("quick_compiler")

LOGITS = np.array([1.0, 2.0, 0.5])


def entropy(logits, label, epsilon=0.0):
    targets = losses.smooth_labels(label, len(logits), epsilon)
    return losses.cross_entropy(logits, targets)


@double
def test_lsro(golden):
    values = [entropy(LOGITS, 1, e) for e in (0.0, 0.1, 1.0)]
    golden("cross_entropy, LSR, LSRO", values, [0.464369, 0.547702, 1.297702])
    slopes = jnp.stack([jax.grad(entropy)(LOGITS, 1, e) for e in (0.0, 0.1, 1.0)])
    expected = [
        [0.231224, -0.371468, 0.140244],
        [0.197891, -0.304802, 0.106911],
        [-0.102109, 0.295198, -0.193089],
    ]
    golden("cross_entropy, LSR, LSRO, gradient", slopes, expected)
    labels, generated = np.array([1, 0]), np.array([False, True])
    targets = losses.lsro_labels(labels, generated, 3)
    golden("lsro_labels", targets, [[0, 1, 0], [1 / 3] * 3])
    mixed = losses.cross_entropy(np.stack([LOGITS, LOGITS]), targets)
    golden("LSRO, mean of a mixed batch", losses.mean(mixed), 0.881035)
    outside = np.append(LOGITS, -1.0)
    all_in_one = entropy(outside, 3), entropy(outside, 1)
    golden("LSRO's rival, one class more", all_in_one, [3.495182, 0.495182])
    golden("LSRO's rival, pseudo label", 0.1 * entropy(LOGITS, LOGITS.argmax()), 0.046437)


@double
def test_label_smoothing(golden):
    hard, soft = entropy(LOGITS, 1), entropy(LOGITS, 1, 0.1)
    golden("CamStyle, real and fake mean", hard + soft, 1.012071)
    golden("CamStyle, vanilla", hard + hard, 0.928738)
    golden("CamStyle, a single mean", (2 * hard + soft) / 3, 0.492147)
    logits = np.array([2.0, 1.0, 0.0, -1.0])
    values = entropy(logits, 0, 0.1), entropy(logits, 0)
    golden("LSR, four classes", values, [0.5901896986, 0.4401896986], 7)  # targets are float32
    slope = jax.grad(entropy)(logits, 0, 0.1)
    golden("LSR, gradient", slope, [-0.28108574, 0.21188282, 0.06214432, 0.0070586], 7)
    np.testing.assert_allclose(
        losses.smooth_labels(np.array([2, 0]), 4, 0.2),
        [[0.05, 0.05, 0.85, 0.05], [0.85, 0.05, 0.05, 0.05]],
        atol=1e-7,
    )


@double
def test_adversarial_scores(golden):
    real, fake = np.array(2.0), np.array(-1.0)
    golden("minimax_discriminator", losses.minimax_discriminator(real, fake), 0.440190)
    golden("nonsaturating_discriminator", losses.nonsaturating_discriminator(real, fake), 0.220095)
    golden("nonsaturating_generator", losses.nonsaturating_generator(fake), 1.313262)
    maps = np.array([2.0, -1.0])
    golden("GANimorph, generator", losses.nonsaturating_generator(maps).mean(), 0.7200948493, 10)
    halves = 0.5 * losses.nonsaturating_generator(maps), -0.5 * losses.minimax_generator(maps)
    expected = [0.3600474246, 0.6100474246]
    golden("GANimorph, discriminator halves", [h.mean() for h in halves], expected, 9)
    real, fake = np.array([1.2, 0.5]), np.array([0.3, -0.4])
    golden("lsgan_discriminator", losses.lsgan_discriminator(real, fake).mean(), 0.135)
    golden("lsgan_generator", losses.lsgan_generator(fake).mean(), 1.225)
    golden("wasserstein_critic", losses.wasserstein_critic(real, fake).mean(), -0.9)
    golden("wasserstein_generator", losses.wasserstein_generator(fake).mean(), 0.05)
    real, fake = np.array([1.0, -1.0]), np.array([0.0, 2.0])
    halved = losses.nonsaturating_discriminator(real, fake).mean()
    golden("CR-GAN, discriminator", halved, 1.1116496416, 9)
    golden("CR-GAN, generator", losses.nonsaturating_generator(fake).mean(), 0.4100375958, 10)
    golden("CR-GAN, minimax generator", losses.minimax_generator(fake).mean(), -1.4100375958, 10)


@double
def test_cyclegan_objective(golden):
    """Scalars a = 0.2, b = -0.4, G(x) = x + 0.1, F(x) = x / 2, D_B(x) = 2 x, D_A(x) = x."""
    a, b = np.full((1, 1, 1), 0.2), np.full((1, 1, 1), -0.4)
    to_b, to_a = lambda x: x + 0.1, lambda x: 0.5 * x
    terms = [
        losses.lsgan_generator(2 * to_b(a)).mean(),
        losses.lsgan_generator(to_a(b)).mean(),
        10 * losses.cycle(a, to_a(to_b(a))),
        10 * losses.cycle(b, to_b(to_a(b))),
        5 * losses.identity_mapping(b, to_b(b)),
        5 * losses.identity_mapping(a, to_a(a)),
    ]
    golden("CycleGAN, terms", terms, [0.16, 1.44, 0.5, 3.0, 0.5, 0.5])
    golden("CycleGAN, generators", sum(terms), 6.1)
    discriminators = [losses.lsgan_discriminator(2 * b, 2 * to_b(a)).mean()]
    discriminators += [losses.lsgan_discriminator(a, to_a(b)).mean()]
    golden("CycleGAN, discriminators", discriminators, [1.8, 0.34])


@double
def test_gradient_penalty(golden):
    key, images = jax.random.key(0), np.ones((2, 16, 8, 3))
    w = np.full(images.shape[1:], 0.25 / images[0].size ** 0.5)

    def patches(x):
        return jnp.repeat((x * w).sum((1, 2, 3))[:, None], 8, 1)

    def means(x):
        return patches(x).mean(1)

    def filtered(x):  # a 4x4 filter of 0.1 with stride 4
        return 0.1 * x.reshape(len(x), 4, 4, 2, 4, 3).sum((2, 4, 5))

    def penalty(critic):
        return losses.gradient_penalty(critic, images, 0 * images, key)[0]

    golden("gradient_penalty, 8 patches", penalty(patches), 1.0)
    golden("gradient_penalty, their mean", penalty(means), 0.5625)
    golden("gradient_penalty, strided filter", penalty(filtered), 0.920816)


@double
def test_feature_matching(golden):
    real = np.array([[1.0, 2], [3, 4]])
    values = [
        losses.feature_matching(real, np.array(fake, float))
        for fake in ([[0, 1], [2, 5]], [[0, 0], [2, 2]])
    ]
    golden("feature_matching", values, [0.5, 2.5])


@double
def test_masked_identity(golden):
    x, y = np.zeros((2, 4, 4, 3)), np.full((2, 4, 4, 3), 0.5)
    half = np.zeros((2, 4, 4, 1))
    half[:, :2] = 1
    golden("masked_identity", losses.masked_identity(x, y, half), [0.125] * 2)
    golden("masked_identity, l2", losses.masked_identity(x, y, half, norm="l2"), [2.4494897] * 2, 7)
    y = np.array([[[0.5, 0.5, 0.5], [1, 0, 0]], [[0, 0.2, 0], [-1, -1, -1]]])
    mask = np.array([[1, 1], [0.5, 0]])[..., None]
    values = [losses.masked_identity(0 * y, y, m) for m in (mask, mask > 0.5, mask**2)]
    golden("masked_identity, soft mask", values, [0.1475, 0.1458333, 0.1466667], 7)
    value = losses.masked_identity(0 * y, y, mask, norm="l2")
    golden("masked_identity, l2, soft mask", value, 1.3266499, 7)
    empty = [losses.masked_identity(x, x + 1, 0 * half, norm=n)[0] for n in ("mean_square", "l2")]
    golden("masked_identity, empty mask", empty, [0, 1e-6], 9)


@double
def test_context(golden):
    made = np.array([[0.1, 0.8], [0.6, 0.4]])[..., None]
    person, other = np.array([[1.0, 0], [1, 0]]), np.array([[0.0, 0], [1, 1]])
    masks = {
        "target_background": (1 - other, 0.2125, 0.9219544457),
        "not_source_person": (1 - person, 0.1, 0.6324555320),
        "intersection": ((1 - other) * (1 - person), 0.01, 0.2),
    }
    for name, (background, square, norm) in masks.items():
        args = made, 0 * made, 0 * made + 1, person[..., None], background[..., None]
        golden(f"context, {name}", losses.context(*args), [0.0925, square])
        values = losses.context(*args, norm="l2")
        golden(f"context, l2, {name}", values, [0.6082762530, norm], 9)


@double
def test_ms_ssim(golden):
    def pattern(rows, columns):
        h, w, c = np.mgrid[:rows, :columns, :3]
        return ((3 * h + 5 * w + 7 * c) % 32) / 31

    def apart(x, *others, **options):
        x = np.stack([x] * len(others))
        return 1 - jitted("ms_ssim", **options)(x, np.stack(others))

    x, other, z = pattern(128, 128), pattern(256, 128), pattern(128, 64)
    h, w, c = np.mgrid[:128, :128, :3]
    smooth = 0.5 + 0.5 * np.sin(h / 9 + c) * np.cos(w / 7)
    values = apart(x, x, 0.9 * x + 0.05, 0 * x + 0.5, 1 - x, per_image=True)
    expected = [0, 0.003405694095, 0.767690151808, 5.5e-14]
    golden("1 - ms_ssim, pattern", values, expected, 10)
    values = apart(smooth, smooth, 0.9 * smooth + 0.05, smooth, 1 - smooth, per_image=True)
    golden("1 - ms_ssim, smooth", values, [0, 0.005166546747, 0, 3.6e-10], 10)
    value = apart(x, 0.9 * x + 0.05, 0 * x + 0.5)
    golden("1 - ms_ssim, one mean per batch", value, 0.311899503352, 10)
    golden("1 - ms_ssim, negative, signed", apart(x, 1 - x, absolute=False), 1, 10)
    golden("1 - ms_ssim, 256x128", apart(other, 0.9 * other + 0.05), 0.003405690193, 10)
    golden("1 - ms_ssim, 128x64", apart(z, 0.9 * z + 0.05), 0.003380846200, 10)


def test_window_of_ms_ssim(golden):
    window = gaussian(8, 1.5)
    values = window[3, 3], window[0, 0], window[7, 7]
    golden("window of the oracle of ms_ssim", values, [0.0721487791, 0.0013214510, 0.0000588725], 9)


@double
def test_scheduled_normalization(golden):
    table = {
        0.5: [1.333333, 1.333333, 1.066667, 2.133333, 1.153153],
        0.99: [1.980198, 1.980198, 1.942311, 3.884623, 3.673736],
        0.9999: [1.999800, 1.999800, 1.999400, 3.998800, 3.996404],
    }
    for beta, expected in table.items():
        state, results = losses.loss_scale(), []
        for t, value in enumerate([2.0, 2.0, 2.0, 4.0, 4.0]):
            result, state = losses.scheduled_normalization(
                value, state, update=t % 2 == 0, beta=beta
            )
            results.append(result)
        golden(f"scheduled_normalization, beta {beta}", results, expected)


@double
def test_style_unity(golden):
    attention = np.stack([np.full((2, 3), a) for a in (0.4, 0.5, 0.6)])
    values = [
        losses.style_unity(np.array([1.0, 2, 4]), attention, weight_norm=norm)
        for norm in ("none", "sum1")
    ]
    golden("style_unity", values, [3.8, 2.5333333])
