"""Networks for visible and infrared images with ResNet blocks: what is shared, what is private.

Like `alexnet.TwoStream` they are called as `net(visible, thermal, train)`, and as
`net.embed(images, modality)` on images of one modality.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from jaxreid.nets.heads import BNNeck, Embedding, dense
from jaxreid.nets.layers import Conv, batch_norm, kaiming_fan_out, normal
from jaxreid.nets.pooling import average
from jaxreid.nets.resnet import Block, ResNet, make_stem

MODALITIES = ("visible", "thermal")
VARIANTS = ("one_stream", "two_stream", "asymmetric_fc", "zero_padding")
LUMA = (0.299, 0.587, 0.114)


class Stem(nn.Module):
    """The layers of a ResNet before its residual blocks, as a module of its own.

    Attributes:
        width: channels.
        kind: 'imagenet' or 'small', see `ResNet.stem`.
        dtype: type of the computation.
    """

    width: int
    kind: str
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,3] in [-1,1] to [B,h,w,width]."""
        return make_stem(images, train, self.width, self.kind, dtype=self.dtype)


class TwoStreamResNet(nn.Module):
    """A stem per modality, then one ResNet and one batch-norm neck for both.

    Ye, Shen, Lin, Xiang, Shao, Hoi, "Deep Learning for Person Re-identification: A Survey and
    Outlook", TPAMI 2021 (AGW), without its non-local blocks and with average pooling. The norms of
    shared layers see both modalities as one batch. 23,517,568 parameters before the neck at depth
    50.

    Attributes:
        classes: identities K.
        depth: of the ResNet.
        width: channels of the stems.
        last_stride: stride of layer 4, 1 or 2.
        stem: 'imagenet' or 'small', see `ResNet`.
        dtype: type of the computation.
    """

    classes: int
    depth: int = 50
    width: int = 64
    last_stride: int = 1
    stem: str = "imagenet"
    dtype: Dtype | None = None

    def setup(self) -> None:
        """Two stems, shared stages, shared neck."""
        self.visible = Stem(self.width, self.stem, self.dtype)
        self.thermal = Stem(self.width, self.stem, self.dtype)
        self.shared = ResNet(self.depth, self.width, self.last_stride, "none", dtype=self.dtype)
        self.head = BNNeck(self.classes, self.dtype)

    def __call__(self, visible: jax.Array, thermal: jax.Array, train: bool = False) -> Embedding:
        """Maps [V,H,W,3] and [T,H,W,3] to logits, metric and test of V + T rows, visible first."""
        stems = [self.visible(visible, train), self.thermal(thermal, train)]
        return self._top(jnp.concatenate(stems), train)

    def embed(self, images: jax.Array, modality: str, train: bool = False) -> Embedding:
        """The same for images of one modality."""
        stem = {"visible": self.visible, "thermal": self.thermal}[modality]
        return self._top(stem(images, train), train)

    def _top(self, x: jax.Array, train: bool) -> Embedding:
        maps = self.shared(x, train)
        assert isinstance(maps, jax.Array)
        return self.head(maps, train)


class ResNet6(nn.Module):
    """Six blocks and a linear layer, on grey images: four ways to share them.

    Wu, Zheng, Yu, Gong, Lai, "RGB-Infrared Cross-Modality Person Re-identification", ICCV 2017.
    Blocks have 16, 16, 64, 128, 256, 512 filters there and the last layer 256 units; what is in a
    block is our reading: two convolutions with norm (the first of stride 2), then four stages of
    two basic residual units, each of stride 2; average pool; dropout before the classifier. Norms
    of shared layers see both modalities as one batch.

    'one_stream' shares all. 'two_stream' has the first two blocks per modality. 'asymmetric_fc' has
    the linear layer per modality. 'zero_padding' is one stream with two channels, visible images in
    the first, infrared ones in the second, 0 in the other.

    Attributes:
        classes: identities K.
        variant: one of `VARIANTS`.
        width: filters of the first block.
        embedding: units of the linear layer, the embedding.
        dropout: share of them dropped before the classifier when training.
        dtype: type of the computation.
    """

    classes: int
    variant: str = "one_stream"
    width: int = 16
    embedding: int = 256
    dropout: float = 0.5
    dtype: Dtype | None = None

    def __call__(self, visible: jax.Array, thermal: jax.Array, train: bool = False) -> Embedding:
        """Maps [V,H,W,3] and [T,H,W,3] to logits, metric and test of V + T rows, visible first.

        `metric` and `test` are the embedding as it is, whose Euclidean distances the paper ranks.
        """
        return self._run(dict(zip(MODALITIES, (visible, thermal), strict=True)), train)

    def embed(self, images: jax.Array, modality: str, train: bool = False) -> Embedding:
        """The same for images of one modality."""
        return self._run({modality: images}, train)

    @nn.compact
    def _run(self, images: Mapping[str, jax.Array], train: bool) -> Embedding:
        seen = {name: self._input(each, name) for name, each in images.items()}
        if self.variant == "two_stream":
            parts = [self._front(each, train, f"{name}_") for name, each in seen.items()]
            x = jnp.concatenate(parts)
        else:
            x = self._front(jnp.concatenate(list(seen.values())), train, "")
        for stage in range(4):
            for unit_number in range(2):
                width, stride = 4 * self.width * 2**stage, 2 - unit_number
                name = f"layer{stage + 1}_{unit_number}"
                x = Block(width, stride, False, dtype=self.dtype, name=name)(x, train)
        embedding = self._linear(average(x), {name: len(each) for name, each in images.items()})
        dropped = nn.Dropout(self.dropout, deterministic=not train)(embedding)
        logits = dense(self.classes, normal(0.001), "classifier", dropped, dtype=self.dtype)
        embedding = embedding.astype(jnp.float32)
        return Embedding(logits=logits.astype(jnp.float32), metric=embedding, test=embedding)

    def _input(self, images: jax.Array, modality: str) -> jax.Array:
        """Grey in [0,1], one channel, or two of which one is 0."""
        grey = ((images + 1) / 2 * jnp.asarray(LUMA)).sum(-1, keepdims=True)
        if self.variant != "zero_padding":
            return grey
        channels = [grey, jnp.zeros_like(grey)]
        return jnp.concatenate(channels if modality == MODALITIES[0] else channels[::-1], axis=-1)

    def _front(self, x: jax.Array, train: bool, prefix: str) -> jax.Array:
        """The first two blocks."""
        for i, stride in enumerate((2, 1), start=1):
            layer = Conv(
                self.width,
                3,
                stride,
                padding=1,
                use_bias=False,
                initializer=kaiming_fan_out(),
                dtype=self.dtype,
                name=f"{prefix}conv{i}",
            )
            x = nn.relu(batch_norm(train, f"{prefix}bn{i}", self.dtype)(layer(x)))
        return x

    def _linear(self, pooled: jax.Array, counts: Mapping[str, int]) -> jax.Array:
        """The embedding; rows of each modality lie side by side."""
        init = kaiming_fan_out()
        if self.variant != "asymmetric_fc":
            return dense(self.embedding, init, "fc", pooled, dtype=self.dtype)
        parts, start = [], 0
        for name, count in counts.items():
            rows = pooled[start : start + count]
            parts.append(dense(self.embedding, init, f"{name}_fc", rows, dtype=self.dtype))
            start += count
        return jnp.concatenate(parts)
