"""Kernel distance (KID) of two sets of features, which a few hundred images suffice for."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxreid.evaluation.checks import check_features

LARGEST_SUBSET = 1000


class OverSubsets(NamedTuple):
    """Mean and standard deviation (of the subsets, not of the mean) of a distance."""

    mean: float
    deviation: float


def kernel_distance(x: ArrayLike, y: ArrayLike) -> float:
    r"""Squared maximum mean discrepancy, unbiased, with the kernel \((x \cdot y / d + 1)^3\).

    \[ \frac{\sum_{i \ne j} k(x_i, x_j)}{m (m - 1)} + \frac{\sum_{i \ne j} k(y_i, y_j)}{n (n - 1)}
    - \frac{2}{m n} \sum_{i, j} k(x_i, y_j) \]

    Symmetric; being unbiased it may be negative, and is not 0 for equal sets.

    Args:
        x: ``[m, d]``, m >= 2.
        y: ``[n, d]``, n >= 2.

    Raises:
        ValueError: for other shapes, fewer rows, or values that are not finite.

    References:
        Binkowski et al., "Demystifying MMD GANs", ICLR 2018, section 4.
    """
    return _distance(*_checked(x, y))


def kernel_distance_over_subsets(
    x: ArrayLike, y: ArrayLike, *, subsets: int = 100, size: int | None = None, seed: int = 0
) -> OverSubsets:
    """`kernel_distance` of random subsets of both sets: what is reported as KID.

    Args:
        x: ``[m, d]``, m >= 2.
        y: ``[n, d]``, n >= 2.
        subsets: how many pairs of subsets, drawn without replacement inside each.
        size: rows of every subset; by default min(m, n, 1000), as clean-fid.
        seed: of the drawing.

    Raises:
        ValueError: as `kernel_distance`, or if a subset is larger than a set or below 2.
    """
    x, y = _checked(x, y)
    least = min(len(x), len(y))
    size = min(least, LARGEST_SUBSET) if size is None else size
    if not 2 <= size <= least or subsets < 1:
        raise ValueError(
            f"{subsets} subsets of {size} rows were asked for: one or more subsets of 2 to {least} "
            "rows can be drawn."
        )
    rng = np.random.default_rng(seed)
    drawn = [
        _distance(*(rows[rng.choice(len(rows), size, replace=False)] for rows in (x, y)))
        for _ in range(subsets)
    ]
    return OverSubsets(float(np.mean(drawn)), float(np.std(drawn)))


def _checked(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = check_features("x", x, 2), check_features("y", y, 2)
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"x has {first.shape[1]} features and y {second.shape[1]}; use the same network."
        )
    return first, second


def _distance(x: np.ndarray, y: np.ndarray) -> float:
    return _mean_of_pairs(x) + _mean_of_pairs(y) - 2 * float(_kernel(x, y).mean())


def _mean_of_pairs(x: np.ndarray) -> float:
    """Over pairs of different rows."""
    kernel, n = _kernel(x, x), len(x)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3
