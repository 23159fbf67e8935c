"""Layers with PyTorch's conventions: explicit padding, epsilons, momenta and initialisers.

Parameters are float32; `dtype` is the type of the computation. Kernels are HWIO, images NHWC.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer

from jaxreid.nets import convolution

EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9  # the share of the old value; PyTorch's 0.1 is the share of the new one


class Init(NamedTuple):
    """How a layer's kernel and bias start; `bias` maps the layer's fan-in to an initialiser."""

    kernel: Initializer
    bias: Callable[[int], Initializer] = lambda fan_in: initializers.zeros


def normal(std: float) -> Init:
    """N(0, std) kernels and zero biases: 0.02 in GANs, 0.001 in classifiers."""
    return Init(initializers.normal(std))


def torch_default() -> Init:
    """U(-b, b) with b = 1/sqrt(fan_in) for kernel and bias, what PyTorch does unasked."""

    def uniform(fan_in: int) -> Initializer:
        bound = fan_in**-0.5
        return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)

    return Init(initializers.variance_scaling(1 / 3, "fan_in", "uniform"), uniform)


def kaiming_fan_out() -> Init:
    """N(0, sqrt(2 / fan_out)) kernels and zero biases (He et al. 2015)."""
    return Init(initializers.variance_scaling(2.0, "fan_out", "normal"))


class Conv(nn.Module):
    """Square convolution; `padding` is PyTorch's: rows and columns added on every side.

    Attributes:
        features: output channels.
        size: rows and columns of the kernel.
        stride: step in both directions.
        padding: rows and columns added on every side.
        reflect: pad by reflection instead of zeros.
        use_bias: whether a bias per output channel is added.
        initializer: of kernel and bias.
        dtype: type of the computation, by default that of the input and parameters together.
    """

    features: int
    size: int
    stride: int = 1
    padding: int = 0
    reflect: bool = False
    use_bias: bool = True
    initializer: Init = torch_default()
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B,H,W,I] to [B,H',W',O] with H' = (H + 2 padding - size) // stride + 1."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        padding = self.padding
        if self.reflect:
            x, padding = reflect_pad(x, padding), 0
        return _with_bias(self, shape, x, lambda x, k: convolution.conv(x, k, self.stride, padding))


class ConvTranspose(nn.Module):
    """Transposed convolution to twice the size: 3x3, stride 2, padding 1, output padding 1.

    The kernel [3,3,I,O] has Flax's orientation: PyTorch's flipped in space.
    """

    features: int
    use_bias: bool = True
    initializer: Init = normal(0.02)
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B,H,W,I] to [B,2H,2W,O]."""
        shape = (3, 3, x.shape[-1], self.features)
        return _with_bias(self, shape, x, convolution.conv_transpose)


def _with_bias(
    layer: Any, shape: tuple[int, ...], x: jax.Array, operation: Callable[..., jax.Array]
) -> jax.Array:
    """Declares the layer's parameters, casts to its dtype and applies the operation."""
    fan_in = shape[0] * shape[1] * shape[2]
    kernel = layer.param("kernel", layer.initializer.kernel, shape, jnp.float32)
    bias = (
        layer.param("bias", layer.initializer.bias(fan_in), shape[-1:], jnp.float32)
        if layer.use_bias
        else None
    )
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=layer.dtype)
    y = operation(x, kernel)
    return y if bias is None else y + bias


def reflect_pad(x: jax.Array, amount: int) -> jax.Array:
    """PyTorch's ReflectionPad2d on [B,H,W,C]: mirrors without repeating the edge."""
    return jnp.pad(x, ((0, 0), (amount, amount), (amount, amount), (0, 0)), mode="reflect")


class InstanceNorm(nn.Module):
    """Normalises each image and channel over its pixels, in float32 (Ulyanov et al. 2016).

    The variance takes two passes: E[x^2] - E[x]^2 loses all digits when the mean is large.
    """

    affine: bool = False
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B,H,W,C] to the same shape."""
        y = jnp.asarray(x, jnp.float32)
        y = y - y.mean((1, 2), keepdims=True)
        y = y * jax.lax.rsqrt(jnp.square(y).mean((1, 2), keepdims=True) + EPSILON)
        if self.affine:
            y = y * self.param("scale", initializers.ones, x.shape[-1:], jnp.float32)
            y = y + self.param("bias", initializers.zeros, x.shape[-1:], jnp.float32)
        return y.astype(self.dtype or x.dtype)


def max_pool(x: jax.Array) -> jax.Array:
    """PyTorch's MaxPool2d(3, stride=2, padding=1) on [B,H,W,C]."""
    pads = ((0, 0), (1, 1), (1, 1), (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)


def batch_norm(
    train: bool, name: str, dtype: Dtype | None = None, *, use_bias: bool = True
) -> nn.BatchNorm:
    """PyTorch's BatchNorm: batch statistics when training, running ones otherwise.

    The running variance keeps Flax's biased estimate; PyTorch stores n/(n-1) times as much.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=BATCH_NORM_MOMENTUM,
        epsilon=EPSILON,
        use_bias=use_bias,
        dtype=dtype,
        name=name,
    )
