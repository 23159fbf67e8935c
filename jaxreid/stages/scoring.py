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
    average,
    deviations,
    drawn,
    evaluate,
)
from jaxreid.evaluation.scores import MEASURES
from jaxreid.report.results import GAP_SCORES
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
        others: the same of further networks that differ in their seeds alone.
    """

    name: str
    directory: Path
    scores: Scores
    query: Embedded
    gallery: Embedded
    permutations: Permutations | None = None
    others: tuple["Arm", ...] = ()


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


class Told(NamedTuple):
    """What results say of an arm.

    Attributes:
        scores: means over its networks, as ``Scores.to_dict`` has them; re-ranked ones beside them.
        networks: the measures of each network, in the order of their seeds.
        spread: standard deviations of these, n - 1 in the denominator; empty for one network.
    """

    scores: dict[str, Any]
    networks: list[dict[str, float]]
    spread: dict[str, float]


def told(arm: Arm, rerank: bool) -> Told:
    """The scores of an arm, and after re-ranking those of ``GAP_SCORES`` if asked for."""
    each = [arm, *arm.others]
    plain = [one.scores for one in each]
    scores, spread = average(plain).to_dict(), deviations(plain) if arm.others else {}
    networks = [{key: one.to_dict()[key] for key in MEASURES} for one in plain]
    if rerank:
        again = [reranked(one) for one in each]
        scores["reranked"] = average(again).to_dict()
        apart = deviations(again) if arm.others else {}
        for key in GAP_SCORES:
            beside = f"{key}_reranked"
            scores[beside] = scores["reranked"][key]
            spread |= {beside: apart[key]} if apart else {}
            for network, one in zip(networks, again, strict=True):
                network[beside] = one.to_dict()[key]
    return Told(scores, networks, spread)


def ranked(
    query: Embedded, gallery: Embedded, protocol: Protocol, permutations: Permutations | None = None
) -> Scores:
    """``evaluate``, in the galleries that the protocol draws."""
    trials = drawn(gallery, protocol.draw, permutations) if protocol.draw else None
    return evaluate(query, gallery, protocol, trials=trials)
