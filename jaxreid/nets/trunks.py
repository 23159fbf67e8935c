"""The convolutions of AlexNet and VGG16 with a tap after each stage, for perceptual distances.

Names are those of torchvision (`features.0.weight` is `features_0/kernel`), so its weights convert
by name; `python -m jaxreid.nets.weights.fetch` gets those of LPIPS. Images are [B,H,W,3] in [-1,1];
ImageNet's mean and deviation are taken out inside, which is LPIPS's scaling layer.
"""

import flax.linen as nn
import jax
from flax.typing import Dtype

from jaxreid.nets.layers import Conv
from jaxreid.nets.resnet import imagenet_normalise

ALEXNET = (  # torchvision's number, channels in units of the width, kernel, stride, padding
    (0, 1, 11, 4, 2),
    (3, 3, 5, 1, 2),
    (6, 6, 3, 1, 1),
    (8, 4, 3, 1, 1),
    (10, 4, 3, 1, 1),
)
VGG16 = (  # torchvision's number of every stage's first convolution, stages, channels likewise
    (0, 2, 1),
    (5, 2, 2),
    (10, 3, 4),
    (17, 3, 8),
    (24, 3, 8),
)


class AlexNetTrunk(nn.Module):
    """Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014.

    Attributes:
        width: channels of the first convolution (64); the others have 3, 6, 4 and 4 times as many.
        dtype: type of the computation.
    """

    width: int = 64
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Maps [B,H,W,3] to the outputs of relu1 to relu5, [B,h,w,C] each.

        Raises:
            ValueError: if the images are too small for two poolings of maps at a quarter of
                their size.
        """
        _require(images, 31)
        x, taps = imagenet_normalise(images), []
        for number, channels, size, stride, padding in ALEXNET:
            if number in (3, 6):
                x = nn.max_pool(x, (3, 3), (2, 2))
            x = nn.relu(_conv(self, number, channels, size, stride, padding)(x))
            taps.append(x)
        return tuple(taps)


class VGG16Trunk(nn.Module):
    """Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition".

    ICLR 2015, configuration D, all kernels 3x3.

    Attributes:
        width: channels of the first stage (64); the others have 2, 4, 8 and 8 times as many.
        dtype: type of the computation.
    """

    width: int = 64
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, images: jax.Array) -> tuple[jax.Array, ...]:
        """Maps [B,H,W,3] to the outputs of relu1_2, 2_2, 3_3, 4_3 and 5_3, [B,h,w,C] each.

        Raises:
            ValueError: if the images are too small for four halvings.
        """
        _require(images, 16)
        x, taps = imagenet_normalise(images), []
        for first, convolutions, channels in VGG16:
            x = nn.max_pool(x, (2, 2), (2, 2)) if taps else x
            for i in range(convolutions):
                x = nn.relu(_conv(self, first + 2 * i, channels)(x))
            taps.append(x)
        return tuple(taps)


def _conv(
    trunk: AlexNetTrunk | VGG16Trunk,
    number: int,
    channels: int,
    size: int = 3,
    stride: int = 1,
    padding: int = 1,
) -> Conv:
    features, name = trunk.width * channels, f"features_{number}"
    return Conv(features, size, stride, padding, dtype=trunk.dtype, name=name)


def _require(images: jax.Array, least: int) -> None:
    if min(images.shape[1:3]) < least:
        raise ValueError(
            f"This trunk needs images of {least}x{least} pixels or more, but these have "
            f"{images.shape[1]}x{images.shape[2]}: enlarge them."
        )
