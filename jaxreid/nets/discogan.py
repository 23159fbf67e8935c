"""DiscoGAN's networks: a plain encoder-decoder and a discriminator that shows its features.

Kim, Cha, Kim, Lee, Kim, "Learning to Discover Cross-Domain Relations with Generative Adversarial
Networks", ICML 2017. Names are those of SKTBrain/DiscoGAN, so that its weights convert by name.
Its nets work on images in [0,1]; these take and return [-1,1] and convert at their borders.
"""

import flax.linen as nn
import jax
from flax.typing import Dtype

from jaxreid.nets.layers import (
    Conv,
    ConvTranspose,
    Judgement,
    batch_norm,
    outward,
    require_multiples,
    torch_default,
)

CODE = 100  # channels of the bottleneck


class Generator(nn.Module):
    """Translates images: four halvings, four doublings, 4x4 kernels, no skips, no residual blocks.

    Attributes:
        width: channels of the first layer (64 in the paper); they double to 8 times this.
        bottleneck: whether a 4x4 convolution without padding to 100 channels and its transposed
            one come between: 64x64 images then pass through one vector.
        dtype: type of the computation.
    """

    width: int = 64
    bottleneck: bool = False
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,3] in [-1,1] to the same.

        H and W are multiples of 16, and with a bottleneck at least 64.
        """
        _require_size(images, 64 if self.bottleneck else 16)
        common = {"use_bias": False, "initializer": torch_default(), "dtype": self.dtype}

        def norm(x: jax.Array, number: int) -> jax.Array:
            return batch_norm(train, f"main_{number}", self.dtype)(x)

        widths = [self.width * 2**i for i in range(4)]
        x = Conv(widths[0], 4, stride=2, padding=1, name="main_0", **common)((images + 1) / 2)
        x = nn.leaky_relu(x, 0.2)
        number = 2
        for features in widths[1:]:
            x = Conv(features, 4, stride=2, padding=1, name=f"main_{number}", **common)(x)
            x = nn.leaky_relu(norm(x, number + 1), 0.2)
            number += 3
        if self.bottleneck:
            x = Conv(CODE, 4, name=f"main_{number}", **common)(x)
            x = nn.leaky_relu(norm(x, number + 1), 0.2)
            number += 3
        plan = [(widths[-1], 1, 0)] * self.bottleneck + [(w, 2, 1) for w in widths[-2::-1]]
        for features, stride, padding in plan:
            name = f"main_{number}"
            x = ConvTranspose(features, 4, stride, padding, 0, name=name, **common)(x)
            x = nn.relu(norm(x, number + 1))
            number += 3
        x = ConvTranspose(3, 4, output_padding=0, name=f"main_{number}", **common)(x)
        return 2 * nn.sigmoid(outward(x)) - 1


class Discriminator(nn.Module):
    """Judges images and returns the maps that feature matching compares.

    The scores are logits; the original's sigmoid belongs to the loss.

    Attributes:
        width: channels of the first layer (64 in the paper); they double to 8 times this.
        dtype: type of the computation.
    """

    width: int = 64
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Judgement:
        """Maps [B,H,W,3] in [-1,1] to scores [B,H/16-3,W/16-3,1] and features.

        H and W are multiples of 16, at least 64; the features, after their leaky ReLU, are
        [B,H/4,W/4,2w], [B,H/8,W/8,4w] and [B,H/16,W/16,8w] for a width w.
        """
        _require_size(images, 64)
        common = {"use_bias": False, "initializer": torch_default(), "dtype": self.dtype}
        x = Conv(self.width, 4, stride=2, padding=1, name="conv1", **common)((images + 1) / 2)
        x = nn.leaky_relu(x, 0.2)
        features = []
        for layer in (2, 3, 4):
            width = self.width * 2 ** (layer - 1)
            x = Conv(width, 4, stride=2, padding=1, name=f"conv{layer}", **common)(x)
            x = nn.leaky_relu(batch_norm(train, f"bn{layer}", self.dtype)(x), 0.2)
            features.append(x)
        scores = Conv(1, 4, name="conv5", **common)(x)
        return Judgement(outward(scores), tuple(map(outward, features)))


def _require_size(images: jax.Array, least: int) -> None:
    require_multiples(images, 16, "Resize the images.")
    rows, columns = images.shape[1:3]
    if min(rows, columns) < least:
        raise ValueError(
            f"Images of {rows}x{columns} leave fewer than the 4x4 pixels that a 4x4 kernel without "
            f"padding needs: both sides must have at least {least}. Resize the images."
        )
