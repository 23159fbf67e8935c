"""The Inception-v3 of 2015-12-05 that FID is defined by, as pytorch-fid rebuilt it.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception Architecture for Computer
Vision", CVPR 2016; Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local
Nash Equilibrium", NIPS 2017. It is not torchvision's: average pools do not count padded zeros, and
the last block takes the maximum instead. Names are torchvision's, so that the published
`pt_inception-2015-12-05-6726825d.pth` converts by name; no package ships that file.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxreid.nets.layers import Conv, batch_norm
from jaxreid.nets.pooling import average

EPSILON = 1e-3
SIZE = (299, 299)
LEAST = 75
LEVELS = (64, 192, 768, 2048)

Layer = tuple[str, int, tuple[int, int]]  # name, channels, kernel
Branch = tuple[tuple[Layer, ...], ...]  # steps; two layers in the last step are a fork
Pool = Literal["average", "max", "halve"]
Block = tuple[tuple[Branch, ...], Pool]


def pytorch_fid_input(images: jax.Array) -> jax.Array:
    """[B,H,W,3] in [-1,1] to [B,299,299,3] in [-1,1], as pytorch-fid resizes.

    Bilinear with half-pixel centres and no antialiasing, so that large images alias. Other packages
    resize otherwise, and their distances differ: name the convention beside the number.
    """
    return jax.image.resize(
        images, (len(images), *SIZE, images.shape[-1]), "bilinear", antialias=False
    )


class FIDInception(nn.Module):
    """Images to four levels of features; computes in float32 on every device."""

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Maps [B,H,W,3] in [-1,1], see `pytorch_fid_input`, to features [B,C], C in `LEVELS`.

        They are averages over places of the first and second max pool, of the input of the
        auxiliary classifier (which is not here) and of the last block; pytorch-fid's `dims`.

        Raises:
            ValueError: if a side is below 75 pixels.
        """
        if min(images.shape[1:3]) < LEAST:
            raise ValueError(
                f"Inception-v3 needs images of {LEAST}x{LEAST} pixels or more, but these have "
                f"{images.shape[1]}x{images.shape[2]}: pytorch_fid_input enlarges them."
            )
        with jax.default_matmul_precision("highest"):  # GPUs would use TF32 otherwise
            x = ConvNorm(32, (3, 3), 2, False, name="Conv2d_1a_3x3")(images)
            x = ConvNorm(32, (3, 3), padded=False, name="Conv2d_2a_3x3")(x)
            x = ConvNorm(64, (3, 3), name="Conv2d_2b_3x3")(x)
            x = first = nn.max_pool(x, (3, 3), (2, 2))
            x = ConvNorm(80, (1, 1), name="Conv2d_3b_1x1")(x)
            x = ConvNorm(192, (3, 3), padded=False, name="Conv2d_4a_3x3")(x)
            x = second = nn.max_pool(x, (3, 3), (2, 2))
            for letter, block in zip("bcd", MIXED_5, strict=True):
                x = Mixed(*block, name=f"Mixed_5{letter}")(x)
            for letter, block in zip("abcde", MIXED_6, strict=True):
                x = Mixed(*block, name=f"Mixed_6{letter}")(x)
            third = x
            for letter, block in zip("abc", MIXED_7, strict=True):
                x = Mixed(*block, name=f"Mixed_7{letter}")(x)
            return average(first), average(second), average(third), average(x)


