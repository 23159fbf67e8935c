"""Adversarial losses on score maps, one value per score."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def lsgan_generator(fake: ArrayLike) -> jax.Array:
    """Least-squares loss of the generator: ``(fake - 1)^2``.

    Args:
        fake: the discriminator's scores of generated images, any shape (a patch map as a rule).

    Returns:
        One value >= 0 per score, same shape.

    References:
        Mao et al., "Least Squares Generative Adversarial Networks", ICCV 2017, eq. 9; the choice
        of CycleGAN and of all its re-ID descendants.
    """
    return jnp.square(jnp.asarray(fake, jnp.float32) - 1.0)


def lsgan_discriminator(real: ArrayLike, fake: ArrayLike) -> jax.Array:
    """Least-squares loss of the discriminator: ``0.5 * ((real - 1)^2 + fake^2)``.

    Args:
        real: scores of real images, any shape.
        fake: scores of generated images (cut off from the generator's gradient), same shape.

    Returns:
        One value >= 0 per score, same shape. The factor 0.5 is the one of CycleGAN, CamStyle,
        PTGAN and SPGAN; PN-GAN has none (multiply by 2).

    References:
        Mao et al., ICCV 2017, eq. 9; Zhu et al. (CycleGAN), ICCV 2017, section 4.
    """
    real, fake = jnp.asarray(real, jnp.float32), jnp.asarray(fake, jnp.float32)
    return 0.5 * (jnp.square(real - 1.0) + jnp.square(fake))
