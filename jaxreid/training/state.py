"""Training state: arrays only, so that it can be saved, donated, stacked and sharded as it is."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.core import Tracer

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Net(struct.PyTreeNode):
    """One network: parameters, running statistics, optimiser state (``()`` when frozen)."""

    params: Any
    stats: Any
    opt: Any


class State(struct.PyTreeNode):
    """Everything a training run owns.

    Attributes:
        step: int32 scalar, number of finished steps.
        key: typed random key of the run, never advanced: step s draws from ``fold_in(key, s)``.
        nets: the networks by name.
        extra: what else survives a step (image pools, moving averages, running scales).
    """

    step: jax.Array
    key: jax.Array
    nets: dict[str, Net]
    extra: dict[str, Any]


def initialiser(init: Callable[_P, _T], static_argnums: Iterable[int] = ()) -> Callable[_P, _T]:
    """``jax.jit`` for what draws initial weights, and does so once.

    XLA's CPU compiler spends most of its time there on optimising random numbers: with less of that
    it needs a quarter of the time, and the numbers are the same.
    """

    @cache  # at the first call: a backend that is asked for earlier could not be chosen any more
    def compiled() -> Callable[_P, _T]:
        quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
        return jax.jit(init, static_argnums=tuple(static_argnums), compiler_options=quick)

    @wraps(init)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        traced = any(isinstance(x, Tracer) for x in jax.tree.leaves((args, kwargs)))
        return (init if traced else compiled())(*args, **kwargs)

    return call


def create(
    key: jax.Array,
    variables: Mapping[str, Mapping[str, Any]],
    tx: Mapping[str, optax.GradientTransformation],
    extra: Mapping[str, Any] | None = None,
) -> State:
    """Builds the state before step 0.

    Args:
        key: typed random key of the run.
        variables: per net its Flax variables: ``params`` and, where it has them, ``batch_stats``.
        tx: per trained net its optimiser; a net without one is frozen.
        extra: initial entries of ``State.extra``.

    Returns:
        A state with copies of all variables: training overwrites what it is given, and whoever gave
        them may still need them.
    """
    variables = jax.tree.map(jnp.copy, dict(variables))
    nets = {
        name: Net(v["params"], v.get("batch_stats", {}), tx[name].init(v["params"]))
        if name in tx
        else Net(v["params"], v.get("batch_stats", {}), ())
        for name, v in variables.items()
    }
    return State(jnp.zeros((), jnp.int32), key, nets, dict(extra or {}))
