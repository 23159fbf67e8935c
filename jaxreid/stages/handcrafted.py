"""Vectors that no gradient trains: hand-crafted features, metrics learned upon any features."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxreid.data import Split
from jaxreid.features import Projections, hcml, hog, lomo, project, xqda
from jaxreid.stages.scoring import Features
from jaxreid.stages.sets import Sets
from jaxreid.training import run_once
from jaxreid.training.workdir import fingerprint

BATCH = 64


class Kind(NamedTuple):
    """Hand-crafted features, and the (height, width) that images are resized to for them."""

    size: tuple[int, int]
    features: Callable[[np.ndarray], np.ndarray]


KINDS = {"hog": Kind((128, 64), hog), "lomo": Kind((128, 48), lomo)}
METRICS = {"": None, "xqda": xqda.DEFAULTS, "hcml": hcml.DEFAULTS}
NAMES = tuple("_".join(filter(None, (kind, metric))) for kind in KINDS for metric in METRICS)


def require(name: str, chosen: Sequence[str]) -> None:
    """Raises ValueError unless all of ``chosen``, which the config calls ``name``, are known."""
    unknown = [each for each in chosen if each not in NAMES]
    if unknown:
        raise ValueError(f"{name} has {unknown[0]!r}; choose among {', '.join(NAMES)}")


def arm(workdir: Path, data: Sets, name: str) -> Features:
    """Vectors by their name, one of ``NAMES``: features, and what is learned upon them."""
    kind, _, metric = name.partition("_")
    found, settings = features(workdir, kind), METRICS[metric]
    return learned(workdir, data, name, found, settings) if settings else found


def features(workdir: Path, kind: str) -> Features:
    """Hand-crafted features: nothing is learned.

    Args:
        workdir: of the whole run; what is made of them goes to ``features_<kind>``.
        kind: a key of ``KINDS``. Pictures are read again, at the size that it asks for.
    """
    size, make = KINDS[kind]

    def embed(split: Split) -> np.ndarray:
        seen, rows = split.resized(size), np.arange(len(split))
        parts = np.array_split(rows, range(BATCH, len(rows), BATCH))
        return np.concatenate([make(seen.images(some)).astype(np.float32) for some in parts])

    return Features(kind, workdir / f"features_{kind}", embed, fingerprint({"features": kind}))


def learned(
    workdir: Path, data: Sets, name: str, base: Features, settings: xqda.Settings | hcml.Settings
) -> Features:
    """Features in a space learned from those of the training images, once.

    Features, hand-crafted or a network's, are brought to unit length first.

    Args:
        workdir: of the whole run; the metric goes to ``features_<name>``.
        data: training images, of two modalities.
        name: of the arm.
        base: the features.
        settings: of the method; their class names it.

    Raises:
        ValueError: features that teach nothing; see ``features.xqda.learn`` and
            ``features.hcml.learn``.
    """
    method = {xqda.Settings: xqda, hcml.Settings: hcml}[type(settings)]
    directory = workdir / f"features_{name}"
    file = directory / "projections.npz"

    def learn() -> None:
        x, people, infrared = base.embed(data.train), data.train.pids, data.train.modalities
        sides = [(_unit(x[infrared == m]), people[infrared == m]) for m in (0, 1)]
        del x  # of many images several GiB
        found = method.learn(*sides[0], *sides[1], settings)
        np.savez(file, **found._asdict())

    metric = method.__name__.rpartition(".")[2]
    determined_by = {"metric": metric, metric: asdict(settings), "features": base.made_by}
    made_by = run_once(directory, determined_by | {"data": data.made_by}, learn)

    def embed(split: Split) -> np.ndarray:
        projections = Projections(**np.load(file))
        return project(projections, _unit(base.embed(split)), split.modalities).astype(np.float32)

    return Features(name, directory, embed, made_by, data.train)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
