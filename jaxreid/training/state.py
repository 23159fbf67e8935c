"""Training state: arrays only, so that it can be saved, donated, stacked and sharded as it is."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct


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
