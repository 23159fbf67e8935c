"""A closer look at a ranking: camera against camera, and the first pictures of single queries."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import ArrayLike

from jaxreid.evaluation import checks
from jaxreid.evaluation.counting import BLOCK, distances, own_devices, shard_gallery
from jaxreid.evaluation.protocol import (
    MARKET,
    MASKS,
    Embedded,
    Protocol,
    prepared,
    searchable,
)
from jaxreid.evaluation.ranking import query_scores
from jaxreid.evaluation.reranking import reranker


@dataclasses.dataclass(frozen=True)
class CameraPairs:
    """Scores of every (query camera, gallery camera), NaN where no query has a match.

    Attributes:
        query_cameras: ``[A]`` ascending.
        gallery_cameras: ``[B]`` ascending.
        rank1: ``[A, B]`` rank-1 in a gallery of that camera alone, over queries with a match there.
        mean_ap: ``[A, B]`` mAP (step) likewise.
    """

    query_cameras: np.ndarray
    gallery_cameras: np.ndarray
    rank1: np.ndarray
    mean_ap: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values, None in place of NaN."""

        def plain(values: np.ndarray) -> list[list[float | None]]:
            return [[None if np.isnan(v) else v for v in row] for row in values.tolist()]

        return {
            "query_cameras": self.query_cameras.tolist(),
            "gallery_cameras": self.gallery_cameras.tolist(),
            "rank-1": plain(self.rank1),
            "mAP": plain(self.mean_ap),
        }


@dataclasses.dataclass(frozen=True)
class Ranked:
    """The first gallery pictures of some queries, nearest first.

    Attributes:
        rows: ``[n, k]`` gallery rows, -1 where the query sees fewer than k pictures.
        distances: ``[n, k]`` Euclidean, or re-ranked, distances, inf there.
        right: ``[n, k]`` whether the picture shows the query's person.
    """

    rows: np.ndarray
    distances: np.ndarray
    right: np.ndarray


def camera_pairs(
    query: Embedded,
    gallery: Embedded,
    protocol: Protocol = MARKET,
    *,
    mesh: Mesh | None = None,
) -> CameraPairs:
    """Scores each query camera against each gallery camera alone.

    Args:
        query: the probes.
        gallery: what is searched.
        protocol: the rules; queries without a match in a camera are always left out of its column.
        mesh: as for `evaluate`.

    Raises:
        ValueError: as for `evaluate`, except that missing matches are NaN here.
    """
    checks.check_pictures(query, gallery, protocol)
    checks.check_not_collapsed(gallery)
    query_cameras = np.unique(query.cameras)
    gallery_cameras = np.unique(gallery.cameras[searchable(gallery, protocol)])
    shape = (len(query_cameras), len(gallery_cameras))
    rank1, mean_ap = np.full(shape, np.nan), np.full(shape, np.nan)
    for column, camera in enumerate(gallery_cameras):
        scores = query_scores(query, gallery.take(gallery.cameras == camera), protocol, mesh=mesh)
        for row, query_camera in enumerate(query_cameras):
            valid = (query.cameras == query_camera) & (scores.positives > 0)
            if valid.any():
                rank1[row, column] = scores.cmc[valid, 0].mean()
                mean_ap[row, column] = scores.ap[valid].mean()
    return CameraPairs(query_cameras, gallery_cameras, rank1, mean_ap)


def top_ranked(
    query: Embedded,
    gallery: Embedded,
    rows: ArrayLike,
    k: int,
    protocol: Protocol = MARKET,
) -> Ranked:
    """Lists the first ``k`` gallery pictures that some queries see, for pictures of a ranking.

    Choose the queries by `query_scores`, for instance the best, median and worst ``ap``.

    Args:
        query: the probes.
        gallery: what is searched.
        rows: ``[n]`` query rows.
        k: length of each list, 1 or more.
        protocol: the rules; at equal distances a match comes first, then the earlier gallery row.

    Raises:
        ValueError: ``k`` below 1, or pictures that `evaluate` refuses.
    """
    if k < 1:
        raise ValueError(f"k is {k}; ask for at least one gallery picture.")
    checks.check_pictures(query, gallery, protocol)
    rows = np.asarray(rows, np.intp)
    same = query.pids[rows, None] == gallery.pids
    hidden = MASKS[protocol.mask](same, query.cameras[rows, None], gallery.cameras)
    if protocol.reranking:
        d = reranker(query, gallery, protocol)(rows)
    else:
        d = _distances(query.take(rows), gallery, protocol)
    d = np.where(hidden | ~searchable(gallery, protocol), np.inf, d)
    order = np.lexsort((~same, d))[:, :k]
    order = np.pad(order, ((0, 0), (0, k - order.shape[1])), constant_values=-1)
    first = np.take_along_axis(d, order, axis=1)
    seen = (order >= 0) & np.isfinite(first)
    return Ranked(
        rows=np.where(seen, order, -1),
        distances=np.where(seen, first, np.inf),
        right=seen & np.take_along_axis(same, order, axis=1),
    )


def _distances(query: Embedded, gallery: Embedded, protocol: Protocol) -> np.ndarray:
    """Euclidean distances ``[Q, G]``, ordered exactly as `query_scores` orders them."""
    everything = np.ones(len(gallery), bool)
    vectors = prepared(gallery, protocol)
    shards = shard_gallery(vectors, gallery.pids, gallery.cameras, everything, own_devices())
    queries = prepared(query, protocol)
    rows = []
    for start in range(0, len(query), BLOCK):
        part = queries[start : start + BLOCK]
        block = np.pad(part, ((0, BLOCK - len(part)), (0, 0)))
        shifted = jax.device_get(distances(block, shards.embeddings, shards.squares))
        rows.append(shifted[: len(gallery), : len(part)].T)
    squares = np.einsum("nd,nd->n", queries, queries)[:, None]
    return np.sqrt(np.maximum(np.concatenate(rows) + squares, 0))
