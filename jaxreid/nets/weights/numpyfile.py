"""Pickles of nested dictionaries of NumPy arrays, read without running anything."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np

from jaxreid.nets.weights.pickles import Refusal, unpickle

MAX_DEPTH = 8  # dictionaries in dictionaries
_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1")
_ORDERS = (("<", None, None, None), ("|", None, None, None))


class _Array:
    """An array, whose pickle tells its content only after it was put in its place."""

    value: np.ndarray | None = None


def read_pickle(data: bytes) -> dict[str, Any]:
    """Reads dictionaries of arrays of numbers.

    Raises:
        ValueError: if the pickle names anything but NumPy's constructors of arrays, holds other
            things, or is damaged.
    """
    try:
        return _resolved(unpickle(BytesIO(data), _GLOBALS, _build), MAX_DEPTH, {})
    except Exception as error:  # whatever a damaged or hostile pickle provokes
        kind = "" if isinstance(error, Refusal) else f"is damaged: {type(error).__name__}: "
        raise ValueError(f"The pickle {kind}{error}.") from error


def _resolved(tree: Any, depth: int, done: dict[int, Any]) -> Any:
    """The tree with arrays in it; `done` keeps shared branches from being walked again."""
    if type(tree) is dict and depth:
        if id(tree) not in done:
            done[id(tree)] = {k: _resolved(v, depth - 1, done) for k, v in tree.items()}
        return done[id(tree)]
    if type(tree) is _Array and tree.value is not None:
        return tree.value
    raise Refusal("holds other things than dictionaries of arrays")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _dtype(name: Any, *_: Any) -> np.dtype:
    if name not in _NUMBERS:
        raise Refusal(f"has an array of the type {name!r:.20}, which is no number")
    return np.dtype(f"<{name}")


def _build(instance: Any, state: Any) -> None:
    if isinstance(instance, np.dtype):
        if type(state) is not tuple or state[1:5] not in _ORDERS:
            raise Refusal("has an array that is big-endian or structured")
    elif type(instance) is _Array and instance.value is None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, np.dtype) or type(content) is not bytes:
            raise Refusal("has an array without content")
        order = "F" if fortran else "C"
        instance.value = np.frombuffer(content, dtype).reshape(shape, order=order)
    else:
        raise Refusal("sets the state of what is no array")


_GLOBALS: Mapping[str, Any] = {
    "numpy.core.multiarray _reconstruct": _reconstruct,
    "numpy._core.multiarray _reconstruct": _reconstruct,
    "numpy ndarray": None,
    "numpy dtype": _dtype,
}
