"""CycleGAN's networks: the residual generator and the PatchGAN discriminator.

Zhu, Park, Isola, Efros, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks", ICCV 2017; layer numbers (`model_10`) are those of pytorch-CycleGAN-and-pix2pix, so that
its weights convert by name. The defaults are that code's nets, which CamStyle uses; `GENERATORS`
and `DISCRIMINATORS` hold the attributes of the forms that others released.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
from flax.linen import initializers
from flax.typing import Dtype, Initializer

from jaxreid.nets import convolution
from jaxreid.nets.layers import (
    Conv,
    ConvPadding,
    ConvTranspose,
    Init,
    InstanceNorm,
    Judgement,
    ResidualBlock,
    around_one,
    batch_norm,
    normal,
    outward,
    require_multiples,
    torch_default,
    truncated_normal,
    xavier_uniform,
)

BLOCK_NAMES = ("conv_block_1", "conv_block_2", "conv_block_5", "conv_block_6")

_LUA = {"norm_affine": True, "scale_init": around_one}
_PTGAN = _LUA | {"conv_bias": False, "end_bias": False, "initializer": truncated_normal(0.02)}
_SPGAN = _LUA | {"initializer": xavier_uniform()}
GENERATORS: dict[str, dict[str, Any]] = {
    "camstyle": {},
    "lua": _LUA,
    "ptgan": _PTGAN | {"alignment": "same"},
    "spgan_tensorflow": _SPGAN | {"alignment": "same"},
    "spgan_torch": {"conv_bias": "second", "initializer": torch_default()},
}
DISCRIMINATORS: dict[str, dict[str, Any]] = {
    "camstyle": {},
    "lua": _LUA,
    "ptgan": _PTGAN | {"tail": ("same", "same")},
    "spgan_tensorflow": _SPGAN | {"tail": ("same", "same")},
    "spgan_torch": {
        "conv_bias": False,
        "initializer": torch_default(),
        "tail": (((1, 1), (2, 2)), ((2, 2), (1, 1))),
    },
}


class ResnetGenerator(nn.Module):
    """Translates images: 7x7 stem, halvings, residual blocks, doublings, 7x7 to RGB, tanh.

    Attributes:
        width: channels of the stem (64 in the paper).
        blocks: residual blocks (9 in the paper, 6 for images of 128 pixels).
        halvings: stride-2 layers before the blocks, undone after them (2 in the paper; 1 keeps
            images of 64 rows legible).
        norm_affine: whether instance norms learn scale and bias.
        conv_bias: whether normalised convolutions have biases; 'second': only the second one of
            each block. In front of a norm that is not affine they have no effect.
        end_bias: whether the output layer has a bias.
        alignment: where the stride-2 layers sit: 'torch' pads one row on every side, 'same' is
            TensorFlow's rule, shifted by one pixel.
        reflect: whether residual blocks pad by reflection, or with zeros.
        block_relu: whether a ReLU follows each residual sum.
        dropout: share of the units dropped inside residual blocks when training.
        initializer: of the convolutions.
        scale_init: of the norms' scales.
        dtype: type of the computation.
    """

    width: int = 64
    blocks: int = 9
    halvings: int = 2
    norm_affine: bool = False
    conv_bias: bool | Literal["second"] = True
    end_bias: bool = True
    alignment: Literal["torch", "same"] = "torch"
    reflect: bool = True
    block_relu: bool = False
    dropout: float = 0.0
    initializer: Init = normal(0.02)
    scale_init: Initializer = initializers.ones
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,C] in [-1,1] to [B,H,W,3] in (-1,1).

        Raises:
            ValueError: if H or W is no multiple of 2^halvings, or too small to be mirrored.
        """
        remedy = "Resize the images, or lower `halvings`."
        require_multiples(images, 2**self.halvings, remedy)
        common = {"initializer": self.initializer, "dtype": self.dtype}
        same = self.alignment == "same"
        down = common | {"stride": 2, "padding": "same" if same else 1}
        up = common | ({"padding": 0, "output_padding": -1} if same else {})

        def layer(x: jax.Array, kind: Any, features: int, number: int, **options) -> jax.Array:
            use_bias = self.conv_bias is True
            x = kind(features, use_bias=use_bias, name=f"model_{number}", **options)(x)
            norm = InstanceNorm(
                self.norm_affine, self.dtype, self.scale_init, name=f"model_{number + 1}"
            )
            return nn.relu(norm(x))

        stem = common | {"size": 7, "padding": 3, "reflect": True}
        x = layer(images, Conv, self.width, 1, **stem)
        for halving in range(1, self.halvings + 1):
            x = layer(x, Conv, self.width * 2**halving, 1 + 3 * halving, size=3, **down)
        number = 4 + 3 * self.halvings
        for block in range(self.blocks):
            x = ResidualBlock(
                reflect=self.reflect,
                norm_affine=self.norm_affine,
                conv_bias=self.conv_bias,
                final_relu=self.block_relu,
                dropout=self.dropout,
                scale_init=self.scale_init,
                names=BLOCK_NAMES,
                name=f"model_{number + block}",
                **common,
            )(x, train)
        number += self.blocks
        for halving in reversed(range(self.halvings)):
            x = layer(x, ConvTranspose, self.width * 2**halving, number, **up)
            number += 3
        name = f"model_{number + 1}"
        return nn.tanh(outward(Conv(3, use_bias=self.end_bias, name=name, **stem)(x)))


