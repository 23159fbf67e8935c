"""The device half of the ranking: for every match, how many wrong pictures stand before it.

Nothing is sorted and no query x gallery matrix is kept. The rank of a query's k-th nearest match is
k plus the number of wrong pictures strictly closer than it, so a match wins a tie. The gallery is
sharded over a one-axis ``('data',)`` mesh: each device counts over its part, then they are summed.

Arrays run gallery first, ``[G, B]`` with B the `BLOCK` queries at hand: sums and segment sums over
the gallery then walk along whole vectors of queries, which is several times faster on CPUs.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxreid.evaluation.protocol import MASKS

BLOCK = 64
"""Queries ranked at once."""

TILE = 1024
"""Gallery rows per matrix product. Every product has the shape [TILE, d] x [d, BLOCK], whatever the
number of devices: products of other shapes may round otherwise and exchange near ties."""


class Shards(NamedTuple):
    """Gallery on the devices, split by rows; rows never to be counted have infinite squares."""

    embeddings: jax.Array  # [G, d]
    squares: jax.Array  # [G] squared lengths of the rows
    labels: jax.Array  # [G] identities, numbered from 0
    cameras: jax.Array  # [G]


class Block(NamedTuple):
    """Some queries, known to every device."""

    embeddings: np.ndarray  # [B, d]
    labels: np.ndarray  # [B] identities as in the gallery
    cameras: np.ndarray  # [B]
    matches: np.ndarray  # [K, B] gallery rows of the matches, -1 where a query has fewer than K


def own_devices() -> Mesh:
    """Returns the mesh of all devices of this process, for callers without one."""
    devices = jax.local_devices()
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def shard_gallery(
    embeddings: np.ndarray,
    labels: np.ndarray,
    cameras: np.ndarray,
    searchable: np.ndarray,
    mesh: Mesh,
) -> Shards:
    """Pads the gallery to whole tiles per device and places it on ``mesh``.

    Args:
        embeddings: ``[G, d]`` float32.
        labels: ``[G]`` identities, numbered from 0.
        cameras: ``[G]``.
        searchable: ``[G]`` bool; the other rows are never counted.
        mesh: one-axis ``('data',)`` mesh.

    Raises:
        ValueError: ``mesh`` has other axes.
    """
    if mesh.axis_names != ("data",):
        raise ValueError(
            f"The mesh has the axes {mesh.axis_names}; evaluation shards over one axis ('data',)."
        )
    place = functools.partial(place_rows, mesh=mesh)
    squares = np.einsum("nd,nd->n", embeddings, embeddings)
    return Shards(
        place(embeddings, 0.0),
        place(np.where(searchable, squares, np.inf).astype(np.float32), np.inf),
        place(labels.astype(np.int32), 0),
        place(cameras.astype(np.int32), 0),
    )


def place_rows(values: np.ndarray, fill: float, *, mesh: Mesh) -> jax.Array:
    """Places what there is one row of per picture, filled up to whole tiles per device."""
    widths = ((0, -len(values) % (TILE * mesh.size)),) + ((0, 0),) * (values.ndim - 1)
    padded = np.pad(values, widths, constant_values=fill)
    return jax.device_put(padded, NamedSharding(mesh, P("data")))


@functools.partial(jax.jit, static_argnames=("mesh", "mask", "cmc", "identities"))
def count(
    block: Block,
    shards: Shards,
    given: jax.Array | None = None,
    *,
    mesh: Mesh,
    mask: str,
    cmc: str,
    identities: int,
) -> dict[str, jax.Array]:
    """Counts the wrong pictures before each match of a block of queries.

    Args:
        block: the queries.
        shards: the gallery, from `shard_gallery` with the same ``mesh``.
        given: ``[G, B]`` distances, sharded like the gallery; None: those of the embeddings.
        mesh: one-axis ``('data',)`` mesh.
        mask: key of `MASKS`.
        cmc: CMC rule of the protocol.
        identities: number I of identities, an upper bound of the gallery's labels.

    Returns:
        Exact integers, whatever the mesh. Always ``closer``: ``[K, B]`` pictures closer than the
        match. For ``identity`` also ``ahead``: ``[B]`` identities closer than the nearest match.
        For ``single_shot`` also ``by_identity``: ``[K, I, B]`` pictures of each identity closer
        than the match, and ``visible``: ``[I, B]`` wrong pictures of it that the query sees.
    """
    one_shard = functools.partial(_count_shard, mask=mask, cmc=cmc, identities=identities)
    specs = P(), P("data"), P("data")
    return jax.shard_map(one_shard, mesh=mesh, in_specs=specs, out_specs=P())(block, shards, given)


@jax.jit
def distances(queries: jax.Array | np.ndarray, gallery: jax.Array, squares: jax.Array) -> jax.Array:
    """Returns ``|g|^2 - 2 g.q``, which orders the gallery of a query q as the distances do.

    Args:
        queries: ``[B, d]``.
        gallery: ``[G, d]``, G a multiple of `TILE`.
        squares: ``[G]``.

    Returns:
        ``[G, B]``.
    """

    def tile_distances(tile: tuple[jax.Array, jax.Array]) -> jax.Array:
        rows, lengths = tile
        # The default precision of GPUs and TPUs would round the factors to 10 or 7 bits.
        products = jnp.matmul(rows, queries.T, precision=jax.lax.Precision.HIGHEST)
        return lengths[:, None] - 2 * products

    tiles = gallery.reshape(-1, TILE, gallery.shape[1]), squares.reshape(-1, TILE)
    return jax.lax.map(tile_distances, tiles).reshape(len(gallery), len(queries))


def _count_shard(
    block: Block, shard: Shards, given: jax.Array | None, *, mask: str, cmc: str, identities: int
) -> dict[str, jax.Array]:
    d = distances(block.embeddings, shard.embeddings, shard.squares) if given is None else given
    matches = _match_distances(d, block.matches)
    same = shard.labels[:, None] == block.labels
    hidden = MASKS[mask](same, block.cameras, shard.cameras[:, None])
    wrong = ~same & ~hidden & jnp.isfinite(shard.squares)[:, None]
    # Without the barrier XLA may repeat the masking for each of the K comparisons.
    d = jax.lax.optimization_barrier(jnp.where(wrong, d, jnp.inf))

    def by_identity(flags: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(flags.astype(jnp.int32), shard.labels, identities)

    if cmc == "single_shot":
        closer = jax.lax.psum(jax.lax.map(lambda match: by_identity(d < match), matches), "data")
        visible = jax.lax.psum(by_identity(wrong), "data")
        return {"closer": closer.sum(axis=1), "by_identity": closer, "visible": visible}
    closer = jax.lax.map(lambda match: jnp.sum(d < match, axis=0, dtype=jnp.int32), matches)
    counts = {"closer": jax.lax.psum(closer, "data")}
    if cmc == "identity":
        nearest = jax.lax.pmin(jax.ops.segment_min(d, shard.labels, identities), "data")
        counts["ahead"] = jnp.sum(nearest < matches.min(axis=0), axis=0, dtype=jnp.int32)
    return counts


def _match_distances(d: jax.Array, matches: jax.Array | np.ndarray) -> jax.Array:
    """Distances of the matches ``[K, B]``, read by the shard that owns each; padding is inf.

    They come out of the very product that the wrong pictures come out of: a second computation
    could round otherwise and break ties between equal embeddings.
    """
    rows = matches - jax.lax.axis_index("data") * len(d)
    mine = (matches >= 0) & (rows >= 0) & (rows < len(d))
    own = jnp.take_along_axis(d, jnp.clip(rows, 0, len(d) - 1), axis=0)
    return jax.lax.pmin(jnp.where(mine, own, jnp.inf), "data")
