"""What changes between two pictures of one person: gait, place, box, obstruction, exposure."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxreid.data.world import body as b
from jaxreid.data.world.dice import Dice

SCENES = 3
# What may stand between the camera and the person.
CLEAR, POST, BIN, BICYCLE, PEDESTRIAN = range(5)
# How a box was made: by a good detector, by one that missed the person, or on empty street.
PERSON, FRAGMENT, STREET = range(3)

# What of a moment is the person's pose, as the camera sees it.
POSE = ("phase", "stride", "yaw", "elbows", "lean", "head")

_STRAIGHT = 0.8  # turn that straightens the elbows of the rest pose, radians


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
    walk, dice = _walk(visit), Dice(key, 40)
    normal = dice.normal
    back = jnp.where(walk.chance(0.5), jnp.pi, 0.0)
    pace = walk.between(0.4, 1.05)
    spot = walk.between(-1, 1, 2) * jnp.array([60.0, 7.0])
    side = jnp.where(dice.chance(0.5), 1.0, -1.0)
    gap = dice.between(1.2, 3.6)
    obstruction = dice.pick([0.83, 0.04, 0.04, 0.03, 0.06])
    behind = (obstruction == PEDESTRIAN) & dice.chance(0.5)
    return Moment(
        phase=dice.between(0, 2 * jnp.pi),
        stride=jnp.where(dice.chance(0.08), 0.08, pace),
        yaw=path + back + 0.35 * normal(),
        elbows=0.15 + 0.3 * jnp.abs(normal(2)),
        lean=0.04 + 0.04 * normal(),
        head=jnp.array([0.3, 0.12]) * normal(2),
        place=spot + jnp.array([12.0, 2.0]) * normal(2),
        range=jnp.exp(0.15 * normal()),
        scene=jnp.asarray(scene, jnp.int32),
        box=_sample_box(dice, kind),
        obstruction=obstruction,
        obstruction_at=jnp.stack([side * gap, jnp.where(behind, -4 - 3 * gap, 3 + 2 * gap)]),
        exposure=0.1 * normal(),
    )


def walks_away(visit: jax.Array) -> jax.Array:
    """Whether people show their backs on a visit; the first thing that is drawn of it."""
    return _walk(visit).chance(0.5)


def _walk(visit: jax.Array) -> Dice:
    return Dice(visit, 4)


def _sample_box(dice: Dice, kind: jax.Array | int) -> jax.Array:
    """Shift and scale of the box; most boxes are good, some crop the feet or the head."""
    good = dice.normal(3) * jnp.array([0.02, 0.02, 0.05])
    crop = jnp.where(dice.chance(0.5), 1, -1) * dice.between(0.04, 0.16)
    cropped = good + jnp.stack([jnp.zeros(()), crop, jnp.full((), -0.08)])
    person = jnp.where(dice.chance(0.12), cropped, good)
    fragment = dice.between(-1, 1, 3) * jnp.array([0.25, 0.4, 0.1]) + jnp.array([0, 0, -0.6])
    # More than two box widths aside there is nobody.
    street = fragment + jnp.stack([1.3 * jnp.sign(fragment[0]), jnp.zeros(()), jnp.zeros(())])
    return jnp.where(kind == PERSON, person, jnp.where(kind == FRAGMENT, fragment, street))


def gait(moment: Moment) -> jax.Array:
    """Rotations [15, 3, 3] of the bones (``body.BONES``) for one moment of a walk."""
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
        "clavicle_l": z(-0.22),
        "clavicle_r": z(0.22),
        "upperarm_l": x(arms) @ z(-0.5),
        "upperarm_r": x(-arms) @ z(0.5),
        "lowerarm_l": x(_STRAIGHT - moment.elbows[0]),
        "lowerarm_r": x(_STRAIGHT - moment.elbows[1]),
        "thigh_l": x(-swing) @ z(-0.08),
        "thigh_r": x(swing) @ z(0.08),
        "calf_l": x(knee_left),
        "calf_r": x(knee_right),
        "foot_l": x(0.6 * (swing - knee_left) + 0.03),
        "foot_r": x(0.6 * (-swing - knee_right) + 0.03),
    }
    still = jnp.eye(3)
    return jnp.stack([rotations.get(bone, still) for bone in b.BONES])
