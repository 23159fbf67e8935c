"""Cross-view quadratic discriminant analysis (XQDA), LOMO's own metric."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from jaxreid.features.projections import Projections, Side, require_sides


@dataclass(frozen=True)
class Settings:
    """Of ``learn``.

    Attributes:
        ridge: added to the diagonal of the covariance of differences within people; 1e-3 is meant
            for features of unit length.
    """

    ridge: float = 1e-3

    def __post_init__(self) -> None:
        if not self.ridge > 0:
            raise ValueError(f"xqda.ridge is {self.ridge}; choose a number above 0.")


DEFAULTS = Settings()


def learn(
    visible: ArrayLike,
    visible_labels: ArrayLike,
    infrared: ArrayLike,
    infrared_labels: ArrayLike,
    settings: Settings = DEFAULTS,
) -> Projections:
    r"""Learns the directions in which people differ more than pictures of one person.

    With $\Sigma_I$ and $\Sigma_E$ the mean squares (outer products) of differences between the
    modalities, of one person's images and of two persons', $W$ the eigenvectors of
    $\Sigma_I^{-1} \Sigma_E$ whose eigenvalues exceed 1, the metric is

    $$M = W \left[(W^\top \Sigma_I W)^{-1} - (W^\top \Sigma_E W)^{-1}\right] W^\top$$

    which is $\sum_k (1 - 1/\lambda_k)\, w_k w_k^\top$ for eigenvectors with
    $w^\top \Sigma_I w = 1$: positive semi-definite, so that the distance is that of projections by
    $\sqrt{1 - 1/\lambda_k}\, w_k$.

    Args:
        visible: features of one view ``[n, d]``; of unit length for the default ridge.
        visible_labels: their people ``[n]``.
        infrared: features of the other view ``[m, d]``.
        infrared_labels: their people ``[m]``.
        settings: see ``Settings``.

    Returns:
        One projection for both modalities, strongest direction first; mean 0. Time grows with
        $\min(d, n + m)^3$, memory with its square and with $(n + m) d$.

    Raises:
        ValueError: for other shapes, nobody in both views, or no eigenvalue above 1.

    References:
        Liao, Hu, Zhu, Li, CVPR 2015, section 4. Their code takes the left singular vectors of
        $\Sigma_I^{-1} \Sigma_E$ for its eigenvectors, which they are not, as it is not symmetric.
    """
    v, t = require_sides("xqda", visible, visible_labels, infrared, infrared_labels)
    basis, v, t = _compressed(v, t)
    within, between = covariances(v, t)
    within = within + settings.ridge * np.eye(len(within))
    root = np.linalg.cholesky(within)
    half = np.linalg.solve(root, between)
    values, vectors = np.linalg.eigh(np.linalg.solve(root, half.T))
    order = np.flatnonzero(values > 1)[::-1]
    if not len(order):
        raise ValueError(
            f"xqda found no direction in which people differ more than their own pictures do (the "
            f"largest eigenvalue is {values[-1]:.3g}): lower the ridge, {settings.ridge}, or scale "
            "features to unit length."
        )
    directions = np.linalg.solve(root.T, vectors[:, order]) * np.sqrt(1 - 1 / values[order])
    directions = basis @ directions
    return Projections(np.zeros(len(directions)), directions, directions)


def covariances(v: Side, t: Side) -> tuple[np.ndarray, np.ndarray]:
    """Mean outer products ``[d, d]`` of differences across, within people and between people.

    Sums over people stand in for the pairs: no pair is listed. If all people are one, there are no
    pairs between them, and so no second matrix.
    """
    people, index = np.unique(np.concatenate([v.labels, t.labels]), return_inverse=True)
    member = np.eye(len(people))[index]
    ours, theirs = member[: len(v.labels)], member[len(v.labels) :]
    here, there = ours.sum(0), theirs.sum(0)  # images of each person
    sums = ours.T @ v.features, theirs.T @ t.features
    squares = [
        (side.features * weights[:, None]).T @ side.features
        for side, weights in ((v, ours @ there), (t, theirs @ here))
    ]
    mixed = sums[0].T @ sums[1]
    within = squares[0] + squares[1] - mixed - mixed.T
    total = sums[0].sum(0)[:, None] * sums[1].sum(0)
    every = len(t.labels) * v.features.T @ v.features + len(v.labels) * t.features.T @ t.features
    between = every - total - total.T - within
    pairs = here @ there
    return within / pairs, between / (len(v.labels) * len(t.labels) - pairs)


def _compressed(v: Side, t: Side) -> tuple[np.ndarray, Side, Side]:
    """An orthonormal basis ``[d, k]`` of what the features span, and the features in it."""
    rows = np.concatenate([v.features, t.features])
    if rows.shape[1] <= len(rows):
        return np.eye(rows.shape[1]), v, t
    # In place, since there may be no room for copies.
    factors: Any = linalg.qr(rows.T, mode="economic", overwrite_a=True, check_finite=False)
    basis, triangle = factors
    parts = np.split(triangle.T, [len(v.labels)])
    return basis, Side(parts[0], v.labels), Side(parts[1], t.labels)
