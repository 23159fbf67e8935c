"""Cross-view logistic metric learning by accelerated proximal gradient (MLAPG)."""

from typing import NamedTuple

import numpy as np

STEEPNESS, GROWTH = 2.0**-8, 2.0  # 1 over the first step's length; where that is too long
SLACK = 1e-12  # relative, for what rounding adds to an objective


class Pairs(NamedTuple):
    """All pairs of a row of one view with a row of the other.

    Attributes:
        sign: ``[n, m]``, y: 1 for the same person, -1 for two.
        weight: ``[n, m]``, w: one over the number of pairs of that sign.
        threshold: mu, the squared distance that is neither near nor far.
    """

    sign: np.ndarray
    weight: np.ndarray
    threshold: float


class Metric(NamedTuple):
    """The metric and what the next step needs to know.

    Attributes:
        matrix: M ``[d, d]``, positive semi-definite.
        root: P ``[d, rank]``, with M = P P'; strongest direction first.
        before: M of the step before.
        momentum: a of Nesterov's sequence; 0 before the first step.
        steepness: L, 1 over the length of the last step.
        objective: at M.
        bound: what the last step could reach at most: its quadratic model at M.
    """

    matrix: np.ndarray
    root: np.ndarray
    before: np.ndarray
    momentum: float
    steepness: float
    objective: float
    bound: float


class Point(NamedTuple):
    """Where a step started, and how strongly each pair pulled there.

    Attributes:
        matrix: S ``[d, d]``, the metric extrapolated.
        pull: ``[n, m]``, the slope of the objective by the pair's squared distance.
    """

    matrix: np.ndarray
    pull: np.ndarray


def begin(x: np.ndarray, z: np.ndarray, pairs: Pairs, steepness: float = STEEPNESS) -> Metric:
    """The Euclidean metric, before the first step."""
    one = np.eye(x.shape[1])
    value = objective(distances(x, z, one), pairs)
    return Metric(one, one, one, 0.0, steepness, value, value)


def step(metric: Metric, x: np.ndarray, z: np.ndarray, pairs: Pairs) -> tuple[Metric, Point]:
    r"""One accelerated proximal step with backtracking.

    From $S = M + \frac{a - 1}{a'} (M - M_{before})$, $a' = (1 + \sqrt{1 + 4 a^2}) / 2$, to the
    positive semi-definite matrix nearest to $S - \nabla f(S) / L$, for the first of
    $L, 2 L, 4 L, \ldots$ at which the objective keeps below its quadratic model.

    Args:
        metric: of the last step.
        x: rows of one view ``[n, d]``.
        z: rows of the other ``[m, d]``.
        pairs: of their rows.

    Raises:
        FloatingPointError: the objective is not finite any more.

    References:
        Liao, Li, "Efficient PSD Constrained Asymmetric Metric Learning for Person
        Re-identification", ICCV 2015.
    """
    momentum = (1 + np.sqrt(1 + 4 * metric.momentum**2)) / 2
    s = metric.matrix + (metric.momentum - 1) / momentum * (metric.matrix - metric.before)
    apart = distances(x, z, s)
    pull = pairs.weight * pairs.sign * _sigmoid(pairs.sign * (apart - pairs.threshold))
    slope, here, steepness = _slope(x, z, pull), objective(apart, pairs), metric.steepness
    while True:
        matrix, root = _nearest(s - slope / steepness)
        value = objective(distances(x, z, matrix), pairs)
        move = matrix - s
        bound = here + (move * slope).sum() + steepness / 2 * np.square(move).sum()
        if not np.isfinite(value + bound):
            raise FloatingPointError(
                "The objective of metric learning is not finite any more: scale features to unit "
                "length, or lower the rate."
            )
        if value <= bound + SLACK * abs(bound):
            break
        steepness *= GROWTH
    found = Metric(matrix, root, metric.matrix, momentum, steepness, value, bound)
    return found, Point(s, pull)


def distances(x: np.ndarray, z: np.ndarray, metric: np.ndarray) -> np.ndarray:
    """``(x_i - z_j)' M (x_i - z_j)``, ``[n, m]``; negative where an extrapolated M is so."""
    own = [((rows @ metric) * rows).sum(1) for rows in (x, z)]
    return own[0][:, None] + own[1] - 2 * x @ metric @ z.T


def objective(apart: np.ndarray, pairs: Pairs) -> float:
    """Weighted sum of ``log(1 + exp(y (d - mu)))`` over all pairs."""
    losses = np.logaddexp(0, pairs.sign * (apart - pairs.threshold))
    return float((pairs.weight * losses).sum())


def _slope(x: np.ndarray, z: np.ndarray, pull: np.ndarray) -> np.ndarray:
    """Of the objective by M: the sum of ``pull_ij (x_i - z_j)(x_i - z_j)'``."""
    mixed = x.T @ pull @ z
    return (x.T * pull.sum(1)) @ x + (z.T * pull.sum(0)) @ z - mixed - mixed.T


def _nearest(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest positive semi-definite matrix, and its root."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    kept = np.flatnonzero(values > 0)[::-1]
    root = vectors[:, kept] * np.sqrt(values[kept])
    return root @ root.T, root


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 + np.tanh(x / 2)) / 2
