"""ResNet and IBN-Net trunks with torchvision's parameter names.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, and Pan, Luo, Shi,
Tang, "Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net", ECCV 2018.
`layer1.0.conv1.weight` of torchvision is `layer1_0/conv1/kernel` here.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from jaxreid.nets.layers import IBN, Conv, InstanceNorm, batch_norm, kaiming_fan_out, max_pool

STAGES = {  # blocks per stage, by depth
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
}
IBN_STAGES = {"": 0, "a": 3, "b": 2}  # how many stages, from the first, an IBN variant changes
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Maps = jax.Array | tuple[jax.Array, ...]


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
        ibn: 'a' makes the first norm an IBN layer, 'b' puts an instance norm before the last ReLU.
        dtype: type of the computation.
    """

    width: int
    stride: int
    bottleneck: bool
    ibn: str = ""
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,I] to [B,H/stride,W/stride,O]."""

        def conv_norm(
            x: jax.Array, features: int, size: int, stride: int, conv: str, norm: str
        ) -> jax.Array:
            x = _conv(features, size, stride, conv, self.dtype)(x)
            if self.ibn == "a" and norm == "bn1":
                return IBN(self.dtype, name=norm)(_several_pixels(x), train)
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
        y = x + y
        if self.ibn == "b":
            y = InstanceNorm(True, self.dtype, name="IN")(_several_pixels(y))
        return nn.relu(y)


class ResNet(nn.Module):
    """Backbone: images in [-1,1] to the maps of layer 4; it normalises its input itself.

    IBN-a: in layers 1 to 3 the first norm of every block is an IBN layer. IBN-b: the stem's norm
    and one more before the last ReLU of layers 1 and 2 are instance norms.

    Attributes:
        depth: 18, 34 (basic blocks), 50 or 101 (bottlenecks).
        width: channels of the stem; layer 4 has 8 times as many, 32 times with bottlenecks.
        last_stride: stride of layer 4, 2 or 1 (Luo et al., "Bag of Tricks", CVPRW 2019).
        stem: 'imagenet' (7x7 stride 2, max pool stride 2) or, for images below 128 rows,
            'small' (3x3 stride 2, no pool); 'none' for maps that stems have made (`make_stem`).
        ibn: '' for none, 'a' or 'b'.
        stem_relu: whether a ReLU follows the stem's norm. The code of "Bag of Tricks" forgets it,
            except in its IBN-a; ImageNet weights assume it.
        dtype: type of the computation.
    """

    depth: int = 50
    width: int = 64
    last_stride: int = 2
    stem: str = "imagenet"
    ibn: str = ""
    stem_relu: bool = True
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, blocks: int = 1) -> Maps:
        """Maps [B,H,W,3] to [B,h,w,C], h = H/32 (twice that per stride taken away).

        With `blocks` above 1 the outputs of so many last blocks of layer 4, as a tuple.
        """
        counts = STAGES[self.depth]
        if blocks > counts[-1]:
            raise ValueError(
                f"{blocks} blocks of layer 4 are asked for, but ResNet-{self.depth} has "
                f"{counts[-1]}: take depth 34, 50 or 101."
            )
        x, strides, maps = images, (1, 2, 2, self.last_stride), []
        if self.stem != "none":
            rest = (self.ibn, self.stem_relu, self.dtype)
            x = make_stem(images, train, self.width, self.stem, *rest)
        for stage, (count, stride) in enumerate(zip(counts, strides, strict=True)):
            for i in range(count):
                # IBN-a changes every block of its stages, IBN-b the last one.
                changes = stage < IBN_STAGES[self.ibn] and (self.ibn == "a" or i == count - 1)
                x = Block(
                    self.width * 2**stage,
                    stride if i == 0 else 1,
                    bottleneck=self.depth >= 50,
                    ibn=self.ibn if changes else "",
                    dtype=self.dtype,
                    name=f"layer{stage + 1}_{i}",
                )(x, train)
                maps.append(x)
        return tuple(maps[-blocks:]) if blocks > 1 else x


def make_stem(
    images: jax.Array,
    train: bool,
    width: int,
    kind: str,
    ibn: str = "",
    relu: bool = True,
    dtype: Dtype | None = None,
) -> jax.Array:
    """Layers before the residual blocks, in the module that calls it; see `ResNet`."""
    size = {"imagenet": 7, "small": 3}[kind]
    x = _conv(width, size, 2, "conv1", dtype)(imagenet_normalise(images))
    if ibn == "b":
        x = InstanceNorm(True, dtype, name="bn1")(_several_pixels(x))
    else:
        x = batch_norm(train, "bn1", dtype)(x)
    x = nn.relu(x) if relu else x
    return max_pool(x) if kind == "imagenet" else x


def _several_pixels(x: jax.Array) -> jax.Array:
    """Refuses maps of one pixel, which an instance norm would turn to zero."""
    if x.shape[1] * x.shape[2] == 1:
        raise ValueError(
            "An instance norm of IBN-Net sees maps of one pixel, all of which it would make zero: "
            "give larger images (64x32 is enough), stem='small', or ibn=''."
        )
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
