"""What every loss does to its arguments: types, masks and checks of shapes and options."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


def floats(x: ArrayLike) -> jax.Array:
    """The array in float32, or float64 if it is: half-precision input is computed in float32."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def keep(x: jax.Array, where: ArrayLike | None) -> jax.Array:
    """`x` with zeros where `where` is false, whatever stood there; gradients stop there, too.

    `where` has the leading axes of `x`; the remaining ones follow it. Nothing is broadcast: a
    mask [N,1] of values [N] would give [N,N].
    """
    if where is None:
        return x
    where = jnp.asarray(where, bool)
    if where.shape != x.shape[: where.ndim]:
        raise ValueError(f"where has the leading axes of an array {x.shape}, not {where.shape}.")
    where = where.reshape(where.shape + (1,) * (x.ndim - where.ndim))
    return jnp.where(where, x, jnp.zeros((), x.dtype))


def magnitude(x: jax.Array) -> jax.Array:
    """`|x|` with slope 0 at 0, as in PyTorch and TensorFlow; that of `jnp.abs` is 1."""
    return jnp.sign(x) * x


def present(where: ArrayLike | None) -> jax.Array:
    """The mask as booleans, one True for all when there is none."""
    return jnp.asarray(True if where is None else where, bool)


def require_same(name: str, x: jax.Array, y: jax.Array) -> None:
    """Raises ValueError unless both have one shape."""
    if x.shape != y.shape:
        raise ValueError(f"{name} takes two arrays of one shape, not {x.shape} and {y.shape}.")


def require_images(name: str, x: jax.Array, y: jax.Array) -> None:
    """Raises ValueError unless both are images [...,H,W,C] of one shape."""
    require_same(name, x, y)
    if x.ndim < 3:
        raise ValueError(f"{name} takes images [...,H,W,C], not {x.shape}.")


def require_rows(name: str, x: jax.Array, labels: jax.Array | None) -> None:
    """Raises ValueError unless `x` is [N,D] and `labels` [N]."""
    if x.ndim != 2 or (labels is not None and labels.shape != x.shape[:1]):
        rest = "" if labels is None else f" and labels [N], not {labels.shape}"
        raise ValueError(f"{name} takes embeddings [N,D], not {x.shape}{rest}.")


def require_option(name: str, value: object, options: Sequence[object]) -> None:
    """Raises ValueError unless `value` is one of the options."""
    if value not in options:
        known = ", ".join(map(repr, options))
        raise ValueError(f"{name} is one of {known}; {value!r} is not.")
