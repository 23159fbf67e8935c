"""k-reciprocal re-ranking in bounded memory.

Zhong, Zheng, Cao, Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017.
All that is kept of the N x N distances of N = queries + gallery are short lists of neighbours, the
largest distance of each row, and one sparse row of weights per picture.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jax.sharding import Mesh
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from jaxreid.evaluation import checks
from jaxreid.evaluation.counting import own_devices
from jaxreid.evaluation.neighbours import (
    Neighbours,
    blocks,
    nearest,
    place,
    squared_distances,
)
from jaxreid.evaluation.protocol import Embedded, Protocol, Reranking, prepared, searchable


def reranker(
    query: Embedded, gallery: Embedded, protocol: Protocol, *, mesh: Mesh | None = None
) -> Callable[[ArrayLike], np.ndarray]:
    r"""Encodes all pictures once; returns what gives the re-ranked distances of some queries.

    Queries and gallery form one set. With $d_{ij}$ the squared Euclidean distance over the largest
    of its row i, N(i, k) the k nearest pictures of i and i itself, and R(i, k) those j of N(i, k)
    whose own N(j, k) holds i:

    $$R^*(i) = R(i, k_1) \cup \bigcup \{C : c \in R(i, k_1), C = R(c, k_1 / 2),
    |C \cap R(i, k_1)| > \tfrac{2}{3} |C|\}$$

    $$V_{ij} = [j \in R^*(i)] \, e^{-d_{ij}} / \sum_{l \in R^*(i)} e^{-d_{il}}$$

    $$d^*_{qg} = (1 - \lambda) \left(1 - \frac{\sum_l \min(V_{ql}, V_{gl})}
    {\sum_l \max(V_{ql}, V_{gl})}\right) + \lambda \, d_{qg}$$

    with each row of V replaced by the mean over the first $k_2$ neighbours, itself among them.
    Halves are rounded to even, as in the authors' Python code. Pictures at equal distances stand in
    the order query, gallery; where there are none, that order does not matter. A picture is always
    its own first neighbour. Cameras and identities are not looked at but for junk.

    Args:
        query: the probes; the result for one depends on all others.
        gallery: what is searched.
        protocol: its ``reranking``, ``normalize`` and ``junk_pids`` are used.
        mesh: as for `evaluate`.

    Returns:
        A function of query rows ``[n]`` that returns float32 ``[n, G]``, values in [0, 1], infinite
        for junk that is left out.

    Raises:
        ValueError: ``protocol.reranking`` is None, or pictures that `evaluate` refuses.

    References:
        Zhong, Zheng, Cao, Li, CVPR 2017, section 3; github.com/zhunzhong07/person-re-ranking.
    """
    settings = protocol.reranking
    if settings is None:
        raise ValueError("Protocol.reranking is None; give a Reranking to re-rank by.")
    checks.check_pictures(query, gallery, protocol)
    linked = settings.include_junk | searchable(gallery, protocol)
    vectors = [prepared(each, protocol) for each in (query, gallery.take(linked))]
    pictures = place(np.concatenate(vectors), own_devices() if mesh is None else mesh)
    near = nearest(pictures, max(settings.k1 + 1, settings.k2))
    codes = encode(pictures.vectors, near, settings)
    holders = codes[len(query) :].T.tocsr()  # [N, G]: who in the gallery has a weight for each
    scale = np.where(near.farthest > 0, near.farthest, 1)[:, None]

    def rerank(rows: ArrayLike) -> np.ndarray:
        rows = np.arange(len(query))[np.asarray(rows, np.intp)]  # of queries, or an IndexError
        found = np.full((len(rows), len(gallery)), np.inf, np.float32)
        for part in blocks(len(rows)):
            some = rows[part]
            original = squared_distances(pictures, some)[:, len(query) :] / scale[some]
            jaccard = np.stack([_jaccard(codes, holders, row, linked.sum()) for row in some])
            mixed = (1 - settings.weight) * jaccard + settings.weight * original
            found[np.ix_(part, linked)] = mixed
        return found

    return rerank


def encode(vectors: np.ndarray, near: Neighbours, settings: Reranking) -> csr_array:
    """The weights V of `reranker`, sparse.

    Args:
        vectors: float32 ``[N, d]``.
        near: of these vectors; lists of ``k1 + 1`` and ``k2`` or more, or of all N.
        settings: ``k1`` and ``k2`` are used.

    Returns:
        float64 ``[N, N]``; rows sum to 1.
    """
    size, parts = len(vectors), list(_weights(vectors, near, settings.k1))
    counts, columns, weights = (np.concatenate(each) for each in zip(*parts, strict=True))
    ends = np.concatenate([[0], np.cumsum(counts)])
    codes = csr_array((weights, columns, ends), shape=(size, size))
    if settings.k2 == 1:
        return codes
    first = near.rows[:, : settings.k2]
    shares = np.full(first.size, 1 / first.shape[1])
    ends = np.arange(size + 1) * first.shape[1]
    return csr_array((shares, first.ravel(), ends), shape=(size, size)) @ codes


def _weights(
    vectors: np.ndarray, near: Neighbours, k1: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Per block of pictures the number of weights of each, their columns, and the weights."""
    whole = near.rows[:, : k1 + 1]
    half = near.rows[:, : round(k1 / 2) + 1]
    reciprocal = reciprocal_neighbours(whole), reciprocal_neighbours(half)
    for rows in blocks(len(vectors)):
        of, columns = expanded(rows, *reciprocal)
        difference = vectors[rows][of] - vectors[columns]
        squared = np.einsum("nd,nd->n", difference, difference, dtype=np.float64)
        weights = np.exp(-squared / np.where(near.farthest > 0, near.farthest, 1)[rows][of])
        yield np.bincount(of), columns, weights / np.bincount(of, weights)[of]


