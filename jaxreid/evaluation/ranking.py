"""Retrieval scores of a query set against a gallery.

`evaluate` gives the row of a table, `query_scores` the scores of every single query. Both count
instead of sorting (see `jaxreid.evaluation.counting`): they hold one prepared copy of the gallery
and the distances of one block of queries, whatever the number of queries. Re-ranked distances
(`Protocol.reranking`) are counted in the same way.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import ArrayLike

from jaxreid.evaluation import checks
from jaxreid.evaluation.chance import by_chance
from jaxreid.evaluation.counting import (
    BLOCK,
    Block,
    count,
    own_devices,
    place_rows,
    shard_gallery,
)
from jaxreid.evaluation.draws import check_drawn, drawn
from jaxreid.evaluation.protocol import (
    MARKET,
    MASKS,
    SYSU_QUERIES,
    Embedded,
    Protocol,
    prepared,
    searchable,
)
from jaxreid.evaluation.reranking import reranker
from jaxreid.evaluation.scores import (
    CMC_RANKS,
    QueryScores,
    Scores,
    average,
    score_ranks,
    single_shot_cmc,
    summarize,
)


def evaluate(
    query: Embedded,
    gallery: Embedded,
    protocol: Protocol = MARKET,
    *,
    trials: Sequence[ArrayLike] | None = None,
    mesh: Mesh | None = None,
) -> Scores:
    """Ranks the gallery for every query and averages the scores.

    A match wins against wrong pictures at exactly its distance.

    Args:
        query: the probes.
        gallery: what is searched.
        protocol: the rules; by default those of Market-1501.
        trials: galleries drawn from ``gallery``, each as row numbers (or one bool per row); the
            scores are averaged over them (SYSU-MM01 has ten). None: those of ``drawn(gallery,
            protocol.draw)`` or, if the protocol draws none, one trial, the whole gallery.
        mesh: one-axis ``('data',)`` mesh with Auto axes to split the gallery over; None: all
            devices of this process. The result does not depend on it.

    Returns:
        The scores, with the protocol in them.

    Raises:
        ValueError: no query or gallery picture, embeddings that are not finite, do not fit together
            or are all equal, no query with a match, trials that the protocol cannot draw, or
            queries of other cameras than SYSU-MM01's 3 and 6 under one of its protocols.
    """
    checks.check_not_collapsed(gallery)
    _check_queries(query, protocol)
    if trials is None and protocol.draw:
        trials = drawn(gallery, protocol.draw)
    galleries = [gallery] if trials is None else [gallery.take(rows) for rows in trials]
    if protocol.draw:
        for each in galleries:
            check_drawn(each, protocol.draw)
    scores = average([_evaluate_once(query, each, protocol, mesh) for each in galleries])
    checks.warn_of_ties(query, gallery, protocol)
    return scores


def query_scores(
    query: Embedded,
    gallery: Embedded,
    protocol: Protocol = MARKET,
    *,
    mesh: Mesh | None = None,
) -> QueryScores:
    """Scores every query on its own; arguments and errors as for `evaluate`.

    Queries without a match score NaN; here it is no error if none has one.
    """
    checks.check_pictures(query, gallery, protocol)
    matches = _match_rows(query, gallery, protocol)
    positives = np.array([len(rows) for rows in matches])
    scores = _unscored(positives)
    # Queries with equally many matches share a block, so that little of its table is padding.
    order = np.argsort(positives, kind="stable")
    order = order[positives[order] > 0]
    rank_block = _block_ranker(query, gallery, protocol, mesh)
    for start in range(0, len(order), BLOCK):
        rows = order[start : start + BLOCK]
        part = rank_block(rows, [matches[row] for row in rows])
        for field in dataclasses.fields(QueryScores):
            getattr(scores, field.name)[rows] = getattr(part, field.name)
    return scores


def _check_queries(query: Embedded, protocol: Protocol) -> None:
    """Raises ValueError for queries that SYSU-MM01's mask does not know: it would hide others."""
    other = np.setdiff1d(query.cameras, SYSU_QUERIES)
    if protocol.mask == "sysu" and protocol.draw and len(other):
        raise ValueError(
            f"SYSU-MM01's queries are of its infrared cameras {list(SYSU_QUERIES)} (counted from "
            f"0), but there are queries of {other.tolist()}: its protocols and their mask do not "
            "hold with query and gallery exchanged."
        )


