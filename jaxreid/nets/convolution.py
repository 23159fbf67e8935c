"""Convolutions as pure functions, in the form that the running backend executes fast.

Every function takes NHWC images and HWIO kernels, and every form of it
returns the same values and gradients up to rounding. XLA's CPU compiler runs a few convolutions one
or two orders of magnitude below the rest; those are rewritten here, and only on the CPU.
Parameters keep the standard layout, so checkpoints do not depend on the backend.
"""

import math
from collections.abc import Iterator
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np

Pairs = tuple[tuple[int, int], tuple[int, int]]
Padding = int | Pairs

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_PATCHES = 2**18
"""Numbers of a block of patches: 1 MiB, what a core's cache holds."""


def rewrites() -> bool:
    """Whether the CPU forms are used; asked while a function is traced."""
    return jax.default_backend() == "cpu"


def conv(
    x: jax.Array,
    kernel: jax.Array,
    stride: int = 1,
    padding: Padding = 0,
    dilation: int = 1,
    groups: int = 1,
) -> jax.Array:
    """PyTorch's `conv2d`: [B,H,W,I] by [h,w,I/groups,O] to [B,H',W',O].

    H' = (H + low + high - dilation (h - 1) - 1) // stride + 1; `padding` is one number for every
    side, or ((top, bottom), (left, right)).
    """
    pads = pairs(padding)
    if rewrites() and groups == x.shape[-1] == kernel.shape[-1] > 1 == dilation:
        return shifted_depthwise(x, kernel, stride, pads)
    if not rewrites() or dilation > 1 or groups > 1:
        return plain_conv(x, kernel, stride, pads, dilation, groups)
    if kernel.shape[0] == kernel.shape[1] >= 7 and kernel.shape[3] <= 4 and stride == 1:
        return _shifted_matmul(_pad(x, pads), kernel)
    if _swaps(x, kernel, stride, pads):
        return patch_matmul(x, kernel, stride, pads)
    form = _looped_conv if _loops(x, kernel, stride, pads) else _conv
    return form(x, kernel, stride, pads)


def plain_conv(
    x: jax.Array,
    kernel: jax.Array,
    stride: int = 1,
    padding: Padding = 0,
    dilation: int = 1,
    groups: int = 1,
) -> jax.Array:
    """`conv` as the one XLA operation."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pairs(padding),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=_LAYOUT,
        feature_group_count=groups,
    )


def _conv(x: jax.Array, kernel: jax.Array, stride: int, pads: Pairs) -> jax.Array:
    if kernel.shape[:2] == (1, 1) and not any(map(any, pads)):
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    if not any(map(any, pads)):  # a column too many: without any padding it takes up to three times
        return plain_conv(x, kernel, stride, ((0, 0), (0, stride)))[:, :, :-1]
    return plain_conv(x, kernel, stride, pads)


def _loops(x: jax.Array, kernel: jax.Array, stride: int, pads: Pairs) -> bool:
    """Whether the kernel's gradient is worth a loop: one takes longer to compile.

    Several devices share the images, over which the loop goes, so they keep to XLA's form.
    """
    products = len(x) * math.prod(_output(x, kernel, stride, pads)) * math.prod(kernel.shape)
    return products >= 2**27 and kernel.dtype == jnp.float32 and jax.device_count() == 1


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _looped_conv(x: jax.Array, kernel: jax.Array, stride: int, pads: Pairs) -> jax.Array:
    """`_conv` with `kernel_gradient`.

    XLA takes the output's gradient for a kernel as large, which is slow, or transposes all of it.
    """
    return _conv(x, kernel, stride, pads)


def _conv_forward(x, kernel, stride, pads):
    return _conv(x, kernel, stride, pads), (x, kernel)


def _conv_backward(stride, pads, saved, gradient):
    x, kernel = saved
    to_x = _input_gradient(gradient, kernel, x.shape, stride, pads)
    return to_x, kernel_gradient(x, gradient, kernel.shape[:2], stride, pads)


_looped_conv.defvjp(_conv_forward, _conv_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _input_gradient(
    gradient: jax.Array, kernel: jax.Array, shape: tuple[int, ...], stride: int, pads: Pairs
) -> jax.Array:
    """Gradient of `_conv`'s input, with its own: a gradient penalty takes it."""
    x = jax.ShapeDtypeStruct(shape, gradient.dtype)
    return jax.linear_transpose(lambda x: _conv(x, kernel, stride, pads), x)(gradient)[0]


def _input_gradient_forward(gradient, kernel, shape, stride, pads):
    return _input_gradient(gradient, kernel, shape, stride, pads), (gradient, kernel)


def _input_gradient_backward(shape, stride, pads, saved, cotangent):
    gradient, kernel = saved
    to_kernel = kernel_gradient(cotangent, gradient, kernel.shape[:2], stride, pads)
    return _conv(cotangent, kernel, stride, pads), to_kernel