def reciprocal_neighbours(lists: np.ndarray) -> np.ndarray:
    """The neighbours ``[N, k]`` that have a picture in their own list, -1 for the others."""
    found = np.empty_like(lists)
    for rows in blocks(len(lists)):
        mine = lists[rows]
        mutual = (lists[mine] == rows[:, None, None]).any(axis=-1)
        found[rows] = np.where(mutual, mine, -1)
    return found


def expanded(
    rows: np.ndarray, whole: np.ndarray, half: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The sets R* of `reranker`.

    Args:
        rows: ``[n]`` whose.
        whole: int ``[N, k]`` R(i, k1) of each picture, filled up with -1.
        half: int ``[N, h]`` R(i, k1 / 2) likewise.

    Returns:
        Members as pairs, sorted: number of the set in ``rows``, picture in it.
    """
    own = whole[rows]
    # The set of a neighbour that is none is taken away again.
    others = np.where(own[..., None] >= 0, half[own], -1)  # [n, k, h]
    there = others >= 0
    shared = there & (others[..., None] == own[:, None, None]).any(axis=-1)
    joins = 3 * shared.sum(axis=-1) > 2 * there.sum(axis=-1)
    others = np.where(joins[..., None], others, -1).reshape(len(rows), -1)
    members = np.sort(np.concatenate([own, others], axis=1), axis=1)
    new = members >= 0
    new[:, 1:] &= members[:, 1:] != members[:, :-1]
    return np.nonzero(new)[0], members[new]


def _jaccard(codes: csr_array, holders: csr_array, row: int, size: int) -> np.ndarray:
    """Jaccard distances ``[size]``; as rows sum to 1, the maxima sum to 2 less the minima."""
    mine = codes[[row]]
    theirs = holders[mine.indices]
    smaller = np.minimum(np.repeat(mine.data, np.diff(theirs.indptr)), theirs.data)
    shared = np.bincount(theirs.indices, smaller, size)
    return 1 - shared / (2 - shared)
