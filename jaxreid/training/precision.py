"""What networks compute in: float32, or bfloat16 between float32 parameters and outputs."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from flax import linen as nn

DTYPES = ("float32", "bfloat16")
_DTYPE: ContextVar[str] = ContextVar("dtype", default="float32")
Module = TypeVar("Module", bound=nn.Module)


@contextmanager
def computing(name: str) -> Iterator[None]:
    """Networks of ``in_dtype`` made inside compute in ``name``, in training and afterwards.

    Parameters, running statistics, losses and optimisers stay in float32.

    Raises:
        ValueError: a type that is not in ``DTYPES``.
    """
    if name not in DTYPES:
        raise ValueError(f"config.dtype is {name!r}; choose one of {', '.join(DTYPES)}")
    token = _DTYPE.set(name)
    try:
        yield
    finally:
        _DTYPE.reset(token)


def dtype() -> str:
    """The type that networks compute in here."""
    return _DTYPE.get()


def in_dtype(net: Module) -> Module:
    """``net`` and the networks it is made of, told to compute in ``dtype()``."""
    if dtype() == "float32":
        return net
    fields = {field.name: getattr(net, field.name) for field in dataclasses.fields(net)}
    told: dict[str, Any] = {
        name: in_dtype(value)
        for name, value in fields.items()
        if isinstance(value, nn.Module) and name != "parent"
    }
    if "dtype" in fields:
        told["dtype"] = dtype()
    return net.clone(**told)


def cached(make: Callable[..., Any]) -> Callable[..., Any]:
    """``functools.lru_cache`` that tells types of computation apart.

    It is small: what it holds keeps programs compiled.
    """

    @functools.lru_cache(maxsize=16)
    def held(_: str, *args: Any, **options: Any) -> Any:
        return make(*args, **options)

    @functools.wraps(make)
    def look(*args: Any, **options: Any) -> Any:
        return held(dtype(), *args, **options)

    return look