def _evaluate_once(
    query: Embedded, gallery: Embedded, protocol: Protocol, mesh: Mesh | None
) -> Scores:
    scores = query_scores(query, gallery, protocol, mesh=mesh)
    if not scores.positives.any():
        raise checks.no_match_error(query, gallery, protocol)
    size, chance = int(searchable(gallery, protocol).sum()), by_chance(query, gallery, protocol)
    return summarize(scores, size, chance, protocol)


def _match_rows(query: Embedded, gallery: Embedded, protocol: Protocol) -> list[np.ndarray]:
    """Finds each query's matches: gallery rows of its identity that it sees."""
    rows = np.flatnonzero(searchable(gallery, protocol))
    rows = rows[np.argsort(gallery.pids[rows], kind="stable")]
    first = np.searchsorted(gallery.pids[rows], query.pids, side="left")
    after = np.searchsorted(gallery.pids[rows], query.pids, side="right")
    hidden = MASKS[protocol.mask]

    def visible(camera: int, own: np.ndarray) -> np.ndarray:
        return own[~hidden(np.ones(len(own), bool), camera, gallery.cameras[own])]

    spans = zip(query.cameras, first, after, strict=True)
    return [visible(camera, rows[start:stop]) for camera, start, stop in spans]


def _unscored(positives: np.ndarray) -> QueryScores:
    nan = np.full(len(positives), np.nan)
    cmc = np.full((len(positives), CMC_RANKS), np.nan)
    return QueryScores(positives, cmc, nan.copy(), nan.copy(), nan.copy())


def _block_ranker(
    query: Embedded, gallery: Embedded, protocol: Protocol, mesh: Mesh | None
) -> Callable[[np.ndarray, list[np.ndarray]], QueryScores]:
    """Places the gallery on the devices; returns a function that scores some of the queries."""
    mesh = own_devices() if mesh is None else mesh
    pids, labels = np.unique(gallery.pids, return_inverse=True)
    shards = shard_gallery(
        prepared(gallery, protocol), labels, gallery.cameras, searchable(gallery, protocol), mesh
    )
    embeddings = prepared(query, protocol)
    again = reranker(query, gallery, protocol, mesh=mesh) if protocol.reranking else None

    def rank(rows: np.ndarray, matches: list[np.ndarray]) -> QueryScores:
        block = Block(
            _pad(embeddings[rows], 0),
            _pad(np.searchsorted(pids, query.pids[rows]).astype(np.int32), -1),
            _pad(query.cameras[rows].astype(np.int32), 0),
            _table(matches),
        )
        counts = count(
            block,
            shards,
            place_rows(_pad(again(rows), 0).T, np.inf, mesh=mesh) if again else None,
            mesh=mesh,
            mask=protocol.mask,
            cmc=protocol.cmc,
            identities=_bucket(len(pids)),
        )
        positives = np.array([len(each) for each in matches])
        return _score_block(jax.device_get(counts), positives, protocol)

    return rank


def _score_block(
    counts: dict[str, np.ndarray], positives: np.ndarray, protocol: Protocol
) -> QueryScores:
    n = len(positives)
    closer = counts["closer"].T[:n].astype(np.int64)
    k = np.arange(1, closer.shape[1] + 1)
    # Matches in the order of their distances have their counts in ascending order.
    closer = np.sort(np.where(k <= positives[:, None], closer, np.iinfo(np.int32).max), axis=1)
    scores = score_ranks(closer + k, positives, truncate=protocol.rank_truncate)
    if protocol.cmc == "identity":
        first = counts["ahead"][:n, None] + 1
        return dataclasses.replace(scores, cmc=first <= np.arange(1, CMC_RANKS + 1))
    if protocol.cmc == "single_shot":
        by_identity, visible = counts["by_identity"], counts["visible"]
        each = [
            single_shot_cmc(by_identity[:p, :, q], visible[:, q]) for q, p in enumerate(positives)
        ]
        return dataclasses.replace(scores, cmc=np.stack(each))
    return scores


def _table(matches: list[np.ndarray]) -> np.ndarray:
    """Gallery rows of the matches as one table ``[K, B]``, -1 where a query has fewer than K."""
    table = np.full((BLOCK, _bucket(max(map(len, matches)))), -1, np.int32)
    for row, each in zip(table, matches, strict=False):
        row[: len(each)] = each
    return table.T


def _bucket(size: int) -> int:
    """Rounds up to a power of two, so that few shapes are compiled."""
    return max(16, 1 << (size - 1).bit_length())


def _pad(values: np.ndarray, fill: int) -> np.ndarray:
    widths = ((0, BLOCK - len(values)),) + ((0, 0),) * (values.ndim - 1)
    return np.pad(values, widths, constant_values=fill)
