"""AlexNet's and VGG16's convolutions: shapes, sizes, and their values in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import draw_images
from nets_golden import load as load_golden

from jaxreid.nets import convert
from jaxreid.nets.trunks import AlexNetTrunk, VGG16Trunk

pytestmark = pytest.mark.usefixtures("quick_compiler")

TRUNKS = {"alexnet": AlexNetTrunk, "vgg16": VGG16Trunk}
ORACLE = "PyTorch 2.13, module written from the layer table"
SHAPES = {"alexnet": (2, 64, 40, 3), "vgg16": (2, 32, 20, 3)}  # of the recorded images
SIZES = ((64, 32), (128, 64), (256, 128), (256, 256), (384, 128))


def shapes_of(net, rows, columns):
    images = jax.ShapeDtypeStruct((1, rows, columns, 3), jnp.float32)
    return jax.eval_shape(net.init_with_output, jax.random.key(0), images)


def maps_of_alexnet(side):
    first = (side - 7) // 4 + 1
    second = (first - 3) // 2 + 1
    third = (second - 3) // 2 + 1
    return first, second, third, third, third


@pytest.mark.parametrize(("rows", "columns"), SIZES)
@pytest.mark.parametrize("name", TRUNKS)
def test_output_shapes(name, rows, columns):
    taps, _ = shapes_of(TRUNKS[name](), rows, columns)
    if name == "alexnet":
        sides, channels = zip(*map(maps_of_alexnet, (rows, columns)), strict=True), 64
        channels = (64, 192, 384, 256, 256)
    else:
        sides, channels = ((rows >> i, columns >> i) for i in range(5)), (64, 128, 256, 512, 512)
    expected = [(1, *side, c) for side, c in zip(sides, channels, strict=True)]
    assert [tap.shape for tap in taps] == expected


@pytest.mark.parametrize(("name", "expected"), [("alexnet", 2_469_696), ("vgg16", 14_714_688)])
def test_parameter_count(name, expected):
    _, variables = shapes_of(TRUNKS[name](), 64, 32)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected


@pytest.mark.parametrize(("name", "least"), [("alexnet", 31), ("vgg16", 16)])
def test_small_images_are_refused(name, least):
    shapes_of(TRUNKS[name](), least, least)
    with pytest.raises(
        ValueError, match=rf"needs images of {least}x{least} .* {least - 1}x{least}"
    ):
        shapes_of(TRUNKS[name](), least - 1, least)


def test_initial_distribution():
    images = draw_images((1, 64, 64, 3))

    @jax.jit
    def kernel_of(key):  # alone, so that nothing else is compiled
        return AlexNetTrunk(2).init(key, images)["params"]["features_10"]["kernel"]

    kernel = np.asarray(kernel_of(jax.random.key(0)))
    bound = np.prod(kernel.shape[:3]) ** -0.5  # PyTorch's default
    assert 0.95 * bound < np.abs(kernel).max() <= bound
    np.testing.assert_allclose(kernel.std(), bound / 3**0.5, rtol=0.1)


@pytest.mark.parametrize("name", TRUNKS)
def test_half_precision_keeps_float32_parameters(name):
    golden, state = load_golden(f"{name}_trunk")
    net, images = TRUNKS[name](2, dtype=jnp.bfloat16), draw_images(SHAPES[name])
    _, shapes = shapes_of(net, *images.shape[1:3])
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    taps = jax.jit(net.apply)(convert.from_torch(state, shapes)[0], images)
    assert {tap.dtype for tap in taps} == {jnp.dtype("bfloat16")}
    for i, tap in enumerate(taps):
        assert relative((np.float32(tap), golden[f"eval_output{i}"])) < 0.03


@pytest.mark.parametrize("name", TRUNKS)
def test_trunk_equals_pytorch(name, proof):
    golden, state = load_golden(f"{name}_trunk")
    net, images = TRUNKS[name](2), draw_images(SHAPES[name])
    _, zeros = shapes_of(net, *images.shape[1:3])
    variables, report = convert.from_torch(state, zeros)
    assert (report.missing, report.unexpected) == ((), ())

    def loss(images):
        taps = net.apply(variables, images)
        return sum(jnp.square(tap).mean() for tap in taps), taps

    gradient, taps = jax.jit(jax.grad(loss, has_aux=True))(images)
    pairs = [(tap, golden[f"eval_output{i}"]) for i, tap in enumerate(taps)]
    proof(f"{name} trunk, five taps, relative", ORACLE, max(map(relative, pairs)), 2e-6)
    worst = relative((gradient, golden["eval_input_gradient"]))
    proof(f"{name} trunk, input gradient, relative", ORACLE, worst, 5e-6)


def relative(pair):
    ours, theirs = pair
    assert ours.shape == theirs.shape
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()
