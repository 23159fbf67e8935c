"""UnityGAN's networks: generator with IBN-Res blocks and style attention, dilated discriminator.

Liu, Chang, Shen, "Unity Style Transfer for Person Re-Identification", CVPR 2020, has no published
code. Its objective is that of GANimorph (Gokaslan et al., "Improving Shape Deformation in
Unsupervised Image to Image Translation", ECCV 2018), so the layers are those of GANimorph's code,
with IBN-Res blocks in place of its residual blocks. Where the paper is silent on the blocks and on
the attention, the readings here are ours.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers
from flax.typing import Dtype

from jaxreid.nets.layers import (
    IBN,
    Conv,
    ConvTranspose,
    Init,
    InstanceNorm,
    Judgement,
    batch_norm,
    outward,
    require_multiples,
    xavier_uniform,
)

Norm = Literal["none", "in", "bn", "ibn"]
SIZES = "UnityGAN halves them four times; resize to 64x32, 128x64 or 256x128, for example."

# U(-b, b) with b = 1/sqrt(fan_in). TensorFlow counts the fan-in of a transposed kernel [k,k,O,I] as
# k*k*O, which is the fan-out of our [k,k,I,O].
UNIFORM = Init(initializers.variance_scaling(0.333, "fan_in", "uniform"))
UNIFORM_TRANSPOSED = Init(initializers.variance_scaling(0.333, "fan_out", "uniform"))


class Layer(nn.Module):
    """Convolution without bias, norm, ReLU: what both networks are built of.

    Attributes:
        features: output channels.
        size: rows and columns of the kernel.
        stride: step of the convolution.
        dilation: distance between the taps; dilated kernels start from Xavier's distribution.
        up: a transposed convolution to twice the size instead (4x4, stride 2).
        norm: affine instance norm, batch norm, IBN, or none.
        relu: whether a ReLU ends the layer.
        dtype: type of the computation.
    """

    features: int
    size: int = 4
    stride: int = 2
    dilation: int = 1
    up: bool = False
    norm: Norm = "in"
    relu: bool = True
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,I] to [B,H/stride,W/stride,O], or to [B,2H,2W,O]."""
        common = {"use_bias": False, "dtype": self.dtype, "name": "conv"}
        if self.up:
            common["initializer"] = UNIFORM_TRANSPOSED
            x = ConvTranspose(self.features, 4, 2, 1, 0, **common)(x)
        else:
            common["initializer"] = xavier_uniform() if self.dilation > 1 else UNIFORM
            common |= {"padding": "same", "dilation": self.dilation}
            x = Conv(self.features, self.size, self.stride, **common)(x)
        if self.norm == "ibn":
            x = IBN(self.dtype, name="norm")(x, train)
        elif self.norm == "bn":
            x = batch_norm(train, "norm", self.dtype)(x)
        elif self.norm == "in":
            x = InstanceNorm(True, self.dtype, name="norm")(x)
        return nn.relu(x) if self.relu else x


