"""Canonical poses of a set: a few groups of its poses, and one skeleton that stands for each."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxreid.data import Split, require_keypoints
from jaxreid.stages import pose_sheets
from jaxreid.stages.clustering import Clusters, kmeans, squared_distances
from jaxreid.stages.pose_sheets import Shown
from jaxreid.training import run_once
from jaxreid.training.workdir import write_json

NECK, SHOULDERS, HIPS = 1, (2, 5), (8, 11)  # right before left
SIDES = (SHOULDERS, HIPS)
RIGHT, LEFT, FACE = (2, 3, 4, 8, 9, 10), (5, 6, 7, 11, 12, 13), (0, 14, 15)
MEMBERS = ("medoid", "mean")
REACH = 5.0  # torsos between the neck and any joint; the feet of who stands are 2.6 away


@dataclass(frozen=True)
class Settings:
    """How canonical poses are chosen.

    Attributes:
        poses: how many.
        pose: ``medoid``, the member nearest to the centroid of its group, or ``mean``, where every
            joint that more than half of the group shows has its mean place.
        starts: of k-means, of which the best counts.
        seed: of the starts.
    """

    poses: int = 8
    pose: str = "medoid"
    starts: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pose not in MEMBERS:
            raise ValueError(f"pose is {self.pose!r}: choose {' or '.join(MEMBERS)}")
        if self.poses < 1 or self.starts < 1:
            raise ValueError(f"poses and starts must be positive, not {self.poses}, {self.starts}")


class Canonical(NamedTuple):
    """Canonical poses.

    Attributes:
        keypoints: float32 ``[K, 18, 3]``, in pixels of the set's pictures, in the order in which
            people turn: front, right side, back, left side.
        names: of the pictures nearest to the middles of the groups, which show medoids.
        made_by: fingerprint of all that made them.
    """

    keypoints: np.ndarray
    names: tuple[str, ...]
    made_by: str


def canonical(directory: Path, split: Split, settings: Settings, made_by: str) -> Canonical:
    """Finds the canonical poses of a training split, and leaves two pictures of them.

    ``canonical.npy`` holds the poses, ``poses.png`` shows them above members of their groups,
    ``tsne.png`` is a map of many poses (see ``jaxreid.stages.pose_sheets``). Pictures that show no
    torso, or a joint more than ``REACH`` torsos from the neck, are passed over: one falsely
    detected hip or hand may make a group of its own.

    Args:
        directory: of the stage; made once.
        split: training images with keypoints.
        settings: see ``Settings``.
        made_by: fingerprint of ``split``.

    Raises:
        ValueError: no keypoints, or fewer such poses than are asked for.
    """
    require_keypoints("training", split)

    def make() -> None:
        keypoints = split.keypoints(np.arange(len(split)))
        rows = np.flatnonzero(has_torso(keypoints))
        points = features(keypoints[rows])
        whole = in_proportion(points)
        rows, points = rows[whole], points[whole]
        found = (
            f"Of {len(split):,} training pictures {len(rows):,} show a neck or shoulder and a hip, "
            f"and no joint more than {REACH:g} torsos from the neck"
        )
        if len(rows) < settings.poses:
            raise ValueError(
                f"{found}, too few for {settings.poses} canonical poses: detect more keypoints, or "
                "ask for fewer poses"
            )
        if len(rows) < len(split):
            print(f"note: {found}; the others count for no canonical pose", flush=True)
        distinct = len(np.unique(points, axis=0))
        if distinct < settings.poses:
            raise ValueError(
                f"The {len(rows):,} poses of the training pictures are only {distinct:,} different "
                f"ones, too few for {settings.poses} canonical poses: ask for fewer (poses.poses)"
            )
        clusters = grouped(points, settings)
        chosen, labels, nearest = representatives(keypoints[rows], clusters, settings.pose)
        shown = Shown(split.take(rows), points, labels, chosen, features(chosen))
        pose_sheets.write(directory, shown, settings.seed)
        np.save(directory / "canonical.npy", chosen)
        write_json(directory / "nearest.json", [split.names[row] for row in rows[nearest]])

    size = {"height": split.size[0], "width": split.size[1]}
    made = run_once(directory, {"data": made_by, **size, **asdict(settings)}, make)
    names = json.loads((directory / "nearest.json").read_text())
    return Canonical(np.load(directory / "canonical.npy"), tuple(names), made)


def has_torso(keypoints: np.ndarray) -> np.ndarray:
    """Whether a neck or shoulder and a hip are visible: ``[..., 18, 3]`` to ``[...]``."""
    seen = keypoints[..., 2] > 0
    top, bottom = (np.any(seen[..., list(j)], axis=-1) for j in ((NECK, *SHOULDERS), HIPS))
    return np.asarray(top & bottom)


def features(keypoints: np.ndarray) -> np.ndarray:
    """What poses are grouped by: places of joints beside a torso of length 1, and which are seen.

    The torso goes from the neck (or the middle of the visible shoulders) to the middle of the
    visible hips; the neck is (0, 0). Invisible joints are at (0, 0), too.

    Args:
        keypoints: ``[n, 18, 3]`` with torsos.

    Returns:
        float64 ``[n, 54]``: x and y of 18 joints, then 1 or 0 for each.
    """
    origin, length = _torso(keypoints)
    seen = keypoints[..., 2] > 0
    places = (keypoints[..., :2] - origin[:, None]) / length[:, None, None] * seen[..., None]
    return np.concatenate([places.reshape(len(keypoints), -1), seen], axis=1)


def in_proportion(points: np.ndarray) -> np.ndarray:
    """Whether all visible joints are within ``REACH`` torsos: features ``[n, 54]`` to ``[n]``."""
    places = points[:, :36].reshape(len(points), -1, 2)
    return np.linalg.norm(places, axis=-1).max(1) <= REACH


def grouped(points: np.ndarray, settings: Settings) -> Clusters:
    """The k-means clusters with the least sum of squared distances among several starts.

    One that left a cluster without members comes last: nobody could represent it.
    """
    tries = [
        kmeans(points, settings.poses, (settings.seed, start)) for start in range(settings.starts)
    ]

    def rank(found: Clusters) -> tuple[int, float]:
        distances = np.square(points - found.centroids[found.labels])
        return -len(np.unique(found.labels)), float(distances.sum())

    return min(tries, key=rank)


def representatives(
    keypoints: np.ndarray, found: Clusters, pose: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A pose for every cluster, the number of that of each pose, and the medoids.

    They are in the order in which people turn: front, right side, back, left side.

    Args:
        keypoints: ``[n, 18, 3]``.
        found: clusters of their features.
        pose: ``medoid`` or ``mean``; a mean whose torso most members do not show is no pose, and
            the medoid takes its place.

    Returns:
        float32 ``[K, 18, 3]``, int ``[n]``, and rows ``[K]``.
    """
    members = [np.flatnonzero(found.labels == k) for k in range(len(found.centroids))]
    gaps = squared_distances(features(keypoints), found.centroids)
    medoids = np.array([rows[gaps[rows, k].argmin()] for k, rows in enumerate(members)])
    chosen = keypoints[medoids]
    if pose == "mean":
        means = np.stack([_mean(keypoints[rows]) for rows in members])
        chosen = np.where(has_torso(means)[:, None, None], means, chosen)
    front, side = np.array([heading(keypoints[rows]).mean(0) for rows in members]).T
    # The circle is cut where few people walk, so that front views stay together.
    order = np.argsort((np.arctan2(side, front) + np.pi / 4) % (2 * np.pi), kind="stable")
    return chosen[order].astype(np.float32), np.argsort(order)[found.labels], medoids[order]


