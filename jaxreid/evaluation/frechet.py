"""Frechet distance of two sets of features, from moments that batches add up to.

On the host in float64: covariances of thousands of features lose their small eigenvalues in
float32. The distance is called FID only where the features are those of one certain network; see
`jaxreid.evaluation.quality`.
"""

import warnings
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxreid.evaluation.checks import check_features


class Moments(NamedTuple):
    r"""First and second moments of N features.

    Attributes:
        rows: N.
        mean: float64 ``[d]``.
        scatter: float64 ``[d, d]``, \(\sum_i (x_i - m)(x_i - m)^T\): what adds up over batches.
    """

    rows: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """``[d, d]``, with N - 1 in the denominator."""
        return self.scatter / (self.rows - 1)


def moments(features: ArrayLike) -> Moments:
    """The moments of one batch.

    Args:
        features: ``[N, d]``, N >= 1.

    Raises:
        ValueError: for another shape, no row, or values that are not finite.
    """
    x = check_features("features", features, 1)
    mean = x.mean(0)
    return Moments(len(x), mean, (x - mean).T @ (x - mean))


def merge(*parts: Moments) -> Moments:
    r"""The moments of several batches together: those of their rows at once, up to rounding.

    With \(\delta = m_b - m_a\) and \(n = n_a + n_b\): the mean is \(m_a + \delta n_b / n\), the
    scatter \(S_a + S_b + \delta \delta^T n_a n_b / n\). Parts may be batches, devices or hosts.

    Raises:
        ValueError: for no part, or parts of different d.

    References:
        Chan, Golub, LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
        Variances", COMPSTAT 1982.
    """
    sizes = sorted({part.mean.shape for part in parts})
    if len(sizes) != 1:
        raise ValueError(f"moments of one shape are needed, got the shapes {sizes} of means")
    return reduce(_merge, parts)


def frechet_distance(a: Moments, b: Moments) -> float:
    r"""\(|m_a - m_b|^2 + \mathrm{tr} S_a + \mathrm{tr} S_b - 2 \mathrm{tr} (S_a S_b)^{1/2}\).

    The squared 2-Wasserstein distance of two Gaussians. The last trace is the sum of the roots of
    the eigenvalues of \(R S_b R\), \(R = S_a^{1/2}\), which are real and not negative also where a
    covariance is singular. Symmetric, 0 for equal moments, not below 0 but for rounding, and biased
    upwards for few rows: never compare distances at different N.

    Args:
        a: of N >= 2 rows of d features; N > d, else a RuntimeWarning says that it means little.
        b: likewise.

    Returns:
        The distance, in squared units of the features.

    Raises:
        ValueError: for fewer than two rows, different d, or values that are not finite.

    References:
        Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
        Equilibrium", NIPS 2017, section 1.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(
            f"a has {a.mean.shape[0]} features and b {b.mean.shape[0]}; use the same network."
        )
    for name, each in (("a", a), ("b", b)):
        _require(name, each)
    first, second = a.covariance, b.covariance
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    return float(np.sum((a.mean - b.mean) ** 2) + np.trace(first) + np.trace(second) - 2 * cross)


def _merge(a: Moments, b: Moments) -> Moments:
    rows, delta = a.rows + b.rows, b.mean - a.mean
    between = np.outer(delta, delta) * (a.rows * b.rows / rows)
    return Moments(rows, a.mean + delta * (b.rows / rows), a.scatter + b.scatter + between)


def _require(name: str, each: Moments) -> None:
    if each.rows < 2:
        raise ValueError(f"{name} has {each.rows} row: a covariance needs two or more.")
    if not (np.isfinite(each.mean).all() and np.isfinite(each.scatter).all()):
        raise ValueError(f"{name} holds values that are not finite; has a training diverged?")
    if each.rows <= len(each.mean):
        warnings.warn(
            f"{name} has {each.rows} rows of {len(each.mean)} features: its covariance is "
            "singular and the Frechet distance far too large. Use more images, a layer of fewer "
            "features, or the kernel distance.",
            RuntimeWarning,
            stacklevel=3,
        )
