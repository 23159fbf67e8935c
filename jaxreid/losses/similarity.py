"""Multi-scale structural similarity, with the choices of UnityGAN's ancestor as options."""

from collections.abc import Sequence
from functools import reduce
from math import floor, log2

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxreid.losses._arrays import floats, keep, magnitude, require_same
from jaxreid.losses.reduction import mean

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ms_ssim(
    x: ArrayLike,
    y: ArrayLike,
    *,
    levels: int | None = None,
    absolute: bool = True,
    per_image: bool = False,
    window: int = 8,
    sigma: float = 1.5,
    constants: tuple[float, float] = (0.03, 0.05),
    weights: Sequence[float] = WEIGHTS,
    where: ArrayLike | None = None,
) -> jax.Array:
    r"""Multi-scale structural similarity (MS-SSIM) of images in [0, 1].

    $$\prod_{l<L} \left(\overline{cs_l}\right)^{w_l} \left(\overline{cs_L\, lum_L}\right)^{w_L},
    \quad cs = \frac{2 s_{xy} + C_2}{s_{xx} + s_{yy} + C_2},
    \quad lum = \frac{2 \mu_x \mu_y + C_1}{\mu_x^2 + \mu_y^2 + C_1}$$

    per colour channel, then the mean over channels. Moments are taken under a Gaussian window
    without padding; between levels images are halved by 2x2 averages.

    Args:
        x: images `[B, H, W, C]` in [0, 1]: convert with `(x + 1) / 2`, the constants assume it.
        y: images of the same shape.
        levels: L, at most `len(weights)`; by default 1 + floor(log2(shorter side / window)): 5 for
            256x128, 4 for 128x64 (odd sides are halved upwards and may have room for one more). The
            weights are not renormalised.
        absolute: whether $s_{xy}$ is the absolute covariance, as in GANimorph: a negative then
            counts as similar. False is the signed original; level means are clipped at 0.
        per_image: whether the bar is a mean over the image (one value per image, the usual form) or
            over image and batch before the power, as in GANimorph (one value per batch).
        window: side of the Gaussian window; even ones lie off centre, on -3..4 for 8.
        sigma: its standard deviation in pixels.
        constants: the roots of C_1 and C_2. The usual choice is (0.01, 0.03) with window 11.
        weights: exponents w_l.
        where: booleans `[B]`; other images do not enter the mean, or get 0 with `per_image`.

    Returns:
        The similarity, a scalar or `[B]` with `per_image`; at most 1, which it is for equal images,
        and at least 0. The loss is 1 minus it. The gradient is finite; it is 0 in levels whose mean
        was clipped. The scalar is 0 where `where` leaves no image.

    Raises:
        ValueError: if shapes differ or the smallest level is smaller than the window.

    References:
        Wang, Simoncelli, Bovik, "Multiscale Structural Similarity for Image Quality Assessment",
        2003; L_SS of UnityGAN (seed 004) as GANimorph's code computes it (Gokaslan et al., ECCV
        2018): window 8, constants (0.03, 0.05), absolute values, one mean per batch.
    """
    x, y = floats(x), floats(y)
    require_same("ms_ssim", x, y)
    if x.ndim != 4:
        raise ValueError(f"ms_ssim takes images [B,H,W,C], not {x.shape}.")
    levels = _levels(x.shape[1:3], window, len(weights), levels)
    x, y = keep(x, where), keep(y, where)
    value = jnp.ones((x.shape[0] if per_image else 1, x.shape[-1]), x.dtype)
    for level in range(levels):
        contrast, luminance = _moments(x, y, window, sigma, constants, absolute)
        last = level == levels - 1
        term = (contrast * luminance if last else contrast).mean((1, 2))  # [B,C]
        if not per_image:
            term = jax.vmap(lambda column: mean(column, where), 1)(term)[None]
        value = value * _power(term, weights[level])
        x, y = _halve(x), _halve(y)
    return keep(value.mean(1), where) if per_image else value.mean()


def _levels(size: tuple[int, ...], window: int, most: int, levels: int | None) -> int:
    """The number of levels, checked against the image."""
    side = min(size)
    if levels is None:
        levels = min(most, 1 + floor(log2(max(side, 1) / window)))
    smallest = side
    for _ in range(levels - 1):
        smallest = -(-smallest // 2)
    if not 1 <= levels <= most or smallest < window:
        raise ValueError(
            f"ms_ssim with {levels} levels (at most {most}) and window {window} does not fit "
            f"images of {size[0]}x{size[1]}: the last level must be a window wide. Ask for fewer "
            "levels or enlarge the images."
        )
    return levels


def _moments(
    x: jax.Array,
    y: jax.Array,
    window: int,
    sigma: float,
    constants: tuple[float, float],
    absolute: bool,
) -> tuple[jax.Array, jax.Array]:
    """Contrast-structure and luminance terms at every window position."""
    stacked = jnp.stack([x, y, x * x, y * y, x * y])
    mean_x, mean_y, xx, yy, xy = _blur(stacked, window, sigma)
    c1, c2 = (k * k for k in constants)
    variances = xx - mean_x**2, yy - mean_y**2
    covariance = xy - mean_x * mean_y
    if absolute:
        variances, covariance = tuple(map(magnitude, variances)), magnitude(covariance)
    contrast = (2 * covariance + c2) / (sum(variances) + c2)
    return contrast, (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)


def _blur(images: jax.Array, window: int, sigma: float) -> jax.Array:
    """Gaussian means of [...,H,W,C] under every window position, without padding."""
    taps = jnp.arange(window) - (window - 1) // 2
    kernel = jnp.exp(-0.5 * jnp.square(taps / sigma))
    kernel = (kernel / kernel.sum()).astype(images.dtype)
    for axis in (images.ndim - 3, images.ndim - 2):
        length = images.shape[axis] - window + 1
        images = reduce(
            jnp.add,
            (
                kernel[i] * jax.lax.slice_in_dim(images, i, i + length, axis=axis)
                for i in range(window)
            ),
        )
    return images


def _halve(images: jax.Array) -> jax.Array:
    """2x2 means; a window over an odd edge averages the pixels it has."""
    window, pads = (1, 2, 2, 1), [(0, 0), *((0, n % 2) for n in images.shape[1:3]), (0, 0)]

    def total(a: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(a, 0.0, jax.lax.add, window, window, pads)

    return total(images) / total(jnp.ones_like(images[:1]))


def _power(base: jax.Array, exponent: float) -> jax.Array:
    """`max(base, 0) ** exponent` with gradient 0 where it was clipped."""
    positive = base > 0
    return jnp.where(positive, jnp.where(positive, base, 1.0) ** exponent, 0.0)
