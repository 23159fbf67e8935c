"""Improved precision and recall of generated images, by the nearest neighbours of features.

A Frechet distance mixes two faults: images that nobody would take for real, and real ones of which
nothing like them is made. Precision counts the first, recall the second.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxreid.evaluation.checks import check_features

ROWS = 1024  # of a matrix of distances that are held at a time
SLACK = 1e-12  # of the squared norms: what rounding may add to the distance of equal rows


class PrecisionRecall(NamedTuple):
    """Share of generated images that could be real, and of real ones that could be generated."""

    precision: float
    recall: float


def precision_recall(
    generated: ArrayLike, real: ArrayLike, *, neighbours: int = 3
) -> PrecisionRecall:
    r"""Precision and recall of one set of features against another.

    Around every \(x\) of a set X lies a ball as large as the distance to its k-th nearest
    neighbour in X; the balls together stand in for the manifold of X. With
    \(f(y, X) = 1\) where y lies in any of them (on the border, too) and 0 elsewhere,

    \[ \text{precision} = \frac 1 {|G|} \sum_{g \in G} f(g, R), \qquad
    \text{recall} = \frac 1 {|R|} \sum_{r \in R} f(r, G) \]

    Both are 1 for equal sets, and grow with the number of images: compare sets of one size.

    Args:
        generated: features G, ``[m, d]``, m > k.
        real: features R, ``[n, d]``, n > k.
        neighbours: k; 3 in the paper.

    Raises:
        ValueError: for other shapes, too few rows, values that are not finite, or k < 1.

    References:
        Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models",
        NeurIPS 2019, equations 1 and 2.
    """
    if neighbours < 1:
        raise ValueError(f"A ball needs one or more neighbours, not {neighbours}.")
    g, r = (
        check_features(name, x, neighbours + 1)
        for name, x in (("generated", generated), ("real", real))
    )
    if g.shape[1] != r.shape[1]:
        raise ValueError(
            f"generated has {g.shape[1]} features and real {r.shape[1]}; use the same network."
        )
    middle = r.mean(axis=0)  # smaller norms, smaller errors
    g, r = g - middle, r - middle
    return PrecisionRecall(_covered(g, r, neighbours), _covered(r, g, neighbours))


def _covered(x: np.ndarray, by: np.ndarray, neighbours: int) -> float:
    """Share of the rows of ``x`` inside the balls of ``by``."""
    # The nearest row of all is the row itself.
    parts = [np.partition(block, neighbours, axis=1)[:, neighbours] for block in _squared(by, by)]
    reach = np.concatenate(parts) + SLACK * (by**2).sum(axis=1)
    inside = [np.any(block <= reach, axis=1) for block in _squared(x, by)]
    return float(np.concatenate(inside).mean())


def _squared(x: np.ndarray, y: np.ndarray) -> Iterator[np.ndarray]:
    """Squared distances of some rows of ``x`` at a time to all of ``y``."""
    norms = (y**2).sum(axis=1)
    for at in range(0, len(x), ROWS):
        rows = x[at : at + ROWS]
        yield np.maximum(0, (rows**2).sum(axis=1)[:, None] + norms - 2 * rows @ y.T)
