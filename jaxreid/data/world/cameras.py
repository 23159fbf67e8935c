"""Cameras: where each stands, how light falls in its view, and how its sensor answers."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxreid.data.world.moments import SCENES
from jaxreid.data.world.scenes import Scene, sample_scene


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
        city: 0 has grey, low autumn light, any other a high, warm sun; scenes differ too.
        strength: scales every difference of sensor response between cameras; at 0 all cameras
            have the same colours, blur, noise and JPEG quality (light and scenes still differ).

    Returns:
        The camera; ``vmap`` over keys for many.
    """
    keys = jax.random.split(key, 12)
    pitch = jax.random.uniform(keys[0], (), minval=0.06, maxval=0.34)
    distance = jax.random.uniform(keys[1], (), minval=80.0, maxval=150.0)
    azimuth = jax.random.uniform(keys[2], (), minval=-jnp.pi, maxval=jnp.pi)
    low, high = ((0.35, 0.8), (0.7, 1.2))[min(city, 1)]
    elevation = jax.random.uniform(keys[3], (), minval=low, maxval=high)
    clear = jax.random.uniform(keys[4], ()) ** (1.5, 0.7)[min(city, 1)]
    warmth = jax.random.uniform(keys[5], (), minval=-1, maxval=1)
    tint = jnp.stack([1 + 0.1 * warmth, 1.0 + 0 * warmth, 1 - 0.1 * warmth])
    scene_keys = jax.random.split(keys[6], SCENES)
    heading = jax.random.uniform(keys[7], (), minval=-0.7, maxval=0.7)
    response = _sample_response(keys[8], strength)
    return Camera(
        distance=distance,
        height=8.5 + distance * jnp.sin(pitch),
        path=jax.random.uniform(keys[9], (), minval=-1.4, maxval=1.4),
        sun=jnp.stack(
            [
                jnp.sin(azimuth) * jnp.cos(elevation),
                jnp.sin(elevation),
                jnp.cos(azimuth) * jnp.cos(elevation),
            ]
        ),
        sunlight=1.5 * clear * jnp.array([1.1, 1.0, 0.85]),
        skylight=(1.05 - 0.5 * clear) * tint,
        scenes=jax.vmap(lambda k: sample_scene(k, heading, city=city))(scene_keys),
        **response,
    )


def _sample_response(key: jax.Array, strength: float) -> dict[str, jax.Array]:
    keys = jax.random.split(key, 9)
    normal = [strength * jax.random.normal(k, ()) for k in keys[:5]]
    mixing = 0.1 * strength * jax.random.normal(keys[5], (3, 3))
    grey = jnp.full((3, 3), 1 / 3)
    saturation = jnp.exp(0.45 * normal[0])
    colour = saturation * jnp.eye(3) + (1 - saturation) * grey
    mixing -= mixing.mean(axis=1, keepdims=True)
    return {
        "mix": colour + mixing,
        "gain": jnp.exp(0.22 * normal[1] + 0.2 * strength * jax.random.normal(keys[6], (3,))),
        "gamma": jnp.exp(0.32 * normal[2]),
        "offset": 0.03
        + 0.05 * strength * jax.random.normal(keys[7], (3,))
        + 0.06 * jnp.abs(normal[3]),
        "blur": 0.55 * jnp.exp(0.5 * normal[4]),
        "noise": 0.018 * jnp.exp(0.6 * strength * jax.random.normal(keys[8], ())),
        "quality": jnp.round(jnp.clip(86 - 24 * jnp.abs(normal[0]), 50, 95)).astype(jnp.int32),
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
    light = _blur(linear * jnp.exp(exposure), camera.blur * linear.shape[0] / 128)
    display = jnp.maximum(light, 1e-5) ** (1 / 2.2)
    mixed = jnp.einsum("hwc,dc->hwd", display, camera.mix) * camera.gain
    toned = jnp.maximum(mixed, 1e-4) ** camera.gamma * (1 - camera.offset) + camera.offset
    noisy = toned + camera.noise * _grain(key, *toned.shape[:2])
    return jnp.clip(_shoulder(noisy), 0, 1) * 2 - 1


def _grain(key: jax.Array, height: int, width: int) -> jax.Array:
    """Sensor noise [H, W, 3]: fine in brightness, coarse in colour, as demosaicing leaves it."""
    fine, coarse = jax.random.split(key)
    luma = jax.random.normal(fine, (height, width, 1))
    chroma = jax.random.normal(coarse, ((height + 1) // 2, (width + 1) // 2, 3))
    spread = jnp.repeat(jnp.repeat(chroma, 2, axis=0), 2, axis=1)[:height, :width]
    return luma + 0.5 * spread


def _shoulder(x: jax.Array) -> jax.Array:
    """Compresses highlights above 0.8 smoothly, as every consumer camera does."""
    return jnp.where(x > 0.8, 0.8 + 0.2 * jnp.tanh((x - 0.8) / 0.2), x)


def _blur(image: jax.Array, sigma: jax.Array) -> jax.Array:
    """Separable Gaussian of 7 taps with reflected borders."""
    taps = jnp.exp(-0.5 * (jnp.arange(-3, 4) / jnp.maximum(sigma, 1e-3)) ** 2)
    taps = taps / taps.sum()
    for axis in (0, 1):
        pad = [(3, 3) if a == axis else (0, 0) for a in range(3)]
        wide, size = jnp.pad(image, pad, mode="edge"), image.shape[axis]
        image = sum(
            (taps[i] * jax.lax.slice_in_dim(wide, i, i + size, axis=axis) for i in range(7)),
            jnp.zeros_like(image),
        )
    return image
