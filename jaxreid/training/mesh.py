"""Devices: one axis named ``data``; the state is replicated or stacked, the batch is split."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A one-axis mesh ``('data',)`` over all (or the given) devices.

    The axis is Auto: Explicit axes refuse pairwise distances and hard mining over the batch.
    """
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def placement(mesh: Mesh, batch: Mapping[str, Any], models: int | None) -> tuple[Any, Any]:
    """Where state and batch live: ``(state sharding, batch sharding)``.

    One model: the state is replicated and the batch split over its first axis. ``models``
    stacked models: the models themselves are split when their number divides, else the batch of
    each model.

    Args:
        mesh: mesh of ``make_mesh``.
        batch: one batch (arrays or shapes), ``[rows, ...]``, or ``[models, rows, ...]``.
        models: number of stacked models, or None.

    Raises:
        ValueError: if neither number is divisible by the number of devices.
    """
    replicated, devices = NamedSharding(mesh, P()), mesh.size
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
