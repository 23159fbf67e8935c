"""CR-GAN: counts, sizes, the composition, what the generator cannot see, and PyTorch's numbers.

There is no official code. The numbers come from PyTorch modules that were written apart from ours,
from the same layer table.
"""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import differences, draw_images

from jaxreid.nets.convert import from_torch
from jaxreid.nets.crgan import CameraClassifier, ContextGenerator, compose

pytestmark = pytest.mark.usefixtures("quick_compiler")

KEY = jax.random.key(0, impl="unsafe_rbg")  # compiles ten times faster than the default
ORACLE = "PyTorch module written from the layer table"
SIZES = [(64, 32), (128, 64), (256, 128), (256, 256), (384, 128)]


def shapes_of(net, size, channels):
    """Shapes of the net's output and variables, without computing anything."""
    inputs = [jax.ShapeDtypeStruct((2, *size, c), jnp.float32) for c in channels]
    return jax.eval_shape(net.init_with_output, jax.random.key(0), *inputs)


def count(net, *channels):
    return sum(
        leaf.size for leaf in jax.tree.leaves(shapes_of(net, (64, 32), channels)[1]["params"])
    )


@pytest.fixture(scope="module")
def scene():
    """Sources, targets, and masks whose left half is background."""
    source, target = draw_images((2, 32, 16, 3)), draw_images((2, 32, 16, 3), seed=2)
    background = np.zeros((2, 32, 16, 1), np.float32)
    background[:, :, :8] = 1
    return source, target, background


@pytest.fixture(scope="module")
def generator(scene):
    """A small generator and its first parameters."""
    net = ContextGenerator(4, 1)
    return jax.jit(net.apply), jax.jit(net.init)(KEY, *scene)


@pytest.mark.parametrize(
    ("width", "blocks", "expected"), [(64, 6, 11_950_436), (32, 6, 2_997_428), (16, 2, 458_332)]
)
def test_parameter_count_of_the_generator(width, blocks, expected):
    assert count(ContextGenerator(width, blocks), 3, 3, 1) == expected


def test_parameter_count_of_the_camera_classifier():
    assert count(CameraClassifier(6), 3) == 2_760_518
    assert count(CameraClassifier(8), 3) == 2_760_518 + 2 * 513


@pytest.mark.parametrize("size", SIZES)
def test_output_shapes(size):
    image, painted, weight = shapes_of(ContextGenerator(), size, (3, 3, 1))[0]
    assert image.shape == painted.shape == (2, *size, 3)
    assert weight.shape == (2, *size, 1)
    assert shapes_of(CameraClassifier(6), size, (3,))[0].shape == (2, 6)


def test_sizes_that_do_not_fit_say_what_would():
    for net, channels in ((ContextGenerator(4, 1), (3, 3, 1)), (CameraClassifier(2, 4), (3,))):
        with pytest.raises(ValueError, match=r"40x32 .* multiples of 16\. Resize"):
            shapes_of(net, (40, 32), channels)


def test_composition():
    weight = jnp.asarray([[0.9, 0.1], [0.5, 0.0]])[None, ..., None]
    painted = jnp.asarray([[0.0, 0.9], [0.6, 1.0]])[None, ..., None]
    image = compose(jnp.full((1, 2, 2, 1), 0.2), painted, weight).image
    np.testing.assert_allclose(image[0, ..., 0], [[0.18, 0.83], [0.4, 1.0]], atol=1e-7)


def test_full_weight_returns_the_source_bit_for_bit(scene, generator):
    apply, variables = generator
    params = {**variables["params"]}
    params["out"] = {**params["out"], "bias": jnp.asarray([0.0, 0.0, 0.0, 50.0])}
    image, painted, weight = apply({"params": params}, *scene)
    assert (weight == 1).all() and painted.std() > 0
    np.testing.assert_array_equal(image, scene[0])


def test_the_person_of_the_target_is_never_seen(scene, generator):
    apply, variables = generator
    source, target, background = scene
    other = np.where(background, target, -target)
    shown = apply(variables, source, target, background)
    jax.tree.map(np.testing.assert_array_equal, shown, apply(variables, source, other, background))
    context = np.where(background, -target, target)
    changed = apply(variables, source, context, background)
    assert np.abs(shown.painted - changed.painted).max() > 1e-3
    assert np.abs(shown.image).max() <= 1
    np.testing.assert_allclose(
        shown.image, shown.weight * source + (1 - shown.weight) * shown.painted, atol=1e-6
    )


def test_initial_parameters(scene):
    params = jax.jit(ContextGenerator(16, 1).init)(KEY, *scene)["params"]
    for kernel in (params["down2"], params["res_0"]["conv1"], params["up1"], params["out"]):
        np.testing.assert_allclose(kernel["kernel"].std(), 0.02, rtol=0.03)
    assert not params["out"]["bias"].any()
    assert [name for name, leaf in params.items() if "kernel" in leaf and "bias" in leaf] == ["out"]
    for norm in (params["up1_norm"], params["res_0"]["norm2"]):
        assert (norm["scale"] == 1).all() and not norm["bias"].any()
    params = jax.jit(CameraClassifier(6, 16).init)(KEY, scene[0])["params"]
    np.testing.assert_allclose(params["conv3"]["kernel"].std(), 0.02, rtol=0.03)
    np.testing.assert_allclose(params["classifier"]["kernel"].std(), 0.02, rtol=0.1)
    biased = {name for name, leaf in params.items() if "kernel" in leaf and "bias" in leaf}
    assert biased == {"conv0", "classifier"}


def test_half_precision_keeps_float32_parameters_and_source(scene, generator):
    net = ContextGenerator(4, 1, dtype=jnp.bfloat16)
    image, painted, weight = jax.jit(net.apply)(generator[1], *scene)
    variables = shapes_of(net, (32, 16), (3, 3, 1))[1]
    assert image.dtype == jnp.float32
    assert painted.dtype == weight.dtype == jnp.float32
    run = jax.jit(CameraClassifier(5, 4, dtype=jnp.bfloat16).init_with_output)
    logits, classifying = run(KEY, scene[0])
    assert logits.dtype == jnp.float32
    for y in (image, painted, weight, logits):
        assert np.isfinite(y).all()
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((variables, classifying))}
    assert dtypes == {jnp.dtype("float32")}


def test_generator_equals_pytorch(proof):
    net = ContextGenerator(4, 2)

    # Source, target and mask in one array, so that the gradient by all three is compared.
    def split(joined):
        return joined[..., :3], joined[..., 3:6], (joined[..., 6:] + 1) / 2

    joined = SimpleNamespace(
        init=lambda key, x: net.init(key, *split(x)),
        apply=lambda variables, x, **kwargs: net.apply(variables, *split(x), **kwargs),
    )
    inputs = [draw_images((2, 32, 16, 7))]
    convert = partial(from_torch, transposed=["up1", "up2", "up3"])
    found, _ = differences("crgan_generator", joined, inputs, convert)
    for part, error in found.items():
        proof(f"CR-GAN generator, {part}, relative", ORACLE, error, 5e-5)


def test_camera_classifier_equals_pytorch(proof):
    images = draw_images((2, 64, 32, 3))
    found, _ = differences("crgan_camera", CameraClassifier(5, 4), [images], from_torch)
    for part, error in found.items():
        proof(f"CR-GAN camera classifier, {part}, relative", ORACLE, error, 5e-5)
