"""Weights of one network for both streams of networks for visible and infrared images."""

from pathlib import Path

import numpy as np

from jaxreid.nets.convert import Report, State, Variables, from_torch, load

ALEXNET_LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6")
NEW = ("fc6_bn", "fc6_offset", "fc7", "fc8", "head")  # what no file has


def from_alexnet(state: State, variables: Variables) -> tuple[Variables, Report]:
    """One AlexNet for each stream of `alexnet.TwoStream`, an independent copy for both.

    `state` names `conv1_w`, `conv1_b`, ..., `fc6_w`, `fc6_b`, kernels [k,k,in,out] and fc6
    [9216,4096] for maps flattened row by row: Caffe's "bvlc_alexnet" as TensorFlow holds it.
    """
    layers = {
        name: array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        for name, array in state.items()
    }
    leaves = {"w": "weight", "b": "bias"}
    named = {name: name.rpartition("_")[::2] for name in layers}
    doubled = {
        f"{stream}.{layer}.{leaves.get(leaf, leaf)}": layers[name]
        for name, (layer, leaf) in named.items()
        for stream in ("visible", "thermal")
    }
    return from_torch(doubled, variables)


def from_resnet(state: State, variables: Variables) -> tuple[Variables, Report]:
    """A ResNet of torchvision for `streams.TwoStreamResNet`; both stems get a copy of its own."""
    doubled: dict[str, np.ndarray] = {}
    for name, array in state.items():
        stem = name.startswith(("conv1.", "bn1."))
        doubled |= {
            f"{part}.{name}": array for part in (("visible", "thermal") if stem else ("shared",))
        }
    return from_torch(doubled, variables)


def load_streams(path: str | Path, variables: Variables) -> tuple[Variables, Report]:
    """Loads a file of weights into a network of two streams; what comes after keeps its values.

    Args:
        path: a `.npz`, `.pth` or `.safetensors` file, see `from_alexnet` and `from_resnet`.
        variables: of `alexnet.TwoStream` or `streams.TwoStreamResNet`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not such a file, or lacks or misshapes a weight of a stream.
    """
    rule = from_resnet if "shared" in variables["params"] else from_alexnet
    loaded, report = load(path, variables, rule)
    absent = [name for name in report.missing if not {*name.split("/")} & {*NEW}]
    if absent:
        layers = (
            f"{', '.join(ALEXNET_LAYERS)}, each _w and _b" if rule is from_alexnet else "a ResNet"
        )
        raise ValueError(
            f"Pretrained file '{path}' lacks {len(absent)} arrays of the streams (first "
            f"'{absent[0]}'): it must hold {layers}, of the configured size."
        )
    return loaded, report