class Block(nn.Module):
    """IBN-Res block: [conv 3x3, IBN, ReLU, conv 3x3, norm] merged with its input.

    Merged by `concat`, a third convolution sees both, as in GANimorph (there every norm is IN).
    Merged by `add`, a ReLU follows the sum, as in IBN-Net's block of type a; the input passes a
    1x1 convolution where its channels differ.

    Attributes:
        features: output channels.
        norm: the first norm; by `add` the second is BN unless this is IN, by `concat` always IN.
        merge: how the block joins its input.
        dtype: type of the computation.
    """

    features: int
    norm: Norm = "ibn"
    merge: Literal["add", "concat"] = "add"
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,I] to [B,H,W,O]."""
        layer = partial(Layer, self.features, size=3, stride=1, dtype=self.dtype)
        y = layer(norm=self.norm, name="conv0")(x, train)
        if self.merge == "concat":
            y = layer(name="conv1")(y, train)
            return layer(name="conv2")(jnp.concatenate([y, x], axis=-1), train)
        second = "in" if self.norm == "in" else "bn"
        y = layer(norm=second, relu=False, name="conv1")(y, train)
        if x.shape[-1] != self.features:
            x = layer(size=1, norm="none", relu=False, name="shortcut")(x, train)
        return nn.relu(y + x)


class StyleAttention(nn.Module):
    """sigmoid(A_style(x)): 1x1 to an eighth of the channels, ReLU, 1x1 back, sigmoid."""

    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B,H,W,C] to the same shape in (0,1)."""
        conv = partial(Conv, size=1, initializer=UNIFORM, dtype=self.dtype)
        y = nn.relu(conv(max(x.shape[-1] // 8, 1), name="squeeze")(x))
        return nn.sigmoid(conv(x.shape[-1], name="excite")(y))


class UnityGenerator(nn.Module):
    """Translates images of one camera to the style between all cameras.

    Four halvings and four doublings; groups of residual blocks at 1/4, 1/8 and 1/16 of the size,
    and again at 1/8 and 1/4 after joining the skips S1, S2 of that size. The style attention A,
    computed from the first block, weighs both skips. IBN in the groups at 1/4 and 1/8, BN at 1/16,
    IN after the skips. GANimorph is `merge='concat', norm='in', style_attention=False`.

    With `norm='ibn'` training needs 8 images or more a batch. Every training pass uses the batch's
    statistics; a pass whose statistics must not count (on generated images) is applied with
    `mutable=['batch_stats']` like the others, and its update dropped.

    Attributes:
        width: channels of the first layer (64 in the paper's base).
        blocks: residual blocks per group.
        merge: how a block joins its input, by addition or by concatenation.
        norm: 'ibn' as above, or 'in' everywhere, for batches of one.
        style_attention: whether there is an attention module; without it A is 1.
        dtype: type of the computation.
    """

    width: int = 64
    blocks: int = 3
    merge: Literal["add", "concat"] = "add"
    norm: Literal["ibn", "in"] = "ibn"
    style_attention: bool = True
    dtype: Dtype | None = None

    def setup(self) -> None:
        """Names the layers as GANimorph's code does."""
        if self.merge not in ("add", "concat") or self.norm not in ("ibn", "in"):
            raise ValueError(
                f"UnityGenerator has merge 'add' or 'concat' and norm 'ibn' or 'in', not "
                f"'{self.merge}' and '{self.norm}'."
            )
        layer = partial(Layer, dtype=self.dtype)
        if self.style_attention:
            self.style = StyleAttention(self.dtype)
        self.conv0 = layer(self.width, norm="none")
        self.conv1 = layer(2 * self.width)
        self.layer1 = self._group(2 * self.width, "ibn")
        self.conv2 = layer(4 * self.width)
        self.layer2 = self._group(4 * self.width, "ibn")
        self.conv3 = layer(8 * self.width)
        self.layer3 = self._group(8 * self.width, "bn")
        self.deconv0 = layer(4 * self.width, up=True)
        self.blayer2 = self._group(4 * self.width, "in")
        self.deconv1 = layer(2 * self.width, up=True)
        self.blayer1 = self._group(2 * self.width, "in")
        self.deconv2 = layer(self.width, up=True)
        self.deconv3 = layer(3, up=True, norm="none", relu=False)

    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,3] in [-1,1] to the same; H and W are multiples of 16."""
        return self.with_attention(images, train)[0]

    def with_attention(self, images: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """The translated images [B,H,W,3] in [-1,1], and A [B,H/4,W/4,2 width] in (0,1)."""
        x = self._first_block(images, train)
        attention = self._attend(x)
        skip1 = _run(self.layer1[1:], x, train)
        skip2 = _run([self.conv2, *self.layer2], skip1, train)
        x = _run([self.conv3, *self.layer3, self.deconv0], skip2, train)
        weight = nn.avg_pool(attention.mean(-1, keepdims=True), (2, 2), (2, 2))
        x = jnp.concatenate([x, skip2 * weight], axis=-1)
        x = _run([*self.blayer2, self.deconv1], x, train)
        x = jnp.concatenate([x, skip1 * attention], axis=-1)
        x = _run([*self.blayer1, self.deconv2, self.deconv3], x, train)
        return 2 * nn.sigmoid(outward(x)) - 1, outward(attention)

    def attention(self, images: jax.Array, train: bool = False) -> jax.Array:
        """A alone [B,H/4,W/4,2 width], at the cost of three layers; `method='attention'`."""
        return outward(self._attend(self._first_block(images, train)))

    def _first_block(self, images: jax.Array, train: bool) -> jax.Array:
        require_multiples(images, 16, SIZES)
        return _run([self.conv0, self.conv1, self.layer1[0]], (images + 1) / 2, train)

    def _attend(self, x: jax.Array) -> jax.Array:
        return self.style(x) if self.style_attention else jnp.ones_like(x)

    def _group(self, features: int, norm: Norm) -> list[Block]:
        norm = norm if self.norm == "ibn" else "in"
        return [Block(features, norm, self.merge, self.dtype) for _ in range(self.blocks)]


class DilatedDiscriminator(nn.Module):
    """GANimorph's discriminator: three dilated convolutions see 302 pixels, the whole person.

    Attributes:
        width: half the channels of the first layer (64 in the paper's base).
        dtype: type of the computation.
    """

    width: int = 64
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Judgement:
        """Maps [B,H,W,3] in [-1,1] to logits [B,H/8,W/8,1] and features f1..f7, after the ReLU.

        f1 is [B,H/4,W/4,4 width], the others [B,H/8,W/8,8 width]; H and W are multiples of 16.
        """
        del train  # instance norms behave alike in training and evaluation
        require_multiples(images, 16, SIZES)
        wide = partial(Layer, 8 * self.width, dtype=self.dtype)
        x = Layer(2 * self.width, norm="none", dtype=self.dtype, name="conv0")((images + 1) / 2)
        f1 = Layer(4 * self.width, dtype=self.dtype, name="conv1")(x)
        f2 = wide(name="conv2")(f1)
        f3 = wide(3, 1, name="convf")(f2)
        f4 = wide(3, 1, dilation=2, name="atrous")(f3)
        f5 = wide(3, 1, dilation=4, name="atrous2")(f4)
        f6 = wide(3, 1, dilation=8, name="atrous3")(f5)
        f7 = wide(3, 1, name="mConv")(jnp.concatenate([f3, f6], axis=-1))
        score = Layer(1, 4, 1, norm="none", relu=False, dtype=self.dtype, name="lsconv")
        return Judgement(*jax.tree.map(outward, (score(f7), (f1, f2, f3, f4, f5, f6, f7))))


def _run(layers: Sequence[Layer | Block], x: jax.Array, train: bool) -> jax.Array:
    for layer in layers:
        x = layer(x, train)
    return x
