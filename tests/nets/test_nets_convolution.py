"""Every form of a convolution returns the values and gradients of the plain XLA operation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.nets import convolution
from jaxreid.nets.layers import (
    IBN,
    Conv,
    ConvTranspose,
    InstanceNorm,
    ResidualBlock,
    max_pool,
    reflect_pad,
)


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


@pytest.mark.parametrize(("size", "stride"), [(2, 1), (3, 1), (4, 2), (3, 3)])
def test_an_unpadded_convolution_equals_the_plain_operation(size, stride):
    assert_same(
        lambda x, k: convolution.conv(x, k, stride),
        lambda x, k: convolution.plain_conv(x, k, stride),
        (2, 9, 7, 3),
        (size, size, 3, 4),
    )


def plain_gradient(x, cotangent, kernel_shape, stride, pads):
    def plain(kernel):
        return convolution.plain_conv(x, kernel, stride, pads)

    return jax.jit(lambda c: jax.vjp(plain, jnp.zeros(kernel_shape))[1](c)[0])(cotangent)


@pytest.mark.parametrize("patches", [1, 2000, 10**6])  # one row at a time to all images
@pytest.mark.parametrize(
    ("size", "stride", "pads", "shape", "features"),
    [
        ((3, 3), 1, ((1, 1), (1, 1)), (3, 7, 5, 4), 6),
        ((3, 3), 2, ((1, 1), (1, 1)), (5, 8, 6, 4), 3),
        ((4, 4), 2, ((1, 1), (1, 1)), (2, 10, 4, 3), 2),
        ((4, 4), 1, ((1, 1), (1, 1)), (1, 9, 6, 5), 1),
        ((7, 7), 2, ((3, 3), (3, 3)), (4, 11, 8, 3), 5),
        ((2, 3), 1, ((0, 1), (2, 1)), (2, 6, 6, 2), 7),
        ((3, 3), 3, ((0, 0), (0, 0)), (2, 11, 10, 2), 2),  # rows that no kernel reaches
    ],
)
def test_the_kernels_gradient_in_blocks_equals_that_of_xla(
    size, stride, pads, shape, features, patches, monkeypatch
):
    monkeypatch.setattr(convolution, "_PATCHES", patches)
    x = jax.random.normal(jax.random.key(0), shape)
    kernel_shape = (*size, shape[-1], features)
    output = convolution.plain_conv(x, jnp.zeros(kernel_shape), stride, pads)
    cotangent = jax.random.normal(jax.random.key(1), output.shape)
    gradient = jax.jit(convolution.kernel_gradient, static_argnums=(2, 3, 4))
    ours = gradient(x, cotangent, size, stride, pads)
    theirs = plain_gradient(x, cotangent, kernel_shape, stride, pads)
    assert ours.shape == kernel_shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


LARGE = (1, 64, 40, 64), (3, 3, 64, 96)  # 142 million products


def test_a_large_convolution_has_the_plain_gradients_of_both_orders():
    assert_same(
        lambda x, k: convolution.conv(x, k, 1, 1),
        lambda x, k: convolution.plain_conv(x, k, 1, 1),
        *LARGE,
    )

    def slope(form):  # as a gradient penalty: the gradient of the input's gradient
        return jax.grad(lambda k, x: (jax.grad(lambda x: (form(x, k) ** 3).sum())(x) ** 2).mean())

    x, kernel = (jax.random.normal(jax.random.key(i), s) for i, s in enumerate(LARGE))
    ours, theirs = (
        jax.jit(slope(lambda x, k, form=form: form(x, k, 1, 1)))(kernel, x)
        for form in (convolution.conv, convolution.plain_conv)
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("change", ["none", "several devices", "bfloat16", "small"])
def test_only_long_gradients_of_one_device_go_in_blocks(change, monkeypatch):
    shape, kernel_shape = LARGE
    if change == "several devices":
        monkeypatch.setattr(jax, "device_count", lambda: 8)
    if change == "small":
        shape = (1, 60, *shape[2:])
    dtype = jnp.bfloat16 if change == "bfloat16" else jnp.float32
    x, kernel = (jax.ShapeDtypeStruct(s, dtype) for s in (shape, kernel_shape))
    program = jax.make_jaxpr(jax.grad(lambda k, x: convolution.conv(x, k, 1, 1).sum()))(kernel, x)
    assert ("scan" in str(program)) == (change == "none")


def slow_conv(x, kernel, stride, pads, dilation, groups):
    """Convolution by its definition, one output pixel and group at a time, in float64."""
    x, kernel = np.pad(np.float64(x), ((0, 0), *pads, (0, 0))), np.float64(kernel)
    reach = [dilation * (taps - 1) + 1 for taps in kernel.shape[:2]]
    rows, columns = ((x.shape[i + 1] - reach[i]) // stride + 1 for i in (0, 1))
    y = np.zeros((len(x), rows, columns, kernel.shape[3]))
    inputs, outputs = kernel.shape[2], kernel.shape[3] // groups
    for r, c, g in np.ndindex(rows, columns, groups):
        i, j = r * stride, c * stride
        window = x[:, i : i + reach[0] : dilation, j : j + reach[1] : dilation]
        window = window[..., g * inputs : (g + 1) * inputs]
        part = slice(g * outputs, (g + 1) * outputs)
        y[:, r, c, part] = np.einsum("bhwi,hwio->bo", window, kernel[..., part])
    return y


@pytest.mark.parametrize("rewritten", [True, False])
@pytest.mark.parametrize(
    ("size", "stride", "padding", "dilation", "groups"),
    [
        ((4, 2), 1, 0, 1, 1),  # a kernel as large as the maps: StarGAN's classes
        ((3, 1), 2, 1, 1, 1),
        ((1, 1), 1, ((0, 1), (1, 0)), 1, 1),
        ((4, 4), 1, ((1, 1), (2, 2)), 1, 1),
        ((7, 7), 1, ((3, 2), (4, 3)), 1, 1),
        ((3, 3), 1, 4, 4, 1),
        ((2, 3), 2, ((0, 1), (2, 1)), 2, 2),
        ((3, 3), 2, 1, 1, 4),
    ],
)
def test_conv_equals_its_definition(
    size, stride, padding, dilation, groups, rewritten, monkeypatch, proof
):
    monkeypatch.setattr(convolution, "rewrites", lambda: rewritten)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 4, 2, 4)).astype(np.float32)
    kernel = rng.standard_normal((*size, 4 // groups, 4)).astype(np.float32)
    options = (stride, padding, dilation, groups)
    ours = jax.jit(lambda x, kernel: convolution.conv(x, kernel, *options))(x, kernel)
    slow = slow_conv(x, kernel, stride, convolution.pairs(padding), dilation, groups)
    assert ours.shape == slow.shape
    proof("convolution", "NumPy loops, float64", np.abs(ours - slow).max(), 1e-5)


@pytest.mark.parametrize(
    ("size", "stride", "dilation", "expected"),
    [
        (3, 2, 1, (0, 1)),
        (4, 2, 1, (1, 1)),
        (4, 1, 1, (1, 2)),
        (5, 2, 1, (1, 2)),
        (7, 2, 1, (2, 3)),
        (3, 1, 4, (4, 4)),
        (1, 2, 1, (0, 0)),
    ],
)
def test_same_pads_put_the_odd_row_last(size, stride, dilation, expected):
    pads = convolution.same_pads(16, 8, (size, size), stride, dilation)
    assert pads == (expected, expected)


@pytest.mark.parametrize(("size", "stride"), [((3, 3), 2), ((4, 2), 1), ((5, 5), 2), ((4, 4), 2)])
def test_same_padding_is_that_of_xla(size, stride):
    x = jax.random.normal(jax.random.key(0), (1, 9, 6, 2))
    layer = Conv(3, size, stride, "same", use_bias=False)
    ours, variables = jax.jit(layer.init_with_output)(jax.random.key(1), x)
    theirs = jax.lax.conv_general_dilated(
        x,
        variables["params"]["kernel"],
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    assert ours.shape == (1, -(-9 // stride), -(-6 // stride), 3)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(("groups", "fan_in"), [(1, 72), (8, 9)])
def test_grouped_kernels_start_by_their_own_fan_in(groups, fan_in):
    layer = Conv(128, 3, groups=groups)
    params = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 4, 4, 8)))["params"]
    assert params["kernel"].shape == (3, 3, 8 // groups, 128)
    for leaf in params.values():
        assert 0.9 * fan_in**-0.5 < np.abs(leaf).max() <= fan_in**-0.5


@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(3, 1, 1), (3, 2, ((0, 1), (0, 1))), (5, 2, ((1, 2), (1, 2))), (5, 1, 2), (3, 2, 0)],
)
def test_depthwise_conv_equals_the_plain_operation(size, stride, padding):
    def form(x, kernel):
        return convolution.conv(x, kernel, stride, padding, groups=4)

    def plain(x, kernel):
        return convolution.plain_conv(x, kernel, stride, padding, groups=4)

    x, kernel = jnp.zeros((2, 6, 4, 4)), jnp.zeros((size, size, 1, 4))
    assert "conv_general_dilated" not in str(jax.make_jaxpr(form)(x, kernel))
    assert_same(form, plain, x.shape, kernel.shape)


@pytest.mark.parametrize(
    ("size", "stride", "padding", "output_padding"),
    [
        (3, 2, 1, 1),
        (4, 2, 1, 0),
        (2, 2, 0, 0),
        (5, 2, 2, 1),
        (3, 3, 0, 0),
        (6, 3, 2, 1),
        (3, 2, 0, -1),  # TensorFlow's SAME
        (5, 2, 1, -1),
    ],
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
@pytest.mark.parametrize(
    ("pads", "row"),
    [((1, 1), [4, 8, 4, 8, 4, 8, 4, 3]), ((0, -1), [8, 7, 14, 7, 14, 7, 14, 7])],
)
def test_transposed_convolution_golden_rows(monkeypatch, rewritten, pads, row):
    monkeypatch.setattr(convolution, "rewrites", lambda: rewritten)
    kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    layer = ConvTranspose(1, padding=pads[0], output_padding=pads[1], use_bias=False)
    y = layer.apply({"params": {"kernel": kernel}}, jnp.ones((1, 4, 4, 1)))
    np.testing.assert_allclose(y[0, 0, :, 0], row)


@pytest.mark.parametrize(("size", "padding", "output_padding"), [(3, 0, -1), (4, 1, 0), (5, 1, -1)])
def test_tensorflow_transposes_the_same_convolution(size, padding, output_padding, proof):
    """TensorFlow defines `conv2d_transpose` as the gradient of the convolution to half the size."""
    x, wide = jax.random.normal(jax.random.key(0), (1, 4, 3, 2)), jnp.zeros((1, 8, 6, 3))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 3, 2))  # TensorFlow's [k,k,O,I]

    def half(wide):
        pads = convolution.same_pads(8, 6, (size, size), 2)
        return convolution.plain_conv(wide, kernel, 2, pads)

    theirs = jax.vjp(half, wide)[1](x)[0]
    flipped = kernel.transpose(0, 1, 3, 2)[::-1, ::-1]
    ours = convolution.conv_transpose(x, flipped, 2, padding, output_padding)
    error = np.abs(ours - theirs).max()
    proof("transposed convolution, SAME", "gradient of the SAME convolution", error, 1e-5)


def test_reflection_does_not_repeat_the_edge():
    rows = reflect_pad(jnp.arange(4.0).reshape(1, 4, 1, 1) * jnp.ones((1, 4, 4, 1)), 2)[0, :, 0, 0]
    np.testing.assert_array_equal(rows, [2, 1, 0, 1, 2, 3, 2, 1])


def test_maps_too_small_for_reflection_are_refused():
    with pytest.raises(ValueError, match="3x8 are too small to be padded by reflection"):
        reflect_pad(jnp.zeros((1, 3, 8, 1)), 3)


def test_max_pool_pads_with_minus_infinity():
    x = jnp.arange(-16.0, 0.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(max_pool(x)[0, :, :, 0], [[-11, -9], [-3, -1]])


def test_max_pool_and_its_gradient_equal_those_of_xla(monkeypatch):
    x = jax.random.randint(jax.random.key(0), (2, 9, 6, 3), 0, 3).astype(jnp.float32)  # with ties
    x = x.at[0, 4, 3, 1].set(jnp.nan)
    outputs = {}
    for rewritten in (True, False):
        monkeypatch.setattr(convolution, "rewrites", lambda rewritten=rewritten: rewritten)
        output, pull = jax.vjp(lambda x: max_pool(x), x)
        outputs[rewritten] = output, pull(jax.random.normal(jax.random.key(1), output.shape))[0]
    np.testing.assert_array_equal(outputs[True][0], outputs[False][0])
    ours, theirs = (outputs[rewritten][1][1] for rewritten in (True, False))  # without the NaN
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert np.isnan(outputs[True][0]).sum() == 2


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


def test_ibn_normalises_half_by_image_and_half_by_batch():
    net, x = IBN(), 10 * jax.random.normal(jax.random.key(0), (3, 6, 5, 8))
    variables = jax.jit(net.init)(jax.random.key(1), x)
    assert {name: set(part) for name, part in variables["params"].items()} == {
        "IN": {"scale", "bias"},
        "BN": {"scale", "bias"},
    }
    assert variables["batch_stats"]["BN"]["mean"].shape == (4,)
    run = jax.jit(lambda x: net.apply(variables, x, True, mutable=["batch_stats"])[0])
    change = np.abs(run(x.at[0].multiply(30)) - run(x))
    assert change[..., :4].max() < 1e-5 and change[1:, ..., :4].max() == 0
    assert change[1:, ..., 4:].max() > 0.3
    with pytest.raises(ValueError, match="7 is odd"):
        net.init(jax.random.key(0), x[..., :7])


def block(x, train=False, seed=0, **options):
    """Output and parameters of a residual block, always with the same weights."""
    net = ResidualBlock(**options)
    variables = net.init(jax.random.key(0), x)
    return net.apply(variables, x, train, rngs={"dropout": jax.random.key(seed)}), variables


def test_residual_block_pads_by_reflection_or_with_zeros():
    flat = jnp.broadcast_to(jnp.arange(4.0), (1, 6, 5, 4))
    np.testing.assert_allclose(block(flat)[0], flat, atol=1e-4)
    assert np.abs(block(flat, reflect=False)[0] - flat).max() > 0.1


@pytest.mark.parametrize(
    ("conv_bias", "biased"), [(True, {"conv1", "conv2"}), ("second", {"conv2"}), (False, set())]
)
def test_residual_block_has_the_biases_asked_for(conv_bias, biased):
    net = ResidualBlock(norm_affine=True, conv_bias=conv_bias)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 4, 4, 2)))["params"]
    assert {name for name in ("conv1", "conv2") if "bias" in shapes[name]} == biased
    assert set(shapes["norm1"]) == {"scale", "bias"}


def test_residual_block_ends_in_a_sum_or_a_relu_and_drops_when_training():
    x = jax.random.normal(jax.random.key(0), (2, 6, 5, 4))
    plain, variables = block(x)
    assert set(variables["params"]) == {"conv1", "conv2"}
    np.testing.assert_allclose(block(x, final_relu=True)[0], np.maximum(plain, 0), atol=1e-6)
    np.testing.assert_allclose(block(x, dropout=0.5)[0], plain, atol=1e-6)
    first, again, other = (block(x, True, seed, dropout=0.5)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
