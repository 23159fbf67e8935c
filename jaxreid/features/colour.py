"""Colour of images on the host: grey, hue, and light evened out."""

import numpy as np

LUMA = np.array([0.298936021293775, 0.587043074451121, 0.114020904255103])
"""Weights of red, green and blue in brightness: first row of the inverse of NTSC's matrix."""


def require_images(name: str, images: np.ndarray, least: int) -> np.ndarray:
    """Returns uint8 images ``[n, H, W, 3]``; raises ValueError for anything else.

    ``least`` is the smallest height and width that ``name`` can do with.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(f"{name} takes uint8 images [n,H,W,3], not {images.dtype} {images.shape}.")
    if min(images.shape[1:3]) < least:
        raise ValueError(
            f"{name} takes images of {least} pixels a side or more, not "
            f"{images.shape[1]}x{images.shape[2]}: resize them."
        )
    return images


def grey(images: np.ndarray) -> np.ndarray:
    """Brightness in [0, 1] of uint8 images ``[n, H, W, 3]``, rounded to 8 bits: ``[n, H, W]``."""
    return np.rint(images @ LUMA) / 255


def hsv(images: np.ndarray) -> np.ndarray:
    """Hue, saturation and value, each in [0, 1], of RGB in [0, 255].

    Both are ``[..., 3]``. The hue of grey is 0, the saturation of black, too. From whole numbers
    nothing is rounded where a hue or saturation is a multiple of 1/8.
    """
    images = np.asarray(images, np.float64)
    value, low = images.max(-1), images.min(-1)
    spread = value - low
    r, g, b = np.moveaxis(images, -1, 0)
    turns = np.select(
        [spread == 0, value == r, value == g],
        [np.zeros_like(r), g - b, b - r],
        r - g,
    ) / np.where(spread == 0, 1, spread)
    sector = np.select([value == r, value == g], [0.0, 2.0], 4.0)
    hue = np.where(spread == 0, 0, (turns + sector) / 6 % 1)
    return np.stack([hue, spread / np.where(value == 0, 1, value), value / 255], -1)


def retinex(images: np.ndarray, scales: tuple[float, ...] = (5.0, 20.0)) -> np.ndarray:
    r"""Multi-scale Retinex: each pixel against its surroundings, so that light matters less.

    $$R_c = \frac 1 {|\Sigma|} \sum_{\sigma \in \Sigma}
    \log(1 + I_c) - \log(1 + G_\sigma * I_c)$$

    for every channel, then one gain and one offset for the whole image, by which R fills [0, 255].
    Surroundings end at the border of the image: there the Gaussian's weights are renormalised.

    Args:
        images: uint8 ``[n, H, W, 3]``.
        scales: the standard deviations $\Sigma$ in pixels.

    Returns:
        float64 ``[n, H, W, 3]`` in [0, 255]; zeros for an image of one colour. Grey stays grey.

    References:
        Jobson, Rahman, Woodell, "A Multiscale Retinex for Bridging the Gap Between Color Images
        and the Human Observation of Scenes", IEEE TIP 1997, without its colour restoration; scales
        and stretching as Liao et al. (LOMO), CVPR 2015, say in words. Their code for it is a
        binary, so this is no copy of it.
    """
    pixels = images.astype(np.float64)
    around = [np.log1p(_blurred(pixels, scale)) for scale in scales]
    ratio = np.log1p(pixels) - np.mean(around, axis=0)
    low, high = (f(ratio, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    flat = high - low < 1e-9
    return 255 * np.where(flat, 0, ratio - low) / np.where(flat, 1, high - low)


def _blurred(images: np.ndarray, scale: float) -> np.ndarray:
    """A Gaussian over rows and columns ``[n, H, W, C]``."""
    down, across = (_gaussian(side, scale) for side in images.shape[1:3])
    rows = np.tensordot(down, images, (1, 1))  # [H, n, W, C]
    return np.moveaxis(np.tensordot(across, rows, (1, 2)), (0, 1, 2), (2, 1, 0))


def _gaussian(side: int, scale: float) -> np.ndarray:
    """Weights ``[side, side]`` that sum to 1 in every row."""
    place = np.arange(side)
    weights = np.exp(-np.square((place[:, None] - place) / scale) / 2)
    return weights / weights.sum(1, keepdims=True)
