"""Layers with PyTorch's conventions: explicit padding, epsilons, momenta and initialisers.

Parameters are float32; `dtype` is the type of the computation. Kernels are HWIO, images NHWC.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers
from flax.linen.dtypes import promote_dtype
from flax.typing import Dtype, Initializer

from jaxreid.nets import convolution

EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9  # the share of the old value; PyTorch's 0.1 is the share of the new one
ConvPadding = convolution.Padding | Literal["same"]


class Judgement(NamedTuple):
    """What a discriminator that shows its features returns.

    Attributes:
        scores: [B,h,w,1], one per place; logits.
        features: maps [B,...] that feature matching compares.
    """

    scores: jax.Array
    features: tuple[jax.Array, ...]


def outward(x: jax.Array) -> jax.Array:
    """What leaves a network: at least float32, whatever it computed in, as losses are."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


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


def truncated_normal(std: float) -> Init:
    """N(0, std) cut at two `std` and not rescaled, zero biases: TensorFlow's truncated normal."""
    return Init(initializers.truncated_normal(std))


def xavier_uniform() -> Init:
    """U(-b, b) with b = sqrt(6 / (fan_in + fan_out)), zero biases: TensorFlow's slim default."""
    return Init(initializers.xavier_uniform())


def around_one(
    key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None
) -> jax.Array:
    """N(1, 0.02): how pix2pix starts the scales of its norms."""
    del out_sharding
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


