"""Re-ID networks that differ in their seeds, trained beside one another as one program."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data import prefetch
from jaxreid.stages.embedding import Model
from jaxreid.stages.reid import Training
from jaxreid.training import Every, State, Step, cached, fit, shards
from jaxreid.training.grouping import Task, grouped
from jaxreid.training.mesh import turns

__all__ = ["beside", "groups", "train"]


def beside(trainings: Sequence[Training]) -> Training:
    """Trainings that differ in their seeds as one program, over a leading axis of models."""
    if len(trainings) == 1:
        return trainings[0]
    first = trainings[0]

    def init() -> State:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(each.init() for each in trainings))

    def batch(step: int) -> dict[str, np.ndarray]:
        found = [each.batch(step) for each in trainings]
        return {name: np.stack([one[name] for one in found]) for name in found[0]}

    return first._replace(init=init, step=_stacked(first.step, shards(), turns()), batch=batch)


@cached
def _stacked(step: Step, shards: int, turns: int) -> Step:
    """Made once, as the step itself, so that what is compiled is shared."""
    return step.sharded(shards, turns).map(jax.vmap)


def train(
    directory: Path,
    of: Callable[[int], Training],
    seeds: Sequence[int],
    every: Every,
    label: str = "",
) -> list[Model]:
    """Trains a re-ID network for every seed, all as one program.

    Args:
        directory: for checkpoints and metrics, which are means over the networks.
        of: the training of a seed, see ``training``.
        seeds: one or more.
        every: how often to log and save.
        label: see ``fit``.
    """
    one = beside([of(seed) for seed in seeds])
    several = len(seeds) if len(seeds) > 1 else None
    state = fit(
        one.init,
        one.step,
        lambda start, stop: prefetch(one.batch, start, stop),
        steps=one.steps,
        directory=directory,
        every=every,
        models=several,
        label=label,
    )
    trained = state.nets["reid"]
    variables = {"params": trained.params, "batch_stats": trained.stats}
    if not several:
        return [Model(one.net, variables)]
    return [Model(one.net, jax.tree.map(lambda x, k=k: x[k], variables)) for k in range(several)]


def groups(directory: Path, of: Callable[[int], Training], seeds: Sequence[int]) -> list[list[int]]:
    """Which seeds are trained as one program, each once; see ``grouping.grouped``."""

    def task(group: Sequence[int]) -> Task:
        one = beside([of(seed) for seed in group])
        state = one.init()  # here: it may read trainings, which a trace of it could not
        return lambda: state, one.step, one.batch(0)

    filled_up, found = grouped(directory, seeds, task), []
    for group in filled_up:  # devices share the batch where networks are too few for them
        known = set().union(*found)
        found.append([seed for seed in dict.fromkeys(group) if seed not in known])
    return [group for group in found if group]
