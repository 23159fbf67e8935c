"""Augmentation on the device: pure functions of (key, images), every choice made per image.

Images are float32 ``[B, H, W, 3]`` in [-1, 1] unless said otherwise; see ``to_float``.
"""

import jax
import jax.numpy as jnp

# 0.485, 0.456, 0.406 in ImageNet-normalised space, the fill of the published random erasing,
# expressed in [-1, 1]: it is not the mean colour, which those numbers are in [0, 1].
ERASING_FILL = (0.19213, 0.116288, -0.0053)


def to_float(images: jax.Array) -> jax.Array:
    """uint8 0..255 to float32 [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(images: jax.Array) -> jax.Array:
    """Float [-1, 1] to uint8 0..255, rounded and clipped."""
    return jnp.clip(jnp.round((images + 1.0) * 127.5), 0, 255).astype(jnp.uint8)


def flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Horizontal flip with probability 1/2."""
    coin = jax.random.bernoulli(key, shape=(images.shape[0], 1, 1, 1))
    return jnp.where(coin, images[:, :, ::-1], images)


def random_crop(key: jax.Array, images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Crops ``size`` (H, W) at a uniformly random place.

    Raises:
        ValueError: if the images are smaller than ``size``.
    """
    slack = [have - want for have, want in zip(images.shape[1:3], size, strict=True)]
    if min(slack) < 0:
        raise ValueError(f"cannot crop {size} from images of {images.shape[1:3]}")
    corners = jax.random.randint(key, (images.shape[0], 2), 0, jnp.array(slack) + 1)

    def one(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (*size, image.shape[-1]))

    return jax.vmap(one)(images, corners)


def diagonal_crop(key: jax.Array, images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Crops ``size`` (H, W) with one random offset for rows and columns, never the largest.

    BDTR's code does so, drawing 0 to 28 where 256 pixels are cropped to 227 (Ye et al., IJCAI
    2018).

    Raises:
        ValueError: if the images are smaller than ``size``.
    """
    slack = min(have - want for have, want in zip(images.shape[1:3], size, strict=True))
    if slack < 0:
        raise ValueError(f"cannot crop {size} from images of {images.shape[1:3]}")
    corners = jax.random.randint(key, (images.shape[0],), 0, max(slack, 1))

    def one(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner, corner, 0), (*size, image.shape[-1]))

    return jax.vmap(one)(images, corners)


def larger(size: tuple[int, int], margin: float) -> tuple[int, int]:
    """The (height, width) that images are loaded at so that ``crop_and_flip`` has room."""
    return round(size[0] * (1 + margin)), round(size[1] * (1 + margin))


