"""The list of a world's pictures: who is seen when by which camera, and the file's name."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from jaxreid.data.world import moments as m
from jaxreid.data.world.naming import file_names
from jaxreid.data.world.spec import (
    BAD_BOX,
    DUKE,
    GALLERY,
    KNOWN,
    QUERY,
    REGDB,
    STRANGER,
    SYSU,
    TRAIN,
    VISIBLE,
    Spec,
)


class Plan(NamedTuple):
    """Every picture of a world, one entry per file; enough to draw each of them again.

    Attributes:
        names: file names in the form of ``Spec.layout`` (``naming.file_names``).
        folder: [N] index into ``FOLDERS``; in RegDB's layout the role in the first trial, with
            visible queries, in SYSU-MM01's infrared ones.
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
    train, test = (np.sort(pids) for pids in drawn_people(spec, rng))
    seen = spec.test_cameras_per_identity or spec.cameras
    shots = spec.test_images_per_camera or spec.images_per_camera
    rows = []
    for pid, camera, count in _cells(
        rng, spec, train, spec.cameras_per_identity, spec.images_per_camera
    ):
        rows += [(TRAIN, KNOWN, pid, camera, i, m.PERSON) for i in range(count)]
    for pid, camera, count in _cells(rng, spec, test, seen, shots, fewest=2):
        rows += _tested(spec, pid, camera, count)
    rows += _passers_by(spec, shots) if spec.layout == DUKE else _nobody(spec)
    folder, stream, pid, camera, shot, kind = np.array(rows, np.int32).T
    mount = np.array(spec.rigs, np.int32)[camera]
    # cameras that share a visit see other moments of it
    shot = shot + np.int32(spec.images_per_camera) * (camera - mount)
    scene, frame = _timetable(spec, stream, pid, camera, shot)
    columns = {"folder": folder, "stream": stream, "pid": pid, "camera": camera, "shot": shot}
    columns |= {"scene": scene, "kind": kind}
    return Plan(file_names(spec, columns | {"frame": frame}), **columns)


def drawn_people(spec: Spec, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pids of training and of test people, in random order."""
    pids = rng.permutation(spec.train_identities + spec.test_identities) + 1
    return pids[: spec.train_identities], pids[spec.train_identities :]


def _tested(spec: Spec, pid: int, camera: int, count: int) -> list[tuple[int, ...]]:
    """Rows of a test person before one camera; the layouts of one modality add a query."""
    if spec.layout not in (REGDB, SYSU):
        rows = [(QUERY, KNOWN, pid, camera, 0, m.PERSON)]
        return rows + [(GALLERY, KNOWN, pid, camera, 1 + i, m.PERSON) for i in range(count)]
    asks = (spec.modalities[camera] == VISIBLE) == (spec.layout == REGDB)
    folder = QUERY if asks else GALLERY
    return [(folder, KNOWN, pid, camera, i, m.PERSON) for i in range(count)]


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
        for camera in np.sort(_lookers(rng, spec, count))
    ]
    most = math.ceil(3 * images_mean)
    # RegDB has as many of everybody, SYSU-MM01's multi-shot gallery needs several
    low = {REGDB: images_mean, SYSU: images_mean // 2}.get(spec.layout, 1)
    counts = _spread(rng, round(images_mean * len(cells)), len(cells), max(1, int(low)), most)
    return [(*cell, int(count)) for cell, count in zip(cells, counts, strict=True)]


def _lookers(rng: np.random.Generator, spec: Spec, count: int) -> np.ndarray:
    """``count`` cameras, of either modality one at least."""
    visible = np.array([seen == VISIBLE for seen in spec.modalities])
    if visible.all():
        return rng.choice(spec.cameras, count, replace=False)
    sure = [rng.choice(np.flatnonzero(kind)) for kind in (visible, ~visible)]
    others = np.setdiff1d(np.arange(spec.cameras), sure)
    return np.append(sure, rng.choice(others, count - 2, replace=False))


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
