"""Samples the human mesh asset into a cloud of surfels, once and on the host.

The asset is described in ``jaxreid/data/assets/LICENSE-body.md``: a mesh with skin, a skirt shell
and a hair shell, blend shapes, and a skeleton with skin weights. Bags are added here.
"""

from __future__ import annotations

import functools
from importlib import resources

import numpy as np

from jaxreid.data.world import body as b

# COCO/OpenPose-18 order: nose, neck, right arm, left arm, right leg, left leg, eyes, ears.
KEYPOINTS = (
    "nose", "bone:neck_01",
    "bone:upperarm_r", "bone:lowerarm_r", "bone:hand_r",
    "bone:upperarm_l", "bone:lowerarm_l", "bone:hand_l",
    "bone:thigh_r", "bone:calf_r", "bone:foot_r",
    "bone:thigh_l", "bone:calf_l", "bone:foot_l",
    "eye_r", "eye_l", "ear_r", "ear_l",
)  # fmt: skip
_REGION_OF_BONE = {
    "head": b.HEAD, "neck": b.NECK, "spine": b.TORSO, "clavicle": b.TORSO, "pelvis": b.PELVIS,
    "Root": b.PELVIS, "upperarm": b.ARM, "lowerarm": b.ARM, "thigh": b.THIGH, "calf": b.CALF,
    "foot": b.FOOT, "ball": b.FOOT,
}  # fmt: skip
# Bags are rounded boxes: region, bone they hang on, centre, half sizes, share of all surfels.
_BAGS = (
    (b.BACKPACK, "spine_01", (0.0, 3.7, -0.95), (1.3, 1.75, 0.75), 0.05),
    (b.SATCHEL, "pelvis", (2.15, 0.2, 0.1), (0.4, 1.1, 1.35), 0.04),
)
LOWEST_HEM = -5.5  # no coat or skirt reaches below this rest height, so its shell is not sampled


@functools.lru_cache(maxsize=8)
def load_body(count: int) -> b.Body:
    """Loads the asset and samples it to ``count`` surfels (cached; NumPy arrays).

    Args:
        count: number of surfels; about 5 per pixel of the picture keep surfaces
            closed, and below 1,000 limbs get lost.

    Returns:
        The cloud, a pure function of ``count``.
    """
    mesh = _read_mesh()
    parts = [_sample_mesh(mesh, count - sum(int(bag[-1] * count) for bag in _BAGS))]
    parts += [_sample_bag(mesh, bag, count) for bag in _BAGS]
    surfels = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names = list(mesh["point_names"])
    joints = [names.index(f"bone:{bone}") for bone in b.BONES]
    points = [names.index(point) for point in KEYPOINTS]
    carriers = [point.removeprefix("bone:") if ":" in point else "head" for point in KEYPOINTS]
    for name in ("rest", "normal", "weights"):
        surfels[name] = np.ascontiguousarray(surfels[name].T)
    surfels["shapes"] = np.ascontiguousarray(surfels["shapes"].transpose(1, 2, 0))
    return b.Body(
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
    """Index into ``body.BONES`` of the kept bone that moves ``bone``."""
    names = list(mesh["bone_names"])
    index = names.index(bone)
    while names[index] not in b.BONES:
        index = int(mesh["bone_parents"][index])
        if index < 0:
            return 0
    return b.BONES.index(names[index])


def _sample_mesh(mesh: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Area-uniform surfels on skin, skirt shell and hair shell."""
    faces = [mesh[f"faces_{part}"] for part in ("body", "skirt", "hair")]
    faces[1] = faces[1][mesh["vertices"][faces[1]][..., 1].max(axis=1) > LOWEST_HEM]
    shell = np.repeat([-1, b.SKIRT, b.LOCKS], [len(f) for f in faces])
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
    """[V, 15] weights with fingers, toes, ... merged into the kept bones."""
    carriers = np.array([_carrier(mesh, str(bone)) for bone in mesh["bone_names"]])
    dense = np.zeros((len(mesh["vertices"]), len(b.BONES)), np.float32)
    rows = np.arange(len(dense))
    for i in range(mesh["skin_bones"].shape[1]):
        np.add.at(dense, (rows, carriers[mesh["skin_bones"][:, i]]), mesh["skin_weights"][:, i])
    return dense / dense.sum(1, keepdims=True)


def _regions(mesh: dict[str, np.ndarray], dominant: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Region of each surfel from its dominant bone; the eyes and lips become FACE."""
    table = [_REGION_OF_BONE.get(str(bone).split("_")[0], b.HAND) for bone in mesh["bone_names"]]
    region = np.array(table)[dominant]
    names = list(mesh["point_names"])
    eyes = mesh["points"][[names.index("eye_l"), names.index("eye_r")]]
    gap = (rest[:, None] - eyes) / np.array([0.22, 0.09, 0.5])
    lips = (rest - mesh["points"][names.index("nose")] - [0, -0.42, 0]) / np.array([0.22, 0.07, 1])
    marked = ((gap**2).sum(-1) < 1).any(1) | ((lips**2).sum(-1) < 1)
    return np.where((region == b.HEAD) & marked, b.FACE, region)


def _along_arm(mesh: dict[str, np.ndarray], rest: np.ndarray, region: np.ndarray) -> np.ndarray:
    names = list(mesh["point_names"])
    start, end = (mesh["points"][names.index(f"bone:{b}")] for b in ("upperarm_l", "hand_l"))
    mirrored = rest * np.where(rest[:, :1] < 0, [-1.0, 1.0, 1.0], 1.0)
    along = (mirrored - start) @ (end - start) / ((end - start) ** 2).sum()
    return np.where(np.isin(region, (b.ARM, b.HAND)), along, 0).astype(np.float32)


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
    shapes = np.broadcast_to(mesh["point_deltas"][:, joint], (count, b.SHAPES, 3))
    weights = np.zeros((count, len(b.BONES)), np.float32)
    weights[:, b.BONES.index(bone)] = 1
    return {
        "rest": (rounded * half + centre).astype(np.float32),
        "normal": _unit(rounded**3 / half).astype(np.float32),
        "shapes": shapes.astype(np.float32),
        "weights": weights,
        "region": np.full(count, region, np.int32),
        "along": np.zeros(count, np.float32),
    }
