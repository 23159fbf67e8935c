"""A map of points in two dimensions: exact t-SNE, for pictures of at most a few thousand points."""

import numpy as np
from numpy.typing import ArrayLike

from jaxreid.evaluation.checks import check_features

EXAGGERATION = 12.0  # of attraction, in the first EARLY rounds
EARLY = 250


def tsne(points: ArrayLike, *, perplexity: float = 30.0, rounds: int = 1000) -> np.ndarray:
    r"""Places points in the plane so that neighbours stay neighbours.

    Minimises \(\mathrm{KL}(P \| Q)\) by gradient descent from the first two principal components,
    \(P\) as in ``affinities`` and \(q_{ij} \propto 1 / (1 + \|y_i - y_j\|^2)\): attraction 12 times
    as strong in the first 250 rounds, momentum 0.5 in these and 0.8 later, a gain per coordinate.
    Equal points give equal maps: there is no random choice.

    Args:
        points: ``[n, d]``, n >= 4. Time and memory grow with n^2.
        perplexity: about how many neighbours a point has; at most (n - 1) / 3 are used.
        rounds: steps of the descent.

    Returns:
        float64 ``[n, 2]``, centred.

    Raises:
        ValueError: another shape, too few points, or values that are not finite.

    References:
        van der Maaten, Hinton, "Visualizing Data using t-SNE", JMLR 2008.
    """
    x = check_features("points", points, 4)
    p = affinities(x, min(perplexity, (len(x) - 1) / 3)).astype(np.float32)
    y = _principal(x)
    rate = max(len(x) / EXAGGERATION / 4, 50.0)
    step, gains = np.zeros_like(y), np.ones_like(y)
    for number in range(rounds):
        early = number < EARLY
        slope = gradient(p * EXAGGERATION if early else p, y)
        gains = np.maximum(np.where(slope * step < 0, gains + 0.2, gains * 0.8), 0.01)
        step = (0.5 if early else 0.8) * step - rate * gains * slope
        y = y + step - (y + step).mean(0)
    return y


def affinities(points: np.ndarray, perplexity: float) -> np.ndarray:
    r"""Symmetric probabilities of pairs, ``[n, n]``, that sum to 1.

    \(p_{ij} = (p_{j|i} + p_{i|j}) / 2n\) with \(p_{j|i} \propto e^{-\beta_i \|x_i - x_j\|^2}\), 0
    for i = j, and \(\beta_i\) such that the entropy of \(p_{\cdot|i}\) is the logarithm of the
    perplexity.
    """
    squared = _squared(np.asarray(points, np.float64))
    others = ~np.eye(len(squared), dtype=bool)
    # Shifted by the nearest other point, so that nothing underflows.
    squared = squared - np.min(squared, axis=1, where=others, initial=np.inf)[:, None]
    scale = np.maximum(np.mean(squared, axis=1, where=others), 1e-12)
    low, high = np.zeros(len(squared)), np.full(len(squared), np.inf)
    beta = 1 / scale
    for _ in range(64):
        weights = np.exp(-beta[:, None] * np.maximum(squared, 0)) * others
        conditional = weights / weights.sum(1, keepdims=True)
        entropy = np.log(weights.sum(1)) + beta * (conditional * squared).sum(1)
        wide = entropy > np.log(perplexity)
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        beta = np.where(np.isinf(high), 2 * beta, (low + np.minimum(high, 1e300)) / 2)
    conditional = np.exp(-beta[:, None] * np.maximum(squared, 0)) * others
    conditional /= conditional.sum(1, keepdims=True)
    return (conditional + conditional.T) / (2 * len(squared))


def gradient(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    r"""\(4 \sum_j (p_{ij} - q_{ij}) (y_i - y_j) / (1 + \|y_i - y_j\|^2)\), ``[n, 2]``."""
    kernel = 1 / (1 + _squared(y.astype(p.dtype)))
    np.fill_diagonal(kernel, 0)
    pull = (p - kernel / kernel.sum()) * kernel
    return 4 * (pull.sum(1)[:, None] * y - pull @ y)


def _principal(x: np.ndarray) -> np.ndarray:
    """The first two principal components, small, each with its largest value positive."""
    middle = x - x.mean(0)
    y = middle @ np.linalg.svd(middle, full_matrices=False)[2][:2].T
    y = np.pad(y, ((0, 0), (0, 2 - y.shape[1])))
    y = y * np.where(y[np.abs(y).argmax(0), [0, 1]] < 0, -1, 1)
    return 1e-4 * y / max(float(y[:, 0].std()), 1e-12)


def _squared(x: np.ndarray) -> np.ndarray:
    norms = np.square(x).sum(1)
    return np.maximum(norms[:, None] + norms - 2 * x @ x.T, 0)
