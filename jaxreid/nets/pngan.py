"""PN-GAN's networks: a generator that redraws a person in a given pose, and its discriminator.

Qian, Fu, Xiang, Wang, Qiu, Wu, Jiang, Xue, "Pose-Normalized Image Generation for Person
Re-identification", ECCV 2018, as in its code (naiq/PN_GAN): CycleGAN's networks with other borders.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from jaxreid.nets.cyclegan import PatchGAN, ResnetGenerator
from jaxreid.nets.layers import torch_default


class Generator(nn.Module):
    """Redraws the person of an image in the pose of a drawn skeleton.

    CycleGAN's generator on image and pose drawing joined to 6 channels; its residual blocks pad
    with zeros and end in a ReLU, and its output layer has no bias. It has CycleGAN's parameter
    names. All layers start as PyTorch's do unasked.

    Attributes:
        width: channels of the stem.
        blocks: residual blocks.
        halvings: stride-2 layers before the blocks, undone after them (2 in the paper).
        dtype: type of the computation.
    """

    width: int = 64
    blocks: int = 9
    halvings: int = 2
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, pose: jax.Array, train: bool = False) -> jax.Array:
        """Maps images [B,H,W,3] in [-1,1], and poses, to images in (-1,1).

        ``pose``: drawings [B,H,W,3] in [-1,1], or heat maps [B,H,W,18] in [0,1].

        Raises:
            ValueError: if H or W is no multiple of 2^halvings, or too small to be mirrored.
        """
        net = ResnetGenerator(
            self.width,
            self.blocks,
            self.halvings,
            end_bias=False,
            reflect=False,
            block_relu=True,
            initializer=torch_default(),
            dtype=self.dtype,
        )
        nn.share_scope(self, net)
        return net(jnp.concatenate([images, pose], axis=-1), train)


class Discriminator(nn.Module):
    """PatchGAN on single images, without padding in its last two layers: 26x10 scores at 256x128.

    The receptive field is 70x70. The first and the last layer have no bias. All layers start as
    PyTorch's do unasked.

    Attributes:
        width: channels of the first layer.
        layers: stride-2 layers (3 in the paper).
        dtype: type of the computation.
    """

    width: int = 64
    layers: int = 3
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,3] in [-1,1] to unbounded scores [B,h,w,1], h = H / 2^layers - 6.

        Raises:
            ValueError: if no patch would be left: below 56 rows or columns for three layers.
        """
        net = PatchGAN(
            self.width,
            self.layers,
            end_bias=False,
            tail=(0, 0),
            initializer=torch_default(),
            dtype=self.dtype,
        )
        nn.share_scope(self, net)
        return net(images, train)
