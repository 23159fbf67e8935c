"""The list of a world's pictures: who is seen when by which camera, and the file's name."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from jaxreid.data.world import moments as m
from jaxreid.data.world.spec import BAD_BOX, DUKE, GALLERY, KNOWN, QUERY, STRANGER, TRAIN, Spec


class Plan(NamedTuple):
    """Every picture of a world, one entry per file; enough to draw each of them again.

    Attributes:
        names: file names in the form of ``Spec.layout``.
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
    rows += _passers_by(spec, shots) if spec.layout == DUKE else _nobody(spec)
    folder, stream, pid, camera, shot, kind = np.array(rows, np.int32).T
    scene, frame = _timetable(spec, stream, pid, camera, shot)
    printed = np.where(stream == BAD_BOX, -1, pid)
    form = _duke_name if spec.layout == DUKE else _market_name
    columns = zip(printed, camera, scene, frame, folder, strict=True)
    names = tuple(form(*(int(value) for value in row)) for row in columns)
    return Plan(names, folder, stream, pid, camera, shot, scene, kind)


def _market_name(pid: int, camera: int, scene: int, frame: int, folder: int) -> str:
    person = f"{pid:0{2 if pid < 0 else 4}d}"
    return f"{person}_c{camera + 1}s{scene + 1}_{frame:06d}_{int(folder != QUERY):02d}.jpg"


def _duke_name(pid: int, camera: int, scene: int, frame: int, folder: int) -> str:
    del scene, folder  # these names do not tell them
    return f"{pid:04d}_c{camera + 1}_f{frame:07d}.jpg"


def _nobody(spec: Spec) -> list[tuple[int, ...]]:
    """Market-1501's gallery boxes of strangers or empty street, and its badly placed ones."""
    rows = []
    for i in range(spec.distractors):
        kind = m.PERSON if i // spec.cameras % 2 else m.STREET
        rows.append((GALLERY, STRANGER, 0, i % spec.cameras, i // spec.cameras, kind))
    for i in range(spec.junk or 0):
        rows.append((GALLERY, BAD_BOX, 0, i % spec.cameras, i // spec.cameras, m.FRAGMENT))
    return rows


def _passers_by(spec: Spec, images_mean: float) -> list[tuple[int, ...]]:
    """DukeMTMC-reID's distractors: ordinary people whom one camera saw, in the gallery only."""
    if not spec.distractors:
        return []
    rng = np.random.default_rng((spec.seed, 3))
    first = spec.train_identities + spec.test_identities + 1
    total, most = round(images_mean * spec.distractors), math.ceil(3 * images_mean)
    counts = _spread(rng, total, spec.distractors, 1, most)
    return [
        (GALLERY, KNOWN, first + i, i % spec.cameras, shot, m.PERSON)
        for i, count in enumerate(counts)
        for shot in range(count)
    ]


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
