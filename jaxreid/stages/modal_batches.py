"""Which visible and infrared images make a batch; how converted ones join them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxreid.data import Split
from jaxreid.stages.modal_turn import Settings


class Drawn(NamedTuple):
    """The images of one modality in a step.

    Attributes:
        people: ``[N]``, as positions among all of the split.
        rows: ``[N]`` of the training split; a converted image has the row that it was made from.
        converted: ``[N]`` booleans.
    """

    people: np.ndarray
    rows: np.ndarray
    converted: np.ndarray


def batches(real: Split, settings: Settings, seed: int) -> Callable[[int], tuple[Drawn, Drawn]]:
    """What every step sees: as many visible as infrared images.

    Every step draws ``batch`` different people anew and one image of either modality of each, as
    BDTR's code does; how converted images join them says ``settings.form``. Row i shows the same
    person in both modalities, but for ``settings.strangers`` infrared images at the end, of people
    drawn without regard to the visible ones.

    Args:
        real: training images.
        settings: of the training.
        seed: of all draws.
    """
    people, modalities = np.unique(real.pids), real.modalities
    rows_of = [
        [np.flatnonzero((real.pids == pid) & (modalities == m)) for pid in people] for m in (0, 1)
    ]
    none = np.zeros(settings.batch, bool)

    def draw(step: int) -> tuple[Drawn, Drawn]:
        rng = np.random.default_rng((seed, step))
        chosen = rng.permutation(len(people))[: settings.batch]
        strangers = rng.integers(len(people), size=settings.strangers)
        beside = np.concatenate([chosen[: settings.batch - settings.strangers], strangers])

        def one_each(modality: int, some: np.ndarray) -> np.ndarray:
            return np.array([rng.choice(rows_of[modality][i]) for i in some])

        visible, thermal = one_each(0, chosen), one_each(1, beside)
        if settings.form == "paired":
            # Real and converted in turn, so that every shard of a batch has both.
            twice, who = np.stack([none, ~none], 1).ravel(), np.repeat(chosen, 2)
            both, back = (np.stack(x, 1).ravel() for x in ((visible, thermal), (thermal, visible)))
            return Drawn(who, both, twice), Drawn(who, back, twice)
        made = [none, none]
        if settings.form == "ratio":
            evenly = np.arange(settings.batch + 1) * settings.converted_people // settings.batch
            made = [np.diff(evenly) > 0] * 2
        if settings.form == "pool":
            counts = np.array([[len(rows[i]) for i in chosen] for rows in rows_of])
            made = [rng.random(settings.batch) < other / counts.sum(0) for other in counts[::-1]]
        found = (one_each(1, chosen), one_each(0, chosen)) if settings.form else (thermal, visible)
        sides = zip((chosen, beside), made, found, (visible, thermal), strict=True)
        first, second = (Drawn(who, np.where(m, other, own), m) for who, m, other, own in sides)
        return first, second

    return draw