class Mixed(nn.Module):
    """Branches side by side, joined by their channels, with a pool as the last.

    Attributes:
        branches: what each convolves, one layer after the other.
        pool: 'average' or 'max' of 3x3 places, of those inside the map only; or 'halve', the
            maximum with stride 2, where the last layer of every branch has stride 2 as well.
    """

    branches: tuple[Branch, ...]
    pool: Pool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B,H,W,I] to [B,H,W,O], or, halved without padding, to half the size."""
        outputs = []
        *convolved, last = self.branches
        for branch in convolved:
            outputs += self._branch(x, branch)
        pooled = _pooled(x, self.pool)
        return jnp.concatenate([*outputs, *self._branch(pooled, last)], axis=-1)

    def _branch(self, x: jax.Array, branch: Branch) -> list[jax.Array]:
        outputs = [x]
        for number, step in enumerate(branch, start=1):
            halved = self.pool == "halve" and number == len(branch)
            outputs = [
                ConvNorm(channels, size, 2 if halved else 1, not halved, name=name)(outputs[0])
                for name, channels, size in step
            ]
        return outputs


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm by its stored statistics, ReLU.

    Attributes:
        features: output channels.
        size: rows and columns of the kernel.
        stride: in both directions.
        padded: whether zeros around the map keep its size (at stride 1).
    """

    features: int
    size: tuple[int, int]
    stride: int = 1
    padded: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B,H,W,I] to [B,H',W',O]."""
        rows, columns = ((n // 2 if self.padded else 0) for n in self.size)
        padding = ((rows, rows), (columns, columns))
        x = Conv(self.features, self.size, self.stride, padding, use_bias=False, name="conv")(x)
        return nn.relu(batch_norm(False, "bn", epsilon=EPSILON)(x))


def _pooled(x: jax.Array, pool: Pool) -> jax.Array:
    if pool == "halve":
        return nn.max_pool(x, (3, 3), (2, 2))
    if pool == "max":
        return nn.max_pool(x, (3, 3), (1, 1), "SAME")
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


def _chain(name: str, *layers: tuple[int, tuple[int, int]]) -> Branch:
    """Layers called `name_1`, `name_2`, ...; a single one has no number."""
    if len(layers) == 1:
        return (((name, *layers[0]),),)
    return tuple(((f"{name}_{i}", *layer),) for i, layer in enumerate(layers, start=1))


def _fork(name: str, channels: int) -> tuple[Layer, ...]:
    return (f"{name}a", channels, (1, 3)), (f"{name}b", channels, (3, 1))


_1, _3, _5, _ROW, _COLUMN = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


def _a(pooled: int) -> Block:
    return (
        _chain("branch1x1", (64, _1)),
        _chain("branch5x5", (48, _1), (64, _5)),
        _chain("branch3x3dbl", (64, _1), (96, _3), (96, _3)),
        _chain("branch_pool", (pooled, _1)),
    ), "average"


def _c(inner: int) -> Block:
    back_and_forth = [(inner, _COLUMN), (inner, _ROW), (inner, _COLUMN), (192, _ROW)]
    return (
        _chain("branch1x1", (192, _1)),
        _chain("branch7x7", (inner, _1), (inner, _ROW), (192, _COLUMN)),
        _chain("branch7x7dbl", (inner, _1), *back_and_forth),
        _chain("branch_pool", (192, _1)),
    ), "average"


def _e(pool: Pool) -> Block:
    return (
        _chain("branch1x1", (320, _1)),
        ((("branch3x3_1", 384, _1),), _fork("branch3x3_2", 384)),
        (*_chain("branch3x3dbl", (448, _1), (384, _3)), _fork("branch3x3dbl_3", 384)),
        _chain("branch_pool", (192, _1)),
    ), pool


_B: Block = (
    (
        _chain("branch3x3", (384, _3)),
        _chain("branch3x3dbl", (64, _1), (96, _3), (96, _3)),
        (),
    ),
    "halve",
)
_D: Block = (
    (
        _chain("branch3x3", (192, _1), (320, _3)),
        _chain("branch7x7x3", (192, _1), (192, _ROW), (192, _COLUMN), (192, _3)),
        (),
    ),
    "halve",
)
MIXED_5 = (_a(32), _a(64), _a(64))
MIXED_6 = (_B, *map(_c, (128, 160, 160, 192)))
MIXED_7 = (_D, _e("average"), _e("max"))
