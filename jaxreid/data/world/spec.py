"""What a synthetic world holds: the specification and the list of its pictures."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from jaxreid.data.world import moments as m

FOLDERS = ("bounding_box_train", "bounding_box_test", "query")
TRAIN, GALLERY, QUERY = range(3)
# Streams keep the random keys of known people, distractors, junk boxes and people outside apart.
KNOWN, STRANGER, BAD_BOX, OUTSIDER = range(4)


@dataclasses.dataclass(frozen=True)
class Spec:
    """One synthetic world in Market-1501's layout; plain values only.

    Attributes:
        seed: everything is a pure function of it.
        train_identities: people in ``bounding_box_train``.
        test_identities: people in ``query`` and ``bounding_box_test``.
        cameras: number of cameras, 2 to 9.
        cameras_per_identity: mean number of cameras that see a training person, at least 1.
        images_per_camera: mean pictures per (training person, camera).
        test_cameras_per_identity: the same for test people, at least 2; None means all cameras.
        test_images_per_camera: mean gallery pictures per (test person, camera), beside the one
            query; None means ``images_per_camera``.
        distractors: gallery boxes of strangers or empty street (pid 0).
        junk: badly placed gallery boxes (pid -1).
        height: rows of a picture.
        width: columns of a picture.
        strength: how much the cameras' sensor responses differ; 0 is not at all.
        colourful: share of garments in a saturated colour; fewer make people more alike.
        city: 0 or 1; other streets, light and clothes.

    Raises:
        ValueError: the specification is impossible; the message names the field.
    """

    seed: int = 0
    train_identities: int = 100
    test_identities: int = 50
    cameras: int = 4
    cameras_per_identity: float = 2.0
    images_per_camera: float = 4.0
    test_cameras_per_identity: float | None = None
    test_images_per_camera: float | None = None
    distractors: int = 50
    junk: int = 50
    height: int = 128
    width: int = 64
    strength: float = 0.5
    colourful: float = 0.2
    city: int = 0

    def __post_init__(self) -> None:
        ranges: dict[str, tuple[float, float]] = {
            "seed": (0, 2**31 - 1),
            "train_identities": (1, 9998),
            "test_identities": (1, 9999 - self.train_identities),
            "cameras": (2, 9),
            "cameras_per_identity": (1, self.cameras),
            "images_per_camera": (1, 100),
            "test_cameras_per_identity": (2, self.cameras),
            "test_images_per_camera": (1, 100),
            "distractors": (0, 100_000),
            "junk": (0, 100_000),
            "height": (16, 1024),
            "width": (8, 1024),
            "strength": (0, 4),
            "colourful": (0, 1),
            "city": (0, 1),
        }
        for field in dataclasses.fields(self):
            value, (low, high) = getattr(self, field.name), ranges[field.name]
            if value is None and field.default is None:
                continue
            whole = isinstance(field.default, int)
            if not isinstance(value, int if whole else (int, float)) or not low <= value <= high:
                kind = "a whole number" if whole else "a number"
                raise ValueError(
                    f"Spec.{field.name} = {value!r} is impossible: "
                    f"give {kind} from {low} to {high}."
                )

    @classmethod
    def market(cls, **changes: int | float) -> Spec:
        """Market-1501's own size: 1,501 people, 6 cameras, 32,668 boxes and 3,368 queries.

        Args:
            **changes: fields to replace.

        Returns:
            The specification.
        """
        counts = cls(
            train_identities=751,
            test_identities=750,
            cameras=6,
            cameras_per_identity=3262 / 751,
            images_per_camera=12936 / 3262,
            test_cameras_per_identity=3368 / 750,
            test_images_per_camera=13115 / 3368,
            distractors=2798,
            junk=3819,
        )
        return dataclasses.replace(counts, **changes)  # pyright: ignore[reportArgumentType]


class Plan(NamedTuple):
    """Every picture of a world, one entry per file; enough to draw each of them again.

    Attributes:
        names: file names in Market-1501's form.
        folder: [N] index into ``FOLDERS``.
        stream: [N] ``KNOWN``, ``STRANGER`` or ``BAD_BOX``.
        pid: [N] identity, 0 where there is none.
        camera: [N] 0-based camera that took the picture.
        shot: [N] running number within (stream, pid, camera).
        scene: [N] which of the camera's scenes.
        kind: [N] ``moments.PERSON``, ``FRAGMENT`` or ``STREET``.
    """

    names: tuple[str, ...]
    folder: np.ndarray
    stream: np.ndarray
    pid: np.ndarray
    camera: np.ndarray
    shot: np.ndarray
    scene: np.ndarray
    kind: np.ndarray


def plan(spec: Spec) -> Plan:
    """Lists the pictures of a world, a pure function of the specification."""
    rng = np.random.default_rng((spec.seed, 1))
    pids = rng.permutation(spec.train_identities + spec.test_identities) + 1
    train, test = np.sort(pids[: spec.train_identities]), np.sort(pids[spec.train_identities :])
    seen = spec.test_cameras_per_identity or spec.cameras
    shots = spec.test_images_per_camera or spec.images_per_camera
    rows = []
    for pid, camera, count in _cells(
        rng, spec, train, spec.cameras_per_identity, spec.images_per_camera
    ):
        rows += [(TRAIN, KNOWN, pid, camera, i, m.PERSON) for i in range(count)]
    for pid, camera, count in _cells(rng, spec, test, seen, shots, fewest=2):
        rows += [(QUERY, KNOWN, pid, camera, 0, m.PERSON)]
        rows += [(GALLERY, KNOWN, pid, camera, 1 + i, m.PERSON) for i in range(count)]
    for i in range(spec.distractors):
        kind = m.PERSON if i // spec.cameras % 2 else m.STREET
        rows.append((GALLERY, STRANGER, 0, i % spec.cameras, i // spec.cameras, kind))
    for i in range(spec.junk):
        rows.append((GALLERY, BAD_BOX, 0, i % spec.cameras, i // spec.cameras, m.FRAGMENT))
    folder, stream, pid, camera, shot, kind = np.array(rows, np.int32).T
    scene, frame = _timetable(spec, stream, pid, camera, shot)
    printed = np.where(stream == BAD_BOX, -1, pid)
    names = tuple(
        f"{p:0{2 if p < 0 else 4}d}_c{c + 1}s{s + 1}_{f:06d}_{int(q != QUERY):02d}.jpg"
        for p, c, s, f, q in zip(printed, camera, scene, frame, folder, strict=True)
    )
    return Plan(names, folder, stream, pid, camera, shot, scene, kind)


def _cells(
    rng: np.random.Generator,
    spec: Spec,
    pids: np.ndarray,
    cameras_mean: float,
    images_mean: float,
    fewest: int = 1,
) -> list[tuple[int, int, int]]:
    """(pid, camera, pictures) of every person in every camera that sees them."""
    fewest = min(max(fewest, min(2, math.floor(cameras_mean))), spec.cameras)
    seen = _spread(rng, round(cameras_mean * len(pids)), len(pids), fewest, spec.cameras)
    cells = [
        (int(pid), int(camera))
        for pid, count in zip(pids, seen, strict=True)
        for camera in np.sort(rng.choice(spec.cameras, count, replace=False))
    ]
    most = math.ceil(3 * images_mean)
    counts = _spread(rng, round(images_mean * len(cells)), len(cells), 1, most)
    return [(*cell, int(count)) for cell, count in zip(cells, counts, strict=True)]


def _spread(rng: np.random.Generator, total: int, cells: int, low: int, high: int) -> np.ndarray:
    """Random counts within [low, high] that sum to ``total``."""
    counts = np.full(cells, low)
    weights = rng.gamma(2.0, size=cells)
    while (rest := total - counts.sum()) > 0:
        open_weights = weights * (counts < high)
        extra = rng.multinomial(rest, open_weights / open_weights.sum())
        counts = np.minimum(counts + extra, high)
    return counts


def _timetable(
    spec: Spec, stream: np.ndarray, pid: np.ndarray, camera: np.ndarray, shot: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scene and frame number of each picture; one visit of a person is one run of frames."""
    rng = np.random.default_rng((spec.seed, 2))
    cell = np.stack([stream, pid, camera])
    passes = np.concatenate([cell, np.where(stream == KNOWN, 0, shot)[None]])
    cells, cell_of = np.unique(cell, axis=1, return_inverse=True)
    visits, visit_of = np.unique(passes, axis=1, return_inverse=True)
    scene = rng.integers(m.SCENES, size=visits.shape[1])[visit_of]
    start = rng.integers(100_000, size=cells.shape[1])[cell_of]
    return scene, start + 7 * shot
