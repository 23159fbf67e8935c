"""The one step builder: a training step is a list of phases, each one optimiser turn."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
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


Loss = Callable[[dict[str, Net], Batch, dict[str, Any], jax.Array], tuple[ArrayLike, Aux]]


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
    loss: Loss
    every: int = 1


@dataclass(frozen=True)
class Interlude:
    """What happens between two turns: it sees the whole batch, however the turns are sharded.

    Attributes:
        run: ``run(nets, batch, memo, key)`` gives entries of the memo, as ``Aux.memo``.
    """

    run: Callable[[dict[str, Net], Batch, dict[str, Any], jax.Array], Mapping[str, Any]]


@dataclass(frozen=True)
class Step:
    """A training step; which phases are due repeats with a period.

    One program per position in the period, chosen by the host, instead of one that branches: on
    the CPU, XLA runs a convolution inside a branch an order of magnitude more slowly.

    Attributes:
        build: gives the programs for a number of shards and of turns (see ``alternate``).
        shards: the first.
        turns: the second.
    """

    build: Callable[[int, int], tuple[Program, ...]]
    shards: int = 1
    turns: int = 1

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """Pure functions ``(state, batch) -> (state, metrics)``, equal ones the same object.

        Step s is due to ``programs[s % len(programs)]``.
        """
        return self.build(self.shards, self.turns)

    def __call__(self, state: State, batch: Batch) -> tuple[State, Metrics]:
        """Takes the step that ``state.step`` says, which must be known where there is a choice."""
        position = int(state.step) % len(self.programs) if len(self.programs) > 1 else 0
        return self.programs[position](state, batch)

    def map(self, transform: Callable[[Program], Program]) -> "Step":
        """The same step with every program transformed (``jax.jit``, ``jax.vmap``)."""

        @cache
        def build(shards: int, turns: int) -> tuple[Program, ...]:
            programs = self.build(shards, turns)
            made = {program: transform(program) for program in programs}
            return tuple(made[program] for program in programs)

        return Step(build, self.shards, self.turns)

    def sharded(self, shards: int, turns: int = 1) -> "Step":
        """The same step with every batch in ``shards`` parts, computed in as many ``turns``."""
        if shards % turns:
            raise ValueError(f"{shards} shards cannot be computed in {turns} equal turns")
        return Step(self.build, shards, turns)


def alternate(
    phases: Sequence[Phase | Interlude], tx: Mapping[str, optax.GradientTransformation]
) -> Step:
    """Builds ``step(state, batch) -> (state, metrics)`` that runs the phases in order.

    Phase i sees the nets as phases before it left them, the memo they filled, and the key
    ``fold_in(fold_in(state.key, state.step), i)``. The memo begins with ``State.extra`` and the
    number of the step, ``step``. Nets that no phase trains stay bit-identical.

    In S shards (``Step.sharded``), what a loss sees is one of S equal parts of the batch's rows and
    of the memo's: batch statistics and mining stay within a shard, and gradients, metrics and
    running statistics are the means over the shards. That is what S devices under ``pmap`` do, each
    with its own part; here any number of devices that divides S computes the same. Shard s has the
    key ``fold_in(key, s)`` of its phase. Entries of ``State.extra`` are seen whole by every
    shard, and where a loss replaces one, by their mean; all other entries of the memo have rows
    like the batch. An ``Interlude`` sees all rows.

    In T turns, S / T shards are computed at a time, and what a turn's gradient needs is computed
    once more on the way back: the same result in the memory of one turn (gradient accumulation).

    Args:
        phases: the optimiser turns of one step, in order, and what is between them.
        tx: per trained net its optimiser.
    """
    period = math.lcm(*(phase.every for phase in phases if isinstance(phase, Phase)))
    due = [tuple(s % getattr(phase, "every", 1) == 0 for phase in phases) for s in range(period)]

    @cache  # what JAX has traced and compiled it knows by the function
    def build(shards: int, turns: int) -> tuple[Program, ...]:
        programs = {taken: _program(phases, taken, tx, shards, turns) for taken in due}
        return tuple(programs[taken] for taken in due)

    return Step(build)


def _program(phases, due, tx, shards: int, turns: int) -> Program:
    def step(state: State, batch: Batch) -> tuple[State, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        nets, memo, metrics = dict(state.nets), {**state.extra, "step": state.step}, {}
        whole = frozenset(memo)
        for i, phase in enumerate(phases):
            k = jax.random.fold_in(key, i)
            if due[i] and isinstance(phase, Interlude):
                memo |= jax.lax.stop_gradient(dict(phase.run(nets, batch, memo, k)))
            elif due[i]:
                loss = phase.loss if shards == 1 else _by_shards(phase.loss, shards, turns, whole)
                turned, aux = _turn(phase.trains, loss, tx, nets, batch, memo, k)
                nets |= turned
                memo |= jax.lax.stop_gradient(dict(aux.memo))
                metrics |= aux.metrics
        extra = {name: memo[name] for name in state.extra}
        return State(state.step + 1, state.key, nets, extra), metrics

    return step


def _by_shards(loss: Loss, shards: int, turns: int, whole: frozenset[str]) -> Loss:
    """``loss`` of every shard by itself, and the means of what they say."""

    def split(x: jax.Array) -> jax.Array:
        if x.shape[0] % shards:
            raise ValueError(f"a batch of {x.shape[0]} rows cannot be split into {shards} shards")
        return x.reshape(shards, -1, *x.shape[1:])

    def mean(tree: Any) -> Any:
        return jax.tree.map(lambda x: x.mean(0).astype(x.dtype), tree)

    def joined(nets, batch, memo, key):
        keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(shards))
        shared = {name: memo[name] for name in whole}
        parted = {name: jax.tree.map(split, x) for name, x in memo.items() if name not in whole}

        def one(batch, parted, key):
            return loss(nets, batch, parted | shared, key)

        values, aux = _in_turns(jax.vmap(one), turns)(
            jax.tree.map(split, dict(batch)), parted, keys
        )
        memo = {
            name: mean(x)
            if name in whole
            else jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), x)
            for name, x in aux.memo.items()
        }
        return jnp.mean(values), Aux(mean(aux.metrics), memo, mean(aux.stats))

    return joined


def _in_turns(run: Callable[..., Any], turns: int) -> Callable[..., Any]:
    """``run`` on 1 / ``turns`` of the shards after the other; each device keeps its own shards."""
    if turns == 1:
        return run

    def apart(x: jax.Array) -> jax.Array:
        return x.reshape(-1, turns, *x.shape[1:]).swapaxes(0, 1)

    def together(x: jax.Array) -> jax.Array:
        return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])

    def taken(*trees: Any) -> Any:
        found = jax.lax.map(jax.checkpoint(lambda part: run(*part)), jax.tree.map(apart, trees))
        return jax.tree.map(together, found)

    return taken


def _turn(trains, loss, tx, nets, batch, memo, key) -> tuple[dict[str, Net], Aux]:
    def scalar(params):
        view = nets | {n: nets[n].replace(params=params[n]) for n in trains}
        return loss(view, batch, memo, key)

    gradients, aux = jax.grad(scalar, has_aux=True)({n: nets[n].params for n in trains})
    turned = {}
    for name in trains:
        net = nets[name]
        updates, opt = tx[name].update(gradients[name], net.opt, net.params)
        params = optax.apply_updates(net.params, updates)
        turned[name] = Net(params, aux.stats.get(name, net.stats), opt)
    return turned, aux
