"""ResNet trunks with torchvision's parameter names (He et al., CVPR 2016).

`layer1.0.conv1.weight` of torchvision is `layer1_0/conv1/kernel` here.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from jaxreid.nets.layers import Conv, batch_norm, kaiming_fan_out, max_pool

STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}  # blocks per stage, by depth
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def imagenet_normalise(images: jax.Array) -> jax.Array:
    """Maps RGB images [...,3] from [-1,1] to the zero mean and unit variance of ImageNet."""
    mean, std = jnp.asarray(IMAGENET_MEAN), jnp.asarray(IMAGENET_STD)
    return ((images + 1) / 2 - mean) / std


class Block(nn.Module):
    """One residual block; a bottleneck quarters the channels around its 3x3 convolution.

    Attributes:
        width: channels of the 3x3 convolutions.
        stride: of the (first) 3x3 convolution and of the shortcut.
        bottleneck: 1x1, 3x3, 1x1 to 4 `width` channels instead of two 3x3.
        dtype: type of the computation.
    """

    width: int
    stride: int
    bottleneck: bool
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,I] to [B,H/stride,W/stride,O]."""

        def conv_norm(
            x: jax.Array, features: int, size: int, stride: int, conv: str, norm: str
        ) -> jax.Array:
            x = _conv(features, size, stride, conv, self.dtype)(x)
            return batch_norm(train, norm, self.dtype)(x)

        if self.bottleneck:
            plan = [(self.width, 1, 1), (self.width, 3, self.stride), (4 * self.width, 1, 1)]
        else:
            plan = [(self.width, 3, self.stride), (self.width, 3, 1)]
        y = x
        for i, (features, size, stride) in enumerate(plan, start=1):
            y = nn.relu(y) if i > 1 else y
            y = conv_norm(y, features, size, stride, f"conv{i}", f"bn{i}")
        if x.shape != y.shape:
            x = conv_norm(x, y.shape[-1], 1, self.stride, "downsample_0", "downsample_1")
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Backbone: images in [-1,1] to the maps of layer 4; it normalises its input itself.

    Attributes:
        depth: 18, 34 (basic blocks) or 50 (bottlenecks).
        width: channels of the stem; layer 4 has 8 times as many, 32 times with bottlenecks.
        last_stride: stride of layer 4, 2 or 1 (Luo et al., "Bag of Tricks", CVPRW 2019).
        stem: 'imagenet' (7x7 stride 2, max pool stride 2) or, for images below 128 rows,
            'small' (3x3 stride 2, no pool).
        dtype: type of the computation.
    """

    depth: int = 50
    width: int = 64
    last_stride: int = 2
    stem: str = "imagenet"
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,3] to [B,h,w,C], h = H/32 (twice that per stride taken away)."""
        x = imagenet_normalise(images)
        size = {"imagenet": 7, "small": 3}[self.stem]
        x = _conv(self.width, size, 2, "conv1", self.dtype)(x)
        x = nn.relu(batch_norm(train, "bn1", self.dtype)(x))
        if self.stem == "imagenet":
            x = max_pool(x)
        strides = (1, 2, 2, self.last_stride)
        for stage, (count, stride) in enumerate(zip(STAGES[self.depth], strides, strict=True)):
            for i in range(count):
                x = Block(
                    self.width * 2**stage,
                    stride if i == 0 else 1,
                    bottleneck=self.depth >= 50,
                    dtype=self.dtype,
                    name=f"layer{stage + 1}_{i}",
                )(x, train)
        return x


def _conv(features: int, size: int, stride: int, name: str, dtype: Dtype | None) -> Conv:
    return Conv(
        features,
        size,
        stride,
        padding=size // 2,
        use_bias=False,
        initializer=kaiming_fan_out(),
        dtype=dtype,
        name=name,
    )
