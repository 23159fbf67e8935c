"""The distance of two sets of embeddings, whoever they show: for adaptation between domains."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxreid.losses._arrays import present, require_option
from jaxreid.losses._mining import CLAMP, pairwise_distance, rows


def mmd(
    x: ArrayLike,
    y: ArrayLike,
    *,
    bandwidths: Sequence[ArrayLike] = (0.5, 1.0, 2.0),
    unit: Literal["median", "one"] = "median",
    estimate: Literal["biased", "unbiased"] = "biased",
    where: ArrayLike | None = None,
    other_where: ArrayLike | None = None,
) -> jax.Array:
    r"""Squared maximum mean discrepancy of two sets, with a mixture of Gaussian kernels.

    $$\ell = \overline{k(x, x')} + \overline{k(y, y')} - 2\,\overline{k(x, y)}, \qquad
    k(a, b) = \sum_q \exp\left(-\frac{\lVert a - b \rVert^2}{2 q^2}\right)$$

    Args:
        x: embeddings of one set `[N, D]`.
        y: embeddings of the other `[M, D]`.
        bandwidths: the q > 0, in units of `unit`.
        unit: 'median' of the distances between all rows of both sets, a constant of the batch that
            passes no gradient and makes the loss blind to the scale of the embeddings; or 'one'.
        estimate: 'biased' takes the means over all pairs, a row with itself included; 'unbiased'
            leaves those out, and may be negative.
        where: booleans `[N]`; other rows do not enter, and get no gradient.
        other_where: booleans `[M]`, likewise.

    Returns:
        A scalar, for it belongs to two sets; >= 0 if biased, 0 for equal sets. 0 when a set is
        empty. A set of one row counts 0 in the place of its unbiased mean.

    Raises:
        ValueError: if the embeddings are not two-dimensional or differ in D, or an option is
            unknown.

    References:
        Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, eq. 3 and 5; as a loss between
        domains Long et al. (DAN), ICML 2015; in re-ID Lin et al. (MMFA), BMVC 2018 (seed 003).
    """
    require_option("unit", unit, ("median", "one"))
    require_option("estimate", estimate, ("biased", "unbiased"))
    given = (x, where), (y, other_where)
    parts = [rows("mmd", a, jnp.full(jnp.shape(a)[:1], i), w) for i, (a, w) in enumerate(given)]
    if parts[0][0].shape[1] != parts[1][0].shape[1]:
        raise ValueError(f"mmd takes [N,D] and [M,D], not {[p[0].shape for p in parts]}.")
    z, side = (jnp.concatenate(kind) for kind in zip(*parts, strict=True))
    if not len(z):
        return jnp.zeros((), z.dtype)
    valid = jnp.concatenate(
        [jnp.broadcast_to(present(w), p[1].shape) for p, (_, w) in zip(parts, given, strict=True)]
    )
    itself = jnp.eye(len(z), dtype=bool)
    squares = jnp.where(itself, 0.0, pairwise_distance(z, z, squared=True))
    scale = _median(squares, valid) if unit == "median" else 1.0
    kernel = sum(jnp.exp(-squares / (2.0 * jnp.square(q * scale))) for q in bandwidths)
    counts = jnp.stack([(valid & (side == i)).sum() for i in range(2)])
    n = counts[side].astype(z.dtype)
    share = jnp.where(side == 0, 1.0, -1.0) * valid / jnp.maximum(n, 1.0)
    weights = share[:, None] * share
    if estimate == "unbiased":
        others = jnp.where(itself, 0.0, n / jnp.maximum(n - 1.0, 1.0))
        weights *= jnp.where(side[:, None] == side, others, 1.0)
    value = (weights * kernel).sum()
    value = jnp.maximum(value, 0.0) if estimate == "biased" else value
    return jnp.where(counts.min() > 0, value, 0.0)


def _median(squares: jax.Array, valid: jax.Array) -> jax.Array:
    """Of the distances of different rows, at least 1e-6; 1 where there is no pair."""
    pairs = jnp.triu(valid[:, None] & valid, 1)
    distances = jnp.sqrt(jax.lax.stop_gradient(squares))
    ordered = jnp.sort(jnp.where(pairs, distances, jnp.inf), axis=None)
    count = pairs.sum()
    middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2.0
    return jnp.where(count > 0, jnp.maximum(middle, CLAMP**0.5), 1.0)
