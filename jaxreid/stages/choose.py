"""Which checkpoint of a generator to take: the one that scores best on what no test reads."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from jaxreid.stages.sets import Translators
from jaxreid.training import run_once
from jaxreid.training.workdir import write_json


class Chooser(NamedTuple):
    """How good translators are.

    Attributes:
        score: of translators, higher is better; must not depend on the test set.
        made_by: fingerprint of all that determines ``score``.
    """

    score: Callable[[Translators], float]
    made_by: str


def candidates(steps: int, count: int) -> list[int]:
    """The steps whose checkpoints can be chosen among.

    Args:
        steps: of the whole training.
        count: how many, evenly spaced over its second half; the last step is one of them.

    Raises:
        ValueError: fewer than one, or more than the second half has steps.
    """
    half = steps // 2
    if not 1 <= count <= max(1, half):
        raise ValueError(
            f"candidates is {count}: choose 1 for the last checkpoint alone, or up to {half}, the "
            "steps of the second half of the training"
        )
    return [steps - later * half // count for later in reversed(range(count))]


def best(
    directory: Path,
    found: Mapping[int, Callable[[], Translators]],
    chooser: Chooser | None,
) -> Translators:
    """The candidate with the highest score, of equal ones the latest; decided once.

    Args:
        directory: for ``choice.json``: the chosen ``step`` and the ``scores`` of all.
        found: by step, what makes the translators of that step. They are made one by one and
            dropped again, since the networks of many candidates may not fit in memory together.
        chooser: scores them; None takes the last one.
    """
    if chooser is None or len(found) == 1:
        return found[max(found)]()
    steps = {str(step): make().made_by for step, make in found.items()}
    path = directory / "choice.json"
    made_by = {"candidates": steps, "judged_by": chooser.made_by}
    run_once(directory, made_by, lambda: write_json(path, _choice(found, chooser)))
    choice = json.loads(path.read_text())
    for step in sorted(found):
        mark = "  <- chosen" if step == choice["step"] else ""
        score = choice["scores"][str(step)]
        print(f"{directory.parent.name}: step {step:>8}  score {score:.4f}{mark}", flush=True)
    return found[choice["step"]]()


def _choice(found: Mapping[int, Callable[[], Translators]], chooser: Chooser) -> dict:
    scores = {step: chooser.score(found[step]()) for step in sorted(found)}
    step = max(scores, key=lambda step: (scores[step], step))
    return {"step": step, "scores": {str(step): score for step, score in scores.items()}}
