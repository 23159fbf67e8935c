"""Distances between embeddings and the mining of pairs, for the losses that compare them.

Mining looks at the whole batch, also when its rows lie on several devices.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxreid.losses._arrays import floats, keep, require_option, require_rows

Margin = float | Literal["soft"]
Extreme = Literal["farthest", "nearest"]

CLAMP = 1e-12  # of squared distances, as in every PyTorch re-ID code
TIE = 1e-6  # relative difference of distances that counts as rounding


def pairwise_distance(x: ArrayLike, y: ArrayLike, *, squared: bool = False) -> jax.Array:
    r"""Euclidean distances between all rows of two sets.

    $$D_{ij} = \sqrt{\max(\lVert x_i \rVert^2 + \lVert y_j \rVert^2 - 2 x_i^\top y_j,\ 10^{-12})}$$

    Args:
        x: embeddings `[N, D]`.
        y: embeddings `[M, D]`.
        squared: return the squares instead, clamped at 0.

    Returns:
        Distances `[N, M]`, at least 1e-6, or squares, at least 0. The gradient of clamped entries
        is 0. Both sets are first moved by the mean of `y`, which changes no distance and saves the
        digits that embeddings far from the origin would lose.

    Raises:
        ValueError: if the arguments are not two-dimensional or differ in D.

    References:
        Hermans, Beyer, Leibe, "In Defense of the Triplet Loss", 2017 (they recommend the distance,
        not its square); the clamp is that of PyTorch's re-ID codes (deep-person-reid, BoT).
    """
    x, y = floats(x), floats(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"pairwise_distance takes [N,D] and [M,D], not {x.shape} and {y.shape}.")
    origin = jax.lax.stop_gradient(y.mean(0, keepdims=True)) if y.shape[0] else jnp.zeros(())
    # rounded, or compilers fuse its last digits into one use of `x - origin` and not the other
    origin = jax.lax.reduce_precision(origin, exponent_bits=8, mantissa_bits=22)
    x, y = x - origin, y - origin
    products = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.square(x).sum(1)[:, None] + jnp.square(y).sum(1) - 2.0 * products
    return jnp.maximum(squares, 0.0) if squared else jnp.sqrt(jnp.maximum(squares, CLAMP))


def rows(
    name: str, embeddings: ArrayLike, labels: ArrayLike, where: ArrayLike | None
) -> tuple[jax.Array, jax.Array]:
    """Embeddings without what `where` hides, and labels; both checked.

    Hidden rows move to the mean of the others: at 0 they would pull the origin of
    `pairwise_distance` away from embeddings that lie far out.
    """
    x, y = floats(embeddings), jnp.asarray(labels)
    require_rows(name, x, y)
    if where is None:
        return x, y
    x, where = keep(x, where), jnp.broadcast_to(jnp.asarray(where, bool), y.shape)
    middle = jax.lax.stop_gradient(x.sum(0) / jnp.maximum(where.sum(), 1))
    return jnp.where(where[:, None], x, middle), y


def pick(x: jax.Array, y: jax.Array, mask: jax.Array, which: Extreme) -> jax.Array:
    """Index of the farthest or nearest row of `y` under the mask, the first of equals.

    -1 where the mask is empty.
    """
    if y.shape[0] == 0:
        return jnp.full(x.shape[:1], -1)
    best = tied(pairwise_distance(x, y), mask, which)
    return jnp.where(best.any(1), jnp.argmax(best, 1), -1)


def take(x: jax.Array, index: jax.Array) -> jax.Array:
    """Rows by index (zeros for -1) as a matmul, whose gradient is the same on every run."""
    chosen = jax.nn.one_hot(index, x.shape[0], dtype=x.dtype)
    x = keep(x, chosen.any(0))  # rows that nobody takes may hold NaN
    return jnp.matmul(chosen, x, precision=jax.lax.Precision.HIGHEST)


def row_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """Row by row, from the differences; equal rows have gradient 0."""
    return jnp.sqrt(jnp.maximum(jnp.square(x - y).sum(-1), CLAMP))


def tied(distance: jax.Array, mask: jax.Array, which: Extreme) -> jax.Array:
    """Where each row has its largest or smallest distance under the mask, to within rounding."""
    sign = 1.0 if which == "farthest" else -1.0
    signed = jnp.where(mask, sign * jax.lax.stop_gradient(distance), -jnp.inf)
    best = signed.max(1, keepdims=True, initial=-jnp.inf)
    return mask & (signed >= best - TIE * jnp.abs(best))


def hardest(distance: jax.Array, mask: jax.Array, which: Extreme) -> jax.Array:
    """Each row's largest or smallest distance under the mask, 0 where it is empty.

    Distances equal to within rounding share the gradient, so that it does not hang on the last bit.
    """
    best = tied(distance, mask, which)
    return (distance * best).sum(1) / jnp.maximum(best.sum(1), 1)


def hinge(far: jax.Array, near: jax.Array, margin: Margin, valid: jax.Array) -> jax.Array:
    """The hinge or the soft margin on `far - near`, 0 where not `valid`."""
    gap = far - near
    if isinstance(margin, str):
        require_option("margin", margin, ("soft",))
        return jnp.where(valid, jax.nn.softplus(gap), 0.0)
    return jnp.where(valid, jax.nn.relu(margin + gap), 0.0)
