"""PyTorch weights for the networks of this package, from files or as arrays under PyTorch's names.

One rule serves every network, because the Flax modules carry PyTorch's names: a dot before a number
becomes an underscore (`layer1.0.conv1.weight` is `layer1_0/conv1/kernel`), and kernels are
transposed from [out,in,k,k] to [k,k,in,out].
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxreid.nets import weights

Variables = Mapping[str, Any]
State = Mapping[str, np.ndarray]

_LEAVES = {
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}


class Report(NamedTuple):
    """What became of a state dict: its names used, ours that it lacks, its names unknown to us.

    `notes` say what was unwrapped or left out when its file was read.
    """

    used: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line: how many names were used, and which are missing or unexpected."""
        counts = [f"{len(self.used)} arrays used"]
        for kind, names in (("missing", self.missing), ("unexpected", self.unexpected)):
            counts.append(f"{len(names)} {kind}" + ": " * bool(names) + ", ".join(names))
        return "; ".join((*counts, *self.notes))


Rule = Callable[[State, Variables], tuple[Variables, Report]]


def from_torch(
    state: State, variables: Variables, *, transposed: Collection[str] = ()
) -> tuple[Variables, Report]:
    """Puts a PyTorch state dict into Flax variables of the same network.

    Args:
        state: arrays by PyTorch name; `num_batches_tracked` is ignored.
        variables: `params` and, where the network has them, `batch_stats`; entries that the state
            dict lacks keep their values.
        transposed: PyTorch names (without `.weight`) of the transposed convolutions.

    Returns:
        New variables, and a report of the names used, missing and unexpected.

    Raises:
        ValueError: if an array has another shape than its place.
    """
    flat: dict[tuple[str, ...], Any] = dict(flatten_dict(variables))
    used, unexpected = {}, []
    for key, array in state.items():
        if key.endswith("num_batches_tracked"):
            continue
        target, array = _place(key, np.asarray(array), transposed)
        if target not in flat:
            unexpected.append(key)
            continue
        if array.shape != flat[target].shape:
            raise ValueError(
                f"Weight '{key}' has shape {array.shape} (in Flax order), but "
                f"'{'/'.join(target)}' of this network has {flat[target].shape}. Was the file made "
                "by a network of another depth, width or stem?"
            )
        used[target], flat[target] = key, jnp.asarray(array, flat[target].dtype)
    missing = tuple("/".join(path) for path in flat if path not in used)
    return unflatten_dict(flat), Report(tuple(used.values()), missing, tuple(unexpected))


def generator_from_torch(state: State, variables: Variables) -> tuple[Variables, Report]:
    """`from_torch` for `ResnetGenerator`, from pytorch-CycleGAN-and-pix2pix's ResnetGenerator.

    A dropout layer inside the blocks moves PyTorch's numbers behind it by one; they move back here.
    """
    if np.ndim(state.get("model.10.conv_block.6.weight", 0)) == 4:
        names = {"conv_block.6.": "conv_block.5.", "conv_block.7.": "conv_block.6."}
        pattern = re.compile(r"conv_block\.[67]\.")
        state = {pattern.sub(lambda m: names[m.group()], k): v for k, v in state.items()}
    blocks = len({key.split(".")[1] for key in state if ".conv_block." in key})
    transposed = (f"model.{10 + blocks}", f"model.{13 + blocks}")
    return from_torch(state, variables, transposed=transposed)


def stargan_generator_from_torch(state: State, variables: Variables) -> tuple[Variables, Report]:
    """`from_torch` for `stargan.Generator`, from yunjey/stargan's Generator.

    Its norms declare running statistics and never use them: the report has them as unexpected. The
    discriminator has no transposed convolution, so that plain `from_torch` converts it.
    """
    residual = {key.split(".")[1] for key in state if key.count(".main.")}
    last = max(map(int, residual), default=8)
    return from_torch(state, variables, transposed=(f"main.{last + 1}", f"main.{last + 4}"))


