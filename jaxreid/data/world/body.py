"""The human body as a cloud of surface points ("surfels") that a skeleton bends.

The mesh asset (see ``jaxreid/data/assets/LICENSE-body.md``) is sampled once, on the host, into a
fixed, area-uniform cloud: every surfel carries its own rest position, normal, blend-shape
displacements and bone weights, so posing a person is two matrix products and no mesh topology
reaches the device. Units are decimetres; y is up, the rest pose faces +z, left is +x.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# The bones that walking bends; every other bone of the asset moves with its nearest ancestor here.
BONES = (
    "pelvis", "spine_01", "neck_01", "upperarm_l", "upperarm_r", "lowerarm_l", "lowerarm_r",
    "thigh_l", "thigh_r", "calf_l", "calf_r", "foot_l", "foot_r",
)  # fmt: skip
PARENTS = (-1, 0, 1, 1, 1, 3, 4, 0, 0, 7, 8, 9, 10)
# Levels of the skeleton: bones of one level depend only on earlier levels.
LEVELS = ((1, 7, 8), (2, 3, 4, 9, 10), (5, 6, 11, 12))

# COCO/OpenPose-18 order: nose, neck, right arm, left arm, right leg, left leg, eyes, ears.
KEYPOINTS = (
    "nose", "bone:neck_01",
    "bone:upperarm_r", "bone:lowerarm_r", "bone:hand_r",
    "bone:upperarm_l", "bone:lowerarm_l", "bone:hand_l",
    "bone:thigh_r", "bone:calf_r", "bone:foot_r",
    "bone:thigh_l", "bone:calf_l", "bone:foot_l",
    "eye_r", "eye_l", "ear_r", "ear_l",
)  # fmt: skip

# What a surfel belongs to; the wardrobe dresses regions.
HEAD, NECK, TORSO, PELVIS, ARM, HAND, THIGH, CALF, FOOT, FACE, SKIRT, LOCKS, BACKPACK, SATCHEL = (
    range(14)
)
_REGION_OF_BONE = {
    "head": HEAD, "neck": NECK, "spine": TORSO, "clavicle": TORSO, "pelvis": PELVIS, "Root": PELVIS,
    "upperarm": ARM, "lowerarm": ARM, "thigh": THIGH, "calf": CALF, "foot": FOOT, "ball": FOOT,
}  # fmt: skip
# Bags are rounded boxes: region, bone they hang on, centre, half sizes, share of all surfels.
_BAGS = (
    (BACKPACK, "spine_01", (0.0, 3.7, -0.95), (1.3, 1.75, 0.75), 0.05),
    (SATCHEL, "pelvis", (2.15, 0.2, 0.1), (0.4, 1.1, 1.35), 0.04),
)
SHAPES = 16
LOWEST_HEM = -5.5  # no coat or skirt reaches below this rest height, so its shell is not sampled


class Body(NamedTuple):
    """A cloud of N surfels with its skeleton; plain arrays, the same for every person.

    Attributes:
        rest: [3, N] rest positions of the average body (coordinates first: much faster on CPUs).
        normal: [3, N] unit normals in the rest pose.
        shapes: [16, 3, N] displacement of each blend shape.
        weights: [13, N] skinning weights over ``BONES``; columns sum to 1.
        region: [N] int32, one of ``HEAD`` ... ``SATCHEL``.
        along: [N] position along the arm, 0 at the shoulder, 1 at the wrist; 0 elsewhere.
        joints: [13, 3] rest joints (bone heads).
        joint_shapes: [16, 13, 3] their displacements.
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
        Rest positions [3, N], joints [13, 3] and keypoints [18, 3] of the shaped body.
    """
    bulge = (shape @ body.shapes.reshape(SHAPES, -1)).reshape(3, -1)
    joints = body.joints + jnp.tensordot(shape, body.joint_shapes, 1)
    keypoints = body.keypoints + jnp.tensordot(shape, body.keypoint_shapes, 1)
    return body.rest + bulge, joints, keypoints


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
        joints: [13, 3] rest joints.
        keypoints: [18, 3] rest keypoints.
        rotations: [13, 3, 3] rotation of every bone about its joint, in rest axes.
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
    """World rotation [13, 3, 3] and translation [13, 3] of every bone."""
    local = joints - jnp.einsum("bij,bj->bi", rotations, joints)
    root = turn_y(yaw)
    turns = jnp.broadcast_to(root @ rotations[0], rotations.shape)
    moves = jnp.broadcast_to(root @ local[0], local.shape)
    for level in LEVELS:
        own, above = np.array(level), np.array([PARENTS[b] for b in level])
        moves = moves.at[own].set(jnp.einsum("bij,bj->bi", turns[above], local[own]) + moves[above])
        turns = turns.at[own].set(turns[above] @ rotations[own])
    return turns, moves


def turn_x(angle: jax.Array) -> jax.Array:
    """Rotation by ``angle`` about x; any leading shape, returns [..., 3, 3]."""
    return _turn(angle, 0)


def turn_y(angle: jax.Array) -> jax.Array:
    """Rotation by ``angle`` about y; any leading shape, returns [..., 3, 3]."""
    return _turn(angle, 1)


def turn_z(angle: jax.Array) -> jax.Array:
    """Rotation by ``angle`` about z; any leading shape, returns [..., 3, 3]."""
    return _turn(angle, 2)


def _turn(angle: jax.Array, axis: int) -> jax.Array:
    angle = jnp.asarray(angle, jnp.float32)
    generator = np.zeros((3, 3), np.float32)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    generator[i, j], generator[j, i] = -1, 1
    plane = np.zeros((3, 3), np.float32)
    plane[i, i] = plane[j, j] = 1
    cosine, sine = jnp.cos(angle)[..., None, None], jnp.sin(angle)[..., None, None]
    return np.eye(3, dtype=np.float32) - plane + cosine * plane + sine * generator


@functools.lru_cache(maxsize=8)
def load_body(count: int) -> Body:
    """Loads the asset and samples it to ``count`` surfels (cached; NumPy arrays).

    Args:
        count: number of surfels; about 5 per pixel of the picture keep surfaces closed.

    Returns:
        The cloud, a pure function of ``count``.
    """
    mesh = _read_mesh()
    parts = [_sample_mesh(mesh, count - sum(int(bag[-1] * count) for bag in _BAGS))]
    parts += [_sample_bag(mesh, bag, count) for bag in _BAGS]
    surfels = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names = list(mesh["point_names"])
    joints = [names.index(f"bone:{bone}") for bone in BONES]
    points = [names.index(point) for point in KEYPOINTS]
    carriers = [point.removeprefix("bone:") if ":" in point else "head" for point in KEYPOINTS]
    for name in ("rest", "normal", "weights"):
        surfels[name] = np.ascontiguousarray(surfels[name].T)
    surfels["shapes"] = np.ascontiguousarray(surfels["shapes"].transpose(1, 2, 0))
    return Body(
        joints=mesh["points"][joints],
        joint_shapes=mesh["point_deltas"][:, joints],
        keypoints=mesh["points"][points],
        keypoint_shapes=mesh["point_deltas"][:, points],
        keypoint_bones=np.array([_carrier(mesh, bone) for bone in carriers], np.int32),
        **surfels,
    )


def _read_mesh() -> dict[str, np.ndarray]:
    asset = resources.files("jaxreid.data") / "assets" / "body.npz"
    with asset.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        mesh = {name: arrays[name] for name in arrays.files}
    return {k: v.astype(np.float32) if v.dtype == np.float16 else v for k, v in mesh.items()}


def _carrier(mesh: dict[str, np.ndarray], bone: str) -> int:
    """Index into ``BONES`` of the kept bone that moves ``bone``."""
    names = list(mesh["bone_names"])
    index = names.index(bone)
    while names[index] not in BONES:
        index = int(mesh["bone_parents"][index])
        if index < 0:
            return 0
    return BONES.index(names[index])


def _sample_mesh(mesh: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Area-uniform surfels on skin, skirt shell and hair shell."""
    faces = [mesh[f"faces_{part}"] for part in ("body", "skirt", "hair")]
    faces[1] = faces[1][mesh["vertices"][faces[1]][..., 1].max(axis=1) > LOWEST_HEM]
    shell = np.repeat([-1, SKIRT, LOCKS], [len(f) for f in faces])
    corners = np.concatenate(faces).astype(np.int64)
    mean = mesh["vertices"] + 0.5 * (mesh["shape_deltas"][1] + mesh["shape_deltas"][9])
    edges = mean[corners]
    area = np.linalg.norm(np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0]), axis=1)
    rng = np.random.default_rng(0)
    # Systematic sampling spreads points far more evenly than independent draws.
    ticks = (np.arange(count) + rng.random(count)) / count
    face = np.searchsorted(np.cumsum(area) / area.sum(), ticks).clip(max=len(area) - 1)
    root, v = np.sqrt(rng.random(count)), rng.random(count)
    mix = np.stack([1 - root, root * (1 - v), root * v], 1)[..., None].astype(np.float32)
    at = corners[face]
    blend = functools.partial(_blend, at, mix)
    dominant = mesh["skin_bones"][np.arange(len(mean)), mesh["skin_weights"].argmax(1)]
    rest = blend(mesh["vertices"])
    region = _regions(mesh, dominant[at[:, 0]], rest)
    return {
        "rest": rest,
        "normal": _unit(blend(_vertex_normals(mean, corners))),
        "shapes": blend(mesh["shape_deltas"].transpose(1, 0, 2)),
        "weights": blend(_dense_weights(mesh)),
        "region": np.where(shell[face] < 0, region, shell[face]).astype(np.int32),
        "along": _along_arm(mesh, rest, region),
    }


