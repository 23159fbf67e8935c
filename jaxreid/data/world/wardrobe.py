"""Dressing: which material covers each surfel of a body, how thick, and what is hidden."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxreid.data.world import body as b
from jaxreid.data.world import people as p


class Figure(NamedTuple):
    """A person's clothed body in the rest pose, on the N surfels of a :class:`~.body.Body`.

    Attributes:
        rest: [3, N] positions, cloth included.
        joints: [15, 3] joints.
        keypoints: [18, 3] COCO-18 keypoints.
        colour: [3, N] linear RGB albedo.
        folds: [N] height of the cloth's folds, -1 to 1; 0 on skin.
        shown: [N] bool, False for surfels that this person does not have (other hair, no bag).
    """

    rest: jax.Array
    joints: jax.Array
    keypoints: jax.Array
    colour: jax.Array
    folds: jax.Array
    shown: jax.Array


def dress(person: p.Person, body: b.Body) -> Figure:
    """Shapes a body and dresses it by region and rest-pose height; covered skin becomes cloth.

    Args:
        person: one person (unbatched).
        body: the cloud of N surfels.

    Returns:
        The figure, which every picture of this person poses.
    """
    material, top = _materials(person, body)
    thickness = _thickness(person, body, material, top)
    rest, joints, keypoints = b.shape_body(body, person.shape)
    waves = person.folds @ body.rest
    folds = jnp.sin(waves[0]) * jnp.sin(waves[1] + 1.0) * (thickness > 0)
    colour = jnp.zeros((3, 1))
    for row, paint in enumerate(person.palette**2.2):
        colour = jnp.where(material == row, paint[:, None], colour)
    clothed = rest + thickness * body.normal
    return Figure(clothed, joints, keypoints, colour, folds, _shown(person, body))


def _materials(person: p.Person, body: b.Body) -> tuple[jax.Array, jax.Array]:
    """Row of ``Person.palette`` of every surfel [N], and where the top covers it [N]."""
    region = body.region
    _, y, z = body.rest
    is_leg = (region == b.THIGH) | (region == b.CALF)
    hips = (region == b.PELVIS) | is_leg
    top = _covered_by_top(person, body, hips)
    bottom = hips & ~top & (y > person.trouser)
    skirt_hips = hips & ~top & (person.skirt > 0) & (y > jnp.minimum(person.flare + 1.5, 0.5))
    material = jnp.full(region.shape, p.SKIN)
    material = jnp.where(bottom | skirt_hips, p.BOTTOM, material)
    material = jnp.where(top, _top_material(person, body), material)
    shoe = (region == b.FOOT) | ((region == b.CALF) & (y < person.boot))
    material = jnp.where(shoe, jnp.where(y < -7.95, p.SOLES, p.SHOES), material)
    head = region == b.HEAD
    capped = head & ((z < 0.45) | (y > 7.95)) & (y > jnp.where(z > 0.2, 7.35, 6.75))
    capped &= person.hair != p.BALD
    cap_cloth = (person.hair == p.CAP) & (y > 7.4)
    material = jnp.where(capped, jnp.where(cap_cloth, p.PRINT, p.HAIR), material)
    material = jnp.where(region == b.FACE, p.DARK, material)
    shell = jnp.where(person.skirt > 0, p.BOTTOM, p.TOP)
    material = jnp.where(region == b.SKIRT, shell, material)
    material = jnp.where(region == b.LOCKS, p.HAIR, material)
    is_bag = (region == b.BACKPACK) | (region == b.SATCHEL)
    material = jnp.where(is_bag, p.BAG, material)
    return material, top


def _covered_by_top(person: p.Person, body: b.Body, hips: jax.Array) -> jax.Array:
    region, y = body.region, body.rest[1]
    arm = (region == b.ARM) & (body.along < person.sleeve)
    neck = ((region == b.NECK) | (region == b.TORSO)) & (y < person.collar)
    return arm | (neck & (y > person.hem)) | (hips & (y > person.hem))


def _top_material(person: p.Person, body: b.Body) -> jax.Array:
    """TOP, or what is seen instead of it: the print, the open front, the straps of a bag."""
    x, y, _ = body.rest
    front, arm = body.normal[2] > 0.15, body.region == b.ARM
    stripe = jnp.sin(y * 7.0) > 0.1
    plaid = (jnp.sin(y * 6.0) > 0.55) | (jnp.sin(x * 6.0) > 0.55)
    prints = jnp.stack([
        jnp.zeros_like(front),
        stripe & ~arm,
        front & (jnp.abs(x) < 0.8) & (jnp.abs(y - 3.9) < 0.65),
        ~front & ~arm & (jnp.abs(x) < 0.9) & (jnp.abs(y - 3.6) < 0.8),
        ~arm & (y > 3.7) | arm & (body.along < 0.25),
        arm,
        plaid,
    ])  # fmt: skip
    material = jnp.where(prints[person.pattern], p.PRINT, p.TOP)
    opened = front & ~arm & (jnp.abs(x) < person.opening * (1.3 - 0.1 * y))
    material = jnp.where(opened, p.INNER, material)
    straps = front & (jnp.abs(jnp.abs(x) - 1.05) < 0.17) & (y > 3.0)
    sash = jnp.abs(x + 1.6 - (5.6 - y) * 0.72) < 0.17
    strap = ((person.bag == p.RUCKSACK) & straps) | ((person.bag == p.SHOULDER) & sash)
    return jnp.where(strap & ~arm, p.BAG, material)


def _thickness(person: p.Person, body: b.Body, material: jax.Array, top: jax.Array) -> jax.Array:
    """Cloth hangs clear of the skin, more so towards cuffs and hems."""
    region, y = body.region, body.rest[1]
    legs = person.loose[1] * (1 + 0.12 * jnp.clip(-1.0 - y, 0, 6))
    by_material = jnp.where(top, person.loose[0], jnp.where(material == p.BOTTOM, legs, 0))
    hair = jnp.where((region == b.HEAD) & (material == p.HAIR), 0.12, 0)
    hair = jnp.where((region == b.HEAD) & (material == p.PRINT), 0.2, hair)
    shell = jnp.where(region == b.SKIRT, 0.6 * person.loose[0] + 0.05, 0)
    hair = jnp.where(region == b.LOCKS, 0.15, hair)
    shoes = jnp.where(material == p.SHOES, 0.1, 0)
    return jnp.where(region == b.SKIRT, shell, by_material + hair + shoes)


def _shown(person: p.Person, body: b.Body) -> jax.Array:
    region, (_, y, z) = body.region, body.rest
    worn_over = jnp.where(person.skirt > 0, person.hem, jnp.inf)
    absent = (region == b.SKIRT) & ((y < person.flare) | (y > worn_over))
    length = jnp.where(person.hair == p.LONG, 4.6, jnp.where(person.hair == p.BOB, 6.3, jnp.inf))
    absent |= (region == b.LOCKS) & ((y < length) | ((z > 0.75) & (y < 7.4)))
    absent |= (region == b.BACKPACK) & (person.bag != p.RUCKSACK)
    absent |= (region == b.SATCHEL) & (person.bag != p.SHOULDER)
    return ~absent
