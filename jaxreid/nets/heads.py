"""Re-identification heads: maps of a backbone to logits, metric embedding and test embedding.

Every head is called as `head(maps, train)` on [B,h,w,C] maps and returns
`logits` [B,K] for classification losses, `metric` [B,D] for distance losses and `test` [B,D] for
retrieval. f below is the global average of the maps. A head that needs the outputs of the last n
residual blocks says so by a class constant `blocks = n`, and is called on a tuple of n maps.
"""

from functools import partial
from typing import TypedDict

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers
from flax.typing import Dtype

from jaxreid.nets.layers import (
    Init,
    around_one,
    batch_norm,
    kaiming_fan_out,
    normal,
    torch_default,
)
from jaxreid.nets.pooling import average, unit


class Embedding(TypedDict):
    """What every head returns, in float32."""

    logits: jax.Array
    metric: jax.Array
    test: jax.Array


def matconvnet() -> Init:
    """U(-s, s) times 0.1 with s = sqrt(3 / fan_in), zero biases: how LSRO's MatConvNet starts."""
    return Init(initializers.variance_scaling(0.01, "fan_in", "uniform"))


class Direct(nn.Module):
    """One linear layer on f; f itself is the metric and the test embedding.

    Attributes:
        classes: identities K.
        dropout: share of f dropped before the layer when training (LSRO 0.75).
        initializer: of the layer: PyTorch's default, `normal(0.001)` (SPGAN's IDE in Caffe) or
            `matconvnet()` (LSRO).
        normalise: whether the test embedding has unit length.
        dtype: type of the computation.
    """

    classes: int
    dropout: float = 0.0
    initializer: Init = torch_default()
    normalise: bool = False
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool = False) -> Embedding:
        """Returns logits [B,K] and f [B,C] twice."""
        pooled = average(maps)
        x = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        logits = dense(self.classes, self.initializer, "classifier", x, dtype=self.dtype)
        return _embedding(logits, pooled, unit(pooled) if self.normalise else pooled)


class FC1024(nn.Module):
    """IDE as in CamStyle: linear, BN, ReLU, dropout, classifier; retrieval by normalised f.

    Zhong et al., "Camera Style Adaptation for Person Re-identification", CVPR 2018. With `triplet`
    a second linear layer in front of the dropout makes the metric embedding: Zhong et al.,
    "Generalizing a Person Retrieval Model Hetero- and Homogeneously", ECCV 2018 (HHL, 128 units).

    Attributes:
        classes: identities K.
        width: units of the hidden layer.
        dropout: share of hidden units dropped when training.
        triplet: units of the triplet branch; 0 for none, the metric embedding then is f.
        hidden: retrieves by the hidden layer behind its BN, at unit length, in the place of f.
        dtype: type of the computation.
    """

    classes: int
    width: int = 1024
    dropout: float = 0.5
    triplet: int = 0
    hidden: bool = False
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool = False) -> Embedding:
        """Returns logits [B,K], f [B,C] or the triplet branch, and f or the hidden layer."""
        pooled = average(maps)
        x = dense(self.width, kaiming_fan_out(), "feat", pooled, dtype=self.dtype)
        x = batch_norm(train, "feat_bn", self.dtype)(x)
        test = unit(x.astype(jnp.float32) if self.hidden else pooled)
        x = nn.relu(x)
        metric = pooled
        if self.triplet:
            metric = dense(self.triplet, normal(0.001), "triplet", x, dtype=self.dtype)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        logits = dense(self.classes, normal(0.001), "classifier", x, dtype=self.dtype)
        return _embedding(logits, metric, test)


