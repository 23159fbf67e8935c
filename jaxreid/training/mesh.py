"""Devices: an axis named ``data``; the state is replicated or stacked, the batch is split.

``parallel='jit'`` trains on a batch as one: losses, mining and batch norm see all of it, whatever
the number of devices. ``parallel='pmap'`` trains on it in shards, as devices do that each run the
step on their own part and average gradients (see ``step.alternate``); ``'accumulate'`` does the
same, one shard per device at a time.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxreid.training import processes

MODES = ("jit", "pmap", "accumulate")
_SHARDS: ContextVar[tuple[int, int]] = ContextVar("shards", default=(1, 1))


@contextmanager
def parallel(mode: str, number: int = 0) -> Iterator[None]:
    """Trainings inside see whole batches, or shards of them.

    Args:
        mode: ``jit``, ``pmap`` or ``accumulate``.
        number: of shards but under ``jit``, a multiple of the number of devices, each of which
            takes as many, at once or one after the other; 0 is one per device, and too few to
            accumulate. The result depends on it, not on the devices nor on the order.

    Raises:
        ValueError: an unknown mode, shards under ``jit``, shards that devices cannot share.
    """
    if mode not in MODES:
        raise ValueError(f"config.parallel is {mode!r}; choose one of {', '.join(MODES)}")
    if mode == "jit" and number:
        raise ValueError(f"config.shards is {number}, but config.parallel 'jit' has no shards")
    devices = jax.device_count()
    if mode == "accumulate" and number < max(devices, 2):
        raise ValueError(
            f"config.shards is {number}: config.parallel 'accumulate' needs two or more, and one "
            f"for each of the {devices} devices at least"
        )
    if number < 0 or number % devices:
        raise ValueError(
            f"config.shards is {number}, which {devices} devices cannot share evenly: choose a "
            f"multiple of {devices}, or 0"
        )
    shards = 1 if mode == "jit" else number or devices
    token = _SHARDS.set((shards, shards // devices if mode == "accumulate" else 1))
    try:
        yield
    finally:
        _SHARDS.reset(token)


def shards() -> int:
    """Number of shards that batches are trained in here, 1 outside ``parallel``."""
    return _SHARDS.get()[0]


def turns() -> int:
    """Number of turns in which each device computes its shards."""
    return _SHARDS.get()[1]


def sharers() -> tuple[int, str]:
    """How many share a batch, and what they are: shards or, where there is one, devices."""
    return (shards(), "shards") if shards() > 1 else (jax.device_count(), "devices")


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A one-axis mesh ``('data',)`` over the given devices, or all that train together here.

    The axis is Auto: Explicit axes refuse pairwise distances and hard mining over the batch.
    """
    devices = processes.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def sharing(batch: Mapping[str, Any], models: int | None) -> Mesh:
    """The mesh of the devices that train on ``batch`` together here: all, as a rule.

    Models that were grouped for another number of devices are shared by as many as can. Of joint
    processes none may be left out: there the devices left over compute the same as others, along
    a second axis, ``copies``.
    """
    devices = processes.devices()
    if models is None:
        return make_mesh(devices)
    rows = math.gcd(*(x.shape[1] for x in batch.values()))
    able = [n for n in range(1, len(devices) + 1) if models % n == 0 or rows % n == 0]
    if not processes.joint():
        return make_mesh(devices[: able[-1]])
    share = max(n for n in able if len(devices) % n == 0)
    grid = make_mesh(devices).devices.reshape(share, -1)
    return Mesh(grid, ("data", "copies"), axis_types=(AxisType.Auto, AxisType.Auto))


def divided(rows: np.ndarray) -> np.ndarray | jax.Array:
    """Images for a jitted network outside training: each device of this process gets its part.

    What the devices cannot share evenly stays as it is, and each of them takes all of it.
    """
    devices = jax.local_devices()
    if len(devices) == 1 or len(rows) % len(devices):
        return rows
    return jax.device_put(rows, NamedSharding(make_mesh(devices), P("data")))


def placement(mesh: Mesh, batch: Mapping[str, Any], models: int | None) -> tuple[Any, Any]:
    """Where state and batch live: ``(state sharding, batch sharding)``.

    One model: the state is replicated and the batch split over its first axis. ``models``
    stacked models: the models themselves are split when their number divides, else the batch of
    each model.

    Args:
        mesh: of ``make_mesh`` or ``sharing``.
        batch: one batch (arrays or shapes), ``[rows, ...]``, or ``[models, rows, ...]``.
        models: number of stacked models, or None.

    Raises:
        ValueError: if neither number is divisible by the number of devices.
    """
    replicated, devices = NamedSharding(mesh, P()), mesh.shape["data"]
    rows = {name: x.shape[0 if models is None else 1] for name, x in batch.items()}
    if models is not None and models % devices == 0:
        split = NamedSharding(mesh, P("data"))
        return split, split
    odd = {name: n for name, n in rows.items() if n % devices}
    if odd:
        extra = f", and {models} models are not either" if models is not None else ""
        raise ValueError(
            f"the batch {odd} is not divisible by the {devices} devices{extra}: "
            f"change the batch size to a multiple of {devices}, or use fewer devices"
        )
    return replicated, NamedSharding(mesh, P("data") if models is None else P(None, "data"))