class PatchGAN(nn.Module):
    """Judges overlapping patches; the receptive field is 70x70 for three layers.

    Isola, Zhu, Zhou, Efros, "Image-to-Image Translation with Conditional Adversarial Networks",
    CVPR 2017. pix2pix's own has `norm='batch'`, `conv_bias=False`, `scale_init=around_one` and
    judges source and target, joined to 6 channels.

    Attributes:
        width: channels of the first layer; they double per layer up to 8 times this.
        layers: stride-2 layers (1 to 6 give receptive fields 16, 34, 70, 142, 286, 574).
        norm: 'instance' or 'batch'.
        norm_affine: whether instance norms learn scale and bias; batch norms always do.
        conv_bias: whether normalised convolutions have biases.
        end_bias: whether the first and the last layer, which have no norm, have biases.
        tail: padding of the last two layers, whose stride is 1. The others pad one row on every
            side, which for even sizes is TensorFlow's rule, too.
        initializer: of the convolutions.
        scale_init: of the norms' scales.
        dtype: type of the computation.
    """

    width: int = 64
    layers: int = 3
    norm: Literal["instance", "batch"] = "instance"
    norm_affine: bool = False
    conv_bias: bool = True
    end_bias: bool = True
    tail: tuple[ConvPadding, ConvPadding] = (1, 1)
    initializer: Init = normal(0.02)
    scale_init: Initializer = initializers.ones
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, *, features: bool = False) -> Any:
        """Maps [B,H,W,C] in [-1,1] to unbounded scores [B,h,w,1], one per patch.

        Args:
            images: of at least 24 x 24 pixels for three layers.
            train: whether batch norms use and update the statistics; others do not care.
            features: whether to return a `Judgement`, with the maps that leave the LeakyReLU of
                every normalised layer: what feature matching compares.

        Raises:
            ValueError: if the images are so small that no patch would be left.
        """
        _require_patch(images, self.layers, self.tail)
        maps = [nn.leaky_relu(self._conv(self.width, 0, self.end_bias, 2, 1)(images), 0.2)]
        for layer in range(1, self.layers + 1):
            stride, padding = (2, 1) if layer < self.layers else (1, self.tail[0])
            number, width = 3 * layer - 1, self.width * min(2**layer, 8)
            x = self._conv(width, number, self.conv_bias, stride, padding)(maps[-1])
            maps.append(nn.leaky_relu(self._norm(train, f"model_{number + 1}")(x), 0.2))
        number = 3 * self.layers + 2
        scores = outward(self._conv(1, number, self.end_bias, 1, self.tail[1])(maps[-1]))
        return Judgement(scores, tuple(map(outward, maps[1:]))) if features else scores

    def _conv(
        self, width: int, number: int, use_bias: bool, stride: int, padding: ConvPadding
    ) -> Conv:
        return Conv(
            width,
            4,
            stride,
            padding,
            use_bias=use_bias,
            initializer=self.initializer,
            dtype=self.dtype,
            name=f"model_{number}",
        )

    def _norm(self, train: bool, name: str) -> nn.Module:
        if self.norm == "batch":
            return batch_norm(train, name, self.dtype, scale_init=self.scale_init)
        return InstanceNorm(self.norm_affine, self.dtype, self.scale_init, name=name)


def _require_patch(images: jax.Array, layers: int, tail: tuple[ConvPadding, ConvPadding]) -> None:
    """Works back from one patch: a 4x4 layer of stride 1 takes 3 rows and adds its padding."""
    least = [1, 1]
    for padding in reversed(tail):
        added = (3, 3) if padding == "same" else [sum(pair) for pair in convolution.pairs(padding)]
        least = [max(n + 3 - more, 1) for n, more in zip(least, added, strict=True)]
    rows, columns = (2**layers * n for n in least)
    if images.shape[1] < rows or images.shape[2] < columns:
        raise ValueError(
            f"Images of {images.shape[1]}x{images.shape[2]} leave {layers} layers of a patch "
            f"discriminator no patch: enlarge them to {rows}x{columns} or more, or lower `layers`."
        )