def crop_and_flip(key: jax.Array, images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """What translators are trained on: a random crop of a larger image, flipped at random.

    Args:
        key: random key.
        images: uint8 ``[B, h, w, 3]``, as large as ``larger`` says; or ``[B, h, w, 4]`` with the
            foreground mask as fourth channel, which is then cropped and flipped alike.
        size: (height, width) of the crop.

    Returns:
        float32 ``[B, *size, 3 or 4]`` in [-1, 1]; ``split_mask`` takes a fourth channel off.
    """
    k_crop, k_flip = jax.random.split(key)
    return flip(k_flip, random_crop(k_crop, to_float(images), size))


def split_mask(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Takes the mask off pictures that were augmented with it.

    Args:
        images: ``[B, H, W, 4]`` in [-1, 1], colours and mask.

    Returns:
        Pictures ``[B, H, W, 3]`` in [-1, 1] and masks ``[B, H, W, 1]`` in [0, 1], 1 on the person.

    Raises:
        ValueError: not four channels.
    """
    if images.shape[-1] != 4:
        raise ValueError(f"Expected [B, H, W, 4], colours and mask, got {list(images.shape)}.")
    return images[..., :3], (images[..., 3:] + 1.0) / 2.0


def pad_crop(key: jax.Array, images: jax.Array, pad: int) -> jax.Array:
    """Pads ``pad`` black pixels on all sides, then crops the old size at random."""
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=-1.0)
    height, width = images.shape[1:3]
    return random_crop(key, padded, (height, width))


def random_translation(key: jax.Array, images: jax.Array, share: float = 0.5) -> jax.Array:
    """Every other image enlarged by an eighth (bilinear) and cropped at random to the old size.

    Args:
        key: random key.
        images: ``[B, H, W, C]``.
        share: of images that are; 1 for all.

    References:
        ``Random2DTranslation`` of torchreid; there the enlarged image is made from the file. All:
        IDE+ of the SPGAN authors, 288x144 to 256x128.
    """
    k_coin, k_place = jax.random.split(key)
    coins = jax.random.bernoulli(k_coin, share, shape=(images.shape[0],))
    sides = jnp.array(images.shape[1:3], jnp.float32)
    slack = jnp.round(sides * 9 / 8) - sides
    corners = jnp.round(jax.random.uniform(k_place, (images.shape[0], 2)) * slack)

    def one(image: jax.Array, coin: jax.Array, corner: jax.Array) -> jax.Array:
        scale, shift = jnp.where(coin, 9 / 8, 1.0), jnp.where(coin, -corner, 0.0)
        scales = jnp.stack([scale, scale])
        return jax.image.scale_and_translate(
            image, image.shape, (0, 1), scales, shift, method="linear", antialias=False
        )

    return jax.vmap(one)(images, coins, corners)


def resized_crop(key: jax.Array, images: jax.Array, tries: int = 10) -> jax.Array:
    """``RandomSizedRectCrop`` of CamStyle and HHL, resized back to the images' own size.

    Of ``tries`` proposals (area fraction U(0.64, 1), height / width U(2, 3)) the first that fits
    is cut out at a uniform place and resized bilinearly; if none fits, the image is kept. On
    square images none ever fits, as in the original.
    """
    height, width = images.shape[1:3]

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        k_area, k_ratio, k_place = jax.random.split(key, 3)
        area = height * width * jax.random.uniform(k_area, (tries,), minval=0.64, maxval=1.0)
        ratio = jax.random.uniform(k_ratio, (tries,), minval=2.0, maxval=3.0)
        h, w = jnp.round(jnp.sqrt(area * ratio)), jnp.round(jnp.sqrt(area / ratio))
        fits = (h <= height) & (w <= width)
        pick = jnp.argmax(fits)
        full = jnp.array([height, width], jnp.float32)
        box = jnp.where(fits[pick], jnp.stack([h[pick], w[pick]]), full)
        corner = jnp.floor(jax.random.uniform(k_place, (2,)) * (full - box + 1.0))
        scale = full / box
        return jax.image.scale_and_translate(
            image, image.shape, (0, 1), scale, -corner * scale, method="linear", antialias=True
        )

    return jax.vmap(one)(jax.random.split(key, images.shape[0]), images)


def random_erasing(
    key: jax.Array,
    images: jax.Array,
    *,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.2),
    ratio: tuple[float, float] = (0.3, 1 / 0.3),
    tries: int = 100,
) -> jax.Array:
    """Fills a random rectangle with ``ERASING_FILL``.

    Args:
        key: random key.
        images: ``[B, H, W, 3]``.
        probability: share of images that are touched.
        area: range of the rectangle's share of the image (CamStyle 0.02 to 0.2).
        ratio: range of its height / width.
        tries: proposals per image, of which the first that fits is used.

    References:
        Zhong et al., "Random Erasing Data Augmentation", AAAI 2020.
    """
    height, width = images.shape[1:3]
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None]

    def hole(key: jax.Array) -> jax.Array:
        k_coin, k_area, k_ratio, k_place = jax.random.split(key, 4)
        wanted = (
            height * width * jax.random.uniform(k_area, (tries,), minval=area[0], maxval=area[1])
        )
        shape = jax.random.uniform(k_ratio, (tries,), minval=ratio[0], maxval=ratio[1])
        h = jnp.round(jnp.sqrt(wanted * shape)).astype(jnp.int32)
        w = jnp.round(jnp.sqrt(wanted / shape)).astype(jnp.int32)
        fits = (h <= height) & (w <= width)
        pick = jnp.argmax(fits)
        h, w = h[pick], w[pick]
        top, left = jnp.floor(
            jax.random.uniform(k_place, (2,)) * jnp.stack([height - h + 1, width - w + 1])
        )
        inside = (rows >= top) & (rows < top + h) & (columns >= left) & (columns < left + w)
        return inside & fits[pick] & jax.random.bernoulli(k_coin, probability)

    holes = jax.vmap(hole)(jax.random.split(key, images.shape[0]))
    return jnp.where(holes[..., None], jnp.array(ERASING_FILL, images.dtype), images)


def colour_jitter(
    key: jax.Array, images: jax.Array, strength: float, grey: bool = False
) -> jax.Array:
    """Random gain per image and channel, ``exp(N(0, strength^2))`` on the [0, 1] scale.

    ``grey``: one gain for all channels of an image, so that infrared images stay grey.
    """
    gains = jax.random.normal(key, (images.shape[0], 1, 1, 1 if grey else 3))
    gain = jnp.exp(strength * gains)
    return jnp.clip((images + 1.0) * gain - 1.0, -1.0, 1.0)
