"""Pseudo-identities of an unlabelled set: k-means, bottom-up merging, and the set they label.

All in NumPy and float64, without threads of its own or random choices beyond the seed, so that the
same embeddings give the same clusters.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from jaxreid.data import Split
from jaxreid.stages import domains
from jaxreid.stages.domains import Domains
from jaxreid.stages.sets import Sets


class Clusters(NamedTuple):
    """A partition of N points into K clusters.

    Attributes:
        labels: int64 ``[N]``, 0 to K - 1.
        centroids: float64 ``[K, D]``.
    """

    labels: np.ndarray
    centroids: np.ndarray


def pseudo_labelled(data: Domains, split: Split, labels: np.ndarray, made_by: str) -> Sets:
    """Images of the target with clusters for identities, as a training set; tested on the target.

    Args:
        data: both sets; query and gallery are the target's.
        split: images of the target's training split.
        labels: int ``[len(split)]``, their clusters.
        made_by: fingerprint of all that made them.
    """
    return domains.crossed(data)._replace(train=replace(split, pids=labels), made_by=made_by)


def kmeans(points: np.ndarray, clusters: int, seed: tuple[int, ...], rounds: int = 300) -> Clusters:
    """Lloyd's k-means from one k-means++ start, Euclidean.

    Args:
        points: ``[N, D]``.
        clusters: K.
        seed: of the start.
        rounds: after which it ends, if labels still change.

    Raises:
        ValueError: fewer distinct points than clusters.

    References:
        Arthur, Vassilvitskii, "k-means++: The Advantages of Careful Seeding", SODA 2007.
    """
    points = np.asarray(points, np.float64)
    return lloyd(points, spread(points, clusters, seed), rounds)


def spread(points: np.ndarray, clusters: int, seed: tuple[int, ...]) -> np.ndarray:
    """K of the points to begin with: each drawn by its squared distance to those drawn before."""
    rng = np.random.default_rng(seed)
    drawn = [int(rng.integers(len(points)))]
    nearest = np.square(points - points[drawn[0]]).sum(1)
    while len(drawn) < clusters:
        if not nearest.any():
            raise ValueError(
                f"{clusters} clusters were asked for, but of {len(points)} embeddings only "
                f"{len(drawn)} are distinct: ask for fewer clusters, or train the network better"
            )
        drawn.append(int(rng.choice(len(points), p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, np.square(points - points[drawn[-1]]).sum(1))
    return points[drawn]


def lloyd(points: np.ndarray, centroids: np.ndarray, rounds: int = 300) -> Clusters:
    """Labels by the nearest centroid, then centroids as means, until no label changes.

    Of equally near centroids the first counts; a cluster that loses all points keeps its centroid.
    """
    labels, centroids = np.full(len(points), -1), centroids.copy()
    for _ in range(rounds):
        found = squared_distances(points, centroids).argmin(1)
        if np.array_equal(found, labels):
            break
        labels = found
        order = np.argsort(labels, kind="stable")
        kept, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
        centroids[kept] = np.add.reduceat(points[order], starts) / sizes[:, None]
    return Clusters(labels, centroids)


def reliable(
    points: np.ndarray, found: Clusters, *, threshold: float, own_centre: bool
) -> np.ndarray:
    """Which points are close to a centre, as PUL selects them.

    The centre of a cluster is the point nearest to its centroid. A point is kept if the cosine of
    the angle to any centre exceeds ``threshold``; with ``own_centre`` only that of its own counts.

    Args:
        points: ``[N, D]``.
        found: their clusters.
        threshold: lambda of the paper.
        own_centre: see above.

    Returns:
        Booleans ``[N]``.

    References:
        Fan, Zheng, Yan, Yang, "Unsupervised Person Re-identification: Clustering and Fine-tuning",
        TOMM 2018, eq. 3; "any" is the published code's.
    """
    points = np.asarray(points, np.float64)
    centres = squared_distances(points, found.centroids).argmin(0)
    lengths = np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    cosines = (points / lengths) @ (points / lengths)[centres].T
    near = cosines[np.arange(len(points)), found.labels] if own_centre else cosines.max(1)
    return near > threshold


def dissimilarity(
    x: np.ndarray, y: np.ndarray, x_sizes: np.ndarray, y_sizes: np.ndarray, weight: float
) -> np.ndarray:
    """BUC's: ``||x_i - y_j||^2 + weight * (|A_i| + |B_j|)``, the sizes those of their clusters.

    ``[N, D]``, ``[M, D]``, ``[N]`` and ``[M]`` give ``[N, M]``. The published code has the squared
    distance, the paper (Lin et al., AAAI 2019, eq. 5 and 6) the distance.
    """
    return squared_distances(x, y) + weight * (x_sizes[:, None] + y_sizes[None])


def merge(
    points: np.ndarray, labels: np.ndarray, merges: int, *, size_weight: float, tile: int = 512
) -> np.ndarray:
    """One merging step of BUC: the nearest images of different clusters unite these.

    Pairs of images are walked in ascending order of ``dissimilarity`` (ties: by row), with the
    sizes that clusters have at the start, until ``merges`` unions have happened. Only the smallest
    pairs are kept while tiles of distances pass; N^2 values are neither stored nor sorted.

    Args:
        points: ``[N, D]``, evaluation embeddings.
        labels: int ``[N]``, clusters 0 to C - 1.
        merges: unions, at most C - 1.
        size_weight: lambda of the paper.
        tile: rows of distances at a time; the result does not depend on it.

    Returns:
        int64 ``[N]``, clusters 0 to C - merges - 1.
    """
    points = np.asarray(points, np.float64)
    budget = 8 * merges
    while True:
        pairs, all_of_them = _smallest(points, labels, size_weight, budget, tile)
        merged, left = _unite(labels, pairs, merges)
        if not left or all_of_them:
            return merged
        budget *= 4


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances, ``[N, D]`` and ``[M, D]`` to ``[N, M]``."""
    squares = np.square(x).sum(1)[:, None] + np.square(y).sum(1)[None]
    return np.maximum(squares - 2 * x @ y.T, 0.0)


