"""The networks by which images are measured, with weights from files, never from the network.

| name | features | weights |
|---|---|---|
| `efficientnet_lite0` | mean of the last maps, 1280, at 224x224 | a package's |
| `vgg16` | mean of relu5_3, 512, at 224x224 | a package's |
| `alexnet` | mean of relu5, 256, at 224x224 | a package's |
| `inception_2015` | pool, 2048, at 299x299 as pytorch-fid resizes: FID's own | the user's |
| `random_conv` | mean of a fixed random network's maps, 64; for tests only | none |
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.evaluation.quality import FeatureNet
from jaxreid.nets import convert, convolution
from jaxreid.nets.efficientnet import EfficientNetLite0
from jaxreid.nets.inception import FIDInception, pytorch_fid_input
from jaxreid.nets.lpips import LPIPS
from jaxreid.nets.pooling import average
from jaxreid.nets.trunks import AlexNetTrunk, VGG16Trunk
from jaxreid.nets.weights import fetch

SIDE = 224  # of the images that these networks were trained with
INCEPTION = "pt_inception-2015-12-05-6726825d.pth"


class Kind(NamedTuple):
    """A network with weights.

    Attributes:
        net: the module.
        layer: name of the features.
        dim: their number.
        file: of the weights, in `jaxreid.nets.weights.fetch.directory()`.
        prepare: images in [-1, 1] of any size to what the module takes.
        pick: what the module returns to features ``[n, d]``.
        resize: name of the convention, for FID.
    """

    net: nn.Module
    layer: str
    dim: int
    file: str
    prepare: Callable[[jax.Array], jax.Array]
    pick: Callable[[Any], jax.Array]
    resize: str = ""


def resized(images: jax.Array, side: int = SIDE) -> jax.Array:
    """[B,H,W,C] to [B,side,side,C], bilinear and antialiased; proportions are not kept."""
    return jax.image.resize(images, (len(images), side, side, images.shape[-1]), "bilinear")


def _last(taps: Sequence[jax.Array]) -> jax.Array:
    return average(taps[-1])


KINDS = {
    "efficientnet_lite0": Kind(
        EfficientNetLite0(), "pool", 1280, "efficientnet_lite0.npz", resized, average
    ),
    "vgg16": Kind(VGG16Trunk(), "relu5_3", 512, "lpips_vgg16.npz", resized, _last),
    "alexnet": Kind(AlexNetTrunk(), "relu5", 256, "lpips_alexnet.npz", resized, _last),
    "inception_2015": Kind(
        FIDInception(),
        "pool",
        2048,
        INCEPTION,
        pytorch_fid_input,
        lambda levels: levels[-1],
        "pytorch",
    ),
}
NAMES = (*KINDS, "random_conv")
TRUNKS = {"alexnet": AlexNetTrunk, "vgg16": VGG16Trunk}


def feature_net(name: str, path: str | Path | None = None) -> FeatureNet:
    """A network for distances of sets of images.

    Args:
        name: one of `NAMES`.
        path: its file of weights; by default the kind's, in
            `jaxreid.nets.weights.fetch.directory()`.

    Raises:
        FileNotFoundError: if the file is missing, with what fetches it.
        ValueError: if it lacks a weight of the network, or there is no such network.
    """
    if name not in NAMES:
        raise ValueError(f"There is no feature network '{name}'; choose one of {', '.join(NAMES)}.")
    if name == "random_conv":
        return FeatureNet(name, "", 64, jax.jit(partial(_random_conv, _random_kernels())))
    kind = KINDS[name]
    variables = _loaded(kind.net, kind.file, path, np.zeros((1, 299, 299, 3), np.float32))

    @jax.jit
    def run(variables: Any, images: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):  # the same features on every device
            return kind.pick(kind.net.apply(variables, kind.prepare(images)))

    features = partial(run, variables)
    return FeatureNet(name, kind.layer, kind.dim, features, kind.resize)


def lpips(
    trunk: str = "alexnet", path: str | Path | None = None
) -> Callable[[np.ndarray, np.ndarray], jax.Array]:
    """LPIPS 0.1 of pairs of images in [-1, 1], at their own size: ``[n]``.

    Args:
        trunk: 'alexnet' or 'vgg16'.
        path: the file of weights, by default the one that `fetch` writes.

    Raises:
        FileNotFoundError: if the file is missing, with what fetches it.
        ValueError: if it lacks a weight, or there is no such trunk.
    """
    if trunk not in TRUNKS:
        raise ValueError(f"LPIPS has no trunk '{trunk}'; choose one of {', '.join(TRUNKS)}.")
    net = LPIPS(TRUNKS[trunk]())
    images = np.zeros((1, 64, 64, 3), np.float32)
    return partial(jax.jit(net.apply), _loaded(net, f"lpips_{trunk}.npz", path, images, images))


def _loaded(net: nn.Module, file: str, path: str | Path | None, *inputs: np.ndarray) -> Any:
    place = fetch.directory() / file if path is None else Path(path)
    if not place.is_file():
        name = file.removesuffix(".npz")
        way = (
            f"run 'python -m jaxreid.nets.weights.fetch {name}'"
            if name in fetch.ASSETS
            else (
                "no package has it; it is on the release page of pytorch-fid (mseitzer/pytorch-fid)"
            )
        )
        raise FileNotFoundError(f"There is no file of weights '{place}': {way}, or name another.")
    shapes = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    variables, report = convert.load(place, shapes)
    if report.missing:
        raise ValueError(f"'{place}' does not hold this network: {report.describe()}")
    return jax.device_put(variables)


def _random_kernels() -> list[jax.Array]:
    rng, channels = np.random.default_rng(0), (3, 16, 32, 64)
    shapes = [(3, 3, *pair) for pair in zip(channels, channels[1:], strict=False)]
    return [jnp.float32(rng.normal(size=s) * (2 / np.prod(s[:3])) ** 0.5) for s in shapes]


def _random_conv(kernels: list[jax.Array], images: jax.Array) -> jax.Array:
    x = images
    for kernel in kernels:
        x = nn.relu(convolution.conv(x, kernel, 2, 1))
    return average(x)
