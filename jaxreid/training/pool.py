"""The image pool of CycleGAN: the discriminator also sees generators of some steps ago."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Pool(NamedTuple):
    """``images [capacity, H, W, C]`` of which the first ``filled`` (int32 scalar) count."""

    images: jax.Array
    filled: jax.Array


def empty_pool(capacity: int, shape: tuple[int, ...]) -> Pool:
    """A pool of zeros for ``capacity`` images of ``shape`` (H, W, C)."""
    return Pool(jnp.zeros((capacity, *shape), jnp.float32), jnp.zeros((), jnp.int32))


def exchange(pool: Pool, key: jax.Array, images: jax.Array) -> tuple[Pool, jax.Array]:
    """Passes a batch through the pool, image by image.

    While the pool is not full, an image is stored and returned. Afterwards, with probability 1/2
    a random old image is returned and replaced by the new one, else the new one is returned.

    Args:
        pool: the pool before.
        key: random key of this call.
        images: ``[B, H, W, C]``.

    Returns:
        The pool after, and ``[B, H, W, C]`` for the discriminator.

    References:
        Shrivastava et al., CVPR 2017, section 2.3; ``ImagePool`` of the CycleGAN code, capacity 50.
    """
    capacity = pool.images.shape[0]

    def one(pool: Pool, item: tuple[jax.Array, jax.Array]) -> tuple[Pool, jax.Array]:
        image, key = item
        coin, slot = jax.random.split(key)
        filling = pool.filled < capacity
        slot = jnp.where(filling, pool.filled, jax.random.randint(slot, (), 0, capacity))
        swap = ~filling & jax.random.bernoulli(coin)
        old = pool.images[slot]
        stored = pool.images.at[slot].set(jnp.where(filling | swap, image, old))
        filled = jnp.minimum(pool.filled + 1, capacity)
        return Pool(stored, filled), jnp.where(swap, old, image)

    return jax.lax.scan(one, pool, (images, jax.random.split(key, images.shape[0])))
