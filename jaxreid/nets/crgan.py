"""CR-GAN's networks: the dual-path conditional generator and the camera classifier.

Chen, Zhu, Gong, "Instance-Guided Context Rendering for Cross-Domain Person Re-Identification",
ICCV 2019. No code was published: the flow (two short encoders, a U-Net with residual blocks, an
image and a weight map that are composed with the source) is the paper's, the layer sizes are ours.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype

from jaxreid.nets.layers import (
    Conv,
    ConvTranspose,
    InstanceNorm,
    ResidualBlock,
    normal,
    outward,
    require_multiples,
)

# The generator halves three times, and reflection needs two pixels then.
SIZES = "Resize to 64x32, 128x64 or 256x128, for example."


class Rendering(NamedTuple):
    """A generator's image X_G = X_C X_S + (1 - X_C) X_R, and what it was composed of.

    Attributes:
        image: X_G [B,H,W,3] in [-1,1].
        painted: X_R [B,H,W,3] in [-1,1], what the network painted.
        weight: X_C [B,H,W,1] in [0,1], the share of the source X_S at each pixel.
    """

    image: jax.Array
    painted: jax.Array
    weight: jax.Array


class ContextGenerator(nn.Module):
    """Renders the source person into the context of a target image.

    The source and the target's background go through short encoders of their own; the fused maps
    pass a U-Net of two more halvings with residual blocks at an eighth of the size. The person of
    the target is masked out before anything sees it.

    Attributes:
        width: channels at half the size (64 for 256x128), even.
        blocks: residual blocks.
        dtype: type of the computation.
    """

    width: int = 64
    blocks: int = 6
    dtype: Dtype | None = None

    @nn.compact
    def __call__(
        self, source: jax.Array, target: jax.Array, background: jax.Array, train: bool = False
    ) -> Rendering:
        """Composes images [B,H,W,3]; H and W are multiples of 16.

        Args:
            source: images [B,H,W,3] in [-1,1] whose persons are kept.
            target: images [B,H,W,3] in [-1,1] that give the context.
            background: mask [B,H,W,1] of the target: 1 on background, 0 on its person.
            train: nothing behaves otherwise in training.
        """
        del train
        require_multiples(source, 16, SIZES)
        context = jnp.concatenate([target * background, background], axis=-1)
        first = self._layer(source, self.width // 2, 7, "identity_0", reflect=True)
        context = self._layer(context, self.width // 2, 7, "context_0", reflect=True)
        x = self._layer(first, self.width, 4, "identity_1", stride=2)
        context = self._layer(context, self.width, 4, "context_1", stride=2)
        u1 = self._layer(jnp.concatenate([x, context], axis=-1), 2 * self.width, 1, "fuse")
        u2 = self._layer(u1, 4 * self.width, 4, "down1", stride=2)
        x = self._layer(u2, 4 * self.width, 4, "down2", stride=2)
        for i in range(self.blocks):
            x = ResidualBlock(norm_affine=True, conv_bias=False, dtype=self.dtype, name=f"res_{i}")(
                x
            )
        x = self._up(x, 4 * self.width, u2, "up1")
        x = self._layer(x, 4 * self.width, 3, "merge1", reflect=True)
        x = self._up(x, 2 * self.width, u1, "up2")
        x = self._layer(x, 2 * self.width, 3, "merge2", reflect=True)
        x = self._up(x, self.width, first, "up3")
        out = Conv(
            4, 7, padding=3, reflect=True, initializer=normal(0.02), dtype=self.dtype, name="out"
        )(x)
        out = outward(out)
        return compose(source, nn.tanh(out[..., :3]), nn.sigmoid(out[..., 3:]))

    def _layer(
        self,
        x: jax.Array,
        features: int,
        size: int,
        name: str,
        *,
        stride: int = 1,
        reflect: bool = False,
    ) -> jax.Array:
        """Convolution that keeps the size (but for the stride), affine instance norm, ReLU."""
        x = Conv(
            features,
            size,
            stride,
            padding=(size - 1) // 2,
            reflect=reflect,
            use_bias=False,
            initializer=normal(0.02),
            dtype=self.dtype,
            name=name,
        )(x)
        return nn.relu(InstanceNorm(True, self.dtype, name=f"{name}_norm")(x))

    def _up(self, x: jax.Array, features: int, skip: jax.Array, name: str) -> jax.Array:
        """Transposed convolution to twice the size, norm and ReLU, joined with the skip."""
        x = ConvTranspose(features, 4, 2, 1, 0, use_bias=False, dtype=self.dtype, name=name)(x)
        x = nn.relu(InstanceNorm(True, self.dtype, name=f"{name}_norm")(x))
        return jnp.concatenate([x, skip], axis=-1)


class CameraClassifier(nn.Module):
    """C_cam: which camera took an image; four 4x4 convolutions of stride 2 and a linear layer.

    Attributes:
        cameras: cameras of the target set.
        width: channels of the first convolution; they double per layer.
        dtype: type of the computation.
    """

    cameras: int
    width: int = 64
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,3] in [-1,1] to float32 logits [B,K]; H and W are multiples of 16."""
        del train  # instance norms behave alike in training and evaluation
        require_multiples(images, 16, SIZES)
        x = images
        for i in range(4):
            x = Conv(
                self.width * 2**i,
                4,
                stride=2,
                padding=1,
                use_bias=i == 0,
                initializer=normal(0.02),
                dtype=self.dtype,
                name=f"conv{i}",
            )(x)
            x = InstanceNorm(True, self.dtype, name=f"norm{i}")(x) if i else x
            x = nn.leaky_relu(x, 0.2)
        pooled = x.mean((1, 2))
        init = normal(0.02).kernel
        logits = nn.Dense(self.cameras, kernel_init=init, dtype=self.dtype, name="classifier")
        return logits(pooled).astype(jnp.float32)


def compose(source: jax.Array, painted: jax.Array, weight: jax.Array) -> Rendering:
    """X_G = X_C X_S + (1 - X_C) X_R; where X_C is 1 this is the source, bit for bit."""
    return Rendering(weight * source + (1 - weight) * painted, painted, weight)
