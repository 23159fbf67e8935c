"""Distances of two sets of images by a network's features, under names that say which network.

A distance is worth nothing without its network, layer and numbers of images, so they are part of
its name; and only that of the Inception network of 2015 may be called FID. Which networks there are
is no matter of this module: it takes functions from images to features (`jaxreid.stages.quality`
has some).
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxreid.evaluation.frechet import Moments, frechet_distance, merge, moments
from jaxreid.evaluation.kernel import kernel_distance_over_subsets
from jaxreid.evaluation.manifold import precision_recall

FID_NET = ("inception_2015", "pool", 2048)


class FeatureNet(NamedTuple):
    """A network as distances see it.

    Attributes:
        net: its name, e.g. ``efficientnet_lite0``.
        layer: where the features come from, e.g. ``pool``; empty if there is no choice.
        dim: d, their number.
        features: float32 images ``[n, H, W, 3]`` in [-1, 1] to features ``[n, d]``; it resizes and
            normalises as the network wants.
        resize: name of the convention of resizing, which FID needs: ``pytorch``.
    """

    net: str
    layer: str
    dim: int
    features: Callable[[np.ndarray], ArrayLike]
    resize: str = ""


class Distance(NamedTuple):
    """A distance, or another measure of two sets, under its name.

    Attributes:
        key: name in files of metrics: ``fd/<net>_<layer>``, ``kd/...``, ``precision/...``,
            ``recall/...``; ``fid/<resize>``, ``kid/<resize>`` for FID's network alone.
        title: for people, with d and the numbers of images:
            ``FD(<net>.<layer>, d=<d>, N=<n1>/<n2>)``.
        value: the distance.
        deviation: over random subsets, where there are any.
    """

    key: str
    title: str
    value: float
    deviation: float | None = None


def image_features(net: FeatureNet, batches: Iterable[np.ndarray]) -> np.ndarray:
    """Features ``[N, d]`` of all images, which come in batches ``[n, H, W, 3]``.

    Raises:
        ValueError: if there is no image, or images are not floating-point numbers.
    """
    return np.concatenate(list(_features(net, batches)))


def image_moments(net: FeatureNet, batches: Iterable[np.ndarray]) -> Moments:
    """Moments of the features of all images, of which only one batch is held at a time.

    Raises:
        ValueError: if there is no image, or images are not floating-point numbers.
    """
    return merge(*map(moments, _features(net, batches)))


def frechet_between(net: FeatureNet, first: Moments, second: Moments) -> Distance:
    """`frechet_distance` of two sets of images whose features have these moments."""
    key, title = _names("FD", net, first.rows, second.rows)
    return Distance(key, title, frechet_distance(first, second))


def kernel_between(
    net: FeatureNet, first: ArrayLike, second: ArrayLike, *, seed: int = 0
) -> Distance:
    """`kernel_distance_over_subsets` of features ``[N, d]`` of two sets of images."""
    key, title = _names("KD", net, len(np.asarray(first)), len(np.asarray(second)))
    return Distance(key, title, *kernel_distance_over_subsets(first, second, seed=seed))


def precision_recall_between(
    net: FeatureNet, generated: ArrayLike, real: ArrayLike, *, neighbours: int = 3
) -> tuple[Distance, Distance]:
    """`precision_recall` of features ``[N, d]`` of generated and of real images; larger is better.

    The network and its layer are part of the names, FID's network or not.
    """
    found = precision_recall(generated, real, neighbours=neighbours)
    sizes = len(np.asarray(generated)), len(np.asarray(real))
    precision, recall = (
        Distance(*_names(kind, net, *sizes), value) for kind, value in found._asdict().items()
    )
    return precision, recall


def _names(kind: str, net: FeatureNet, first: int, second: int) -> tuple[str, str]:
    sizes = f"d={net.dim}, N={first}/{second}"
    if (net.net, net.layer, net.dim) == FID_NET and kind in ("FD", "KD"):
        if not net.resize:
            raise ValueError("FID needs the name of the convention by which images are resized.")
        kind = kind[0] + "ID"
        return f"{kind.lower()}/{net.resize}", f"{kind}({net.resize} resize, {sizes})"
    parts = [net.net, net.layer] if net.layer else [net.net]
    return f"{kind.lower()}/{'_'.join(parts)}", f"{kind}({'.'.join(parts)}, {sizes})"


def _features(net: FeatureNet, batches: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    size = 0
    for images in batches:
        if not np.issubdtype(images.dtype, np.floating):
            raise ValueError(
                f"Images are floating-point numbers in [-1, 1], but these are {images.dtype}: "
                "divide 8-bit images by 127.5 and take away 1."
            )
        size = size or len(images)
        # A last, smaller batch is filled up with repeats, so that one program serves all.
        filled = images[np.resize(np.arange(len(images)), max(size, len(images)))]
        found = np.asarray(net.features(filled))[: len(images)]
        if found.shape != (len(images), net.dim):
            raise ValueError(
                f"'{net.net}' gave features of shape {found.shape} for {len(images)} images, but "
                f"is said to have {net.dim}."
            )
        yield found
    if not size:
        raise ValueError(f"There is no image to measure by '{net.net}'.")
