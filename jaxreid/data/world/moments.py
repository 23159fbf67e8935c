"""What changes between two pictures of one person: gait, place, box, obstruction, exposure."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxreid.data.world import body as b

SCENES = 3
# What may stand between the camera and the person.
CLEAR, POST, BIN, BICYCLE, PEDESTRIAN = range(5)
# How a box was made: by a good detector, by one that missed the person, or on empty street.
PERSON, FRAGMENT, STREET = range(3)


class Moment(NamedTuple):
    """One instant; scalars unless a shape is given.

    Attributes:
        phase: gait phase, radians.
        stride: 0 stands still, 1 strides out.
        yaw: turn of the person about the vertical, 0 faces the camera, radians.
        elbows: [2] bend of the left and right elbow, radians.
        lean: forward lean of the trunk, radians.
        head: [2] turn and nod of the head against the trunk, radians.
        place: [2] where the person stands in the scene, dm along and across the street.
        range: distance to the camera over the camera's mean distance.
        scene: int32 in [0, 3), which of the camera's scenes.
        box: [3] shift right, shift down (in box heights) and log scale of the detector's box.
        obstruction: int32, ``CLEAR`` ... ``PEDESTRIAN``.
        obstruction_at: [2] its place in dm: to the right of the person, towards the camera.
        exposure: log gain of the whole picture.
    """

    phase: jax.Array
    stride: jax.Array
    yaw: jax.Array
    elbows: jax.Array
    lean: jax.Array
    head: jax.Array
    place: jax.Array
    range: jax.Array
    scene: jax.Array
    box: jax.Array
    obstruction: jax.Array
    obstruction_at: jax.Array
    exposure: jax.Array


def sample_moment(
    key: jax.Array,
    visit: jax.Array,
    *,
    scene: jax.Array | int = 0,
    path: jax.Array | float = 0.0,
    kind: jax.Array | int = PERSON,
) -> Moment:
    """Draws one picture's moment.

    Args:
        key: key of the picture.
        visit: key of the person's visit to the camera; pictures of one visit share the walking
            direction, the pace and roughly the place.
        scene: which of the camera's scenes, in [0, 3).
        path: direction, in radians, in which people cross this camera's view.
        kind: ``PERSON``, ``FRAGMENT`` (a box that misses most of the person) or ``STREET``.

    Returns:
        The moment.
    """
    keys = iter(jax.random.split(key, 16))
    turn_key, pace_key, spot_key = jax.random.split(visit, 3)
    back = jnp.where(jax.random.bernoulli(turn_key, 0.5), jnp.pi, 0.0)
    pace = jax.random.uniform(pace_key, (), minval=0.4, maxval=1.05)
    standing = jax.random.bernoulli(next(keys), 0.08)
    normal = lambda *shape: jax.random.normal(next(keys), shape)  # noqa: E731
    spot = jax.random.uniform(spot_key, (2,), minval=-1, maxval=1) * jnp.array([60.0, 7.0])
    shift = jnp.array([12.0, 2.0]) * normal(2)
    side = jnp.where(jax.random.bernoulli(next(keys)), 1.0, -1.0)
    gap = jax.random.uniform(next(keys), (), minval=1.2, maxval=3.6)
    odds = jnp.array([0.83, 0.04, 0.04, 0.03, 0.06])
    obstruction = jax.random.categorical(next(keys), jnp.log(odds))
    behind = (obstruction == PEDESTRIAN) & jax.random.bernoulli(next(keys))
    return Moment(
        phase=jax.random.uniform(next(keys), (), maxval=2 * jnp.pi),
        stride=jnp.where(standing, 0.08, pace),
        yaw=path + back + 0.35 * normal(),
        elbows=0.05 + 0.2 * jnp.abs(normal(2)),
        lean=0.04 + 0.04 * normal(),
        head=jnp.array([0.3, 0.12]) * normal(2),
        place=spot + shift,
        range=jnp.exp(0.15 * normal()),
        scene=jnp.asarray(scene, jnp.int32),
        box=_sample_box(next(keys), kind),
        obstruction=obstruction,
        obstruction_at=jnp.stack([side * gap, jnp.where(behind, -4 - 3 * gap, 3 + 2 * gap)]),
        exposure=0.1 * normal(),
    )


def _sample_box(key: jax.Array, kind: jax.Array | int) -> jax.Array:
    """Shift and scale of the box; most boxes are good, some crop the feet or the head."""
    good, bad, crop, side = jax.random.split(key, 4)
    jitter = jax.random.normal(good, (3,)) * jnp.array([0.02, 0.02, 0.05])
    cut = jax.random.uniform(crop, (), minval=0.04, maxval=0.16)
    cut = jnp.where(jax.random.bernoulli(side), cut, -cut)
    cropped = jitter + jnp.stack([0.0 * cut, cut, -0.08 + 0 * cut])
    jitter = jnp.where(jax.random.bernoulli(bad, 0.12), cropped, jitter)
    wild = jax.random.uniform(crop, (3,), minval=-1, maxval=1) * jnp.array([0.25, 0.4, 0.1])
    wild += jnp.array([0.0, 0.0, -0.6])
    away = jnp.stack([jnp.sign(wild[0]) * (1.2 + jnp.abs(wild[1])), wild[1], wild[2]])
    return jnp.where(kind == PERSON, jitter, jnp.where(kind == FRAGMENT, wild, away))


def gait(moment: Moment) -> jax.Array:
    """Rotations [13, 3, 3] of the bones (``body.BONES``) for one moment of a walk."""
    swing = 0.45 * moment.stride * jnp.sin(moment.phase)
    arms = 0.7 * swing
    left, right = moment.phase + 2.0, moment.phase + jnp.pi + 2.0
    lift = 0.75 * moment.stride
    knee_left = lift * jnp.maximum(0.0, jnp.sin(left)) + 0.06
    knee_right = lift * jnp.maximum(0.0, jnp.sin(right)) + 0.06
    turn, nod = moment.head
    x, y, z = b.turn_x, b.turn_y, b.turn_z
    # The rest pose spreads arms and legs; the constant turns about z bring them down and together.
    rotations = {
        "spine_01": y(0.25 * swing) @ x(moment.lean),
        "neck_01": y(turn) @ x(nod - moment.lean),
        "upperarm_l": x(arms) @ z(-0.72),
        "upperarm_r": x(-arms) @ z(0.72),
        "lowerarm_l": x(-moment.elbows[0]),
        "lowerarm_r": x(-moment.elbows[1]),
        "thigh_l": x(-swing) @ z(-0.08),
        "thigh_r": x(swing) @ z(0.08),
        "calf_l": x(knee_left),
        "calf_r": x(knee_right),
        "foot_l": x(0.6 * (swing - knee_left) + 0.03),
        "foot_r": x(0.6 * (-swing - knee_right) + 0.03),
    }
    still = jnp.eye(3)
    return jnp.stack([rotations.get(bone, still) for bone in b.BONES])
