"""Arms without training by gradients: hand-crafted features, metrics learned upon any features."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxreid.data import Split
from jaxreid.evaluation import Embedded, Protocol, evaluate
from jaxreid.features import hcml, hog, lomo, project, xqda
from jaxreid.stages.arms import Arm
from jaxreid.stages.sets import Sets
from jaxreid.training import run_once

BATCH = 64


class Kind(NamedTuple):
    """Hand-crafted features, and the (height, width) that images are resized to for them."""

    size: tuple[int, int]
    features: Callable[[np.ndarray], np.ndarray]


KINDS = {"hog": Kind((128, 64), hog), "lomo": Kind((128, 48), lomo)}


class Found(NamedTuple):
    """Features ``[n, d]`` of all splits.

    Attributes:
        directory: below which a metric learned upon them goes.
        train: of training images; empty where nothing is learned.
        query: of query images.
        gallery: of gallery images.
        made_by: fingerprint of all that made them.
    """

    directory: Path
    train: np.ndarray
    query: np.ndarray
    gallery: np.ndarray
    made_by: str


def embed(directory: Path, data: Sets, kind: str, *, train: bool = False) -> Found:
    """Hand-crafted features of query and gallery, made once.

    Args:
        directory: for the features.
        data: whose pictures are read again, at the size that ``kind`` asks for.
        kind: a key of ``KINDS``.
        train: of training images, too: a metric is to be learned.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"There are no features {kind!r}; choose one of {', '.join(KINDS)}.")
    names = ("train",) * train + ("query", "gallery")

    def make() -> None:
        for name in names:
            _write(directory / f"{name}.npy", getattr(data, name), KINDS[kind])

    determined_by = {"features": kind, "data": data.made_by, "train": train}
    made_by = run_once(directory, determined_by, make)
    read = {name: np.load(directory / f"{name}.npy", mmap_mode="r") for name in names}
    return Found(directory, **{"train": read["query"][:0]} | read, made_by=made_by)


def learned(
    directory: Path, data: Sets, found: Found, settings: xqda.Settings | hcml.Settings
) -> Found:
    """Features in a space learned from those of training images, once.

    Features, hand-crafted or a network's, are brought to unit length first.

    Args:
        directory: for the projected features.
        data: says whom images show, and in which modality.
        found: features of all three splits.
        settings: of the method; their class names it.

    Raises:
        ValueError: images that do not tell their modality, or features that teach nothing; see
            ``features.xqda.learn`` and ``features.hcml.learn``.
    """
    method = {xqda.Settings: xqda, hcml.Settings: hcml}[type(settings)]
    infrared = data.train.modalities == 1

    def make() -> None:
        x, people = _unit(found.train), data.train.pids
        projections = method.learn(
            x[~infrared], people[~infrared], x[infrared], people[infrared], settings
        )
        for name in ("query", "gallery"):
            modalities = getattr(data, name).modalities
            projected = project(projections, _unit(getattr(found, name)), modalities)
            np.save(directory / f"{name}.npy", projected.astype(np.float32))

    name = method.__name__.rpartition(".")[2]
    determined_by = {"metric": name, name: asdict(settings), "features": found.made_by}
    made_by = run_once(directory, determined_by | {"data": data.made_by}, make)
    query, gallery = (np.load(directory / f"{name}.npy") for name in ("query", "gallery"))
    return Found(directory, query[:0], query, gallery, made_by)


def score(name: str, data: Sets, found: Found, protocol: Protocol) -> Arm:
    """Scores features by their Euclidean distance, an arm called ``name``.

    For the other direction exchange query and gallery of both: ``data._replace(query=data.gallery,
    gallery=data.query)``, and ``found`` likewise.
    """
    query, gallery = (
        Embedded(features, split.pids, split.cameras)
        for features, split in ((found.query, data.query), (found.gallery, data.gallery))
    )
    scores = evaluate(query, gallery, replace(protocol, normalize=False))
    return Arm(name, found.directory, scores, query, gallery)


def _write(path: Path, split: Split, kind: Kind) -> None:
    """Features of a split as a file, a batch at a time: they need not fit in memory."""
    split = split.resized(kind.size)
    parts = np.array_split(np.arange(len(split)), range(BATCH, len(split), BATCH))
    first = kind.features(split.images(parts[0]))
    shape = (len(split), first.shape[1])
    file = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    file[parts[0]] = first
    for rows in parts[1:]:
        file[rows] = kind.features(split.images(rows))
    file.flush()


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)
