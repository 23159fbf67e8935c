"""What several seeds say about a difference: paired intervals by Student's t (host, float64).

A run with seed k gives one score for every arm, so arms are compared seed by seed.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Interval(NamedTuple):
    """An estimate and the bounds of its confidence interval."""

    estimate: float
    low: float
    high: float


def paired_difference(values: ArrayLike, reference: ArrayLike, level: float = 0.95) -> Interval:
    r"""The mean of values - reference, \(\bar d \pm t_{n-1} s_d / \sqrt n\).

    Args:
        values: ``[n]``, one per seed; n >= 2.
        reference: ``[n]``, of the same seeds.
        level: of confidence, two-sided.
    """
    difference = _paired(values, reference)
    mean = float(difference.mean())
    half = t_quantile(level, len(difference) - 1) * math.sqrt(_covariance(difference, difference))
    return Interval(mean, mean - half, mean + half)


def gap_closed(
    values: ArrayLike, reference: ArrayLike, bound: ArrayLike, level: float = 0.95
) -> Interval | None:
    r"""Which part of the gap from reference to bound the values close: a ratio of means.

    With \(d\) = values - reference and \(g\) = bound - reference, the estimate is
    \(\bar d / \bar g\); its interval holds every \(\theta\) for which the mean of
    \(d - \theta g\) does not differ from 0 by Student's t (Fieller).

    Args:
        values: ``[n]``, one per seed; n >= 2.
        reference: ``[n]``, of the same seeds: a fraction of 0.
        bound: ``[n]``, of the same seeds: a fraction of 1.
        level: of confidence, two-sided.

    Returns:
        None where the gap itself is not shown to be above 0: no fraction of it means anything.

    References:
        Fieller, "Some problems in interval estimation", JRSS B 16, 1954.
    """
    d, g = _paired(values, reference), _paired(bound, reference)
    t2 = t_quantile(level, len(d) - 1) ** 2
    # The bounds are the roots of a theta^2 - 2 b theta + c.
    a = g.mean() ** 2 - t2 * _covariance(g, g)
    b = d.mean() * g.mean() - t2 * _covariance(d, g)
    c = d.mean() ** 2 - t2 * _covariance(d, d)
    if a <= 0 or g.mean() <= 0:
        return None
    root = math.sqrt(max(0.0, b * b - a * c))
    return Interval(float(d.mean() / g.mean()), float((b - root) / a), float((b + root) / a))


def t_quantile(level: float, freedom: int) -> float:
    """The t that Student's t with ``freedom`` degrees stays within, with probability ``level``.

    Bisection over the angle atan(t / sqrt(freedom)), in which the probability is a finite sum.

    References:
        Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        inside = _t_probability(middle, freedom) < level
        low, high = (middle, high) if inside else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _t_probability(angle: float, freedom: int) -> float:
    """P(|t| < sqrt(freedom) tan(angle))."""
    odd = freedom % 2
    term, total = math.cos(angle) if odd else 1.0, 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= math.cos(angle) ** 2 * k / (k + 1)
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def _paired(values: ArrayLike, reference: ArrayLike) -> np.ndarray:
    first, second = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(
            f"scores of the same seeds are needed, two or more: got shapes {first.shape} and "
            f"{second.shape}"
        )
    return first - second


def _covariance(x: np.ndarray, y: np.ndarray) -> float:
    """Of the two means."""
    return float(np.sum((x - x.mean()) * (y - y.mean())) / (len(x) - 1) / len(x))
