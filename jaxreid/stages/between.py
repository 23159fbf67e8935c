"""Translators between cameras, whichever kind: a CycleGAN per pair of them, or one StarGAN."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from jaxreid.stages import cycle, judge, star
from jaxreid.stages.sets import Sets, Translators
from jaxreid.training import Every

KINDS = ("cyclegan", "stargan")


@dataclass(frozen=True)
class Settings:
    """Which translator, and both kinds' settings.

    Attributes:
        kind: ``cyclegan`` or ``stargan``.
        gan: of every CycleGAN.
        stargan: of the StarGAN.
        judged: whether there are judges to choose among checkpoints.
    """

    kind: str
    gan: cycle.Settings
    stargan: star.Settings
    judged: bool

    def __post_init__(self):
        """Refuses a kind that there is not, and candidates that nothing chooses among."""
        if self.kind not in KINDS:
            raise ValueError(f"translator is {self.kind!r}; choose one of {', '.join(KINDS)}")
        block = {"cyclegan": "gan", "stargan": "stargan"}[self.kind]
        candidates = getattr(self, block).candidates
        if candidates > 1 and not self.judged:
            raise ValueError(
                f"{block}.candidates is {candidates}, but the option judge is off, so nothing "
                f"chooses: switch it on, or say --config.{block}.candidates=1 for the last"
            )


def require(settings: Settings, data: Sets) -> None:
    """Finds out before any training whether the translators can be trained on ``data``.

    Raises:
        ValueError: what ``cycle.require`` or ``star.require`` refuse.
    """
    if settings.kind == "cyclegan":
        cycle.require(settings.gan, data, _pairs(data), chosen=settings.judged)
    else:
        star.require(settings.stargan, data)


def train(
    workdir: Path,
    data: Sets,
    settings: Settings,
    *,
    seed: int,
    every: Every,
    judges: judge.Judges | None = None,
) -> Translators:
    """Trains translators for every ordered pair of different cameras.

    Args:
        workdir: of the run; the training gets a folder in it named like its kind.
        data: its training images are used, without their identities.
        settings: see ``Settings``.
        seed: of the training.
        every: how often to log, save and sample.
        judges: choose among the checkpoints that are candidates; None takes the last.
    """
    common = {"seed": seed, "every": every}
    chooser = judge.chooser(judges) if judges else None
    directory = workdir / settings.kind
    if settings.kind == "stargan":
        return star.train(directory, data, settings.stargan, **common, chooser=chooser)
    return cycle.train(directory, data, _pairs(data), settings.gan, **common, chooser=chooser)


def _pairs(data: Sets) -> list[tuple[int, int]]:
    return list(combinations(np.unique(data.train.cameras).tolist(), 2))
