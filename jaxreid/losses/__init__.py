"""Losses as pure functions of arrays: ``from jaxreid import losses; losses.cross_entropy(...)``.

Every loss returns one value per sample, patch or pixel map and leaves the reduction to the caller,
except quantities that are batch scalars by nature. No loss knows a network, a data set or a device.
"""

from jaxreid.losses.adversarial import lsgan_discriminator, lsgan_generator
from jaxreid.losses.classification import cross_entropy, lsro_labels, smooth_labels
from jaxreid.losses.translation import cycle, identity_mapping

__all__ = [
    "cross_entropy",
    "cycle",
    "identity_mapping",
    "lsgan_discriminator",
    "lsgan_generator",
    "lsro_labels",
    "smooth_labels",
]
