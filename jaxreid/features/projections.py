"""What metric learning leaves: a linear map per modality, after which distances are Euclidean."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

SIDES = ("visible", "infrared")


class Projections(NamedTuple):
    """Linear maps into one space.

    Attributes:
        mean: ``[d]``, subtracted first.
        visible: ``[d, r]``, for images of modality 0.
        infrared: ``[d, r]``, for images of modality 1; the same one where a method tells them not
            apart.
    """

    mean: np.ndarray
    visible: np.ndarray
    infrared: np.ndarray


def project(projections: Projections, features: ArrayLike, modalities: ArrayLike) -> np.ndarray:
    """Features in the learned space, where the Euclidean distance is the learned one.

    Args:
        projections: as learned.
        features: ``[n, d]``.
        modalities: ``[n]``, 0 for visible and 1 for infrared images.

    Returns:
        float64 ``[n, r]``.

    Raises:
        ValueError: for other shapes, or modalities other than 0 and 1.
    """
    x, side = np.asarray(features, np.float64), np.asarray(modalities)
    if x.ndim != 2 or x.shape[1] != len(projections.mean) or side.shape != x.shape[:1]:
        raise ValueError(
            f"project takes features [n,{len(projections.mean)}] and modalities [n], not "
            f"{x.shape} and {side.shape}."
        )
    if not np.isin(side, (0, 1)).all():
        raise ValueError(f"project takes modalities 0 and 1, not {np.unique(side).tolist()}.")
    x = x - projections.mean
    return np.where(side[:, None] == 0, x @ projections.visible, x @ projections.infrared)


class Side(NamedTuple):
    """Training features of one modality and the people they show."""

    features: np.ndarray
    labels: np.ndarray


def require_sides(
    name: str,
    visible: ArrayLike,
    visible_labels: ArrayLike,
    infrared: ArrayLike,
    infrared_labels: ArrayLike,
) -> tuple[Side, Side]:
    """Returns both sides in float64.

    Raises:
        ValueError: other shapes, values that are not finite, nobody or only one person who is on
            both sides.
    """
    given = (visible, visible_labels), (infrared, infrared_labels)
    v, t = (Side(np.asarray(x, np.float64), np.asarray(y)) for x, y in given)
    for side, (x, labels) in zip(SIDES, (v, t), strict=True):
        if x.ndim != 2 or labels.shape != x.shape[:1] or not x.size:
            raise ValueError(
                f"{name} takes {side} features [n,d] and labels [n], not {x.shape} and "
                f"{labels.shape}."
            )
        if not np.isfinite(x).all():
            raise ValueError(f"{name}'s {side} features are not finite; has a training diverged?")
    if v.features.shape[1] != t.features.shape[1]:
        raise ValueError(
            f"{name} takes features of one length, not {v.features.shape[1]} visible and "
            f"{t.features.shape[1]} infrared ones."
        )
    both = np.intersect1d(v.labels, t.labels)
    if not len(both) or len(np.union1d(v.labels, t.labels)) < 2:
        raise ValueError(
            f"{name} compares people across modalities: it needs two or more, and one or more "
            f"seen in both, but {len(both)} are seen in both."
        )
    return v, t
