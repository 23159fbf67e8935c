"""The nearest pictures of each picture of a set, without a matrix of all distances.

The set is sharded over a one-axis ``('data',)`` mesh like the gallery of a ranking: each device
searches its part for the `BLOCK` pictures at hand, then the short lists are merged.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxreid.evaluation.counting import BLOCK, Shards, distances, shard_gallery

Array = jax.Array | np.ndarray


class Neighbours(NamedTuple):
    """What re-ranking keeps of the distances between all pairs of N pictures.

    Attributes:
        rows: int32 ``[N, k]`` nearest pictures, nearest first. A picture is its own first
            neighbour; at equal distances the earlier row comes first.
        farthest: float32 ``[N]`` largest squared distance to any picture.
    """

    rows: np.ndarray
    farthest: np.ndarray


class Pictures(NamedTuple):
    """N vectors, on the host and on the devices; see `place`."""

    vectors: np.ndarray  # float32 [N, d]
    squares: np.ndarray  # [N] their squared lengths
    shards: Shards
    mesh: Mesh


def place(vectors: np.ndarray, mesh: Mesh) -> Pictures:
    """Shards float32 vectors ``[N, d]`` over a one-axis ``('data',)`` mesh."""
    n = len(vectors)
    shards = shard_gallery(vectors, np.zeros(n), np.zeros(n), np.ones(n, bool), mesh)
    return Pictures(vectors, np.einsum("nd,nd->n", vectors, vectors), shards, mesh)


def nearest(pictures: Pictures, k: int) -> Neighbours:
    """Lists ``min(k, N)`` neighbours of each picture, and the distance of the farthest."""
    n = len(pictures.vectors)
    near = Neighbours(np.empty((n, min(k, n)), np.int32), np.empty(n, np.float32))
    for rows in blocks(n):
        found = _nearest(*_block(pictures, rows), pictures.shards, k=min(k, n), mesh=pictures.mesh)
        near.rows[rows], farthest = (np.asarray(each)[: len(rows)] for each in found)
        near.farthest[rows] = np.maximum(farthest + pictures.squares[rows], 0)
    return near


def squared_distances(pictures: Pictures, rows: np.ndarray) -> np.ndarray:
    """Returns float32 ``[n, N]``, from up to `BLOCK` of the pictures to all."""
    vectors, _ = _block(pictures, rows)
    shifted = np.asarray(_distances(vectors, pictures.shards, mesh=pictures.mesh))
    shifted = shifted[: len(pictures.vectors), : len(rows)].T
    return np.maximum(shifted + pictures.squares[rows, None], 0)


def blocks(size: int) -> Iterator[np.ndarray]:
    """Yields the numbers below ``size``, up to `BLOCK` at a time."""
    for start in range(0, size, BLOCK):
        yield np.arange(start, min(start + BLOCK, size))


def _block(pictures: Pictures, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and row numbers, filled up with repeats: one program for all."""
    rows = np.resize(rows, BLOCK)
    return pictures.vectors[rows], rows.astype(np.int32)


@functools.partial(jax.jit, static_argnames=("k", "mesh"))
def _nearest(
    vectors: Array, own: Array, shards: Shards, *, k: int, mesh: Mesh
) -> tuple[jax.Array, jax.Array]:
    """Nearest rows ``[B, k]`` and the largest ``|g|^2 - 2 g.q`` ``[B]``."""
    mapped = jax.shard_map(
        functools.partial(_nearest_shard, k=k),
        mesh=mesh,
        in_specs=(P(), P(), P("data")),
        out_specs=(P(), P()),
        check_vma=False,  # what is merged from all devices is the same on each
    )
    return mapped(vectors, own, shards)


@functools.partial(jax.jit, static_argnames="mesh")
def _distances(vectors: Array, shards: Shards, *, mesh: Mesh) -> jax.Array:
    def one_shard(vectors: Array, shard: Shards) -> jax.Array:
        return distances(vectors, shard.embeddings, shard.squares)

    specs = P(), P("data")
    return jax.shard_map(one_shard, mesh=mesh, in_specs=specs, out_specs=P("data"))(vectors, shards)


def _nearest_shard(
    vectors: Array, own: Array, shard: Shards, *, k: int
) -> tuple[jax.Array, jax.Array]:
    d = distances(vectors, shard.embeddings, shard.squares).T
    rows = jax.lax.axis_index("data") * d.shape[1] + jnp.arange(d.shape[1])
    farthest = jax.lax.pmax(jnp.where(jnp.isfinite(d), d, -jnp.inf).max(axis=1), "data")
    # A picture goes before its copies, which may be more than k.
    nearness = jnp.where(rows == own[:, None], jnp.inf, -d)
    nearness, at = jax.lax.top_k(nearness, min(k, len(rows)))
    # Equals stay in the order of rows: top_k takes the earlier, and devices follow one another.
    gathered = functools.partial(jax.lax.all_gather, axis_name="data", axis=1, tiled=True)
    _, best = jax.lax.top_k(gathered(nearness), k)
    return jnp.take_along_axis(gathered(rows[at]), best, axis=1), farthest
