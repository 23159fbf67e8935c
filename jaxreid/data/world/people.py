"""Who walks through the world: bodies, faces and a realistic wardrobe, drawn from a key.

Most clothes are black, navy, grey, denim, brown, beige or white, so that identities are
confusable, as on real streets; ``colourful`` is the share of garments that are not.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data.world.dice import Dice

# Materials of the palette: what a surfel is made of decides its colour (or heat) in the shader.
SKIN, HAIR, TOP, INNER, BOTTOM, SHOES, SOLES, BAG, PRINT, DARK = range(10)
# Prints on the top.
PLAIN, STRIPES, CHEST, BACK, BLOCK, SLEEVES, PLAID = range(7)
# Hair styles and bags.
BALD, CROPPED, BOB, LONG, CAP = range(5)
NO_BAG, RUCKSACK, SHOULDER = range(3)

# Everyday clothing colours (sRGB) and how often each city's tops and bottoms have them.
_WARDROBE = np.array([
    (22, 22, 24), (28, 32, 50), (52, 53, 57), (96, 97, 100), (155, 155, 158), (222, 220, 214),
    (176, 160, 132), (84, 64, 48), (62, 82, 118), (104, 128, 160), (52, 60, 46), (96, 34, 40),
]) / 255  # fmt: skip
_TOPS = np.array(
    [(25, 13, 13, 9, 7, 11, 6, 6, 3, 2, 3, 2), (10, 8, 6, 10, 12, 30, 9, 3, 4, 4, 2, 2)]
)
_BOTTOMS = np.array(
    [(32, 14, 10, 6, 2, 2, 7, 4, 14, 7, 2, 0), (18, 10, 6, 8, 5, 8, 16, 4, 14, 9, 2, 0)]
)
_SHOES = np.array(
    [(45, 6, 10, 6, 6, 14, 3, 8, 1, 0, 0, 1), (24, 5, 5, 8, 10, 32, 8, 6, 1, 1, 0, 0)]
)
_VIVID = np.array([
    (176, 34, 40), (36, 70, 160), (200, 160, 40), (36, 118, 76), (206, 96, 40), (196, 110, 140),
    (110, 60, 130), (60, 140, 170),
]) / 255  # fmt: skip
_SKINS = (
    np.array([(236, 196, 172), (222, 178, 150), (196, 146, 114), (142, 96, 70), (88, 58, 44)]) / 255
)
_HAIRS = np.array([(24, 20, 18), (48, 34, 26), (86, 60, 40), (150, 114, 70), (150, 148, 146)]) / 255
# Probability, per city, of short sleeves, an open or long coat, shorts, a cap.
_SHORT_SLEEVES = np.array([0.2, 0.75])
_COAT = np.array([0.55, 0.1])
_SHORTS = np.array([0.05, 0.4])
_WOMEN = 0.48


class Person(NamedTuple):
    """Everything that stays with an identity; scalars unless a shape is given.

    Attributes:
        shape: [16] blend-shape weights (sex, age, height, build).
        palette: [10, 3] sRGB colour of each material, ``SKIN`` ... ``DARK``.
        hair: int32, ``BALD`` ... ``CAP``.
        sleeve: how far sleeves reach along the arm (1 is the wrist).
        hem: rest height of the top's lower edge, dm (the crotch is near -0.5, the knee -3.7).
        flare: rest height where a coat's or skirt's shell ends; above 1.5 there is none.
        skirt: 1 when that shell is a skirt (made of ``BOTTOM``), 0 when it belongs to the coat.
        trouser: rest height of the trousers' lower edge (the ankle is near -7.4).
        boot: rest height of the top of the shoes.
        collar: rest height of the top's upper edge at the neck.
        opening: half width of an open front that shows ``INNER``; 0 is closed.
        loose: [2] looseness of top and bottom, dm.
        pattern: int32, ``PLAIN`` ... ``PLAID``.
        bag: int32, ``NO_BAG`` ... ``SHOULDER``.
        folds: [2, 3] spatial frequencies of cloth folds.
    """

    shape: jax.Array
    palette: jax.Array
    hair: jax.Array
    sleeve: jax.Array
    hem: jax.Array
    flare: jax.Array
    skirt: jax.Array
    trouser: jax.Array
    boot: jax.Array
    collar: jax.Array
    opening: jax.Array
    loose: jax.Array
    pattern: jax.Array
    bag: jax.Array
    folds: jax.Array


def sample_person(key: jax.Array, *, city: int = 0, colourful: float = 0.2) -> Person:
    """Draws one person.

    Args:
        key: typed random key of the identity.
        city: 0 is dressed for a cool autumn, any other for a warm summer.
        colourful: share of tops and bags in a saturated colour, in [0, 1].

    Returns:
        The person; ``vmap`` over keys for many.
    """
    dice, climate = _dice(key), min(city, 1)
    chance, between = dice.chance, dice.between
    female, age = chance(_WOMEN), between(0.0, 1.0) ** 1.5
    coat = chance(float(_COAT[climate]))
    long_coat = coat & chance(0.4)
    skirt = female & ~long_coat & chance(0.2)
    shorts = ~skirt & chance(float(_SHORTS[climate]))
    sleeve = jnp.where(coat | ~chance(float(_SHORT_SLEEVES[climate])), 1.0, between(0.2, 0.5))
    flare = jnp.where(long_coat, between(-4.2, -1.6), jnp.where(skirt, between(-5.5, -2.6), 9.0))
    top_loose = jnp.where(coat, between(0.18, 0.42), between(0.04, 0.22))
    bottom_loose = jnp.where(female, between(0.02, 0.12), between(0.08, 0.3))
    return Person(
        shape=_sample_shape(dice, female, age),
        palette=_sample_palette(dice, climate, colourful, age),
        hair=_sample_hair(dice, female, age),
        sleeve=sleeve,
        hem=jnp.where(coat, between(-1.0, 0.2), between(0.0, 1.0)),
        flare=flare,
        skirt=skirt.astype(jnp.float32),
        trouser=jnp.where(skirt, 9.0, jnp.where(shorts, between(-4.2, -2.6), between(-7.9, -7.0))),
        boot=jnp.where(chance(jnp.where(female, 0.25, 0.05)), between(-5.6, -4.4), -7.4),
        collar=jnp.where(coat, between(6.2, 6.7), between(5.8, 6.2)),
        opening=jnp.where(coat & chance(0.4), between(0.25, 0.7), 0.0),
        loose=jnp.stack([top_loose, bottom_loose]),
        pattern=dice.pick([60.0, 9, 8, 4, 6, 5, 5]),
        bag=dice.pick([62.0, 20, 18]),
        folds=between(0.8, 2.6, 2, 3),
    )


def is_female(key: jax.Array) -> jax.Array:
    """Whether the person of this key is a woman; the first thing that is drawn of anybody."""
    return _dice(key).chance(_WOMEN)


def _dice(key: jax.Array) -> Dice:
    return Dice(key, 100)


def _sample_shape(dice: Dice, female: jax.Array, age: jax.Array) -> jax.Array:
    """[16] weights: one sex, young to old, then build and height."""
    build, muscle, height = dice.normal(3)
    old = 0.9 * age
    weights = jnp.stack([
        jnp.zeros(()),
        1 - old,
        old,
        jnp.clip(0.5 * build + 0.25 * age, 0, 1.2),
        jnp.clip(-0.5 * build, 0, 1),
        jnp.clip(0.4 * muscle, 0, 0.8) * (1 - age),
        jnp.clip(0.03 * height, 0, 0.09),
        jnp.clip(-0.03 * height, 0, 0.09),
    ])  # fmt: skip
    return jnp.concatenate([jnp.where(female, 0, weights), jnp.where(female, weights, 0)])


def _sample_palette(dice: Dice, climate: int, colourful: float, age: jax.Array) -> jax.Array:
    """[10, 3] sRGB colours of the materials."""
    skin = _ramp(_SKINS, dice.uniform() ** 2)
    natural = _ramp(_HAIRS[:-1], dice.uniform() ** 1.6)
    hair = jnp.where(dice.chance(0.8 * age**2), _HAIRS[-1], natural)
    top = _garment(dice, _TOPS[climate], colourful)
    inner = _garment(dice, _TOPS[1], colourful)
    bottom = _garment(dice, _BOTTOMS[climate], 0.2 * colourful)
    shoes = _garment(dice, _SHOES[climate], 0.3 * colourful)
    soles = jnp.where(dice.chance(0.35), 0.8, 0.08) * jnp.ones(3)
    bag = _garment(dice, _SHOES[0], colourful)
    second = _garment(dice, _TOPS[1], max(colourful, 0.3))
    alike = jnp.abs(second.mean() - top.mean()) < 0.15
    contrast = jnp.where(alike, 0.85 - 0.6 * top, second)
    dark = skin * np.array([0.45, 0.35, 0.35])
    return jnp.stack([skin, hair, top, inner, bottom, shoes, soles, bag, contrast, dark])


def _ramp(colours: np.ndarray, at: jax.Array) -> jax.Array:
    """Linear interpolation along a list of colours, ``at`` in [0, 1]."""
    steps = np.linspace(0, 1, len(colours))
    return jnp.stack([jnp.interp(at, steps, colours[:, c]) for c in range(3)])


def _garment(dice: Dice, weights: np.ndarray, colourful: float) -> jax.Array:
    """One cloth colour: an everyday one, or with probability ``colourful`` a vivid one."""
    everyday = jnp.asarray(_WARDROBE, jnp.float32)[dice.pick(weights)]
    vivid = jnp.asarray(_VIVID, jnp.float32)[dice.pick(np.ones(len(_VIVID)))]
    colour = jnp.where(dice.chance(colourful), vivid, everyday)
    colour = colour * jnp.exp(0.16 * dice.normal()) * (1 + 0.05 * dice.normal(3))
    return jnp.clip(colour, 0.04, 0.93)


def _sample_hair(dice: Dice, female: jax.Array, age: jax.Array) -> jax.Array:
    zero = 0 * age
    men = jnp.stack([0.06 + 0.3 * age, 0.81 - 0.3 * age, 0.03 + zero, 0.02 + zero, 0.08 + zero])
    women = jnp.array([0.0, 0.2, 0.35, 0.4, 0.05])
    return dice.pick(jnp.where(female, women, men))