def heading(keypoints: np.ndarray) -> np.ndarray:
    """Where torsos turn: a vector of how much of the front, and of the right side, is seen.

    Front: the horizontal way from the right to the left shoulder, and hip, in lengths of the torso
    (mean of the pairs of which both are visible), plus the visible share of nose and eyes, minus a
    half; below 0 from behind. Side: the visible joints of the right side less those of the left, by
    their sum; above 0 for people who walk to the right.

    Args:
        keypoints: ``[n, 18, 3]`` with torsos.

    Returns:
        float64 ``[n, 2]``.
    """
    seen = keypoints[..., 2] > 0
    pairs = np.array([seen[:, right] & seen[:, left] for right, left in SIDES])
    ways = np.array([keypoints[:, left, 0] - keypoints[:, right, 0] for right, left in SIDES])
    width = (ways * pairs).sum(0) / np.maximum(pairs.sum(0), 1) / _torso(keypoints)[1]
    right, left = (seen[:, list(side)].sum(1) for side in (RIGHT, LEFT))
    front = width + seen[:, list(FACE)].mean(1) - 0.5
    return np.stack([front, (right - left) / np.maximum(right + left, 1)], axis=1)


def _torso(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The upper end ``[n, 2]`` of torsos, and their lengths ``[n]``, at least a pixel."""
    points, seen = keypoints[..., :2].astype(np.float64), keypoints[..., 2] > 0
    shoulders, hips = (_middle(points, seen, list(pair)) for pair in SIDES)
    top = np.where(seen[:, NECK, None], points[:, NECK], shoulders)
    return top, np.maximum(np.linalg.norm(hips - top, axis=1), 1.0)


def _middle(points: np.ndarray, seen: np.ndarray, joints: list[int]) -> np.ndarray:
    shown = seen[:, joints, None]
    return (points[:, joints] * shown).sum(1) / np.maximum(shown.sum(1), 1)


def _mean(keypoints: np.ndarray) -> np.ndarray:
    seen = keypoints[..., 2] > 0
    places = (keypoints[..., :2] * seen[..., None]).sum(0) / np.maximum(seen.sum(0), 1)[:, None]
    shown = seen.mean(0) > 0.5
    return np.column_stack([places, shown]) * shown[:, None]