def _smallest(
    points: np.ndarray, labels: np.ndarray, weight: float, budget: int, tile: int
) -> tuple[np.ndarray, bool]:
    """At most ``budget`` smallest pairs of different clusters, ascending; whether these are all."""
    sizes, n, limit = np.bincount(labels)[labels], len(points), np.inf
    values, pairs = np.empty(0), np.empty((0, 2), np.int64)
    for top in range(0, n, tile):
        rows, columns = np.arange(top, min(top + tile, n)), np.arange(top, n)
        found = dissimilarity(points[rows], points[columns], sizes[rows], sizes[columns], weight)
        wanted = (labels[rows][:, None] != labels[columns]) & (columns > rows[:, None])
        i, j = np.nonzero(wanted & (found <= limit))
        values = np.concatenate([values, found[i, j]])
        pairs = np.concatenate([pairs, np.stack([rows[i], columns[j]], 1)])
        if len(values) > budget:
            few = np.argpartition(values, budget - 1)[:budget]
            values, pairs = values[few], pairs[few]
            limit = values.max()
    # Of the pairs tied with the last one some may be missing, so that none of them may be walked.
    order = np.lexsort((pairs[:, 1], pairs[:, 0], values))
    return pairs[order[values[order] < limit]], limit == np.inf


def _unite(labels: np.ndarray, pairs: np.ndarray, merges: int) -> tuple[np.ndarray, int]:
    """Clusters after ``merges`` unions along ``pairs``, numbered anew; unions left to do."""
    root, of = list(range(int(labels.max()) + 1)), labels.tolist()

    def find(a: int) -> int:
        while root[a] != a:
            root[a] = a = root[root[a]]
        return a

    left = merges
    for i, j in pairs.tolist():
        if not left:
            break
        a, b = sorted((find(of[i]), find(of[j])))
        root[b] = a
        left -= a != b
    return np.unique([find(a) for a in of], return_inverse=True)[1], left
