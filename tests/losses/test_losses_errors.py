"""Wrong shapes and unknown options: the message names the function and what was given."""

import jax
import numpy as np
import pytest

from jaxreid import losses

X, Y = np.ones((2, 4, 3), np.float32)
IMAGES = np.ones((2, 4, 16, 16, 3), np.float32)
IDS, KEY, SCALE = np.array([0, 0, 1, 1]), jax.random.key(0), losses.loss_scale((4,))


def critic(images):
    return images.mean(-1)


WRONG = {
    "pairwise_distance": (lambda: losses.pairwise_distance(X, Y[:, :2]), r"\(4, 3\) and \(4, 2\)"),
    "triplet": (lambda: losses.triplet(X, IDS[:3], margin=1.0), r"labels \[N\], not \(3,\)"),
    "margin": (lambda: losses.triplet(X, IDS, margin="hard"), "'soft'; 'hard'"),
    "fake_triplet": (lambda: losses.fake_triplet(X[0], IDS, Y, IDS, margin=1), r"not \(3,\)"),
    "negatives": (
        lambda: losses.fake_triplet(X, IDS, Y, IDS, margin=1, negatives="both"),
        "'real', 'fake', 'all'; 'both'",
    ),
    "center": (lambda: losses.center(X, IDS, Y[:, :2]), r"\[K,3\], not \(4, 2\)"),
    "contrastive": (
        lambda: losses.contrastive(X, Y, (IDS == 0)[:, None], margin=1),
        r"\(4,\) or one, not \(4, 1\)",
    ),
    "numerics": (lambda: losses.contrastive(X, Y, True, margin=1, numerics="jax"), "'jax'"),
    "pairs": (lambda: losses.spgan_contrastive(X, X, Y, Y, margin=1, pairs="tf"), "'tf'"),
    "role": (lambda: losses.spgan_contrastive(X, X, Y, Y, margin=1, role="g"), "'siamese'; 'g'"),
    "tone": (lambda: losses.tone(X, IDS, Y[:2], IDS[:2]), r"\(4, 3\) and \(2, 3\)"),
    "tone takes": (lambda: losses.tone(X, IDS, Y, IDS[:2]), r"labels \[N\], not \(2,\)"),
    "normalize_axis": (
        lambda: losses.tone(X, IDS, Y, IDS, normalize_axis="rows"),
        "'features', 'batch'; 'rows'",
    ),
    "cross_modality": (lambda: losses.cross_modality(X, IDS, Y, IDS[:2], margin=1), r"\(2,\)"),
    "positives": (lambda: losses.cross_modality(X, IDS, Y, IDS, margin=1, positives="any"), "any"),
    "mmd": (lambda: losses.mmd(X, Y[:, :2]), r"\(4, 3\), \(4, 2\)"),
    "mmd takes": (lambda: losses.mmd(X, Y[0]), r"\[N,D\], not \(3,\)"),
    "unit": (lambda: losses.mmd(X, Y, unit="mean"), "'median', 'one'; 'mean'"),
    "estimate": (lambda: losses.mmd(X, Y, estimate="v"), "'unbiased'; 'v'"),
    "mine_pairs": (lambda: losses.mine_pairs(X, IDS, Y[0], IDS), r"\[N,D\], not \(3,\)"),
    "intra_modality": (
        lambda: losses.intra_modality(X, IDS, margin=1, pairs=(IDS, IDS[:2])),
        r"\(4,\) and \(2,\)",
    ),
    "cross_entropy": (lambda: losses.cross_entropy(X, Y[:, :2]), r"\(4, 3\) and \(4, 2\)"),
    "domain_classification": (
        lambda: losses.domain_classification(X, IDS[:2]),
        r"\(4, 3\) and \(2,\)",
    ),
    "smooth_labels": (lambda: losses.smooth_labels(IDS, 3, np.zeros((4, 1))), r"\(4, 1\)"),
    "num_classes": (lambda: losses.smooth_labels(IDS, 0), "at least 1; 0"),
    "lsro_labels": (lambda: losses.lsro_labels(IDS, IDS[:, None] > 0, 3), r"\(4,\) and \(4, 1\)"),
    "lsgan_discriminator": (lambda: losses.lsgan_discriminator(X, Y[0]), r"\(4, 3\) and \(3,\)"),
    "minimax_discriminator": (lambda: losses.minimax_discriminator(X, Y[0]), r"\(3,\)"),
    "wasserstein_critic": (lambda: losses.wasserstein_critic(X, Y[:1]), r"\(1, 3\)"),
    "gradient_penalty": (lambda: losses.gradient_penalty(critic, X, Y[:1], KEY), r"\(1, 3\)"),
    "feature_matching": (lambda: losses.feature_matching([X], [Y, Y]), r"\(4, 3\)\], \[\(4, 3\), "),
    "reduce": (lambda: losses.feature_matching(X, Y, reduce="max"), "'sum', 'mean'; 'max'"),
    "cycle": (lambda: losses.cycle(X, X), r"\[...,H,W,C\], not \(4, 3\)"),
    "identity_mapping": (lambda: losses.identity_mapping(IMAGES[0], IMAGES), r"\(2, 4, 16"),
    "masked_identity": (
        lambda: losses.masked_identity(*IMAGES, IMAGES[0, ..., 0]),
        r"\[...,H,W,1\] of the images, not \(4, 16, 16\)",
    ),
    "norm": (lambda: losses.masked_identity(*IMAGES, IMAGES[0], norm="l1"), "'l2'; 'l1'"),
    "context": (
        lambda: losses.context(*IMAGES, IMAGES[0][:1], IMAGES[0], IMAGES[0]),
        r"\(4, 16, 16, 3\) and \(1, 16",
    ),
    "ms_ssim": (lambda: losses.ms_ssim(*IMAGES, levels=3), "3 levels .* 16x16"),
    "ms_ssim takes": (lambda: losses.ms_ssim(IMAGES, IMAGES), r"\[B,H,W,C\], not \(2, 4, 16"),
    "scheduled_normalization": (
        lambda: losses.scheduled_normalization(X, SCALE, update=True),
        r"\(4, 3\) and \(4,\)",
    ),
    "style_weights": (lambda: losses.style_weights(np.float32(1)), r"\[C,...\], not \(\)"),
    "weight_norm": (lambda: losses.style_weights(X, weight_norm="max"), "'none'; 'max'"),
    "weight_grad": (lambda: losses.style_weights(X, weight_grad="no"), "'flow'; 'no'"),
    "style_unity": (lambda: losses.style_unity(X[0], Y), r"\(3,\) and \(4, 3\)"),
    "mean": (lambda: losses.mean(X, X[0]), r"\(4, 3\), not \(3,\)"),
    "where": (
        lambda: losses.triplet(X, IDS, margin=1.0, where=np.ones((4, 1), bool)),
        r"\(4, 3\), not \(4, 1\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_say_what_was_given(name):
    call, given = WRONG[name]
    with pytest.raises(ValueError, match=f"{name}.*{given}"):
        call()


def test_masks_are_not_broadcast():
    """A mask [N,1] of N scores would give N x N losses."""
    for mask in (np.ones((4, 1), bool), np.ones(1, bool), np.ones(3, bool)):
        with pytest.raises(ValueError, match="where has the leading axes"):
            losses.lsgan_generator(X[:, 0], where=mask)
