"""Pooling of a backbone's maps to embeddings, as pure functions without parameters."""

import jax
import jax.numpy as jnp

POOLS = {"max": jnp.max, "average": jnp.mean}


def average(maps: jax.Array) -> jax.Array:
    """Global average pool in float32: [B,h,w,C] to [B,C]."""
    return maps.mean((1, 2), dtype=jnp.promote_types(maps.dtype, jnp.float32))


def unit(x: jax.Array, floor: float = 1e-24) -> jax.Array:
    """Rows scaled to Euclidean length 1, as PyTorch's `F.normalize`; a zero row stays zero.

    `floor` is the least squared length that is divided by; TensorFlow's is 1e-12.
    """
    squared = jnp.square(x).sum(-1, keepdims=True)
    return x / jnp.sqrt(jnp.maximum(squared, floor))


def local_max_pool(maps: jax.Array, parts: int, mode: str = "max") -> jax.Array:
    """Local max pooling (LMP): every horizontal stripe of the maps pooled by itself.

    Stripe i of P covers the rows floor(i h / P) up to, but excluding, ceil((i + 1) h / P), that is
    PyTorch's adaptive pooling; stripes overlap where P does not divide h. It is meant for
    retrieval by a trained net (`ReID.parts`): nothing is trained.

    Deng, Zheng, Ye, Kang, Yang, Jiao, "Image-Image Domain Adaptation with Preserved
    Self-Similarity and Domain-Dissimilarity for Person Re-identification", CVPR 2018, section 3.3
    (7 stripes of 7 rows, 'max').

    Args:
        maps: [B,h,w,C].
        parts: stripes P.
        mode: 'max' or 'average'.

    Returns:
        [B,P*C], stripe by stripe.

    Raises:
        ValueError: if there are more stripes than rows, or no such mode.
    """
    rows = maps.shape[1]
    if not 0 < parts <= rows:
        raise ValueError(
            f"Local pooling into {parts} stripes of maps with {rows} rows: ask for 1 to {rows} "
            "stripes, or make the maps larger (images of more rows, or last_stride=1)."
        )
    if mode not in POOLS:
        raise ValueError(f"Local pooling has no mode {mode!r}; choose one of {tuple(POOLS)}.")
    pool = POOLS[mode]
    stripes = [(i * rows // parts, -(-(i + 1) * rows // parts)) for i in range(parts)]
    return jnp.concatenate([pool(maps[:, a:b], axis=(1, 2)) for a, b in stripes], axis=-1)
