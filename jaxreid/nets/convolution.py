"""Convolutions as pure functions, in the form that the running backend executes fast.

Every function takes NHWC images, HWIO kernels and PyTorch's symmetric padding, and every form of it
returns the same values and gradients up to rounding. XLA's CPU compiler runs a few convolutions one
or two orders of magnitude below the rest; those are rewritten here, and only on the CPU.
Parameters keep the standard layout, so checkpoints do not depend on the backend.
"""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def rewrites() -> bool:
    """Whether the CPU forms are used; asked while a function is traced."""
    return jax.default_backend() == "cpu"


def conv(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 0) -> jax.Array:
    """PyTorch's `conv2d`: [B,H,W,I] by [k,k,I,O] to [B,H',W',O], H' = (H + 2p - k) // s + 1."""
    size, _, _, features = kernel.shape
    if rewrites() and size == 1 and padding == 0:
        return x[:, ::stride, ::stride] @ kernel[0, 0]
    if rewrites() and size >= 7 and features <= 4 and stride == 1:
        return _shifted_matmul(jnp.pad(x, _spatial(padding)), kernel)
    if rewrites() and _swaps(x, size, stride, padding):
        return patch_matmul(x, kernel, stride, padding)
    return plain_conv(x, kernel, stride, padding)


def plain_conv(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 0) -> jax.Array:
    """`conv` as the one XLA operation."""
    pads = ((padding, padding), (padding, padding))
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, dimension_numbers=_LAYOUT
    )


def _swaps(x: jax.Array, size: int, stride: int, padding: int) -> bool:
    """Whether XLA would take the maps for the kernel and the kernel for the maps.

    It does so, forward or backward, when the input or the output has fewer pixels than the kernel,
    and its CPU compiler then falls back to scalar loops.
    """
    height, width = (_output(n, size, stride, padding) for n in x.shape[1:3])
    return min(x.shape[1] * x.shape[2], height * width) < size * size


def _output(rows: int, size: int, stride: int, padding: int) -> int:
    return (rows + 2 * padding - size) // stride + 1


def patch_matmul(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 0) -> jax.Array:
    """`conv` as one matmul of the k*k*I values under each kernel position."""
    size, _, _, features = kernel.shape
    height, width = (_output(n, size, stride, padding) for n in x.shape[1:3])
    x = jnp.pad(x, _spatial(padding))
    patches = [
        x[:, i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(patches, axis=-1) @ kernel.reshape(-1, features)


def conv_transpose(
    x: jax.Array, kernel: jax.Array, stride: int = 2, padding: int = 1, output_padding: int = 1
) -> jax.Array:
    """PyTorch's `conv_transpose2d`: [B,H,W,I] to [B,H',W',O], H' = (H-1) s - 2p + k + o.

    The kernel [k,k,I,O] is in Flax's orientation, that is PyTorch's flipped in space.
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
    """`conv_transpose` as one convolution to stride^2 phases, then depth to space.

    Output row s*i + a sums x[i + d] * kernel[s*d + low - a] over the offsets d that hit the kernel.
    Only for output size = stride * input size.
    """
    size, _, _, features = kernel.shape
    low, batch, height, width = size - 1 - padding, *x.shape[:3]
    first, last = -(low // stride), (size - 1 - low + stride - 1) // stride
    taps = stride * np.arange(first, last + 1)[:, None] + low - np.arange(stride)
    pick = (taps[..., None] == np.arange(size)).astype(kernel.dtype)  # [offset, phase, tap]
    phases = jnp.einsum("uat,vbr,trio->uviabo", pick, pick, kernel)
    phases = phases.reshape(*phases.shape[:3], -1)
    pads = ((-first, last), (-first, last))
    y = jax.lax.conv_general_dilated(x, phases, (1, 1), pads, dimension_numbers=_LAYOUT)
    y = y.reshape(batch, height, width, stride, stride, features)
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height * stride, width * stride, features)


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
    wide = jnp.pad(gradient, _spatial(size - 1))
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


def _spatial(amount: int) -> tuple[tuple[int, int], ...]:
    return (0, 0), (amount, amount), (amount, amount), (0, 0)
