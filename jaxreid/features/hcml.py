"""Hierarchical cross-modality metric learning (HCML) upon features of a network, TONE's at first.

A projection per modality draws a person's images of that modality together; a metric that both
share, found by accelerated proximal gradient (`mlapg`), ranks people across modalities.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxreid.features import mlapg
from jaxreid.features.projections import Projections, Side, require_sides

NOTHING = 1e-12  # of the largest variance: what rounding leaves


@dataclass(frozen=True)
class Settings:
    """Of ``learn``; the defaults are those of the authors' code, but for ``infrared_step``.

    Attributes:
        dims: principal components kept, at most one less than features and than images.
        rounds: at most.
        tolerance: relative change of the cross-modality objective at which to stop.
        intra: weight of the terms within each modality.
        rate: step of the two modalities' projections, but for ``decay``.
        decay: of ``rate``, per round.
        infrared_step: ``mirrored``, the visible step with the sides exchanged; ``as_code``: the
            authors' code multiplies the gradient within the infrared side by V, and pairs infrared
            with visible people the wrong way round in the other one (their demo calls it with the
            two modalities exchanged).
    """

    dims: int = 600
    rounds: int = 300
    tolerance: float = 1e-6
    intra: float = 0.2
    rate: float = 0.1
    decay: float = 0.95
    infrared_step: Literal["mirrored", "as_code"] = "mirrored"

    def __post_init__(self) -> None:
        least = {"dims": 1, "rounds": 1, "tolerance": 0, "intra": 0, "rate": 0, "decay": 0}
        for name, value in least.items():
            if not getattr(self, name) >= value:
                raise ValueError(f"hcml.{name} is {getattr(self, name)}; choose {value} or more.")
        if self.infrared_step not in ("mirrored", "as_code"):
            raise ValueError(
                f"hcml.infrared_step is {self.infrared_step!r}; choose mirrored or as_code."
            )


DEFAULTS = Settings()


class Round(NamedTuple):
    """What a round came to.

    Attributes:
        cross: the term across modalities after the step of the metric, before those of V and T.
        intra: the terms within the visible and within the infrared side, after their steps.
        rank: of the metric.
    """

    cross: float
    intra: tuple[float, float]
    rank: int


def learn(
    visible: ArrayLike,
    visible_labels: ArrayLike,
    infrared: ArrayLike,
    infrared_labels: ArrayLike,
    settings: Settings = DEFAULTS,
) -> Projections:
    r"""Learns a projection for each modality.

    Features of both are centred and reduced to their principal components, not whitened. With x
    and z the means of a person's visible and infrared images there, $y_{ij}$ 1 for the same person
    and -1 for two, $w_{ij}$ one over the number of such pairs, and $\mu$ the mean of
    $\lVert x_i - z_j \rVert^2$ at the start, steps lower in turn, over $M = P P^\top$, V and T,

    $$\sum_{ij} w_{ij} \log\left(1 + e^{\,y_{ij} (\lVert (x_i V - z_j T) P \rVert^2 - \mu)}\right)
    + \alpha \sum_{U \in \{V, T\}} \frac 1 {N_U} \sum_n
    \log\left(1 + e^{\lVert (f_n - \bar f_{y_n}) U \rVert^2}\right)$$

    Args:
        visible: features ``[n, d]``, of unit length or so: steps of V and T have a fixed rate.
        visible_labels: their people ``[n]``.
        infrared: features ``[m, d]``.
        infrared_labels: their people ``[m]``.
        settings: see ``Settings``.

    Returns:
        V P and T P behind the principal components. Time grows with rounds times dims^3.

    Raises:
        ValueError: for other shapes, nobody in both modalities, or people in only one of them with
            ``as_code``.
        FloatingPointError: the objective is not finite any more.

    References:
        Ye, Lan, Li, Yuen, "Hierarchical Discriminative Learning for Visible Thermal Person
        Re-Identification", AAAI 2018, and its authors' code (seed 001).
    """
    v, t = require_sides("hcml", visible, visible_labels, infrared, infrared_labels)
    rows = np.concatenate([v.features, t.features])
    mean = rows.mean(0)
    basis = _principal(rows - mean, settings.dims)
    v, t = (Side((side.features - mean) @ basis, side.labels) for side in (v, t))
    first, second, _ = alternate(v, t, settings)
    return Projections(mean, basis @ first, basis @ second)


def alternate(
    visible: Side, infrared: Side, settings: Settings
) -> tuple[np.ndarray, np.ndarray, list[Round]]:
    """V P and T P of features taken as they are, and what every round came to; see ``learn``."""
    sides = _grouped(visible), _grouped(infrared)
    same_people = np.array_equal(sides[0].people, sides[1].people)
    if settings.infrared_step == "as_code" and not same_people:
        raise ValueError(
            "hcml.infrared_step is 'as_code', which needs the same people in both modalities."
        )
    one, pairs = np.eye(visible.features.shape[1]), _pairs(*sides)
    metric = mlapg.begin(sides[0].means, sides[1].means, pairs)
    turns, history = (one, one), []
    for number in range(1, settings.rounds + 1):
        last = metric.objective
        means = sides[0].means @ turns[0], sides[1].means @ turns[1]
        metric, point = mlapg.step(metric, *means, pairs)
        turns = _turned(sides, turns, point, settings.rate * settings.decay**number, settings)
        intra = _intra(sides[0], turns[0]), _intra(sides[1], turns[1])
        history.append(Round(metric.objective, intra, metric.root.shape[1]))
        if abs(metric.objective - last) < settings.tolerance * abs(last):
            break
    return turns[0] @ metric.root, turns[1] @ metric.root, history


class _Grouped(NamedTuple):
    """One modality: its people, their means, each image's difference from its person's mean."""

    people: np.ndarray
    means: np.ndarray
    spread: np.ndarray


def _grouped(side: Side) -> _Grouped:
    people, index = np.unique(side.labels, return_inverse=True)
    member = np.eye(len(people))[index]
    means = member.T @ side.features / member.sum(0)[:, None]
    return _Grouped(people, means, side.features - means[index])


def _pairs(visible: _Grouped, infrared: _Grouped) -> mlapg.Pairs:
    same = visible.people[:, None] == infrared.people
    weight = np.where(same, 1 / same.sum(), 1 / (~same).sum())
    apart = mlapg.distances(visible.means, infrared.means, np.eye(visible.means.shape[1]))
    return mlapg.Pairs(np.where(same, 1.0, -1.0), weight, float(apart.mean()))


def _turned(
    sides: tuple[_Grouped, _Grouped],
    turns: tuple[np.ndarray, np.ndarray],
    point: mlapg.Point,
    rate: float,
    settings: Settings,
) -> tuple[np.ndarray, np.ndarray]:
    """V and T after their steps of one round."""
    (visible, infrared), (v, t), s = sides, turns, point.matrix
    across = _cross_slope(visible.means, v, infrared.means @ t, point.pull, s)
    new = v - rate * (settings.intra * _intra_slope(visible, v) + across)
    code = settings.infrared_step == "as_code"
    across = _cross_slope(
        infrared.means, t, visible.means @ v, point.pull if code else point.pull.T, s
    )
    return new, t - rate * (settings.intra * _intra_slope(infrared, t, new if code else t) + across)


def _cross_slope(
    means: np.ndarray, turn: np.ndarray, others: np.ndarray, pull: np.ndarray, s: np.ndarray
) -> np.ndarray:
    """What the authors' code takes for the slope of the cross term by V.

    The slope is ``2 (X' diag(r) X V - X' Q Z T) S``; here S stands on the other side, and the part
    between the modalities is made symmetric.
    """
    mixed = means.T @ pull @ others @ s.T
    return ((means @ s).T * pull.sum(1)) @ means @ turn - mixed - mixed.T


def _intra(side: _Grouped, turn: np.ndarray) -> float:
    return float(np.logaddexp(0, np.square(side.spread @ turn).sum(1)).mean())


def _intra_slope(side: _Grouped, turn: np.ndarray, times: np.ndarray | None = None) -> np.ndarray:
    """Of ``_intra`` by the turn, or with another matrix as its last factor."""
    pull = (1 + np.tanh(np.square(side.spread @ turn).sum(1) / 2)) / 2
    slope = 2 / len(side.spread) * (side.spread.T * pull) @ side.spread
    return slope @ (turn if times is None else times)


def _principal(rows: np.ndarray, dims: int) -> np.ndarray:
    """The strongest directions ``[d, dims]`` of centred rows, of those in which they vary."""
    n, d = rows.shape
    small = rows.T @ rows if n >= d else rows @ rows.T
    values, vectors = (part[..., ::-1] for part in np.linalg.eigh(small))
    dims = max(1, min(dims, min(n, d) - 1, int((values > NOTHING * values[0]).sum())))
    return vectors[:, :dims] if n >= d else rows.T @ vectors[:, :dims] / np.sqrt(values[:dims])
