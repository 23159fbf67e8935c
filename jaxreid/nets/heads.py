"""Re-identification heads: maps of a backbone to logits, metric embedding and test embedding.

Every head is called as `head(maps, train)` on [B,h,w,C] maps and returns
`logits` [B,K] for classification losses, `metric` [B,D] for distance losses and `test` [B,D] for
retrieval. f below is the global average of the maps.
"""

from typing import TypedDict

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from jaxreid.nets.layers import Init, batch_norm, kaiming_fan_out, normal, torch_default


class Embedding(TypedDict):
    """What every head returns, in float32."""

    logits: jax.Array
    metric: jax.Array
    test: jax.Array


class Direct(nn.Module):
    """One linear layer on f; f itself is the metric and the test embedding."""

    classes: int
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool = False) -> Embedding:
        """Returns logits [B,K] and f [B,C] twice."""
        pooled = average(maps)
        logits = dense(self.classes, torch_default(), "classifier", pooled, dtype=self.dtype)
        return _embedding(logits, pooled, pooled)


class FC1024(nn.Module):
    """IDE as in CamStyle: linear, BN, ReLU, dropout, classifier; retrieval by normalised f.

    Zhong et al., "Camera Style Adaptation for Person Re-identification", CVPR 2018.

    Attributes:
        classes: identities K.
        width: units of the hidden layer.
        dropout: share of hidden units dropped when training.
        dtype: type of the computation.
    """

    classes: int
    width: int = 1024
    dropout: float = 0.5
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool = False) -> Embedding:
        """Returns logits [B,K], f [B,C] and f of unit length."""
        pooled = average(maps)
        x = dense(self.width, kaiming_fan_out(), "feat", pooled, dtype=self.dtype)
        x = nn.relu(batch_norm(train, "feat_bn", self.dtype)(x))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        logits = dense(self.classes, normal(0.001), "classifier", x, dtype=self.dtype)
        return _embedding(logits, pooled, unit(pooled))


class BNNeck(nn.Module):
    """Batch norm between f (metric) and the classifier without bias (Luo et al., CVPRW 2019).

    The norm learns a scale and has no offset; retrieval uses its output at unit length.
    """

    classes: int
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool = False) -> Embedding:
        """Returns logits [B,K], f [B,C] and the normalised f [B,C] of unit length."""
        pooled = average(maps)
        x = batch_norm(train, "bottleneck", self.dtype, use_bias=False)(pooled)
        logits = dense(
            self.classes, normal(0.001), "classifier", x, use_bias=False, dtype=self.dtype
        )
        return _embedding(logits, pooled, unit(x))


HEADS = {"direct": Direct, "fc1024": FC1024, "bnneck": BNNeck}


class ReID(nn.Module):
    """A backbone and a head; parameters split into `backbone` and `head` at the top level."""

    backbone: nn.Module
    head: nn.Module

    def __call__(self, images: jax.Array, train: bool = False) -> Embedding:
        """Maps [B,H,W,3] in [-1,1] to the head's logits, metric and test embeddings."""
        return self.head(self.backbone(images, train), train)


def average(maps: jax.Array) -> jax.Array:
    """Global average pool: [B,h,w,C] to [B,C]."""
    return maps.mean((1, 2))


def unit(x: jax.Array) -> jax.Array:
    """Rows scaled to Euclidean length 1, as PyTorch's `F.normalize`; a zero row stays zero."""
    squared = jnp.square(x).sum(-1, keepdims=True)
    return x / jnp.sqrt(jnp.maximum(squared, 1e-24))


def dense(
    units: int,
    init: Init,
    name: str,
    x: jax.Array,
    *,
    use_bias: bool = True,
    dtype: Dtype | None = None,
) -> jax.Array:
    """Applies a new linear layer `name` to [B,D], with one of the initialisers of `layers`."""
    layer = nn.Dense(
        units,
        use_bias=use_bias,
        kernel_init=init.kernel,
        bias_init=init.bias(x.shape[-1]),
        dtype=dtype,
        name=name,
    )
    return layer(x)


def _embedding(logits: jax.Array, metric: jax.Array, test: jax.Array) -> Embedding:
    return Embedding(
        logits=logits.astype(jnp.float32),
        metric=metric.astype(jnp.float32),
        test=test.astype(jnp.float32),
    )
