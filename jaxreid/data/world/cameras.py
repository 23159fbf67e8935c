"""Cameras: where each stands, how light falls in its view, and how its sensor answers."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxreid.data.world.dice import Dice
from jaxreid.data.world.moments import SCENES
from jaxreid.data.world.scenes import Scene, sample_scene

# The fields of a camera that say how its sensor answers.
RESPONSE = ("mix", "gain", "gamma", "offset", "blur", "noise", "quality")


class Camera(NamedTuple):
    """One camera of one city; scalars unless a shape is given.

    Attributes:
        distance: mean distance to the people it sees, dm.
        height: height of the lens above the street, dm.
        path: direction in which people cross its view, radians.
        sun: [3] unit vector towards the sun; the camera looks along -z.
        sunlight: [3] linear RGB of direct light.
        skylight: [3] linear RGB of ambient light.
        mix: [3, 3] colour matrix of the sensor, rows sum to about 1.
        gain: [3] channel gains (white balance).
        gamma: exponent on display values; below 1 brightens.
        offset: [3] black level.
        blur: standard deviation of the point spread, in 1/128 of the picture height.
        noise: standard deviation of sensor noise, display units.
        quality: int32 JPEG quality.
        scenes: ``SCENES`` scenes, stacked.
    """

    distance: jax.Array
    height: jax.Array
    path: jax.Array
    sun: jax.Array
    sunlight: jax.Array
    skylight: jax.Array
    mix: jax.Array
    gain: jax.Array
    gamma: jax.Array
    offset: jax.Array
    blur: jax.Array
    noise: jax.Array
    quality: jax.Array
    scenes: Scene


def sample_camera(key: jax.Array, *, city: int = 0, strength: float = 0.5) -> Camera:
    """Draws one camera.

    Args:
        key: key of the camera.
        city: 0 has grey, low autumn light and cameras at 1.4 to 5.9 m; any other a high, warm sun
            and cameras at 2.8 to 9.1 m, which look down on people; scenes differ too.
        strength: scales every difference of sensor response between cameras; at 0 all cameras
            have the same colours, blur, noise and JPEG quality (light and scenes still differ).

    Returns:
        The camera; ``vmap`` over keys for many.
    """
    own, scenes = jax.random.split(key)
    dice, climate = Dice(own, 40), min(city, 1)
    distance = dice.between(80.0, 150.0)
    pitch = dice.between(*((0.06, 0.34), (0.24, 0.58))[climate])
    azimuth = dice.between(-jnp.pi, jnp.pi)
    elevation = dice.between(*((0.35, 0.8), (0.7, 1.2))[climate])
    level = jnp.cos(elevation)
    clear = dice.uniform() ** (1.5, 0.7)[climate]
    warmth = dice.between(-0.1, 0.1)
    heading = dice.between(-0.7, 0.7)
    draw_scene = functools.partial(sample_scene, heading=heading, city=city)
    return Camera(
        distance=distance,
        height=8.5 + distance * jnp.sin(pitch),
        path=dice.between(-1.4, 1.4),
        sun=jnp.stack([jnp.sin(azimuth) * level, jnp.sin(elevation), jnp.cos(azimuth) * level]),
        sunlight=1.5 * clear * jnp.array([1.1, 1.0, 0.85]),
        skylight=(1.05 - 0.5 * clear) * (1 + warmth * jnp.array([1.0, 0.0, -1.0])),
        scenes=jax.vmap(draw_scene)(jax.random.split(scenes, SCENES)),
        **_sample_response(dice, strength),
    )


def _sample_response(dice: Dice, strength: float) -> dict[str, jax.Array]:
    """Sensor parameters; every random number in here is scaled by ``strength``."""
    vivid, bright, tone, haze, soft, grainy = strength * dice.normal(6)
    mixing = 0.07 * strength * dice.normal(3, 3)
    saturation = jnp.exp(0.4 * vivid)
    colour = saturation * jnp.eye(3) + (1 - saturation) / 3
    tint, black = strength * dice.normal(2, 3)
    return {
        "mix": colour + mixing - mixing.mean(axis=1, keepdims=True),
        "gain": jnp.exp(0.22 * bright + 0.14 * tint),
        "gamma": jnp.exp(0.32 * tone),
        "offset": 0.03 + 0.05 * black + 0.06 * jnp.abs(haze),
        "blur": 0.55 * jnp.exp(0.5 * soft),
        "noise": 0.012 * jnp.exp(0.6 * grainy),
        "quality": jnp.round(jnp.clip(86 - 24 * jnp.abs(vivid), 50, 95)).astype(jnp.int32),
    }


def develop(linear: jax.Array, camera: Camera, exposure: jax.Array, key: jax.Array) -> jax.Array:
    """Turns light into the camera's picture.

    Args:
        linear: [H, W, 3] linear light.
        camera: the camera whose sensor answers.
        exposure: log gain of this picture.
        key: key of the sensor noise.

    Returns:
        [H, W, 3] float32 in [-1, 1].
    """
    light = blur(linear * jnp.exp(exposure), camera.blur * linear.shape[0] / 128)
    display = jnp.maximum(light, 1e-5) ** (1 / 2.2)
    mixed = jnp.einsum("hwc,dc->hwd", display, camera.mix) * camera.gain
    toned = jnp.maximum(mixed, 1e-4) ** camera.gamma * (1 - camera.offset) + camera.offset
    noisy = toned + camera.noise * _grain(key, *toned.shape[:2])
    return jnp.clip(shoulder(noisy), 0, 1) * 2 - 1


def _grain(key: jax.Array, height: int, width: int) -> jax.Array:
    """Sensor noise [H, W, 3]: fine in brightness, coarse in colour, as demosaicing leaves it."""
    fine, coarse = jax.random.split(key)
    luma = jax.random.normal(fine, (height, width, 1))
    chroma = jax.random.normal(coarse, ((height + 1) // 2, (width + 1) // 2, 3))
    spread = jnp.repeat(jnp.repeat(chroma, 2, axis=0), 2, axis=1)[:height, :width]
    return luma + 0.5 * spread


def shoulder(x: jax.Array) -> jax.Array:
    """Compresses highlights above 0.8 smoothly, as every consumer camera does."""
    return jnp.where(x > 0.8, 0.8 + 0.2 * jnp.tanh((x - 0.8) / 0.2), x)


def blur(image: jax.Array, sigma: jax.Array) -> jax.Array:
    """Gaussian blur as two matrix products, which XLA does not fuse with what drew the image."""
    down, across = (_gaussian(size, sigma) for size in image.shape[:2])
    return jnp.einsum("hi,iwc->hwc", down, jnp.einsum("wj,ijc->iwc", across, image))


def _gaussian(size: int, sigma: jax.Array) -> jax.Array:
    """[size, size] blur matrix, rows sum to 1."""
    apart = jnp.arange(size)[:, None] - jnp.arange(size)
    taps = jnp.exp(-0.5 * (apart / jnp.maximum(sigma, 0.1)) ** 2)
    return taps / taps.sum(axis=1, keepdims=True)