class FC512(nn.Module):
    """IDE+ of the SPGAN authors: linear, BN, leaky ReLU 0.1, dropout, classifier.

    github.com/Simon4Yan/Person_reID_baseline_pytorch. It retrieves by the sum of f of the image
    and of its mirror image: `ReID(..., mirror=True)`.

    Attributes:
        classes: identities K.
        width: units of the hidden layer.
        dropout: share of hidden units dropped when training.
        dtype: type of the computation.
    """

    classes: int
    width: int = 512
    dropout: float = 0.5
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool = False) -> Embedding:
        """Returns logits [B,K], f [B,C] and f of unit length."""
        pooled = average(maps)
        x = dense(self.width, kaiming_fan_out(), "fc_0", pooled, dtype=self.dtype)
        x = batch_norm(train, "fc_1", self.dtype, scale_init=around_one)(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(nn.leaky_relu(x, 0.1))
        logits = dense(self.classes, normal(0.001), "classifier", x, dtype=self.dtype)
        return _embedding(logits, pooled, unit(pooled))


class MidLevel(nn.Module):
    """Averages of layer 4's three blocks; the first two go through linear, BN and ReLU.

    Yu, Chang, Song, Xiang, Hospedales, "The Devil is in the Middle: Exploiting Mid-level
    Representations for Cross-Domain Instance Matching", 2017, with the names and the order of
    michuanhaohao/deep-person-reid: [last block, fused middle]. torchreid has the middle first.

    Attributes:
        classes: identities K.
        width: units of the fused middle.
        initializer: of both linear layers: `normal(0.01)` as in torchreid, which says so; the code
            above leaves PyTorch's default.
        dtype: type of the computation.
    """

    blocks = 3

    classes: int
    width: int = 1024
    initializer: Init = normal(0.01)
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, maps: tuple[jax.Array, ...], train: bool = False) -> Embedding:
        """Maps three [B,h,w,C] to logits [B,K] and the embedding [B,C+width] twice."""
        if not isinstance(maps, tuple) or len(maps) != self.blocks:
            raise ValueError(
                "The mid-level head pools the three last blocks of a backbone: call it on a tuple "
                "of three maps, as `ResNet(...)(images, train, blocks=3)` returns them."
            )
        *middle, last = map(average, maps)
        x = jnp.concatenate(middle, axis=-1)
        x = dense(self.width, self.initializer, "fc_fuse_0", x, dtype=self.dtype)
        x = nn.relu(batch_norm(train, "fc_fuse_1", self.dtype)(x))
        x = jnp.concatenate([last, x.astype(last.dtype)], axis=-1)
        logits = dense(self.classes, self.initializer, "classifier", x, dtype=self.dtype)
        return _embedding(logits, x, x)


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


class Hidden(nn.Module):
    """Linear, BN, ReLU: this x is the metric and the test embedding, and one layer classifies it.

    TAUDL (Li, Zhu, Gong, ECCV 2018) as in its code, where a layer per camera names the tracklets of
    that camera. Here one layer has the units of all of them, and a loss looks at a camera's alone.

    Attributes:
        classes: units of the classifier K.
        width: units of x.
        dtype: type of the computation.
    """

    classes: int
    width: int = 2048
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, maps: jax.Array, train: bool = False) -> Embedding:
        """Returns logits [B,K] and x [B,width] twice, not normalised."""
        x = dense(self.width, kaiming_fan_out(), "feat", average(maps), dtype=self.dtype)
        x = nn.relu(batch_norm(train, "feat_bn", self.dtype)(x))
        logits = dense(self.classes, normal(0.001), "classifier", x, dtype=self.dtype)
        return _embedding(logits, x, x)


HEADS = {  # each is called with the number of identities
    "direct": Direct,
    "direct_lsro": partial(Direct, dropout=0.75, initializer=matconvnet()),
    "direct_caffe": partial(Direct, initializer=normal(0.001), normalise=True),
    "direct_dropout": partial(Direct, dropout=0.5, initializer=normal(0.001)),
    "fc1024": FC1024,
    "fc1024_hidden": partial(FC1024, hidden=True),
    "fc1024_triplet": partial(FC1024, triplet=128),
    "fc512": FC512,
    "midlevel": MidLevel,
    "bnneck": BNNeck,
}


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
