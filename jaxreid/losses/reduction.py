"""From one value per sample to the number that is differentiated."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxreid.losses._arrays import floats


def mean(values: ArrayLike, weights: ArrayLike | None = None) -> jax.Array:
    r"""Weighted mean that is 0, not NaN, when no weight is left.

    $$\bar\ell = \frac{\sum_i w_i \ell_i}{\sum_i w_i}, \qquad
    \sum_i w_i = 0 \Rightarrow \bar\ell = 0$$

    Args:
        values: losses of any shape.
        weights: weights >= 0 (or booleans) over the leading axes of `values`; all 1 by default.
            Values of weight 0 are not read: they may be NaN.

    Returns:
        A scalar; 0 for an empty array.

    Raises:
        ValueError: if the weights do not have the leading axes of the values.

    References:
        The reduction of every batch with padded or missing rows; with booleans it is
        `jnp.mean(values, where=weights)` made safe for an empty batch.
    """
    values = floats(values)
    if weights is None:
        return values.sum() / max(values.size, 1)
    weights = jnp.asarray(weights, values.dtype)
    if weights.shape != values.shape[: weights.ndim]:
        raise ValueError(f"mean takes weights of leading axes {values.shape}, not {weights.shape}.")
    weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
    weights = jnp.broadcast_to(weights, values.shape)
    total = weights.sum()
    summed = (weights * jnp.where(weights > 0, values, 0.0)).sum()
    return summed / jnp.where(total > 0, total, 1.0)
