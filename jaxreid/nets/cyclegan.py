"""CycleGAN's networks: the residual generator and the PatchGAN discriminator.

Zhu, Park, Isola, Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks", ICCV 2017; layer numbers (`model_10`) are those of pytorch-CycleGAN-and-pix2pix, so that
its weights convert by name.
"""

import flax.linen as nn
import jax
from flax.typing import Dtype

from jaxreid.nets.layers import Conv, ConvTranspose, InstanceNorm, normal


class ResidualBlock(nn.Module):
    """x + [reflect 1, conv 3x3, IN, ReLU, dropout, reflect 1, conv 3x3, IN]."""

    norm_affine: bool = False
    conv_bias: bool = True
    dropout: float = 0.0
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,C] to the same shape."""

        def conv_norm(y: jax.Array, number: int) -> jax.Array:
            y = Conv(
                x.shape[-1],
                3,
                padding=1,
                reflect=True,
                use_bias=self.conv_bias,
                initializer=normal(0.02),
                dtype=self.dtype,
                name=f"conv_block_{number}",
            )(y)
            return InstanceNorm(self.norm_affine, self.dtype, name=f"conv_block_{number + 1}")(y)

        y = nn.relu(conv_norm(x, 1))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        return x + conv_norm(y, 5)


class ResnetGenerator(nn.Module):
    """Translates images: 7x7 stem, halvings, residual blocks, doublings, 7x7 to RGB, tanh.

    Attributes:
        width: channels of the stem (64 in the paper).
        blocks: residual blocks (9 in the paper, 6 for images of 128 pixels).
        halvings: stride-2 layers before the blocks, undone after them (2 in the paper; 1 keeps
            images of 64 rows legible).
        norm_affine: whether instance norms learn scale and bias.
        conv_bias: whether convolutions have biases; the output layer always has one.
        dropout: share of the units dropped inside residual blocks when training.
        dtype: type of the computation.
    """

    width: int = 64
    blocks: int = 9
    halvings: int = 2
    norm_affine: bool = False
    conv_bias: bool = True
    dropout: float = 0.0
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,3] in [-1,1] to the same; H and W are multiples of 2^halvings."""

        def norm_relu(x: jax.Array, number: int) -> jax.Array:
            return nn.relu(InstanceNorm(self.norm_affine, self.dtype, name=f"model_{number}")(x))

        common = {"use_bias": self.conv_bias, "initializer": normal(0.02), "dtype": self.dtype}
        x = Conv(self.width, 7, padding=3, reflect=True, name="model_1", **common)(images)
        x = norm_relu(x, 2)
        for halving in range(self.halvings):
            number, features = 4 + 3 * halving, self.width * 2 ** (halving + 1)
            x = Conv(features, 3, stride=2, padding=1, name=f"model_{number}", **common)(x)
            x = norm_relu(x, number + 1)
        number = 4 + 3 * self.halvings
        for block in range(self.blocks):
            x = ResidualBlock(
                self.norm_affine,
                self.conv_bias,
                self.dropout,
                self.dtype,
                name=f"model_{number + block}",
            )(x, train)
        number += self.blocks
        for halving in reversed(range(self.halvings)):
            x = ConvTranspose(self.width * 2**halving, name=f"model_{number}", **common)(x)
            x = norm_relu(x, number + 1)
            number += 3
        common["use_bias"] = True
        name = f"model_{number + 1}"
        return nn.tanh(Conv(3, 7, padding=3, reflect=True, name=name, **common)(x))


class PatchGAN(nn.Module):
    """Judges overlapping patches; the receptive field is 70x70 for three layers.

    Attributes:
        width: channels of the first layer; they double per layer up to 8 times this.
        layers: stride-2 layers (1 to 6 give receptive fields 16, 34, 70, 142, 286, 574).
        norm_affine: whether instance norms learn scale and bias.
        conv_bias: whether normalised convolutions have biases; the first and last always do.
        dtype: type of the computation.
    """

    width: int = 64
    layers: int = 3
    norm_affine: bool = False
    conv_bias: bool = True
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,C] in [-1,1] to unbounded scores [B,h,w,1], one per patch."""
        del train  # instance norms behave alike in training and evaluation
        common = {"padding": 1, "initializer": normal(0.02), "dtype": self.dtype}
        x = nn.leaky_relu(Conv(self.width, 4, stride=2, name="model_0", **common)(images), 0.2)
        for layer in range(1, self.layers + 1):
            number = 3 * layer - 1
            x = Conv(
                self.width * min(2**layer, 8),
                4,
                stride=2 if layer < self.layers else 1,
                use_bias=self.conv_bias,
                name=f"model_{number}",
                **common,
            )(x)
            x = InstanceNorm(self.norm_affine, self.dtype, name=f"model_{number + 1}")(x)
            x = nn.leaky_relu(x, 0.2)
        return Conv(1, 4, name=f"model_{3 * self.layers + 2}", **common)(x)
