"""Several processes, one run: who writes, who waits, and what all of them hear.

Every process runs the same program. Trainings are joint (``loop.fit``): each process holds the
devices that it sees, and together they take the steps that one process with all devices would take.
All other work is done by the first process alone, while the others wait, and is read from the work
directory, which all must see.
"""

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

_P = ParamSpec("_P")
_T = TypeVar("_T")
_ALONE: ContextVar[bool] = ContextVar("alone", default=False)
_TURNS = itertools.count()  # every process asks the same questions in the same order
_WEEK = 7 * 24 * 3600 * 1000  # milliseconds


class Abandoned(SystemExit):
    """The first process stopped while this one was waiting for it."""

    def __init__(self, reason: str, code: int = 1):
        """Leaves as the first process does, which has said why: with 143 after SIGTERM."""
        super().__init__(code)
        print(
            f"process {jax.process_index()}: the first process stopped: {reason}", file=sys.stderr
        )


def joint() -> bool:
    """Whether other processes take part in what is done here."""
    return jax.process_count() > 1 and not _ALONE.get()


def leads() -> bool:
    """Whether this process writes files and speaks."""
    return jax.process_index() == 0


def devices() -> list[Any]:
    """The devices of a training begun here: all, or this process's own inside ``tell``."""
    return jax.devices() if joint() or jax.process_count() == 1 else jax.local_devices()


def tell(find: Callable[[], Any]) -> Any:
    """What ``find`` gives in the first process, in every process; the others only wait.

    Args:
        find: gives something that JSON can hold. Trainings inside it are that process's own.

    Raises:
        Abandoned: in the others, when ``find`` raises in the first.
    """
    if not joint():
        return find()
    from jax._src import distributed  # no public way waits longer than a collective may

    client: Any = distributed.global_state.client
    key = f"jaxreid/{next(_TURNS)}"
    if not leads():
        said = json.loads(client.blocking_key_value_get(key, _WEEK))
        if "stopped" in said:
            raise Abandoned(said["stopped"], said["code"])
        return said["found"]
    try:
        with _alone():
            found = find()
        said = json.dumps({"found": found})
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
        said = {"stopped": f"{type(error).__name__}: {error}", "code": code}
        client.key_value_set(key, json.dumps(said))
        raise
    client.key_value_set(key, said)
    return found


def remembered(find: Callable[[], _T]) -> Callable[[], _T]:
    """``find``, called once for all joint calls, and once for all others.

    A process that has read a training alone has to read it once more with all others when they do.
    """
    found: dict[bool, _T] = {}

    @wraps(find)
    def get() -> _T:
        if joint() not in found:
            found[joint()] = find()
        return found[joint()]

    return get


def first(act: Callable[_P, _T]) -> Callable[_P, _T]:
    """``act`` done by the first process alone, its result told to all (see ``tell``)."""

    @wraps(act)
    def told(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        return tell(lambda: act(*args, **kwargs))

    return told


@contextmanager
def _alone() -> Iterator[None]:
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def spread(tree: Any, sharding: Any) -> Any:
    """Arrays that every process holds alike, as global arrays: each keeps its devices' part."""
    if not joint():
        return jax.device_put(tree, sharding)

    def place(x: Any) -> jax.Array:
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(x)))
        host = np.asarray(x)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(place, tree)


def gather(tree: Any, replicated: Any) -> Any:
    """Global arrays as whole arrays of all devices of this process; a joint call, like a step.

    Args:
        tree: of arrays upon the devices of all processes.
        replicated: the sharding that has all of an array on every device.
    """
    if not joint() and replicated.mesh.size == jax.local_device_count():
        return tree
    own = jax.make_mesh(
        (jax.local_device_count(),), ("data",), (AxisType.Auto,), devices=jax.local_devices()
    )
    here = NamedSharding(own, PartitionSpec())
    if not joint():
        return jax.device_put(tree, here)
    whole = jax.jit(lambda x: x, out_shardings=replicated)(tree)
    return jax.tree.map(lambda x: jax.device_put(x.addressable_data(0), here), whole)
