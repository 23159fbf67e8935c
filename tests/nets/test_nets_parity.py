"""The nets against PyTorch: outputs, gradients and running statistics recorded from it.

The weights reach the nets through the converter, so its rules are tested by the same numbers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import draw_images, load

from jaxreid.nets import convolution
from jaxreid.nets.convert import from_torch, generator_from_torch
from jaxreid.nets.cyclegan import PatchGAN, ResnetGenerator
from jaxreid.nets.resnet import ResNet

GANS = {
    "generator": (ResnetGenerator(8, 2), (2, 16, 8, 3), generator_from_torch),
    "generator_affine_dropout": (
        ResnetGenerator(8, 2, norm_affine=True, dropout=0.5),
        (2, 16, 8, 3),
        generator_from_torch,
    ),
    "patchgan": (PatchGAN(8), (2, 32, 24, 3), from_torch),
}
ORACLES = {
    "generator": "pytorch-CycleGAN-and-pix2pix, PyTorch 2.13",
    "patchgan": "pytorch-CycleGAN-and-pix2pix, PyTorch 2.13",
    "resnet": "torchvision at width 4, PyTorch 2.13",
}
RESNETS = {
    "resnet18_imagenet_2": (ResNet(18, 4), (3, 48, 24, 3)),
    "resnet18_small_1": (ResNet(18, 4, last_stride=1, stem="small"), (4, 32, 16, 3)),
    "resnet50_imagenet_1": (ResNet(50, 4, last_stride=1), (2, 48, 24, 3)),
}


@pytest.fixture(params=["rewritten", "plain"])
def form(request, monkeypatch):
    """Runs a test with the CPU's forms of the convolutions and with the plain ones."""
    monkeypatch.setattr(convolution, "rewrites", lambda: request.param == "rewritten")


def compare(proof, name, net, shape, convert, mode, tolerance, dtype=np.float32):
    """Runs the net on golden weights, compares it with PyTorch, returns weights and updates."""
    golden, state = load(name)
    images = draw_images(shape).astype(dtype)
    shapes = jax.eval_shape(net.init, jax.random.key(0), images)
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, dtype), shapes)
    variables, report = convert(state, zeros)
    assert report.missing == ()

    def loss(params, images):
        inputs = {**variables, "params": params}
        output, updates = net.apply(inputs, images, mode == "train", mutable=["batch_stats"])
        return jnp.square(output).mean(), (output, updates)

    gradients = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
    (by_params, by_images), (output, updates) = gradients(variables["params"], images)
    errors = {
        "output": difference(output, golden[f"{mode}_output"]),
        "input gradient": difference(by_images, golden[f"{mode}_input_gradient"]),
        "weight gradients": _of_weights(golden, mode, state, convert, zeros, by_params),
    }
    oracle = next(text for prefix, text in ORACLES.items() if name.startswith(prefix))
    for quantity, error in errors.items():
        row = f"{name} {mode} {np.dtype(dtype)}, {quantity}, relative"
        proof(row, oracle, error, tolerance)
    return golden, state, updates


def _of_weights(golden, mode, state, convert, zeros, by_params):
    """Recorded gradients of single parameters, put among zeros and converted like weights."""
    prefix = f"{mode}_gradient:"
    recorded = {k[len(prefix) :]: v for k, v in golden.items() if k.startswith(prefix)}
    assert recorded
    state = {key: recorded.get(key, np.zeros_like(array)) for key, array in state.items()}
    expected = convert(state, zeros)[0]["params"]
    pairs = zip(jax.tree.leaves(by_params), jax.tree.leaves(expected), strict=True)
    return max(difference(ours, theirs) for ours, theirs in pairs if theirs.any())


def difference(ours, theirs):
    """Largest difference relative to PyTorch's largest magnitude."""
    assert ours.shape == theirs.shape
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("name", GANS)
def test_gan_equals_pytorch(name, form, proof):
    net, shape, convert = GANS[name]
    compare(proof, name, net, shape, convert, "eval", 2e-5)


def test_resnet_equals_pytorch_in_evaluation(proof):
    net, shape = RESNETS["resnet18_small_1"]
    compare(proof, "resnet18_small_1", net, shape, from_torch, "eval", 1e-5)


def test_resnet_equals_pytorch_in_training(form, proof):
    net, shape = RESNETS["resnet18_imagenet_2"]
    compare(proof, "resnet18_imagenet_2", net, shape, from_torch, "train", 1e-4)


def test_bottlenecks_equal_pytorch_in_training(proof):
    # Batch statistics of a dozen positions amplify float32 rounding a hundredfold in deep nets.
    net, shape = RESNETS["resnet50_imagenet_1"]
    with jax.enable_x64(True):
        compare(proof, "resnet50_imagenet_1", net, shape, from_torch, "train", 1e-6, np.float64)


def test_running_statistics_follow_pytorch_with_a_biased_variance(proof):
    net, shape = RESNETS["resnet18_small_1"]
    golden, state, updates = compare(
        proof, "resnet18_small_1", net, shape, from_torch, "train", 1e-4
    )
    # The second norm of layer 4's last block sees maps of 4x2, the stem's norm of 16x8.
    places = {"bn1": (("bn1",), 4 * 16 * 8), "layer4.1.bn2": (("layer4_1", "bn2"), 4 * 4 * 2)}
    for key, (path, positions) in places.items():
        ours = updates["batch_stats"]
        for part in path:
            ours = ours[part]
        mean = difference(ours["mean"], golden[f"after:{key}.running_mean"])
        kept = 0.9 * state[f"{key}.running_var"]
        unbiased = kept + (ours["var"] - kept) * positions / (positions - 1)
        variance = difference(unbiased, golden[f"after:{key}.running_var"])
        row = "batch norm, running statistics, relative"
        proof(row, "torchvision at width 4, PyTorch 2.13", max(mean, variance), 1e-5)
