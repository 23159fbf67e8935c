"""A re-identification network: a backbone and a head, and what retrieval may do beside them."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxreid.nets.heads import Embedding
from jaxreid.nets.pooling import local_max_pool, unit


class ReID(nn.Module):
    """A backbone and a head; parameters split into `backbone` and `head` at the top level.

    Attributes:
        backbone: images [B,H,W,3] to maps [B,h,w,C].
        head: maps to an `Embedding`.
        mirror: outside training, the test embedding is that of the mean of the image's maps and
            of its mirror image's (mirrored back): normalised sums, as IDE+ retrieves.
        parts: stripes of local max pooling; the test embedding then is their concatenation at
            unit length. 0 leaves the head's. No parameters: `net.clone(parts=7)` retrieves so by
            the weights of `net`.
        pool: 'max' or 'average', within a stripe.
        frozen_norms: the backbone behaves in training as outside of it, so that its batch norms use
            the running statistics of pretrained weights; their scales and offsets still learn.
    """

    backbone: nn.Module
    head: nn.Module
    mirror: bool = False
    parts: int = 0
    pool: str = "max"
    frozen_norms: bool = False

    def __call__(self, images: jax.Array, train: bool = False) -> Embedding:
        """Maps [B,H,W,3] in [-1,1] to the head's logits, metric and test embeddings."""
        maps = self._maps(images, train and not self.frozen_norms)
        embedding = self.head(maps, train)
        if self.mirror and not train:
            mirrored = self._maps(images[:, :, ::-1], train)
            maps = jax.tree.map(lambda a, b: (a + b[:, :, ::-1]) / 2, maps, mirrored)
            embedding["test"] = self.head(maps, train)["test"]
        if self.parts:
            last = maps[-1] if isinstance(maps, tuple) else maps
            stripes = local_max_pool(last, self.parts, self.pool).astype(jnp.float32)
            embedding["test"] = unit(stripes)
        return embedding

    def _maps(self, images: jax.Array, train: bool) -> jax.Array | tuple[jax.Array, ...]:
        blocks = getattr(self.head, "blocks", 1)
        if blocks == 1:
            return self.backbone(images, train)
        return self.backbone(images, train, blocks)
