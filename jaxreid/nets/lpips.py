"""LPIPS 0.1, the learned perceptual distance of two images, over AlexNet's or VGG16's trunk.

Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric", CVPR 2018, and richzhang/PerceptualSimilarity 0.1.4, whose names the heads
carry. `python -m jaxreid.nets.weights.fetch lpips_alexnet` gets the weights, `convert.load` puts
them in; by other weights or another trunk it is a perceptual distance, but not LPIPS.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers

EPSILON = 1e-10

Taps = Sequence[jax.Array]


def distance_maps(first: Taps, second: Taps, heads: Taps | None = None) -> list[jax.Array]:
    r"""At every place of every tap, \(\sum_c w_c (u_c - v_c)^2\).

    \(u = f / (|f| + 10^{-10})\), with \(|f|\) over channels, are the unit features of one image,
    \(v\) those of the other. Symmetric; exactly 0 for equal features; at most
    \(2 \max_c w_c\) for features that are not negative. Gradients are finite where all channels
    are 0, too.

    Args:
        first: features of the first images, ``[B, h, w, C]`` for every tap.
        second: of the second images, of the same shapes.
        heads: weights ``[C]`` for every tap, not negative; None weighs all by 1, which is
            `lpips=False` of the PyTorch package.

    Returns:
        ``[B, h, w]`` for every tap.
    """
    heads = [jnp.ones(tap.shape[-1], tap.dtype) for tap in first] if heads is None else heads
    return [
        jnp.square(_unit(x) - _unit(y)) @ w for x, y, w in zip(first, second, heads, strict=True)
    ]


def distance(first: Taps, second: Taps, heads: Taps | None = None) -> jax.Array:
    """`distance_maps` averaged over places and added over taps: ``[B]``, one number per pair."""
    return sum((d.mean((1, 2)) for d in distance_maps(first, second, heads)), jnp.zeros(()))


def distance_image(
    first: Taps, second: Taps, heads: Taps | None, size: tuple[int, int]
) -> jax.Array:
    """`distance_maps` enlarged to ``size`` and added: ``[B, H, W]``, the package's `spatial=True`.

    Bilinear with half-pixel centres. Its mean is near `distance`, not equal to it.
    """
    maps = distance_maps(first, second, heads)
    return sum((jax.image.resize(d, (len(d), *size), "bilinear") for d in maps), jnp.zeros(()))


class LPIPS(nn.Module):
    """The distance of pairs of images, in float32 on every device.

    Attributes:
        trunk: images to taps: `trunks.AlexNetTrunk()` (the package's default) or
            `trunks.VGG16Trunk()`. Its parameters and the heads lie side by side, as in the files
            of weights: `features_0/kernel`, ..., `lin0/model_1/kernel`, ...
    """

    trunk: nn.Module

    def setup(self) -> None:
        """Puts the trunk's parameters on the level of the heads."""
        nn.share_scope(self, self.trunk)

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array, spatial: bool = False) -> jax.Array:
        """Distances of the images x and y, ``[B, H, W, 3]`` in [-1, 1], pair by pair.

        Symmetric, exactly 0 for equal images, not negative; it depends on the size of the images,
        so name the size beside the number.

        Returns:
            ``[B]``, or ``[B, H, W]`` if ``spatial``.

        Raises:
            ValueError: if the shapes differ, or the images are too small for the trunk.
        """
        if x.shape != y.shape:
            raise ValueError(
                f"Pairs of images are needed, but their shapes are {x.shape} and {y.shape}."
            )
        # GPUs and TPUs would round the factors of convolutions to 10 or 7 bits otherwise.
        with jax.default_matmul_precision("highest"):
            # One call each: in a joint batch equal images could differ in their last bits.
            first, second = self.trunk(x), self.trunk(y)
            heads = [Head(name=f"lin{i}")(tap) for i, tap in enumerate(first)]
            if spatial:
                return distance_image(first, second, heads, (x.shape[1], x.shape[2]))
            return distance(first, second, heads)


class Head(nn.Module):
    """The weights of one tap's channels, which start at 1."""

    @nn.compact
    def __call__(self, tap: jax.Array) -> jax.Array:
        """``[C]`` for a tap ``[B, h, w, C]``."""
        return Weights(name="model_1")(tap)


class Weights(nn.Module):
    """A 1x1 convolution to one channel, as its kernel."""

    @nn.compact
    def __call__(self, tap: jax.Array) -> jax.Array:
        """``[C]`` for a tap ``[B, h, w, C]``."""
        shape = (1, 1, tap.shape[-1], 1)
        return self.param("kernel", initializers.ones, shape, jnp.float32).reshape(-1)


def _unit(x: jax.Array) -> jax.Array:
    squares = jnp.square(x).sum(-1, keepdims=True)
    # The root's slope at 0 is infinite, and the product with a slope of 0 not a number.
    positive = squares > 0
    norm = jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)
    return x / (norm + EPSILON)
