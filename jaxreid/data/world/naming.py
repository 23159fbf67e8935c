"""File names of a world's pictures, in the form of its layout."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data.world.keys import person_key, visit_key
from jaxreid.data.world.moments import walks_away
from jaxreid.data.world.people import is_female
from jaxreid.data.world.spec import BAD_BOX, DUKE, KNOWN, MARKET, QUERY, REGDB, SYSU, VISIBLE, Spec

Columns = Mapping[str, np.ndarray]


def file_names(spec: Spec, columns: Columns) -> tuple[str, ...]:
    """Names of all pictures, relative to the folder that a person would open.

    Args:
        spec: whose pictures these are.
        columns: of the plan, without its names, and ``frame``, the number of the video's frame.

    Returns:
        Bare file names of Market-1501 and DukeMTMC-reID; of RegDB and SYSU-MM01, whose bare names
        are not unique or do not lie in one folder, paths below the root, with slashes.
    """
    return tuple(_FORMS[spec.layout](spec, columns))


def _market(spec: Spec, columns: Columns) -> list[str]:
    del spec
    printed = np.where(columns["stream"] == BAD_BOX, -1, columns["pid"])
    fields = (printed, *(columns[name] for name in ("camera", "scene", "frame", "folder")))
    return [
        f"{pid:0{2 if pid < 0 else 4}d}_c{camera + 1}s{scene + 1}_{frame:06d}"
        f"_{int(folder != QUERY):02d}.jpg"
        for pid, camera, scene, frame, folder in zip(*map(np.ndarray.tolist, fields), strict=True)
    ]


def _duke(spec: Spec, columns: Columns) -> list[str]:
    del spec
    rows = zip(columns["pid"], columns["camera"], columns["frame"], strict=True)
    return [f"{pid:04d}_c{camera + 1}_f{frame:07d}.jpg" for pid, camera, frame in rows]


def _regdb(spec: Spec, columns: Columns) -> list[str]:
    folders = ["Visible" if seen == VISIBLE else "Thermal" for seen in spec.modalities]
    female, away = _looks(spec.seed, spec.train_identities + spec.test_identities)
    rows = zip(columns["pid"], columns["camera"], columns["frame"] % 100_000, strict=True)
    return [
        f"{folders[camera]}/{pid}/{'female' if female[pid] else 'male'}"
        f"_{'back' if away[pid] else 'front'}_{folders[camera][0].lower()}_{frame:05d}_{pid}.bmp"
        for pid, camera, frame in rows
    ]


def _sysu(spec: Spec, columns: Columns) -> list[str]:
    del spec
    rows = zip(columns["pid"], columns["camera"], columns["shot"], strict=True)
    return [f"cam{camera + 1}/{pid:04d}/{shot + 1:04d}.jpg" for pid, camera, shot in rows]


@functools.lru_cache(maxsize=4)
def _looks(seed: int, people: int) -> tuple[np.ndarray, np.ndarray]:
    """[people + 1] bool each, by pid: who is a woman, who walks away from RegDB's cameras."""

    def look(pid: jax.Array) -> tuple[jax.Array, jax.Array]:
        root = jax.random.key(seed)
        return is_female(person_key(root, pid)), walks_away(visit_key(root, KNOWN, pid, 0))

    female, away = jax.jit(jax.vmap(look))(jnp.arange(people + 1))
    return np.asarray(female), np.asarray(away)


_FORMS: Mapping[str, Callable[[Spec, Columns], list[str]]] = {
    MARKET: _market,
    DUKE: _duke,
    REGDB: _regdb,
    SYSU: _sysu,
}
