"""The one step builder: a training step is a list of phases, each one optimiser turn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxreid.training.state import Net, State

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]


class Aux(NamedTuple):
    """What a phase hands on beside its loss.

    Attributes:
        metrics: named scalars to log; every loss term belongs here, so that a NaN can be named.
        memo: arrays for later phases of the same step (fakes, say). An entry named like one of
            ``State.extra`` replaces it at the end of the step.
        stats: new running statistics by net, for trained nets only.
    """

    metrics: Metrics
    memo: Mapping[str, Any] = {}
    stats: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Phase:
    """One optimiser turn inside a step.

    Attributes:
        trains: names of the nets that this turn updates; all others are frozen in it.
        loss: ``loss(nets, batch, memo, key) -> (scalar, Aux)``. ``nets`` holds every net of the
            state; gradients flow only into the parameters of ``trains``.
        every: the turn counts in steps divisible by ``every`` only. Both outcomes are computed.
    """

    trains: tuple[str, ...]
    loss: Callable[[dict[str, Net], Batch, dict[str, Any], jax.Array], tuple[ArrayLike, Aux]]
    every: int = 1


def alternate(
    phases: Sequence[Phase], tx: Mapping[str, optax.GradientTransformation]
) -> Callable[[State, Batch], tuple[State, Metrics]]:
    """Builds ``step(state, batch) -> (state, metrics)`` that runs the phases in order.

    Phase i sees the nets as phases before it left them, the memo they filled, and the key
    ``fold_in(fold_in(state.key, state.step), i)``. Nets that no phase trains stay bit-identical.

    Args:
        phases: the optimiser turns of one step, in order.
        tx: per trained net its optimiser.
    """

    def step(state: State, batch: Batch) -> tuple[State, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        nets, memo, metrics = dict(state.nets), dict(state.extra), {}
        for i, phase in enumerate(phases):
            turned, aux = _turn(phase, tx, nets, batch, memo, jax.random.fold_in(key, i))
            memo_out = jax.lax.stop_gradient(dict(aux.memo))
            if phase.every > 1:
                due = state.step % phase.every == 0
                turned = _choose(due, turned, {n: nets[n] for n in phase.trains})
                kept = {k: v for k, v in memo_out.items() if k in memo}
                memo_out |= _choose(due, kept, {k: memo[k] for k in kept})
            nets |= turned
            memo |= memo_out
            metrics |= aux.metrics
        extra = {name: memo[name] for name in state.extra}
        return State(state.step + 1, state.key, nets, extra), metrics

    return step


def _turn(phase, tx, nets, batch, memo, key) -> tuple[dict[str, Net], Aux]:
    def scalar(params):
        view = nets | {n: nets[n].replace(params=params[n]) for n in phase.trains}
        return phase.loss(view, batch, memo, key)

    gradients, aux = jax.grad(scalar, has_aux=True)({n: nets[n].params for n in phase.trains})
    turned = {}
    for name in phase.trains:
        net = nets[name]
        updates, opt = tx[name].update(gradients[name], net.opt, net.params)
        params = optax.apply_updates(net.params, updates)
        turned[name] = Net(params, aux.stats.get(name, net.stats), opt)
    return turned, aux


def _choose(due: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(due, a, b), new, old)
