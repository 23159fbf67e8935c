"""Means of a distance over pairs of images, with standard errors.

A perceptual distance says how far translations are from their sources, from the truth and from
one another. The pairs decide what a mean says, so each has a name of its own:

| key | pairs |
|---|---|
| `lpips/source_target` | random source and target images: how far apart the domains are |
| `lpips/source_generated` | every source image and its own translation; papers call it diversity |
| `lpips/generated_spread` | translations of one source image under different guides |
| `lpips/oracle` | every translation and the true picture, in a rendered world only |
"""

from collections.abc import Callable
from itertools import combinations
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

LIMIT = 2000  # pairs that a mean is taken over, unless told otherwise

Images = Callable[[np.ndarray], np.ndarray]
"""Rows ``[n]`` of a set to its images, float32 ``[n, H, W, 3]`` in [-1, 1]."""
Measure = Callable[[np.ndarray, np.ndarray], np.ndarray | jax.Array]
"""Images x and y, ``[n, H, W, 3]`` each, to a distance of every pair, ``[n]``."""


class Estimate(NamedTuple):
    """A mean, its standard error (deviation over the root of n), and n, the number of samples."""

    mean: float
    error: float
    samples: int


def chosen_rows(rows: int, *, limit: int = LIMIT, seed: int = 0) -> np.ndarray:
    """All rows of a set, or ``limit`` of them drawn by the seed, in ascending order."""
    if rows <= limit:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))


def random_pairs(
    first: int, second: int, *, limit: int = LIMIT, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two sets of ``first`` and ``second`` images, drawn independently of each other.

    As many pairs as the smaller set has images, at most ``limit``; no row of a set comes twice, so
    that the pairs are independent and the standard error means what it says.
    """
    rng, count = np.random.default_rng(seed), min(first, second, limit)
    one, other = (rng.choice(n, count, replace=False) for n in (first, second))
    return one, other


def paired(
    measure: Measure,
    first: Images,
    second: Images,
    rows: tuple[np.ndarray, np.ndarray],
    *,
    batch: int = 32,
) -> Estimate:
    r"""\(\frac 1 n \sum_i d(x_{r_i}, y_{s_i})\) for `source_target`, `source_generated`, `oracle`.

    Args:
        measure: d.
        first: images x.
        second: images y.
        rows: r and s, ``[n]`` each, n >= 2; the same rows twice for images and their translations.
        batch: pairs per call of ``measure``; the last call is filled up with repeats.

    Raises:
        ValueError: for fewer than two pairs, or rows of different numbers.
    """
    r, s = rows
    if len(r) != len(s):
        raise ValueError(f"Pairs need as many rows of either set, not {len(r)} and {len(s)}.")
    return estimate(_over(lambda at: measure(first(r[at]), second(s[at])), len(r), batch))


def spread(
    measure: Measure,
    outputs: Callable[[np.ndarray, int], np.ndarray],
    rows: np.ndarray,
    guides: int,
    *,
    batch: int = 32,
) -> Estimate:
    r"""\(\frac 1 n \sum_i \frac 2 {K (K - 1)} \sum_{j < k} d(g_{ij}, g_{ik})\): `generated_spread`.

    0 for a translator that knows no guides. The images of one source are no independent
    sample, so the standard error is over sources.

    Args:
        measure: d.
        outputs: ``outputs(rows, k)`` are the translations of these rows under guide k,
            ``[n, H, W, 3]``.
        rows: ``[n]`` source images, n >= 2.
        guides: K >= 2; 10 is usual. ``measure`` is called for all K (K - 1) / 2 pairs.
        batch: sources per call.

    Raises:
        ValueError: for fewer than two sources or guides.
    """
    if guides < 2:
        raise ValueError(f"A spread needs two or more guides, not {guides}.")

    def mean(at: np.ndarray) -> np.ndarray:
        made = [outputs(rows[at], k) for k in range(guides)]
        return np.mean([np.asarray(measure(x, y)) for x, y in combinations(made, 2)], axis=0)

    return estimate(_over(mean, len(rows), batch))


def estimate(values: ArrayLike) -> Estimate:
    """The mean of independent values ``[n]``, n >= 2, and its standard error, in float64."""
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise ValueError(
            f"A mean with a standard error needs two or more finite values, not shape {x.shape}"
            + " with values that are not finite" * (not np.isfinite(x).all())
        )
    return Estimate(float(x.mean()), float(x.std(ddof=1) / len(x) ** 0.5), len(x))


def _over(values: Callable[[np.ndarray], Any], count: int, batch: int) -> np.ndarray:
    """``values`` of all places 0 to count - 1, in batches of one size."""
    found = [np.empty(0)]
    for start in range(0, count, batch):
        at = np.arange(start, min(start + batch, count))
        found.append(np.asarray(values(np.resize(at, batch)))[: len(at)])
    return np.concatenate(found)