def unet_from_torch(state: State, variables: Variables) -> tuple[Variables, Report]:
    """`from_torch` for `unet.UNet`, from pytorch-CycleGAN-and-pix2pix's UnetGenerator.

    Inside each of its nested blocks 0 or 1 is the convolution down, 3 or 5 the transposed one.
    """
    kernels = _kernels(state)
    return from_torch(state, variables, transposed=[k for k in kernels if k[-2:] in (".3", ".5")])


def discogan_generator_from_torch(state: State, variables: Variables) -> tuple[Variables, Report]:
    """`from_torch` for `discogan.Generator`, from SKTBrain/DiscoGAN's Generator.

    The second half of its convolutions are transposed; its discriminator has none.
    """
    kernels = sorted(_kernels(state), key=lambda name: int(name.rpartition(".")[2]))
    return from_torch(state, variables, transposed=kernels[len(kernels) // 2 :])


def pngan_from_torch(state: State, variables: Variables) -> tuple[Variables, Report]:
    """`from_torch` for `pngan`, from naiq/PN_GAN's Res_Generator or Patch_Discriminator."""
    layers = ["conv1.conv", "conv2.conv", "conv3.conv"]
    if "dis.conv.weight" in state:
        return _as_patchgan(state, variables, [*layers, "conv4.conv", "dis.conv"])
    blocks = len({key.split(".")[0] for key in state if key.startswith("res")})
    layers += [f"res{i + 1}.conv{conv}.conv" for i in range(blocks) for conv in (1, 2)]
    layers += ["deconv3.deconv", "deconv2.deconv", "deconv1.conv"]
    return _as_resnet_generator(state, variables, layers)


def spgan_from_torch(state: State, variables: Variables) -> tuple[Variables, Report]:
    """`from_torch` for the form `spgan_torch` of `cyclegan`, from Simon4Yan/eSPGAN's networks."""
    if "ls.0.weight" in state:
        layers = ["ls.0", "ls.2.0", "ls.3.0", "ls.4.0", "ls.5"]
        return _as_patchgan(state, variables, layers)
    blocks = len({key.split(".")[1] for key in state if ".ls." in key})
    layers = ["ls.1.0", "ls.2.0", "ls.3.0"]
    layers += [f"ls.{4 + i}.ls.{conv}" for i in range(blocks) for conv in ("1.0", "3")]
    layers += [f"ls.{4 + blocks}.0", f"ls.{5 + blocks}.0", f"ls.{7 + blocks}"]
    return _as_resnet_generator(state, variables, layers)


def sianet_from_torch(
    state: State, variables: Variables, *, size: tuple[int, int]
) -> tuple[Variables, Report]:
    """`from_torch` for `SiaNet`, from Simon4Yan/eSPGAN's Metric_Net.

    `size` is that of the images, since PyTorch flattens maps channel by channel.
    """
    blocks = sum(np.ndim(array) == 4 for array in state.values())
    names = {"ls.0": "conv1"} | {f"ls.{i + 1}.l.0": f"conv{i}" for i in range(2, blocks + 1)}
    renamed = _renamed(state, names)
    weight = renamed["fc1.weight"]
    rows, columns = (side // 4**blocks for side in size)
    maps = weight.reshape(len(weight), -1, rows, columns).transpose(0, 2, 3, 1)
    return from_torch({**renamed, "fc1.weight": maps.reshape(weight.shape)}, variables)


def _as_resnet_generator(
    state: State, variables: Variables, layers: Sequence[str]
) -> tuple[Variables, Report]:
    """`generator_from_torch` for another code's convolutions, named from first to last."""
    blocks = (len(layers) - 6) // 2
    ours = ["model.1", "model.4", "model.7"]
    ours += [f"model.{10 + i}.conv_block.{conv}" for i in range(blocks) for conv in (1, 5)]
    ours += [f"model.{n + blocks}" for n in (10, 13, 17)]
    names = dict(zip(layers, ours, strict=True))
    return generator_from_torch(_renamed(state, names), variables)


def _as_patchgan(
    state: State, variables: Variables, layers: Sequence[str]
) -> tuple[Variables, Report]:
    names = {layer: f"model.{max(3 * i - 1, 0)}" for i, layer in enumerate(layers)}
    return from_torch(_renamed(state, names), variables)


def _renamed(state: State, names: Mapping[str, str]) -> State:
    """The arrays under other layer names; `names` maps those that change."""
    parts = ((key.rpartition("."), array) for key, array in state.items())
    return {f"{names.get(layer, layer)}.{leaf}": array for (layer, _, leaf), array in parts}


def _kernels(state: State) -> list[str]:
    """PyTorch names, without `.weight`, of the layers that have a [.,.,k,k] kernel."""
    return [key.removesuffix(".weight") for key, array in state.items() if np.ndim(array) == 4]


def load(
    path: str | Path, variables: Variables, rule: Rule = from_torch
) -> tuple[Variables, Report]:
    """Loads a file of weights (`.pth`, `.safetensors`, `.npz`: `weights.parse`) into any network.

    Args:
        path: the file.
        variables: of the network, as `init` or `jax.eval_shape` of it returns them.
        rule: how the file's names map to the network's: one of this module's functions, such as
            `generator_from_torch`.

    Returns:
        New variables and the report, with `weights.parse`'s notes.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds other things than arrays, or one of another shape than its place.
    """
    arrays, notes = weights.parse(path)
    loaded, report = rule(arrays, variables)
    return loaded, report._replace(notes=notes)


def load_pretrained(path: str | Path, variables: Variables) -> tuple[Variables, Report]:
    """Loads a backbone's weights from a file into the variables of a `ReID` net.

    The file holds a state dict under the names of torchvision's ResNets, of IBN-Net's, or of
    EfficientNet-Lite0. Its classifier is reported as unexpected, and the head keeps its values.

    Args:
        path: a `.pth`, `.safetensors` or `.npz` file.
        variables: `params` and `batch_stats`, each with a part `backbone`.

    Returns:
        New variables and the report on the backbone, whose `missing` is empty.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not such a file, lacks or misshapes a weight of the backbone, or is of
            a deeper one.
    """
    backbone = {name: part["backbone"] for name, part in variables.items()}
    loaded, report = load(path, backbone)
    parts = {_part(key) for key in report.used}
    # A deeper ResNet has all names and shapes of a shallower one, IBN-b those of the plain net.
    extra = [key for key in report.unexpected if _part(key) in parts and ".running_" not in key]
    if report.missing or extra:
        raise ValueError(
            f"Pretrained file '{path}' lacks {_some(report.missing)} of the backbone's arrays, and "
            f"has {_some(extra)} that this backbone has no place for. It must hold a backbone of "
            "the configured kind and depth, under the names of torchvision's or IBN-Net's ResNets "
            "(conv1.weight, layer1.0.conv1.weight, ...) or EfficientNet-Lite0's "
            "(_conv_stem.weight, ...)."
        )
    merged = {name: {**part, "backbone": loaded[name]} for name, part in variables.items()}
    return merged, report


def _part(key: str) -> str:
    return key.partition(".")[0]


def _some(names: Sequence[str]) -> str:
    return f"{len(names)} (first '{names[0]}')" if names else "none"


def _place(
    key: str, array: np.ndarray, transposed: Collection[str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """The Flax path of a PyTorch name, and the array in Flax's axis order."""
    layer, _, leaf = key.rpartition(".")
    path = tuple(re.sub(r"\.(\d+)", r"_\1", layer).split("."))
    if leaf == "weight" and array.ndim == 1:
        return ("params", *path, "scale"), array
    if leaf == "weight":
        return ("params", *path, "kernel"), _kernel(array, layer in transposed)
    collection, name = _LEAVES.get(leaf, ("params", leaf))
    return (collection, *path, name), array


def _kernel(array: np.ndarray, transposed: bool) -> np.ndarray:
    if array.ndim != 4:
        return array.T
    if transposed:  # [in,out,k,k], and flipped in space
        return array.transpose(2, 3, 0, 1)[::-1, ::-1]
    return array.transpose(2, 3, 1, 0)
