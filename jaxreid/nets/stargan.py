"""StarGAN's networks: one generator for all domains, a discriminator that also names the domain.

Choi, Choi, Kim, Ha, Kim, Choo, "StarGAN: Unified Generative Adversarial Networks for Multi-Domain
Image-to-Image Translation", CVPR 2018. In re-ID the domains are cameras. Layer numbers (`main_3`)
are those of yunjey/stargan, so that its weights convert by name.
"""

import flax.linen as nn
import jax
from flax.typing import Dtype

from jaxreid.nets.layers import (
    Conv,
    ConvTranspose,
    InstanceNorm,
    ResidualBlock,
    join_planes,
    outward,
    require_multiples,
    torch_default,
)

BLOCK_NAMES = ("main_0", "main_1", "main_3", "main_4")
SLOPE = 0.01  # of the discriminator's leaky ReLU; other GANs take 0.2


class Generator(nn.Module):
    """Translates images to the domain that a label names, for every pair of domains at once.

    The label joins the image as constant planes. All padding is with zeros, and must be: padded by
    reflection the planes stay constant, add a constant to every channel, and the instance norm
    removes it. No convolution has a bias. Norms use each image's own statistics, always: the
    original declares running ones and never uses them.

    Attributes:
        width: channels of the stem (64 in the paper).
        blocks: residual blocks (6 in the paper).
        halvings: stride-2 layers before the blocks, undone after them (2 in the paper).
        dtype: type of the computation.
    """

    width: int = 64
    blocks: int = 6
    halvings: int = 2
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, labels: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,3] in [-1,1] and one-hot target labels [B,K] to [B,H,W,3] in [-1,1].

        H and W are multiples of 2^halvings.
        """
        require_multiples(images, 2**self.halvings, "Resize the images or take fewer `halvings`.")
        common = {"use_bias": False, "initializer": torch_default(), "dtype": self.dtype}

        def norm_relu(x: jax.Array, number: int) -> jax.Array:
            return nn.relu(InstanceNorm(True, self.dtype, name=f"main_{number}")(x))

        x = join_planes(images, labels)
        x = norm_relu(Conv(self.width, 7, padding=3, name="main_0", **common)(x), 1)
        number = 3
        for halving in range(1, self.halvings + 1):
            features = self.width * 2**halving
            x = Conv(features, 4, stride=2, padding=1, name=f"main_{number}", **common)(x)
            x = norm_relu(x, number + 1)
            number += 3
        for _ in range(self.blocks):
            x = ResidualBlock(
                reflect=False,
                norm_affine=True,
                conv_bias=False,
                initializer=torch_default(),
                names=BLOCK_NAMES,
                dtype=self.dtype,
                name=f"main_{number}",
            )(x, train)
            number += 1
        for halving in reversed(range(self.halvings)):
            features, name = self.width * 2**halving, f"main_{number}"
            x = ConvTranspose(features, 4, output_padding=0, name=name, **common)(x)
            x = norm_relu(x, number + 1)
            number += 3
        return nn.tanh(outward(Conv(3, 7, padding=3, name=f"main_{number}", **common)(x)))


class Discriminator(nn.Module):
    """Judges patches and classifies the domain; no norm, as a gradient penalty asks for.

    The class head's kernel covers the whole map that the trunk leaves, as in HHL's 256x128 version
    (Zhong et al., ECCV 2018), so parameters fit one image size.

    Attributes:
        domains: domains K, i.e. cameras.
        width: channels of the first layer; they double per layer.
        layers: stride-2 layers of the trunk (6 in the paper).
        dtype: type of the computation.
    """

    domains: int
    width: int = 64
    layers: int = 6
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Maps [B,H,W,3] in [-1,1] to unbounded scores [B,h,w,1] and class logits [B,K].

        H and W are multiples of 2^layers; h = H / 2^layers.
        """
        del train  # there is no norm or dropout
        require_multiples(images, 2**self.layers, "Resize the images or take fewer `layers`.")
        common = {"initializer": torch_default(), "dtype": self.dtype}
        x = images
        for layer in range(self.layers):
            features, name = self.width * 2**layer, f"main_{2 * layer}"
            x = Conv(features, 4, stride=2, padding=1, name=name, **common)(x)
            x = nn.leaky_relu(x, SLOPE)
        common["use_bias"] = False
        scores = Conv(1, 3, padding=1, name="conv1", **common)(x)
        size = (x.shape[1], x.shape[2])
        logits = Conv(self.domains, size, name="conv2", **common)(x)[:, 0, 0]
        return outward(scores), outward(logits)
