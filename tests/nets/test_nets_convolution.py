"""Every form of a convolution returns the values and gradients of the plain XLA operation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.nets import convolution
from jaxreid.nets.layers import Conv, ConvTranspose, InstanceNorm, max_pool, reflect_pad


def assert_same(form, plain, shape, kernel_shape):
    """Equal outputs and equal gradients under random cotangents, to rounding."""
    inputs = jnp.zeros(shape), jnp.zeros(kernel_shape)
    x, kernel, cotangent = (
        jax.random.normal(jax.random.key(seed), s)
        for seed, s in enumerate((shape, kernel_shape, jax.eval_shape(plain, *inputs).shape))
    )

    @jax.jit
    def both(x, kernel, cotangent):
        results = []
        for function in (form, plain):
            output, pull = jax.vjp(function, x, kernel)
            results.append((output, *pull(cotangent)))
        return results

    for ours, theirs in zip(*both(x, kernel, cotangent), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("size", "stride", "padding", "shape", "features"),
    [
        (1, 1, 0, (2, 5, 4, 3), 6),  # matmul
        (1, 2, 0, (2, 5, 4, 3), 6),  # slice and matmul
        (7, 1, 0, (2, 11, 9, 5), 3),  # matmul and shifts
        (7, 1, 3, (2, 6, 4, 5), 3),
        (3, 1, 1, (2, 4, 2, 5), 6),  # maps smaller than the kernel
        (3, 2, 1, (2, 5, 4, 5), 6),
        (3, 2, 1, (2, 2, 1, 5), 6),
        (4, 1, 1, (2, 4, 3, 5), 1),
    ],
)
def test_conv_equals_the_plain_operation(size, stride, padding, shape, features):
    def form(x, kernel):
        return convolution.conv(x, kernel, stride, padding)

    def plain(x, kernel):
        return convolution.plain_conv(x, kernel, stride, padding)

    x, kernel = jnp.zeros(shape), jnp.zeros((size, size, shape[-1], features))
    assert "conv_general_dilated" not in str(jax.make_jaxpr(form)(x, kernel))
    assert_same(form, plain, shape, kernel.shape)


@pytest.mark.parametrize(
    ("size", "stride", "padding", "output_padding"),
    [(3, 2, 1, 1), (4, 2, 1, 0), (2, 2, 0, 0), (5, 2, 2, 1), (3, 3, 0, 0), (6, 3, 2, 1)],
)
def test_subpixel_equals_the_transposed_convolution(size, stride, padding, output_padding):
    options = (stride, padding, output_padding)
    assert_same(
        lambda x, k: convolution.subpixel_conv_transpose(x, k, *options),
        lambda x, k: convolution.plain_conv_transpose(x, k, *options),
        (2, 5, 3, 4),
        (size, size, 4, 3),
    )


def test_a_transposed_convolution_off_the_subpixel_grid_stays_plain():
    x, kernel = jnp.ones((1, 4, 4, 2)), jnp.ones((4, 4, 2, 3))
    assert convolution.conv_transpose(x, kernel, 1, 0, 0).shape == (1, 7, 7, 3)


def test_other_backends_run_the_plain_operations(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    program = jax.make_jaxpr(lambda x, k: convolution.conv(x, k))
    assert "conv_general_dilated" in str(program(jnp.ones((1, 4, 4, 2)), jnp.ones((1, 1, 2, 3))))


@pytest.mark.parametrize("rewritten", [True, False])
def test_transposed_convolution_golden_row(monkeypatch, rewritten):
    monkeypatch.setattr(convolution, "rewrites", lambda: rewritten)
    kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    y = ConvTranspose(1, use_bias=False).apply(
        {"params": {"kernel": kernel}}, jnp.ones((1, 4, 4, 1))
    )
    np.testing.assert_allclose(y[0, 0, :, 0], [4, 8, 4, 8, 4, 8, 4, 3])


def test_reflection_does_not_repeat_the_edge():
    rows = reflect_pad(jnp.arange(4.0).reshape(1, 4, 1, 1) * jnp.ones((1, 4, 4, 1)), 2)[0, :, 0, 0]
    np.testing.assert_array_equal(rows, [2, 1, 0, 1, 2, 3, 2, 1])


def test_max_pool_pads_with_minus_infinity():
    x = jnp.arange(-16.0, 0.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(max_pool(x)[0, :, :, 0], [[-11, -9], [-3, -1]])


def test_instance_norm_keeps_its_digits_at_a_large_mean():
    noise = np.random.default_rng(0).standard_normal((2, 16, 8, 3))
    x = (100 + noise).astype(np.float32)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean((1, 2), keepdims=True)) / np.sqrt(
        exact.var((1, 2), keepdims=True) + 1e-5
    )
    np.testing.assert_allclose(InstanceNorm().apply({}, x), exact, atol=2e-5)


def test_layers_compute_in_their_dtype_and_keep_float32_parameters():
    layer = Conv(4, 3, padding=1, dtype=jnp.bfloat16)
    output, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 6, 6, 2)))
    assert output.dtype == jnp.bfloat16
    assert {a.dtype for a in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