def _blend(at: np.ndarray, mix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Barycentric mean of per-vertex ``values`` at sampled faces."""
    weight = mix.reshape(mix.shape[:2] + (1,) * (values.ndim - 1))
    return sum(weight[:, i] * values[at[:, i]] for i in range(3)).astype(np.float32)  # pyright: ignore


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def _vertex_normals(vertices: np.ndarray, corners: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[corners[:, i]] for i in range(3))
    normals = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(normals, corners[:, i], np.cross(b - a, c - a))
    return _unit(normals)


def _dense_weights(mesh: dict[str, np.ndarray]) -> np.ndarray:
    """[V, 13] weights with fingers, toes, clavicles, ... merged into the kept bones."""
    carriers = np.array([_carrier(mesh, str(bone)) for bone in mesh["bone_names"]])
    dense = np.zeros((len(mesh["vertices"]), len(BONES)), np.float32)
    rows = np.arange(len(dense))
    for i in range(mesh["skin_bones"].shape[1]):
        np.add.at(dense, (rows, carriers[mesh["skin_bones"][:, i]]), mesh["skin_weights"][:, i])
    return dense / dense.sum(1, keepdims=True)


def _regions(mesh: dict[str, np.ndarray], dominant: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Region of each surfel from its dominant bone; the eyes and lips become FACE."""
    table = [_REGION_OF_BONE.get(str(b).split("_")[0], HAND) for b in mesh["bone_names"]]
    region = np.array(table)[dominant]
    names = list(mesh["point_names"])
    eyes = mesh["points"][[names.index("eye_l"), names.index("eye_r")]]
    gap = (rest[:, None] - eyes) / np.array([0.22, 0.09, 0.5])
    lips = (rest - mesh["points"][names.index("nose")] - [0, -0.42, 0]) / np.array([0.22, 0.07, 1])
    marked = ((gap**2).sum(-1) < 1).any(1) | ((lips**2).sum(-1) < 1)
    return np.where((region == HEAD) & marked, FACE, region)


def _along_arm(mesh: dict[str, np.ndarray], rest: np.ndarray, region: np.ndarray) -> np.ndarray:
    names = list(mesh["point_names"])
    start, end = (mesh["points"][names.index(f"bone:{b}")] for b in ("upperarm_l", "hand_l"))
    mirrored = rest * np.where(rest[:, :1] < 0, [-1.0, 1.0, 1.0], 1.0)
    along = (mirrored - start) @ (end - start) / ((end - start) ** 2).sum()
    return np.where(np.isin(region, (ARM, HAND)), along, 0).astype(np.float32)


def _sample_bag(mesh: dict[str, np.ndarray], bag: tuple, total: int) -> dict[str, np.ndarray]:
    """Surfels on a rounded box that follows one bone and that bone's share of the body build."""
    region, bone, centre, half, share = bag
    count = int(share * total)
    # A Fibonacci sphere pushed towards its bounding cube: even, and free of random draws.
    i = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * i / count), np.pi * (1 + 5**0.5) * i
    sphere = np.stack(
        [np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1
    )
    rounded = sphere / (np.abs(sphere) ** 4).sum(1, keepdims=True) ** 0.25
    joint = list(mesh["point_names"]).index(f"bone:{bone}")
    shapes = np.broadcast_to(mesh["point_deltas"][:, joint], (count, SHAPES, 3))
    weights = np.zeros((count, len(BONES)), np.float32)
    weights[:, BONES.index(bone)] = 1
    return {
        "rest": (rounded * half + centre).astype(np.float32),
        "normal": _unit(rounded**3 / half).astype(np.float32),
        "shapes": shapes.astype(np.float32),
        "weights": weights,
        "region": np.full(count, region, np.int32),
        "along": np.zeros(count, np.float32),
    }
