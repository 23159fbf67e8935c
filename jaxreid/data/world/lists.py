"""The lists that the official RGB-infrared layouts hold beside their pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from scipy import io as matlab

from jaxreid.data.world.planning import Plan, drawn_people
from jaxreid.data.world.spec import REGDB, SYSU, TRAIN, Spec

TRIALS = 10
_MATLAB_HEAD = b"MATLAB 5.0 MAT-file, written by jaxreid"


def official_lists(spec: Spec, table: Plan) -> dict[str, bytes]:
    """Files of the layout that are no pictures.

    Args:
        spec: whose lists these are.
        table: its plan.

    Returns:
        Contents by path below the root. RegDB: ``idx/{train,test}_{visible,thermal}_{1..10}.txt``,
        each trial another random choice of training people, labels from 0 in every list. SYSU-MM01:
        ``exp/{available,train,val,test}_id.{txt,mat}`` and ``exp/rand_perm_cam.mat``. Others: none.
    """
    make = _MAKERS.get(spec.layout)
    return make(spec, table) if make else {}


def _regdb(spec: Spec, table: Plan) -> dict[str, bytes]:
    files = {}
    for trial in range(1, TRIALS + 1):
        # the first trial has the people of the plan itself
        rng = np.random.default_rng((spec.seed, 1) if trial == 1 else (spec.seed, 4, trial))
        for part, pids in zip(("train", "test"), drawn_people(spec, rng), strict=True):
            for camera, modality in enumerate(("visible", "thermal")):
                text = _labelled(table, camera, pids)
                files[f"idx/{part}_{modality}_{trial}.txt"] = text.encode()
    return files


def _labelled(table: Plan, camera: int, pids: np.ndarray) -> str:
    """Lines ``path label`` of one camera, person after person."""
    rows = [np.flatnonzero((table.pid == pid) & (table.camera == camera)) for pid in pids]
    lines = [f"{table.names[i]} {label}\n" for label, found in enumerate(rows) for i in found]
    return "".join(lines)


def _sysu(spec: Spec, table: Plan) -> dict[str, bytes]:
    trained = np.unique(table.pid[table.folder == TRAIN])
    chosen = np.random.default_rng((spec.seed, 4)).permutation(trained)
    held = max(1, len(trained) // 4)
    groups = {"available": np.unique(table.pid), "train": np.sort(chosen[held:])}
    groups |= {"val": np.sort(chosen[:held]), "test": np.setdiff1d(table.pid, trained)}
    files = {}
    for name, pids in groups.items():
        files[f"exp/{name}_id.txt"] = (",".join(map(str, pids)) + "\n").encode()
        files[f"exp/{name}_id.mat"] = _mat({"id": pids[None].astype(np.uint16)})
    files["exp/rand_perm_cam.mat"] = _mat({"rand_perm_cam": _permutations(spec, table)})
    return files


def _permutations(spec: Spec, table: Plan) -> np.ndarray:
    """Cells [cameras, 1] of cells [people, 1] of [10, n] permutations of a person's 1..n images."""
    rng, people = np.random.default_rng((spec.seed, 5)), int(table.pid.max())
    cameras = np.empty((spec.cameras, 1), object)
    for camera in range(spec.cameras):
        counts = np.bincount(table.pid[table.camera == camera], minlength=people + 1)
        cell = np.empty((people, 1), object)
        for pid, count in enumerate(counts[1:]):
            drawn = [rng.permutation(count) + 1 for _ in range(TRIALS)]
            cell[pid, 0] = np.array(drawn, np.uint16).reshape(TRIALS, count)
        cameras[camera, 0] = cell
    return cameras


def _mat(variables: Mapping[str, np.ndarray]) -> bytes:
    """A MAT-file without the date that scipy writes at its start."""
    file = io.BytesIO()
    matlab.savemat(file, dict(variables), do_compression=True)
    return _MATLAB_HEAD.ljust(116) + file.getvalue()[116:]


def write_lists(spec: Spec, table: Plan, root: Path) -> None:
    """Writes :func:`official_lists` below ``root``."""
    for name, content in official_lists(spec, table).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


_MAKERS: Mapping[str, Callable[[Spec, Plan], dict[str, bytes]]] = {REGDB: _regdb, SYSU: _sysu}
