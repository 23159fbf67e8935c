"""Galleries that a protocol draws, a few pictures per person and camera and trial (SYSU-MM01)."""

import random
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from jaxreid.evaluation import matfile
from jaxreid.evaluation.protocol import Draw, Embedded

Permutations = Sequence[Sequence[np.ndarray]]
"""``permutations[camera][pid - 1]``: ``[trials, n]``, in row t an order of the numbers 1 to n of
the pictures of this person in this camera; ``[trials, 0]`` where there are none. Cameras are
0-based."""


def load_permutations(path: Path | str) -> Permutations:
    """Reads ``rand_perm_cam.mat``, which SYSU-MM01's authors publish with their evaluation.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path} does not exist: give rand_perm_cam.mat of SYSU-MM01's evaluation code."
        )
    try:
        cameras = _cells(matfile.load(Path(path).read_bytes(), "rand_perm_cam"))
        return [[_numbers(order) for order in _cells(camera)] for camera in cameras]
    except Exception as error:  # whatever a damaged file provokes
        raise ValueError(
            f"{path} is not rand_perm_cam.mat, a cell per camera of a cell per person ({error}): "
            "give that of SYSU-MM01's evaluation code."
        ) from error


def _numbers(values: Any) -> np.ndarray:
    if isinstance(values, list) or values.ndim != 2:
        raise ValueError("something else in place of a matrix")
    return values


def _cells(values: Any) -> list[Any]:
    if not isinstance(values, list):
        raise ValueError(f"an array of {values.dtype} in place of cells")
    return values


def drawn(
    gallery: Embedded, draw: Draw, permutations: Permutations | None = None
) -> list[np.ndarray]:
    """The galleries of all trials as row numbers, for ``evaluate(..., trials=...)``.

    With permutations, trial t takes of each person and camera the pictures that stand first in row
    t (Wu et al., "RGB-Infrared Cross-Modality Person Re-identification", ICCV 2017, and their
    ``get_testing_set.m``). Without, it draws them by ``random.Random(t)``, t from 0, people in
    ascending order and their cameras within: one picture by ``choice``, which gives the galleries
    of Ye et al.'s code ("Deep Learning for Person Re-identification: A Survey and Outlook", TPAMI
    2021), several by ``sample``, which is this library's own. That is said, once.

    Args:
        gallery: all pictures that may be drawn; those of one person and camera in the order of
            their file names, as in splits.
        draw: of the protocol.
        permutations: see ``load_permutations``; None: drawn as above.

    Raises:
        ValueError: a camera of ``draw`` without pictures, too few of somebody, or permutations of
            another number of pictures or trials.
    """
    rows = _rows(gallery, draw)
    if permutations is None:
        _announce()
        return [_by_generator(rows, draw, random.Random(trial)) for trial in range(draw.trials)]
    orders = {key: _order(permutations, *key, len(own), draw) for key, own in rows.items()}
    return [
        np.concatenate([rows[key][orders[key][trial, : draw.shots] - 1] for key in rows])
        for trial in range(draw.trials)
    ]


def check_drawn(gallery: Embedded, draw: Draw) -> None:
    """Raises ValueError if a gallery is none that ``draw`` can give."""
    keys = np.stack([gallery.pids, gallery.cameras], axis=1)
    most = np.unique(keys, axis=0, return_counts=True)[1].max(initial=0)
    other = np.setdiff1d(gallery.cameras, draw.cameras)
    if len(other) or most > draw.shots:
        raise ValueError(
            f"A trial holds up to {most} pictures per person and camera, of the cameras "
            f"{np.unique(gallery.cameras).tolist()} counted from 0, but the protocol draws "
            f"{draw.shots} of the cameras {list(draw.cameras)}: make trials with drawn(gallery, "
            "protocol.draw)."
        )


def _rows(gallery: Embedded, draw: Draw) -> Mapping[tuple[int, int], np.ndarray]:
    """Gallery rows of each (person, camera) that is drawn from, in ascending order of both."""
    absent = np.setdiff1d(draw.cameras, gallery.cameras)
    if len(absent):
        raise ValueError(
            f"The gallery has no pictures of the cameras {absent.tolist()}, of which the protocol "
            f"draws (counted from 0); it has {np.unique(gallery.cameras).tolist()}."
        )
    keys = np.stack([gallery.pids, gallery.cameras], axis=1)
    chosen = np.unique(keys[np.isin(gallery.cameras, draw.cameras)], axis=0)
    rows = {(p, c): np.flatnonzero((keys == (p, c)).all(axis=1)) for p, c in chosen.tolist()}
    few = [f"person {p} in camera {c}" for (p, c), own in rows.items() if len(own) < draw.shots]
    if few:
        raise ValueError(
            f"The protocol draws {draw.shots} pictures per person and camera, but there are fewer "
            f"of {', '.join(few[:3])} ({len(few)} cases): is the gallery complete?"
        )
    return rows


def _by_generator(
    rows: Mapping[tuple[int, int], np.ndarray], draw: Draw, generator: random.Random
) -> np.ndarray:
    def places(n: int) -> list[int]:
        if draw.shots == 1:
            return [generator.choice(range(n))]
        return generator.sample(range(n), draw.shots)

    return np.concatenate([own[places(len(own))] for own in rows.values()])


def _order(permutations: Permutations, pid: int, camera: int, n: int, draw: Draw) -> np.ndarray:
    known = camera < len(permutations) and 1 <= pid <= len(permutations[camera])
    order = permutations[camera][pid - 1] if known else np.empty((0, 0), int)
    if order.shape[1] != n or len(order) < draw.trials:
        raise ValueError(
            f"The permutations have {len(order)} trials of {order.shape[1]} pictures for person "
            f"{pid} in camera {camera} (counted from 0), but the gallery holds {n} pictures and "
            f"{draw.trials} trials are drawn: use the complete set and the authors' file."
        )
    if not np.array_equal(np.sort(order), np.tile(np.arange(n) + 1, (len(order), 1))):
        raise ValueError(
            f"The permutations for person {pid} in camera {camera} (counted from 0) are not orders "
            f"of the numbers 1 to {n}: use the authors' file."
        )
    return order.astype(np.intp)


@cache
def _announce() -> None:
    print(
        "note: galleries are drawn by Python's random.Random(trial), not by the permutations of "
        "SYSU-MM01's authors (rand_perm_cam.mat): numbers differ slightly from official ones.",
        flush=True,
    )
