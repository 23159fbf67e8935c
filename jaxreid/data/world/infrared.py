"""Infrared sight: near infrared shows what things are made of, far infrared how warm they are.

Near infrared (SYSU-MM01's cameras 3 and 6) is light of a lamp beside the lens. Many dyes are
transparent to it, so a black cotton coat may be white and a print may vanish; skin is bright and
even whatever its tone, and leaves are bright. Far infrared (RegDB's thermal camera) needs no light:
bare skin glows, clothes let through what their thickness does not hold back, bags and shoes are
nearly as cold as the street, and prints have no temperature of their own.

Both are drawn with the visible renderer: a palette of reflectances or warmths takes the place of
the colours, and another light that of sun and sky.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data.world import people as p
from jaxreid.data.world.body import Body, Posed
from jaxreid.data.world.cameras import Camera, blur, shoulder
from jaxreid.data.world.dice import Dice
from jaxreid.data.world.scenes import Scene, View, reach
from jaxreid.data.world.spec import NEAR
from jaxreid.data.world.wardrobe import Figure

_OWN_STREAM = 0x1F4A  # keys of infrared properties are folded with it: no other draw uses it
_LUMA = np.array([0.299, 0.587, 0.114])
_STREET = 0.22  # warmth of air and street, where skin is 1
_COARSE = 0.45  # rows of a thermal sensor per row of the picture


class Fabrics(NamedTuple):
    """What a person's skin and things are in infrared; fixed, as the wardrobe is.

    Attributes:
        reflectance: [10] share of near infrared that each material sends back, in (0, 1).
        warmth: [10] warmth between street (0) and skin (1) of each material's outside.
    """

    reflectance: jax.Array
    warmth: jax.Array


def sample_fabrics(key: jax.Array, person: p.Person) -> Fabrics:
    """Draws the infrared properties of a person's materials.

    Colour does not tell them: reflectance leans on the brightness of a garment (their correlation
    is 0.6), warmth on the thickness of the cloth instead.

    Args:
        key: key of the identity, the one that the person was drawn from.
        person: whose things these are.

    Returns:
        The properties, the same before every infrared camera.
    """
    dice = Dice(jax.random.fold_in(key, _OWN_STREAM), 60)
    bright = jnp.asarray(person.palette @ _LUMA)
    dark_dye = dice.uniform(10) < 0.35
    cloth = jnp.where(dark_dye, dice.between(0.04, 0.16, 10), dice.between(0.3, 0.8, 10))
    cloth = jnp.clip(0.7 * cloth + 0.5 * bright, 0.03, 0.9)
    skin = dice.between(0.5, 0.6)
    near = cloth.at[p.SKIN].set(skin).at[p.DARK].set(0.55 * skin)
    near = near.at[p.HAIR].set(dice.between(0.06, 0.3))
    # half of all prints are in dyes that near infrared does not see
    near = near.at[p.PRINT].set(jnp.where(dice.chance(0.5), near[p.TOP], near[p.PRINT]))
    top, bottom = 0.72 - jnp.array([1.3, 1.6]) * person.loose + 0.13 * dice.normal(2)
    heat = dice.between(0.02, 0.16, 10)
    heat = heat.at[p.SKIN].set(dice.between(0.95, 1.0)).at[p.DARK].set(0.95)
    heat = heat.at[p.HAIR].set(dice.between(0.3, 0.5)).at[p.SHOES].set(dice.between(0.1, 0.3))
    heat = heat.at[p.TOP].set(top).at[p.PRINT].set(top).at[p.INNER].set(top + 0.2)
    return Fabrics(near, jnp.clip(heat.at[p.BOTTOM].set(bottom), 0.02, 1.0))


def unveil(person: p.Person, fabrics: Fabrics, modality: str) -> p.Person:
    """The person in grey display values: reflectances before ``near``, warmths before others."""
    values = fabrics.reflectance if modality == NEAR else fabrics.warmth
    return person._replace(palette=jnp.repeat(values[:, None] ** (1 / 2.2), 3, axis=1))


def radiate(body: Body, figure: Figure, posed: Posed, camera: Camera, modality: str) -> jax.Array:
    """Light or heat [3, N] that the surfels send to the camera.

    Args:
        body: the cloud of N surfels.
        figure: whose ``colour`` holds reflectances or warmths.
        posed: where the surfels are.
        camera: who looks; the lamp is beside its lens.
        modality: ``near`` or ``thermal``.

    Returns:
        Near infrared: reflectance times lamplight; thermal: warmth above absolute darkness.
    """
    x, y, z = posed.normals
    away = jnp.stack([camera.height - 8.5, camera.distance])
    up, towards = away / jnp.linalg.norm(away)
    facing = jnp.clip(up * y + towards * z, 0, 1)
    if modality == NEAR:
        return figure.colour * (0.12 + 0.05 * y + 0.85 * facing + 0.14 * figure.folds)
    # hands and shins are cooler than the trunk, edges radiate less, folds hang away from the skin
    limbs = 1 - 0.25 * jnp.clip(body.along, 0, 1) - 0.04 * jnp.clip(-1 - body.rest[1], 0, 6)
    warm = figure.colour * limbs * (1 + 0.12 * figure.folds)
    return (_STREET + (1 - _STREET) * warm) * (0.88 + 0.12 * facing)


def surroundings(scene: Scene, view: View, modality: str) -> tuple[Scene, View]:
    """The street in infrared, for ``scenes.paint``.

    Its materials are drawn anew, once per scene; plants (a green ground, a hedge) are bright in
    near infrared. The lamp lights what is near, by the square of the distance; heat needs no light.
    """
    dice = Dice(jax.random.fold_in(jax.random.key(scene.salt), _OWN_STREAM), 12)
    if modality == NEAR:
        red, green, blue = scene.ground.T
        grass = green > 1.1 * jnp.maximum(red, blue)
        ground = jnp.where(grass, 0.5, dice.between(0.12, 0.45, 2))
        wall = jnp.where(scene.hedge > 0, 0.5, dice.between(0.12, 0.55))
        things = dice.between(0.03, 0.15), dice.between(0.2, 0.6)
        here = jnp.linalg.norm(view.eye)
        falls = (here / (reach(scene, view) * jnp.linalg.norm(view.rays, axis=-1))) ** 2
        lamp = 0.04 + 0.85 * jnp.clip(falls, 0, 1.5)
    else:
        ground, wall = dice.between(0.12, 0.36, 2), dice.between(0.1, 0.4)
        things = dice.between(0.05, 0.3), dice.between(0.15, 0.35)
        lamp = jnp.ones(view.rays.shape[:2])
        scene = scene._replace(mottle=0.4 * scene.mottle, joint=0.4 * scene.joint)
    grey = {"ground": ground[:, None], "wall_colour": wall, "bay_colour": things[0]}
    grey |= {"sign_colour": things[1]}
    scene = scene._replace(**{name: value * jnp.ones(3) for name, value in grey.items()})
    lit = jnp.repeat(lamp[..., None], 3, axis=-1)
    return scene, view._replace(skylight=lit, sunlight=jnp.zeros(3))


def develop(
    linear: jax.Array, camera: Camera, exposure: jax.Array, key: jax.Array, modality: str
) -> jax.Array:
    """Turns infrared into the camera's picture; its three channels are equal.

    Args:
        linear: [H, W, 3] light or heat.
        camera: whose sensor answers: gain, gamma, offset, blur and noise; it knows no colour.
        exposure: log gain of this picture.
        key: key of the sensor noise.
        modality: ``near``, or ``thermal``: coarser, softer and nearly linear.

    Returns:
        [H, W, 3] float32 in [-1, 1].
    """
    height, width = linear.shape[:2]
    grey = linear.mean(-1, keepdims=True)
    gain, offset = camera.gain.mean(), jnp.maximum(camera.offset.mean(), 0)
    sigma = camera.blur * height / 128
    if modality == NEAR:
        shown = (blur(grey, sigma) * jnp.exp(exposure)) ** (1 / 2.2) * gain
        noise = 1.2 * camera.noise * jax.random.normal(key, grey.shape)
    else:
        coarse = tuple(max(round(_COARSE * size), 4) for size in (height, width))
        small = jax.image.resize(grey, (*coarse, 1), "linear")
        small = small + camera.noise * jax.random.normal(key, small.shape)
        shown = blur(jax.image.resize(small, grey.shape, "cubic"), 1.5 * sigma)
        shown, noise = 0.95 * gain * jnp.exp(0.5 * exposure) * shown, jnp.zeros_like(grey)
    toned = jnp.maximum(shown, 1e-4) ** camera.gamma * (1 - offset) + offset
    picture = jnp.clip(shoulder(toned + noise), 0, 1) * 2 - 1
    return jnp.repeat(picture, 3, axis=-1)
