"""Splits of one data set in several ways: nobody who was trained on may be tested on."""

import numpy as np

from jaxreid.data import layouts
from jaxreid.data.layouts import JUNK
from jaxreid.data.scanning import shortened
from jaxreid.data.splits import Split


def require_unseen(train: Split, test: Split) -> None:
    """Raises ValueError if people of ``train`` are in ``test``, as far as their numbers can tell.

    Numbers tell if the splits belong to two layouts of one official archive, such as the ten trials
    of RegDB: each trains on half of the people, so a network of one trial has seen about half of
    those whom another one tests, and would score far too high. Sets of different archives number
    their people independently and pass, as do two splits of one layout, which ``scan`` has proved.
    """
    first, second = (layouts.LAYOUTS.get(split.domain) for split in (train, test))
    if not first or not second or first == second:
        return
    if not {*first.archives} & {*second.archives}:
        return
    nobody = [JUNK, *first.distractors]
    shared = np.setdiff1d(np.intersect1d(train.pids, test.pids), nobody)
    if len(shared):
        raise ValueError(
            f"What is trained on {first.name} cannot be tested on {second.name}: {len(shared):,} "
            f"people are in the one's training and in the other's test set "
            f"({shortened([str(pid) for pid in shared])}), so scores would be far too high. Train "
            "and test on the same one."
        )
