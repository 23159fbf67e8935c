"""Losses of image-to-image translators that compare images, one value per image."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def _mean_absolute(x: ArrayLike, y: ArrayLike) -> jax.Array:
    difference = jnp.asarray(x, jnp.float32) - jnp.asarray(y, jnp.float32)
    return jnp.mean(jnp.abs(difference), axis=(-3, -2, -1))


def cycle(images: ArrayLike, reconstructed: ArrayLike) -> jax.Array:
    """Cycle consistency: the mean over H, W, C of ``|images - F(G(images))|``.

    Args:
        images: ``[..., H, W, C]`` in [-1, 1].
        reconstructed: the same images after both translations, same shape.

    Returns:
        One value in [0, 2] per image, ``[...]``.

    References:
        Zhu et al. (CycleGAN), ICCV 2017, eq. 2, as a mean (the form of every code); CamStyle eq. 1.
    """
    return _mean_absolute(images, reconstructed)


def identity_mapping(images: ArrayLike, mapped: ArrayLike) -> jax.Array:
    """Identity mapping: the mean over H, W, C of ``|G(images) - images|``, images of G's target.

    Args:
        images: ``[..., H, W, C]`` in [-1, 1], already in the style that G produces.
        mapped: ``G(images)``, same shape.

    Returns:
        One value in [0, 2] per image, ``[...]``.

    References:
        CycleGAN section 5.2; CamStyle eq. 2; weight 0.5 x 10 in both codes.
    """
    return _mean_absolute(images, mapped)
