"""The one step builder: a training step is a list of phases, each one optimiser turn."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import optax
from jax.typing import ArrayLike

from jaxreid.training.state import Net, State

Batch = Mapping[str, jax.Array]
Metrics = dict[str, jax.Array]
Program = Callable[[State, Batch], tuple[State, Metrics]]


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
        every: the turn is taken in steps divisible by ``every`` only; in the others it leaves
            neither memo nor metrics.
    """

    trains: tuple[str, ...]
    loss: Callable[[dict[str, Net], Batch, dict[str, Any], jax.Array], tuple[ArrayLike, Aux]]
    every: int = 1


@dataclass(frozen=True)
class Step:
    """A training step; which phases are due repeats with a period.

    One program per position in the period, chosen by the host, instead of one that branches: on
    the CPU, XLA runs a convolution inside a branch an order of magnitude more slowly.

    Attributes:
        programs: pure functions ``(state, batch) -> (state, metrics)``; step s is due to
            ``programs[s % len(programs)]``. Equal ones are the same object.
    """

    programs: tuple[Program, ...]

    def __call__(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """Takes the step that ``state.step`` says, which must be known where there is a choice."""
        position = int(state.step) % len(self.programs) if len(self.programs) > 1 else 0
        return self.programs[position](state, batch)

    def map(self, transform: Callable[[Program], Program]) -> "Step":
        """The same step with every program transformed (``jax.jit``, ``jax.vmap``)."""
        made = {program: transform(program) for program in self.programs}
        return Step(tuple(made[program] for program in self.programs))


def alternate(phases: Sequence[Phase], tx: Mapping[str, optax.GradientTransformation]) -> Step:
    """Builds ``step(state, batch) -> (state, metrics)`` that runs the phases in order.

    Phase i sees the nets as phases before it left them, the memo they filled, and the key
    ``fold_in(fold_in(state.key, state.step), i)``. The memo begins with ``State.extra`` and the
    number of the step, ``step``. Nets that no phase trains stay bit-identical.

    Args:
        phases: the optimiser turns of one step, in order.
        tx: per trained net its optimiser.
    """
    period = math.lcm(*(phase.every for phase in phases))
    due = [tuple(s % phase.every == 0 for phase in phases) for s in range(period)]
    programs = {turns: _program(phases, turns, tx) for turns in due}
    return Step(tuple(programs[turns] for turns in due))


def _program(phases, due, tx) -> Program:
    def step(state: State, batch: Batch) -> tuple[State, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        nets, memo, metrics = dict(state.nets), {**state.extra, "step": state.step}, {}
        for i, phase in enumerate(phases):
            if due[i]:
                turned, aux = _turn(phase, tx, nets, batch, memo, jax.random.fold_in(key, i))
                nets |= turned
                memo |= jax.lax.stop_gradient(dict(aux.memo))
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