class Conv(nn.Module):
    """Convolution with PyTorch's padding, or TensorFlow's 'same'.

    Attributes:
        features: output channels.
        size: rows and columns of the kernel: one number, or two.
        stride: step in both directions.
        padding: rows and columns added on every side; or ((top, bottom), (left, right)); or 'same'
            for TensorFlow's rule (output = input / stride, rounded up; the odd row comes last).
        reflect: pad by reflection instead of zeros.
        dilation: distance between the taps of the kernel.
        groups: parts of the channels that are convolved apart; as many as channels is depthwise.
        use_bias: whether a bias per output channel is added.
        initializer: of kernel and bias.
        dtype: type of the computation, by default that of the input and parameters together.
    """

    features: int
    size: int | tuple[int, int]
    stride: int = 1
    padding: ConvPadding = 0
    reflect: bool = False
    dilation: int = 1
    groups: int = 1
    use_bias: bool = True
    initializer: Init = torch_default()
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B,H,W,I] to [B,H',W',O].

        H' = (H + top + bottom - dilation (size - 1) - 1) // stride + 1.
        """
        size = (self.size, self.size) if isinstance(self.size, int) else self.size
        shape = (*size, x.shape[-1] // self.groups, self.features)
        padding = self.padding
        if padding == "same":
            rows, columns = x.shape[1:3]
            padding = convolution.same_pads(rows, columns, size, self.stride, self.dilation)
        elif self.reflect:
            x, padding = reflect_pad(x, padding), 0

        def operation(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return convolution.conv(x, kernel, self.stride, padding, self.dilation, self.groups)

        return _with_bias(self, shape, x, operation)


class ConvTranspose(nn.Module):
    """Transposed convolution, by default to twice the size.

    The kernel [k,k,I,O] has Flax's orientation: PyTorch's flipped in space.

    Attributes:
        features: output channels.
        size: rows and columns of the kernel.
        stride: factor of enlargement.
        padding: PyTorch's: the output loses so many rows and columns on every side.
        output_padding: PyTorch's: so many rows and columns more at the end. TensorFlow's SAME is
            padding 1 with output padding -1 for k5 and padding 0 with -1 for k3, both at stride 2.
        use_bias: whether a bias per output channel is added.
        initializer: of kernel and bias.
        dtype: type of the computation.
    """

    features: int
    size: int = 3
    stride: int = 2
    padding: int = 1
    output_padding: int = 1
    use_bias: bool = True
    initializer: Init = normal(0.02)
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B,H,W,I] to [B,H',W',O].

        H' = (H - 1) stride - 2 padding + size + output_padding.
        """
        shape = (self.size, self.size, x.shape[-1], self.features)

        def operation(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return convolution.conv_transpose(
                x, kernel, self.stride, self.padding, self.output_padding
            )

        return _with_bias(self, shape, x, operation)


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


def reflect_pad(x: jax.Array, padding: convolution.Padding) -> jax.Array:
    """PyTorch's ReflectionPad2d on [B,H,W,C]: mirrors without repeating the edge."""
    pads = convolution.pairs(padding)
    if any(max(pair) >= length for pair, length in zip(pads, x.shape[1:3], strict=True)):
        raise ValueError(
            f"Maps of {x.shape[1]}x{x.shape[2]} are too small to be padded by reflection of "
            f"{pads}: use larger images, or a network that halves them less often."
        )
    return jnp.pad(x, ((0, 0), *pads, (0, 0)), mode="reflect")


def require_multiples(images: jax.Array, factor: int, remedy: str) -> None:
    """Raises ValueError, while tracing, unless H and W of [B,H,W,C] are multiples of `factor`."""
    rows, columns = images.shape[1:3]
    if min(rows, columns) < factor or rows % factor or columns % factor:
        raise ValueError(
            f"Images of {rows}x{columns} do not fit this network: both sides must be multiples of "
            f"{factor}. {remedy}"
        )


def join_planes(maps: jax.Array, labels: jax.Array) -> jax.Array:
    """Joins labels [B,K], as K constant planes, to the channels of [B,H,W,C]."""
    if labels.ndim != 2:
        raise ValueError(
            f"Labels are one-hot rows [B,K], but have shape {labels.shape}; jax.nn.one_hot makes "
            "them from numbers."
        )
    planes = jnp.broadcast_to(labels[:, None, None], (*maps.shape[:3], labels.shape[-1]))
    return jnp.concatenate([maps, planes.astype(maps.dtype)], axis=-1)


class InstanceNorm(nn.Module):
    """Normalises each image and channel over its pixels, in float32 (Ulyanov et al. 2016).

    The variance takes two passes: E[x^2] - E[x]^2 loses all digits when the mean is large.

    Attributes:
        affine: whether a scale and an offset per channel are learned.
        dtype: type of the output.
        scale_init: of the scale: ones, or `around_one` in TensorFlow's and Lua's CycleGANs.
    """

    affine: bool = False
    dtype: Dtype | None = None
    scale_init: Initializer = initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B,H,W,C] to the same shape."""
        y = jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))
        y = y - y.mean((1, 2), keepdims=True)
        y = y * jax.lax.rsqrt(jnp.square(y).mean((1, 2), keepdims=True) + EPSILON)
        if self.affine:
            y = y * self.param("scale", self.scale_init, x.shape[-1:], jnp.float32)
            y = y + self.param("bias", initializers.zeros, x.shape[-1:], jnp.float32)
        return y.astype(self.dtype or x.dtype)


def max_pool(x: jax.Array) -> jax.Array:
    """PyTorch's MaxPool2d(3, stride=2, padding=1) on [B,H,W,C]."""
    pads = ((0, 0), (1, 1), (1, 1), (0, 0))
    if not convolution.rewrites():
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)
    # The gradient of `reduce_window` takes four times as long as that of nine maps' comparisons.
    height, width = (-(-length // 2) for length in x.shape[1:3])
    wide = jnp.pad(x, pads, constant_values=-jnp.inf)
    maps = convolution.taps(wide, (3, 3), 2, height, width)
    # The first of equals gets the gradient; what is not a number stays.
    return reduce(lambda most, x: jnp.where((x > most) | jnp.isnan(x), x, most), maps)


def batch_norm(
    train: bool,
    name: str,
    dtype: Dtype | None = None,
    *,
    use_bias: bool = True,
    use_scale: bool = True,
    scale_init: Initializer = initializers.ones,
    momentum: float = BATCH_NORM_MOMENTUM,
    epsilon: float = EPSILON,
) -> nn.BatchNorm:
    """PyTorch's BatchNorm: batch statistics when training, running ones otherwise.

    The running variance keeps Flax's biased estimate; PyTorch stores n/(n-1) times as much.
    `momentum` is the share of the old value.
    """
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=momentum,
        epsilon=epsilon,
        use_bias=use_bias,
        use_scale=use_scale,
        scale_init=scale_init,
        dtype=dtype,
        name=name,
    )


class IBN(nn.Module):
    """Instance norm on the first half of the channels, batch norm on the rest, both affine.

    Pan, Luo, Shi, Tang, "Two at Once: Enhancing Learning and Generalization Capacities via
    IBN-Net", ECCV 2018; the names `IN` and `BN` are those of its code.
    """

    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,C], C even, to the same shape."""
        if x.shape[-1] % 2:
            raise ValueError(f"IBN splits the channels in half; {x.shape[-1]} is odd.")
        first, second = jnp.split(x, 2, axis=-1)
        first = InstanceNorm(True, self.dtype, name="IN")(first)
        return jnp.concatenate([first, batch_norm(train, "BN", self.dtype)(second)], axis=-1)


class ResidualBlock(nn.Module):
    """x + [pad, conv 3x3, IN, ReLU, dropout, pad, conv 3x3, IN]: the block of the translators.

    Attributes:
        reflect: pad by reflection (CycleGAN, CR-GAN) or with zeros (StarGAN, PN-GAN).
        norm_affine: whether instance norms learn scale and offset.
        conv_bias: whether the convolutions have biases, or 'second': the second one alone.
        final_relu: whether a ReLU follows the sum (PN-GAN).
        dropout: share of the units dropped between the convolutions when training.
        initializer: of the convolutions.
        scale_init: of the norms' scales.
        names: of convolution, norm, convolution, norm, so that published weights convert by name.
        dtype: type of the computation.
    """

    reflect: bool = True
    norm_affine: bool = False
    conv_bias: bool | Literal["second"] = True
    final_relu: bool = False
    dropout: float = 0.0
    initializer: Init = normal(0.02)
    scale_init: Initializer = initializers.ones
    names: tuple[str, str, str, str] = ("conv1", "norm1", "conv2", "norm2")
    dtype: Dtype | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Maps [B,H,W,C] to the same shape."""

        def conv_norm(y: jax.Array, conv: str, norm: str, use_bias: bool) -> jax.Array:
            y = Conv(
                x.shape[-1],
                3,
                padding=1,
                reflect=self.reflect,
                use_bias=use_bias,
                initializer=self.initializer,
                dtype=self.dtype,
                name=conv,
            )(y)
            return InstanceNorm(self.norm_affine, self.dtype, self.scale_init, name=norm)(y)

        y = nn.relu(conv_norm(x, *self.names[:2], self.conv_bias is True))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        y = x + conv_norm(y, *self.names[2:], bool(self.conv_bias))
        return nn.relu(y) if self.final_relu else y