_input_gradient.defvjp(_input_gradient_forward, _input_gradient_backward)


def kernel_gradient(
    x: jax.Array, gradient: jax.Array, size: tuple[int, int], stride: int, pads: Pairs
) -> jax.Array:
    """Gradient [h,w,I,O] of a convolution's kernel: sum over places of patches times gradients.

    Works through blocks, of rows of an image or of images, whose patches stay in the cache.
    """
    (height, width, features), inputs = gradient.shape[1:], x.shape[-1]
    numbers = size[0] * size[1] * inputs
    places = max(_PATCHES // numbers, features)
    bands = -(-height // max(places // width, 1))
    rows = -(-height // bands)
    images = min(max(places // (rows * width), 1), len(x)) if bands == 1 else 1
    groups = -(-len(x) // images)

    # Surplus rows and images meet no gradient.
    end = stride * rows * bands + size[0] - (x.shape[1] + pads[0][0])
    surplus = 0, groups * images - len(x)
    x = jnp.pad(x, (surplus, (pads[0][0], max(end, 0)), pads[1], (0, 0)))
    gradient = jnp.pad(gradient, (surplus, (0, rows * bands - height), (0, 0), (0, 0)))

    def add(total: jax.Array, block: jax.Array) -> tuple[jax.Array, None]:
        start = block // bands * images, block % bands * rows
        band = _slice(x, start[0], stride * start[1], images, stride * (rows - 1) + size[0])
        patches = _patches(band, size, stride, rows, width).reshape(-1, numbers)
        part = _slice(gradient, *start, images, rows).reshape(-1, features)
        return total + part.T @ patches, None

    zeros = jnp.zeros((features, numbers), x.dtype)
    total, _ = jax.lax.scan(add, zeros, jnp.arange(groups * bands))
    return total.T.reshape(*size, inputs, features)


def _slice(x: jax.Array, image: jax.Array, row: jax.Array, images: int, rows: int) -> jax.Array:
    return jax.lax.dynamic_slice(x, (image, row, 0, 0), (images, rows, *x.shape[2:]))


def _patches(
    x: jax.Array, size: tuple[int, ...], stride: int, height: int, width: int
) -> jax.Array:
    """[B,height,width,h*w*I]: what lies under each position of a kernel of `size`."""
    return jnp.concatenate(list(taps(x, size, stride, height, width)), axis=-1)


def taps(
    x: jax.Array, size: tuple[int, ...], stride: int, height: int, width: int
) -> Iterator[jax.Array]:
    """What each of a kernel's h*w places sees of padded [B,H,W,C]: [B,height,width,C] each."""
    for i, j in np.ndindex(*size):
        rows = slice(i, i + stride * (height - 1) + 1, stride)
        yield x[:, rows, j : j + stride * (width - 1) + 1 : stride]


def same_pads(
    rows: int, columns: int, size: tuple[int, int], stride: int, dilation: int = 1
) -> Pairs:
    """TensorFlow's SAME: output = ceil(input / stride), the odd row of padding comes last."""

    def pair(length: int, taps: int) -> tuple[int, int]:
        reach = dilation * (taps - 1) + 1
        total = max((-(-length // stride) - 1) * stride + reach - length, 0)
        return total // 2, total - total // 2

    return pair(rows, size[0]), pair(columns, size[1])


def _swaps(x: jax.Array, kernel: jax.Array, stride: int, pads: Pairs) -> bool:
    """Whether XLA would take the maps for the kernel and the kernel for the maps.

    It does so, forward or backward, when the input or the output has fewer pixels than the kernel,
    and its CPU compiler then falls back to scalar loops.
    """
    height, width = _output(x, kernel, stride, pads)
    return min(x.shape[1] * x.shape[2], height * width) < kernel.shape[0] * kernel.shape[1]


def _output(x: jax.Array, kernel: jax.Array, stride: int, pads: Pairs) -> tuple[int, int]:
    rows, columns = (
        (length + sum(pair) - taps) // stride + 1
        for length, taps, pair in zip(x.shape[1:3], kernel.shape[:2], pads, strict=True)
    )
    return rows, columns


def patch_matmul(
    x: jax.Array, kernel: jax.Array, stride: int = 1, padding: Padding = 0
) -> jax.Array:
    """`conv` as one matmul of the h*w*I values under each kernel position."""
    pads = pairs(padding)
    height, width = _output(x, kernel, stride, pads)
    patches = _patches(_pad(x, pads), kernel.shape[:2], stride, height, width)
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def shifted_depthwise(
    x: jax.Array, kernel: jax.Array, stride: int = 1, padding: Padding = 0
) -> jax.Array:
    """`conv` with as many groups as channels, as h*w shifted multiply-adds.

    XLA's CPU compiler runs the grouped operation as scalar loops, three to fifty times slower.
    """
    pads = pairs(padding)
    height, width = _output(x, kernel, stride, pads)
    weights = kernel.reshape(-1, kernel.shape[-1])
    seen = taps(_pad(x, pads), kernel.shape[:2], stride, height, width)
    return reduce(jnp.add, (x * weight for x, weight in zip(seen, weights, strict=True)))


def conv_transpose(
    x: jax.Array, kernel: jax.Array, stride: int = 2, padding: int = 1, output_padding: int = 1
) -> jax.Array:
    """PyTorch's `conv_transpose2d`: [B,H,W,I] to [B,H',W',O], H' = (H-1) s - 2p + k + o.

    The kernel [k,k,I,O] is in Flax's orientation, that is PyTorch's flipped in space. With an
    `output_padding` of -1 the last row is left out, as TensorFlow's SAME does for odd kernels.
    """
    exact = kernel.shape[0] + output_padding == stride + 2 * padding
    form = subpixel_conv_transpose if rewrites() and exact else plain_conv_transpose
    return form(x, kernel, stride, padding, output_padding)


def plain_conv_transpose(
    x: jax.Array, kernel: jax.Array, stride: int = 2, padding: int = 1, output_padding: int = 1
) -> jax.Array:
    """`conv_transpose` as the one XLA operation, on the zero-dilated input."""
    low = kernel.shape[0] - 1 - padding
    pads = ((low, low + output_padding),) * 2
    return jax.lax.conv_transpose(x, kernel, (stride, stride), pads, dimension_numbers=_LAYOUT)


def subpixel_conv_transpose(
    x: jax.Array, kernel: jax.Array, stride: int = 2, padding: int = 1, output_padding: int = 1
) -> jax.Array:
    """`conv_transpose` as stride^2 convolutions, one per phase of the output, interleaved.

    Output row s*i + a sums x[i + d] * kernel[s*d + low - a] over the offsets d that hit the kernel.
    Only for output size = stride * input size.
    """
    size, low = kernel.shape[0], kernel.shape[0] - 1 - padding

    def phase(a: int) -> tuple[slice, tuple[int, int]]:
        first, last = -((low - a) // stride), (size - 1 - low + a) // stride
        return slice(stride * first + low - a, None, stride), (-first, last)

    phases = [phase(a) for a in range(stride)]
    y = [
        jnp.stack([conv(x, kernel[rows, columns], 1, (p, q)) for columns, q in phases], 3)
        for rows, p in phases
    ]  # [B,H,W,s,O] each
    batch, height, width = x.shape[:3]
    return jnp.stack(y, 2).reshape(batch, height * stride, width * stride, -1)


@jax.custom_vjp
def _shifted_matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Unpadded convolution to few channels: a matmul to all k*k*O products, then shifts."""
    size, _, inputs, features = kernel.shape
    rows, columns = x.shape[1] - size + 1, x.shape[2] - size + 1
    products = x @ kernel.transpose(2, 0, 1, 3).reshape(inputs, -1)
    products = products.reshape(*x.shape[:3], size, size, features)
    shifted = (
        products[:, i : i + rows, j : j + columns, i, j] for i in range(size) for j in range(size)
    )
    return reduce(jnp.add, shifted)


def _shifted_matmul_forward(x, kernel):
    return _shifted_matmul(x, kernel), (x, kernel)


def _shifted_matmul_backward(saved, gradient):
    # Left to autodiff this form is slower inside a whole generator than the plain convolution.
    x, kernel = saved
    size, _, inputs, features = kernel.shape
    wide = _pad(gradient, pairs(size - 1))
    rows, columns = x.shape[1], x.shape[2]
    shifts = [
        wide[:, size - 1 - i : size - 1 - i + rows, size - 1 - j : size - 1 - j + columns]
        for i in range(size)
        for j in range(size)
    ]
    shifts = jnp.concatenate(shifts, axis=-1)  # [B,H,W,k*k*O]
    flat = kernel.transpose(2, 0, 1, 3).reshape(inputs, -1)
    weight = jnp.einsum("bhwi,bhwo->io", x, shifts).reshape(inputs, size, size, features)
    return shifts @ flat.T, weight.transpose(1, 2, 0, 3)


_shifted_matmul.defvjp(_shifted_matmul_forward, _shifted_matmul_backward)


def pairs(padding: Padding) -> Pairs:
    """Rows and columns of padding before and after, of one number or as given."""
    return ((padding, padding), (padding, padding)) if isinstance(padding, int) else padding


def _pad(x: jax.Array, pads: Pairs) -> jax.Array:
    return jnp.pad(x, ((0, 0), *pads, (0, 0)))
