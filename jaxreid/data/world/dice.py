"""Random numbers for a sampler, all drawn at once."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np


class Dice:
    """A hand of uniform numbers that a sampler spends in order.

    One draw of many numbers compiles many times faster than many draws of one.
    """

    def __init__(self, key: jax.Array, count: int) -> None:
        """Draws ``count`` numbers; a sampler that asks for more raises ``ValueError``."""
        self._numbers = jax.random.uniform(key, (count,))
        self._spent = 0

    def uniform(self, *shape: int) -> jax.Array:
        """Uniform in [0, 1)."""
        first, self._spent = self._spent, self._spent + math.prod(shape)
        if self._spent > self._numbers.size:
            raise ValueError(f"Dice hold {self._numbers.size} numbers: give a greater count.")
        return self._numbers[first : self._spent].reshape(shape)

    def between(self, low: float | jax.Array, high: float | jax.Array, *shape: int) -> jax.Array:
        """Uniform in [low, high)."""
        return low + (high - low) * self.uniform(*shape)

    def normal(self, *shape: int) -> jax.Array:
        """Standard normal."""
        return jax.scipy.special.ndtri(jnp.clip(self.uniform(*shape), 1e-6, 1 - 1e-6))

    def chance(self, probability: float | jax.Array) -> jax.Array:
        """True with the given probability."""
        return self.uniform() < probability

    def pick(self, weights: jax.Array | np.ndarray | list[float]) -> jax.Array:
        """An index, int32, drawn in proportion to ``weights``."""
        steps = jnp.cumsum(jnp.asarray(weights, jnp.float32))
        return (self.uniform() * steps[-1] >= steps[:-1]).sum(dtype=jnp.int32)
