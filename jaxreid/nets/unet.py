"""pix2pix's generator: a U-Net of strided convolutions.

Isola, Zhu, Zhou, Efros, "Image-to-Image Translation with Conditional Adversarial Networks", CVPR
2017. Names nest like those of pytorch-CycleGAN-and-pix2pix, so that its weights convert by name.
Its discriminator is `cyclegan.PatchGAN` with batch norm on the pair of images, six channels.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from jaxreid.nets.layers import (
    Conv,
    ConvTranspose,
    around_one,
    batch_norm,
    normal,
    outward,
    require_multiples,
)


class UNet(nn.Module):
    """Translates images: `downs` halvings, as many doublings, each joined with its equal in size.

    All convolutions are 4x4 with stride 2. Noise enters only through dropout; pix2pix leaves it on,
    and batch norm on the statistics of the batch, when it translates: call with `train=True` and a
    `dropout` key for that.

    Attributes:
        downs: halvings: 8 for 256x256, 7 for 128x128 and 256x128; at least 5.
        width: channels of the outermost level (64 in the paper); they double to 8 times this.
        dropout: share of the units dropped when training.
        dropout_levels: where: 'lua' in the three innermost upward stages of 8 `width` channels,
            'torch' in all of them but the innermost.
        conv_bias: whether every convolution has a bias; the last one always has.
        dtype: type of the computation.
    """

    downs: int = 8
    width: int = 64
    dropout: float = 0.5
    dropout_levels: Literal["lua", "torch"] = "lua"
    conv_bias: bool = False
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,C] in [-1,1] to [B,H,W,3] in [-1,1]; H and W are multiples of 2^downs."""
        if self.downs < 5:
            raise ValueError(f"A U-Net has at least 5 `downs`, not {self.downs}.")
        require_multiples(images, 2**self.downs, "Resize the images or take fewer `downs`.")
        dropped = {
            "lua": range(max(4, self.downs - 3), self.downs),
            "torch": range(4, self.downs - 1),
        }[self.dropout_levels]
        level = Level(
            features=tuple(self.width * min(2**i, 8) for i in range(self.downs)),
            dropouts=tuple(self.dropout * (i in dropped) for i in range(self.downs)),
            conv_bias=self.conv_bias,
            dtype=self.dtype,
            name="model",
        )
        return nn.tanh(outward(level(images, train)))


class Level(nn.Module):
    """One level of the U-Net, with all levels inside it: down, inner level, up.

    Attributes:
        features: channels after the convolution down, of this level and of those inside it.
        dropouts: shares of the units dropped after the transposed convolution, likewise.
        conv_bias: whether normalised convolutions have biases.
        outer: channels that this level returns besides its input; None for the outermost level,
            which returns RGB alone.
        dtype: type of the computation.
    """

    features: tuple[int, ...]
    dropouts: tuple[float, ...]
    conv_bias: bool
    outer: int | None = None
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,C] to [B,H,W,C+outer], or [B,H,W,3] if outermost."""
        outermost, innermost = self.outer is None, len(self.features) == 1
        down, inner, up = (0, 1, 3) if outermost else (1, 3, 3 if innermost else 5)
        common = {"initializer": normal(0.02), "dtype": self.dtype}

        def norm(x: jax.Array, number: int) -> jax.Array:
            return batch_norm(train, f"model_{number}", self.dtype, scale_init=around_one)(x)

        y = x if outermost else nn.leaky_relu(x, 0.2)
        y = Conv(
            self.features[0],
            4,
            stride=2,
            padding=1,
            use_bias=self.conv_bias,
            name=f"model_{down}",
            **common,
        )(y)
        if not innermost:
            y = y if outermost else norm(y, 2)
            y = Level(
                self.features[1:],
                self.dropouts[1:],
                self.conv_bias,
                self.features[0],
                self.dtype,
                name=f"model_{inner}",
            )(y, train)
        y = ConvTranspose(
            3 if self.outer is None else self.outer,
            4,
            output_padding=0,
            use_bias=outermost or self.conv_bias,
            name=f"model_{up}",
            **common,
        )(nn.relu(y))
        if outermost:
            return y
        y = norm(y, up + 1)
        if self.dropouts[0]:
            y = nn.Dropout(self.dropouts[0], deterministic=not train, name=f"model_{up + 2}")(y)
        return jnp.concatenate([x, y], axis=-1)
