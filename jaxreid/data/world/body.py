"""The human body as a cloud of surface points ("surfels") that a skeleton bends.

Every surfel carries its own rest position, normal, blend-shape displacements and bone weights, so
posing a person is two matrix products, and no mesh topology reaches the device (``cloud`` makes
the surfels). Units are decimetres; y is up, the rest pose faces +z, left is +x.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# The bones that walking bends; every other bone of the asset moves with its nearest ancestor here.
BONES = (
    "pelvis", "spine_01", "neck_01", "clavicle_l", "clavicle_r", "upperarm_l", "upperarm_r",
    "lowerarm_l", "lowerarm_r", "thigh_l", "thigh_r", "calf_l", "calf_r", "foot_l", "foot_r",
)  # fmt: skip
PARENTS = (-1, 0, 1, 1, 1, 3, 4, 5, 6, 0, 0, 9, 10, 11, 12)
# Levels of the skeleton: bones of one level depend only on earlier levels.
LEVELS = ((1, 9, 10), (2, 3, 4, 11, 12), (5, 6, 13, 14), (7, 8))

# What a surfel belongs to; the wardrobe dresses regions.
HEAD, NECK, TORSO, PELVIS, ARM, HAND, THIGH, CALF, FOOT, FACE, SKIRT, LOCKS, BACKPACK, SATCHEL = (
    range(14)
)
SHAPES = 16


class Body(NamedTuple):
    """A cloud of N surfels with its skeleton; plain arrays, the same for every person.

    Attributes:
        rest: [3, N] rest positions of the average body (coordinates first: much faster on CPUs).
        normal: [3, N] unit normals in the rest pose.
        shapes: [16, 3, N] displacement of each blend shape.
        weights: [15, N] skinning weights over ``BONES``; columns sum to 1.
        region: [N] int32, one of ``HEAD`` ... ``SATCHEL``.
        along: [N] position along the arm, 0 at the shoulder, 1 at the wrist; 0 elsewhere.
        joints: [15, 3] rest joints (bone heads).
        joint_shapes: [16, 15, 3] their displacements.
        keypoints: [18, 3] rest positions of the COCO-18 keypoints.
        keypoint_shapes: [16, 18, 3] their displacements.
        keypoint_bones: [18] int32, index into ``BONES`` of the bone that carries each keypoint.
    """

    rest: jax.Array | np.ndarray
    normal: jax.Array | np.ndarray
    shapes: jax.Array | np.ndarray
    weights: jax.Array | np.ndarray
    region: jax.Array | np.ndarray
    along: jax.Array | np.ndarray
    joints: jax.Array | np.ndarray
    joint_shapes: jax.Array | np.ndarray
    keypoints: jax.Array | np.ndarray
    keypoint_shapes: jax.Array | np.ndarray
    keypoint_bones: jax.Array | np.ndarray


class Posed(NamedTuple):
    """A figure in one pose: surfel positions [3, N], normals [3, N] and keypoints [18, 3]."""

    points: jax.Array
    normals: jax.Array
    keypoints: jax.Array


def shape_body(body: Body, shape: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Applies the blend shapes.

    Args:
        body: the cloud of N surfels.
        shape: [16] blend-shape weights.

    Returns:
        Rest positions [3, N], joints [15, 3] and keypoints [18, 3] of the shaped body.
    """
    bulge = (shape @ body.shapes.reshape(SHAPES, -1)).reshape(3, -1)
    joints = body.joints + jnp.tensordot(shape, body.joint_shapes, 1)
    keypoints = body.keypoints + jnp.tensordot(shape, body.keypoint_shapes, 1)
    return jnp.asarray(body.rest + bulge), jnp.asarray(joints), jnp.asarray(keypoints)


def pose_body(
    body: Body,
    rest: jax.Array,
    joints: jax.Array,
    keypoints: jax.Array,
    rotations: jax.Array,
    yaw: jax.Array,
) -> Posed:
    """Bends a shaped body by linear blend skinning.

    Args:
        body: the cloud of N surfels (for its weights and normals).
        rest: [3, N] rest positions.
        joints: [15, 3] rest joints.
        keypoints: [18, 3] rest keypoints.
        rotations: [15, 3, 3] rotation of every bone about its joint, in rest axes.
        yaw: final turn of the whole person about the vertical axis, radians.

    Returns:
        Positions, normals (of nearly unit length) and keypoints in world axes.
    """
    turns, moves = _chain(joints, rotations, yaw)
    affine = jnp.concatenate([turns.reshape(-1, 9), moves], axis=1)
    blended = affine.T @ body.weights
    bones = jnp.asarray(body.keypoint_bones)
    return Posed(
        _rotate(blended, rest) + blended[9:],
        _rotate(blended, jnp.asarray(body.normal)),
        jnp.einsum("kij,kj->ki", turns[bones], keypoints) + moves[bones],
    )


def _rotate(matrices: jax.Array, vectors: jax.Array) -> jax.Array:
    """Matrices [9 or more, N] (row by row) times vectors [3, N]; unrolled, so that XLA fuses it."""
    x, y, z = vectors
    rows = [matrices[i] * x + matrices[i + 1] * y + matrices[i + 2] * z for i in (0, 3, 6)]
    return jnp.stack(rows)


def _chain(joints: jax.Array, rotations: jax.Array, yaw: jax.Array) -> tuple[jax.Array, jax.Array]:
    """World rotation [15, 3, 3] and translation [15, 3] of every bone."""
    local = joints - jnp.einsum("bij,bj->bi", rotations, joints)
    root = turn_y(yaw)
    turns = jnp.broadcast_to(root @ rotations[0], rotations.shape)
    moves = jnp.broadcast_to(root @ local[0], local.shape)
    for level in LEVELS:
        own, above = np.array(level), np.array([PARENTS[b] for b in level])
        moves = moves.at[own].set(jnp.einsum("bij,bj->bi", turns[above], local[own]) + moves[above])
        turns = turns.at[own].set(turns[above] @ rotations[own])
    return turns, moves


def turn_x(angle: jax.Array | float) -> jax.Array:
    """Rotation by ``angle`` about x; any leading shape, returns [..., 3, 3]."""
    return _turn(angle, 0)


def turn_y(angle: jax.Array | float) -> jax.Array:
    """Rotation by ``angle`` about y; any leading shape, returns [..., 3, 3]."""
    return _turn(angle, 1)


def turn_z(angle: jax.Array | float) -> jax.Array:
    """Rotation by ``angle`` about z; any leading shape, returns [..., 3, 3]."""
    return _turn(angle, 2)


def _turn(angle: jax.Array | float, axis: int) -> jax.Array:
    angle = jnp.asarray(angle, jnp.float32)
    generator = np.zeros((3, 3), np.float32)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    generator[i, j], generator[j, i] = -1, 1
    plane = np.zeros((3, 3), np.float32)
    plane[i, i] = plane[j, j] = 1
    cosine, sine = jnp.cos(angle)[..., None, None], jnp.sin(angle)[..., None, None]
    still = jnp.eye(3) - plane
    return still + cosine * plane + sine * generator
