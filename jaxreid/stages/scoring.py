"""Query and gallery as vectors, whatever they come from, and their scores."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxreid.data import Split, require_unseen
from jaxreid.evaluation import (
    MARKET,
    Embedded,
    Permutations,
    Protocol,
    Reranking,
    Scores,
    drawn,
    evaluate,
)
from jaxreid.stages.sets import Sets
from jaxreid.training import run_once

RERANKING = Reranking()  # as everybody has it


class Arm(NamedTuple):
    """What an arm leaves.

    Attributes:
        name: of the arm.
        directory: of the arm.
        scores: with the protocol that they were made under.
        query: the embeddings that they come from.
        gallery: likewise.
        permutations: by which galleries were drawn, where the protocol draws any.
    """

    name: str
    directory: Path
    scores: Scores
    query: Embedded
    gallery: Embedded
    permutations: Permutations | None = None


class Features(NamedTuple):
    """Whatever gives every image a vector, trained or not: what ``score`` ranks by.

    Attributes:
        name: of the arm.
        directory: of the arm.
        embed: float ``[n, d]`` of all images of a split, in its order.
        made_by: fingerprint of all that made it.
        learned: training images of one data set, whose people may not be tested; None if nothing
            was learned from labels of the set that is tested.
    """

    name: str
    directory: Path
    embed: Callable[[Split], np.ndarray]
    made_by: str
    learned: Split | None = None


def score(
    features: Features,
    data: Sets,
    view: str = "",
    protocol: Protocol = MARKET,
    permutations: Permutations | None = None,
    further: Mapping[str, Any] | None = None,
) -> Arm:
    """Embeds query and gallery, once, and scores them.

    Args:
        features: the vectors.
        data: query and gallery.
        view: tells these from other query and gallery images that the same features are tested on;
            part of the name of the arm.
        protocol: by which they are scored.
        permutations: by which galleries are drawn, where the protocol draws any.
        further: plain values that decide the vectors, too.

    Raises:
        ValueError: they have learned from people who are tested, see ``data.require_unseen``.
    """
    if features.learned is not None:
        require_unseen(features.learned, data.query)
    suffix = f"_{view}" if view else ""
    directory = features.directory / f"test{suffix}"
    tests = {"query": data.query, "gallery": data.gallery}

    def make() -> None:
        for name, split in tests.items():
            np.save(directory / f"{name}.npy", features.embed(split))

    made_by = {"model": features.made_by, "data": data.made_by}
    run_once(directory, made_by | dict(further or {}), make)
    query, gallery = (
        Embedded(np.load(directory / f"{name}.npy"), split.pids, split.cameras)
        for name, split in tests.items()
    )
    scores = ranked(query, gallery, protocol, permutations)
    name = features.name + suffix
    return Arm(name, features.directory, scores, query, gallery, permutations)


def again(
    arm: Arm,
    view: str,
    protocol: Protocol,
    permutations: Permutations | None = None,
    exchanged: bool = False,
) -> Arm:
    """Scores the embeddings of an arm once more, by other rules.

    Args:
        arm: tested already.
        view: tells this test from others; part of the name of the new arm.
        protocol: the rules.
        permutations: see ``score``.
        exchanged: whether query and gallery change places.
    """
    query, gallery = (arm.gallery, arm.query) if exchanged else (arm.query, arm.gallery)
    scores = ranked(query, gallery, protocol, permutations)
    return Arm(f"{arm.name}_{view}", arm.directory, scores, query, gallery, permutations)


def reranked(arm: Arm) -> Scores:
    """Scores of the embeddings of an arm by its own rules, but after k-reciprocal re-ranking."""
    protocol = replace(arm.scores.protocol, reranking=RERANKING)
    return ranked(arm.query, arm.gallery, protocol, arm.permutations)


def ranked(
    query: Embedded, gallery: Embedded, protocol: Protocol, permutations: Permutations | None = None
) -> Scores:
    """``evaluate``, in the galleries that the protocol draws."""
    trials = drawn(gallery, protocol.draw, permutations) if protocol.draw else None
    return evaluate(query, gallery, protocol, trials=trials)
