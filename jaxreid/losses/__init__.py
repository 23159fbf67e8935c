"""Losses as pure functions of arrays: `from jaxreid import losses; losses.cross_entropy(...)`.

Every loss returns one value per sample, patch or pixel map and leaves the reduction to the caller
(`losses.mean` is safe where a mask may leave nothing), except quantities that are batch scalars by
nature. `where` masks rows: they get 0, pass no gradient and may hold anything. Half-precision input
is computed in float32. No loss knows a network, a data set or a device; mining sees the global
batch.
"""

from jaxreid.losses.adversarial import (
    feature_matching,
    gradient_penalty,
    lsgan_discriminator,
    lsgan_generator,
    minimax_discriminator,
    minimax_generator,
    nonsaturating_discriminator,
    nonsaturating_generator,
    wasserstein_critic,
    wasserstein_generator,
)
from jaxreid.losses.classification import (
    cross_entropy,
    domain_classification,
    joint_cross_entropy,
    lsro_labels,
    smooth_labels,
)
from jaxreid.losses.discrepancy import mmd
from jaxreid.losses.metric import (
    center,
    contrastive,
    fake_triplet,
    pairwise_distance,
    triplet,
)
from jaxreid.losses.modality import cross_modality, intra_modality, mine_pairs
from jaxreid.losses.reduction import mean
from jaxreid.losses.siamese import spgan_contrastive, tone
from jaxreid.losses.similarity import ms_ssim
from jaxreid.losses.translation import context, cycle, identity_mapping, masked_identity
from jaxreid.losses.unity import (
    LossScale,
    loss_scale,
    scheduled_normalization,
    style_unity,
    style_weights,
)

__all__ = [
    "LossScale",
    "center",
    "context",
    "contrastive",
    "cross_entropy",
    "cross_modality",
    "cycle",
    "domain_classification",
    "fake_triplet",
    "feature_matching",
    "gradient_penalty",
    "identity_mapping",
    "intra_modality",
    "joint_cross_entropy",
    "loss_scale",
    "lsgan_discriminator",
    "lsgan_generator",
    "lsro_labels",
    "masked_identity",
    "mean",
    "mine_pairs",
    "minimax_discriminator",
    "minimax_generator",
    "mmd",
    "ms_ssim",
    "nonsaturating_discriminator",
    "nonsaturating_generator",
    "pairwise_distance",
    "scheduled_normalization",
    "smooth_labels",
    "spgan_contrastive",
    "style_unity",
    "style_weights",
    "tone",
    "triplet",
    "wasserstein_critic",
    "wasserstein_generator",
]
