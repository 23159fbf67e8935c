"""Which visible and infrared images make a batch; how converted ones join them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxreid.data import Split
from jaxreid.stages.modal_turn import Settings


class Drawn(NamedTuple):
    """The images of one modality in a step.

    Attributes:
        rows: ``[N]`` of the training split; a converted image has the row that it was made from.
        converted: ``[N]`` booleans.
    """

    rows: np.ndarray
    converted: np.ndarray


def batches(
    real: Split, settings: Settings, seed: int
) -> Callable[[int], tuple[np.ndarray, Drawn, Drawn]]:
    """What every step sees: people ``[N]``, as positions, and the images of either modality.

    Every step draws ``batch`` different people anew and one image of either modality of each, as
    BDTR's code does; how converted images join them says ``settings.form``.

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

    def draw(step: int) -> tuple[np.ndarray, Drawn, Drawn]:
        rng = np.random.default_rng((seed, step))
        chosen = rng.permutation(len(people))[: settings.batch]

        def one_each(modality: int) -> np.ndarray:
            return np.array([rng.choice(rows_of[modality][i]) for i in chosen])

        visible, thermal = one_each(0), one_each(1)
        if settings.form == "paired":
            twice = np.concatenate([none, ~none])
            both, back = (np.concatenate(x) for x in ((visible, thermal), (thermal, visible)))
            return np.tile(chosen, 2), Drawn(both, twice), Drawn(back, twice)
        made = [none, none]
        if settings.form == "ratio":
            last = np.arange(settings.batch) >= settings.batch - settings.converted_people
            made = [last, last]
        if settings.form == "pool":
            counts = np.array([[len(rows[i]) for i in chosen] for rows in rows_of])
            made = [rng.random(settings.batch) < other / counts.sum(0) for other in counts[::-1]]
        others = (one_each(1), one_each(0)) if settings.form else (thermal, visible)
        sides = zip(made, others, (visible, thermal), strict=True)
        first, second = (Drawn(np.where(m, other, own), m) for m, other, own in sides)
        return chosen, first, second

    return draw
