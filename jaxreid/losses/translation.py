"""Losses of image-to-image translators that compare images, one value per image.

Images are `[..., H, W, C]` in [-1, 1]. Means run over H, W and C, so values do not depend on the
image size.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxreid.losses._arrays import floats, keep, magnitude, require_images, require_option

Norm = Literal["mean_square", "l2"]

_PIXELS = (-3, -2, -1)


def cycle(
    images: ArrayLike, reconstructed: ArrayLike, *, where: ArrayLike | None = None
) -> jax.Array:
    r"""Cycle consistency.

    $$\ell = \operatorname{mean}_{h,w,c} \lvert x - F(G(x)) \rvert$$

    Args:
        images: x, `[..., H, W, C]`.
        reconstructed: the same images after both translations, same shape.
        where: booleans `[...]`; other images get 0 and no gradient.

    Returns:
        One value in [0, 2] per image, `[...]`. Equal pixels have gradient 0. Weight 10 in CycleGAN,
        CamStyle, PTGAN, SPGAN and StarGAN.

    Raises:
        ValueError: if the shapes differ.

    References:
        Zhu et al. (CycleGAN), ICCV 2017, eq. 2, as a mean (the form of every code) where the paper
        and seed 002 print the L1 norm; CamStyle eq. 1; L_L1 of UnityGAN, on [0, 1] (seed 004).
    """
    return _mean_absolute("cycle", images, reconstructed, where)


def identity_mapping(
    images: ArrayLike, mapped: ArrayLike, *, where: ArrayLike | None = None
) -> jax.Array:
    r"""Identity mapping: a generator leaves images of its own target style alone.

    $$\ell = \operatorname{mean}_{h,w,c} \lvert G(y) - y \rvert$$

    Args:
        images: y, `[..., H, W, C]`, already in the style that G produces. Giving G its source
            images instead breaks training without any error.
        mapped: G(y), same shape.
        where: booleans `[...]`; other images get 0 and no gradient.

    Returns:
        One value in [0, 2] per image, `[...]`. Equal pixels have gradient 0. Weight 0.5 x 10 in
        CycleGAN, CamStyle and SPGAN.

    Raises:
        ValueError: if the shapes differ.

    References:
        CycleGAN section 5.2; CamStyle eq. 2; L_ide of SPGAN (seed 002); L_ID of UnityGAN (seed
        004).
    """
    return _mean_absolute("identity_mapping", images, mapped, where)


def masked_identity(
    images: ArrayLike,
    mapped: ArrayLike,
    mask: ArrayLike,
    *,
    norm: Norm = "mean_square",
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""PTGAN's identity term: a translated person stays close to the original inside the mask.

    $$\ell = \operatorname{mean}_{h,w,c}\ M\,(G(x) - x)^2 \qquad\text{or}\qquad
    \ell = \lVert M \odot (G(x) - x) \rVert_2$$

    Args:
        images: x, `[..., H, W, C]`.
        mapped: G(x), same shape.
        mask: M in [0, 1], `[..., H, W, 1]` or the images' shape; 1 on the person.
        norm: 'mean_square' (the authors' code: divided by all elements, masked-out ones included)
            or 'l2' (as the paper prints it; a soft mask is squared, and the value grows with the
            image: 443 times the root mean square at 256x256x3).
        where: booleans `[...]`; other images get 0 and no gradient.

    Returns:
        One value >= 0 per image, `[...]`; weight 10 for 'mean_square'. The gradient is 0 outside
        the mask and finite everywhere; an empty mask gives 0 (1e-6 for 'l2').

    Raises:
        ValueError: if shapes do not fit or `norm` is unknown.

    References:
        Wei, Zhang, Gao, Tian, "Person Transfer GAN to Bridge Domain Gap for Person
        Re-Identification", CVPR 2018, L_ID (seeds 002, 003), and its code.
    """
    x, y = floats(images), floats(mapped)
    require_images("masked_identity", x, y)
    difference = keep(y, where) - keep(x, where)
    return keep(_masked("masked_identity", difference, mask, norm, where), where)


def context(
    generated: ArrayLike,
    source: ArrayLike,
    target: ArrayLike,
    source_mask: ArrayLike,
    background_mask: ArrayLike,
    *,
    norm: Norm = "mean_square",
    where: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    r"""CR-GAN's context term: the person of the source in the background of the target.

    $$\ell_F = \lVert (X_G - X_S) \odot M_F \rVert, \qquad
    \ell_B = \lVert (X_G - X_T) \odot M_B \rVert$$

    Args:
        generated: X_G, `[..., H, W, C]`.
        source: X_S, same shape.
        target: X_T, same shape.
        source_mask: M_F, the source person, `[..., H, W, 1]` or the images' shape, in [0, 1].
        background_mask: M_B, likewise. The poster leaves it open; the background of the target
            without the source person asks no pixel to equal both images.
        norm: 'mean_square' over H, W, C as `masked_identity`, or 'l2', the norm as printed.
        where: booleans `[...]`; other images get 0 and no gradient.

    Returns:
        $(\ell_F, \ell_B)$, one value >= 0 per image each, `[...]`; L_con is their sum.

    Raises:
        ValueError: if shapes do not fit or `norm` is unknown.

    References:
        Chen, Zhu, Gong, "Instance-Guided Context Rendering for Cross-Domain Person
        Re-Identification", ICCV 2019, L_con (seed 003).
    """
    made = floats(generated)
    terms = []
    for other, mask in ((source, source_mask), (target, background_mask)):
        other = floats(other)
        require_images("context", made, other)
        difference = keep(made, where) - keep(other, where)
        terms.append(keep(_masked("context", difference, mask, norm, where), where))
    return terms[0], terms[1]


def _mean_absolute(name: str, x: ArrayLike, y: ArrayLike, where: ArrayLike | None) -> jax.Array:
    x, y = floats(x), floats(y)
    require_images(name, x, y)
    return magnitude(keep(x, where) - keep(y, where)).mean(_PIXELS)


def _masked(
    name: str, difference: jax.Array, mask: ArrayLike, norm: Norm, where: ArrayLike | None
) -> jax.Array:
    """The norm of the masked difference, per image."""
    require_option("norm", norm, ("mean_square", "l2"))
    m = floats(mask)
    if m.shape not in (difference.shape, (*difference.shape[:-1], 1)):
        raise ValueError(f"{name} takes a mask [...,H,W,1] of the images, not {m.shape}.")
    m = keep(m, where)
    if norm == "mean_square":
        return (m * jnp.square(difference)).mean(_PIXELS)
    return jnp.sqrt(jnp.square(m * difference).sum(_PIXELS) + 1e-12)
