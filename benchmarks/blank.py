"""Data sets of the published sizes without a picture: whatever is read is black."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxreid.data import Split
from jaxreid.data.layouts import Counts, find
from jaxreid.data.pictures import Pictures
from jaxreid.stages.sets import Sets, Settings

WORLD = 100  # pictures of each camera of a world, about


def prepare(workdir: Path, settings: Settings, name: str = "data") -> Sets:
    """In the place of ``sets.prepare``: as many people, cameras and images as were published."""
    del workdir, name
    published = find(settings.layout).published or _world(settings.world)
    size, splits, first = (settings.height, settings.width), {}, 0
    for part, counts in published.items():
        splits[part] = _split(settings.layout, counts, size, first)
        first += counts.identities
    return Sets(**splits, truth=None, made_by=settings.layout)


def pictures(reader: Pictures, numbers: np.ndarray) -> np.ndarray:
    """In the place of ``Pictures.__call__``."""
    return np.zeros((len(numbers), *reader._size, 1 if reader._masks else 3), np.uint8)


class Disk:
    """In the place of records on disk: the labels of generated pictures, kept in memory."""

    def __init__(self):
        self._kept: dict[Path, dict[str, list[dict[str, Any]]]] = {}

    def generated(self, image: np.ndarray, **labels: Any) -> dict[str, Any]:
        """In the place of ``data.generated``."""
        del image
        return labels

    def write(self, directory: Path, splits: Mapping[str, Iterable[dict[str, Any]]]) -> None:
        """In the place of ``data.write_generated``."""
        self._kept[directory] = {name: list(found) for name, found in splits.items()}

    def load(self, directory: Path, size: tuple[int, int]) -> dict[str, Split]:
        """In the place of ``data.load``."""
        return {name: _written(rows, size) for name, rows in self._kept[directory].items()}


def _world(spec: Mapping[str, Any]) -> dict[str, Counts]:
    people, cameras = spec["train_identities"], spec["cameras"]
    counts = Counts(people, WORLD * cameras, (WORLD,) * cameras)
    return dict.fromkeys(("train", "query", "gallery"), counts)


def _split(layout: str, counts: Counts, size: tuple[int, int], first: int) -> Split:
    """People one after the other; each meets all cameras, as often as pictures allow."""
    n = counts.images
    per_camera = counts.cameras or (n // 6,) * 5 + (n - 5 * (n // 6),)
    turns = np.concatenate([(np.arange(k) + 0.5) / max(k, 1) for k in per_camera])
    cameras = np.repeat(np.arange(len(per_camera)), per_camera)[np.argsort(turns, kind="stable")]
    joints = np.random.default_rng(0).uniform(0.1, 0.9, (n, 18, 3)).astype(np.float32)
    return Split(
        pids=first + np.arange(n) * counts.identities // n,
        cameras=cameras,
        names=tuple(f"{layout}/{first}_{i}.png" for i in range(n)),
        styles=np.full(n, -1),
        sources=("",) * n,
        size=size,
        numbers=np.arange(n),
        pictures=Pictures(_no_files, n, size, 0),
        foreground=Pictures(_no_files, n, size, 0, masks=True),
        joints=joints,
        domain=layout,
    )


def _written(rows: list[dict[str, Any]], size: tuple[int, int]) -> Split:
    column = {key: [row[key] for row in rows] for key in rows[0]}
    return Split(
        pids=np.array(column["pid"]),
        cameras=np.array(column["camera"]),
        names=tuple(column["name"]),
        styles=np.array(column["style"]),
        sources=tuple(column["source"]),
        size=size,
        numbers=np.arange(len(rows)),
        pictures=Pictures(_no_files, len(rows), size, 0),
        domain="generated",
    )


def _no_files(numbers: Any) -> list[bytes]:
    return [b""] * len(numbers)
