"""Files of weights as NumPy arrays under their names: `.pth`, `.safetensors`, `.npz`.

PyTorch is not needed, and no file can run code: see `pickles`. The format is recognised by the
file's content. A file that holds anything but plain arrays, or is damaged, or announces more than
it has, is refused with a ValueError that names it.
"""

import json
import math
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np

from jaxreid.nets.weights import torchfile
from jaxreid.nets.weights.pickles import Refusal

MAX_HEADER = 2**24  # bytes of a safetensors header; a large network has some 100 kB
MAX_RATIO = 50  # a compressed .npz may unpack to so many times its size
CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "params")
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and of torch.compile
_SAFE_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}


class Weights(NamedTuple):
    """Arrays by name, and what was unwrapped or left out to get at them."""

    arrays: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a file of weights: the arrays of `parse`."""
    return parse(path).arrays


def parse(path: str | Path) -> Weights:
    """Reads a file of weights.

    Args:
        path: a PyTorch state dict (`torch.save(model.state_dict(), path)`, zip or legacy format),
            `.safetensors` or `.npz`. Of a training checkpoint the state dict is taken, from under
            `state_dict`, `model_state_dict`, `model`, `net` or `params`. The prefix `module.` of
            every name (DataParallel), and `_orig_mod.` (torch.compile), is taken away.

    Returns:
        Arrays by name, most of them read-only views of the file's bytes; bfloat16 and float8 have
        the types of `ml_dtypes`. And a note on everything unwrapped or left out.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is damaged, of another kind, or holds other things than plain arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of weights at '{path}'.")
    return parse_bytes(path.read_bytes(), str(path))


def parse_bytes(data: bytes, name: str = "in memory") -> Weights:
    """`parse` for the content of a file; `name` stands for it in errors."""
    try:
        arrays, notes = _parse(data)
    except Refusal as error:
        raise ValueError(f"Weights file '{name}' {error}.") from error
    except Exception as error:  # whatever else a damaged or hostile file provokes in a parser
        kind = type(error).__name__
        raise ValueError(f"Weights file '{name}' is damaged ({kind}: {error}).") from error
    return _without_prefixes(arrays, notes)


def _parse(data: bytes) -> Weights:
    """Recognises the format, and reads it."""
    if data[:4] == b"PK\x03\x04":
        return _zip(data)
    if data[8:9] == b"{":
        return Weights(_safetensors(data))
    if data[:1] == b"\x80":
        return _state_dict(torchfile.from_legacy(data))
    if data[:6] == b"\x93NUMPY":
        raise Refusal("is a lone array, not a .npz file: it has no names of layers")
    raise Refusal("is none of .pth (zip or legacy), .safetensors and .npz")


def _zip(data: bytes) -> Weights:
    with ZipFile(BytesIO(data)) as archive:
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise Refusal("holds a member twice")
        if any(name.endswith("/data.pkl") for name in names):
            return _state_dict(torchfile.from_zip(data, archive))
        if names and all(name.endswith(".npy") for name in names):
            return Weights(_npz(archive, len(data)))
    raise Refusal("is an archive, but neither PyTorch's nor a .npz file")


def _state_dict(contents: torchfile.Contents) -> Weights:
    """Finds the dictionary of tensors in what was pickled, and makes arrays of them."""
    tree, notes = contents.tree, []
    for _ in range(3):  # a dictionary may contain itself
        if not _has_tensors(tree) and (inner := _container(tree)) is not None:
            notes.append(f"the weights were under '{inner}'")
            tree = tree[inner]
    if not _has_tensors(tree):
        raise Refusal("holds no dictionary of tensors")
    tensors = {key: value for key, value in tree.items() if type(value) is torchfile.Tensor}
    if odd := [key for key in tensors if type(key) is not str]:
        raise Refusal(f"has tensors without a name, first under {odd[0]!r:.100}")
    notes += [f"{key!r:.100} is no tensor: left out" for key in tree if key not in tensors]
    arrays = {
        key: torchfile.array(tensor, contents.storage(tensor.storage.key))
        for key, tensor in tensors.items()
    }
    return Weights(arrays, tuple(notes))


def _has_tensors(tree: Any) -> bool:
    return type(tree) is dict and any(type(v) is torchfile.Tensor for v in tree.values())


def _container(tree: Any) -> str | None:
    """The key under which a training checkpoint keeps its state dict."""
    known = CONTAINERS if type(tree) is dict else ()
    return next((key for key in known if type(tree.get(key)) is dict), None)


def _without_prefixes(arrays: Mapping[str, np.ndarray], notes: tuple[str, ...]) -> Weights:
    while prefix := next((p for p in PREFIXES if _all_start(arrays, p)), None):
        arrays = {key.removeprefix(prefix): value for key, value in arrays.items()}
        notes = (*notes, f"the prefix '{prefix}' was taken from every name")
    return Weights(dict(arrays), notes)


def _all_start(arrays: Mapping[str, np.ndarray], prefix: str) -> bool:
    return bool(arrays) and all(key.startswith(prefix) for key in arrays)


def _safetensors(data: bytes) -> dict[str, np.ndarray]:
    """8 bytes of header length, a JSON header, and the arrays end to end."""
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER, len(data) - 8):
        raise Refusal("announces a longer header than it may have")
    header = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_once)
    header.pop("__metadata__", None)
    body, at, arrays = memoryview(data)[8 + length :], 0, {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        if begin != at or not begin <= end <= len(body):
            raise Refusal(f"has a gap, an overlap or an end too far at '{name:.100}'")
        arrays[name], at = _plain(entry, body[begin:end]), end
    if at != len(body):
        raise Refusal(f"has {len(body) - at} bytes that no array owns")
    return {name: arrays[name] for name in header}


def _plain(entry: Mapping[str, Any], body: memoryview) -> np.ndarray:
    if (name := entry["dtype"]) not in _SAFE_DTYPES:
        raise Refusal(f"has an array of the unknown type {name!r:.20}")
    return _array(body, np.dtype(torchfile.DTYPES[_SAFE_DTYPES[name]]), entry["shape"])


def _array(body: memoryview, dtype: np.dtype, shape: Any, order: Any = "C") -> np.ndarray:
    """An array of exactly these bytes."""
    if len(shape) > torchfile.MAX_AXES or not all(type(n) is int and n >= 0 for n in shape):
        raise Refusal("has an array whose shape is no list of sizes")
    if math.prod(shape) * dtype.itemsize != len(body):
        raise Refusal(f"has {len(body)} bytes for an array of {dtype} {tuple(shape)}")
    return np.frombuffer(body, dtype).reshape(shape, order=order)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise Refusal("holds a name twice")
    return dict(pairs)


def _npz(archive: ZipFile, size: int) -> dict[str, np.ndarray]:
    if sum(info.file_size for info in archive.infolist()) > MAX_RATIO * size:
        raise Refusal(f"unpacks to more than {MAX_RATIO} times its size")
    arrays = {}
    for info in archive.infolist():
        with archive.open(info) as member:
            # Asked for one byte more than announced, a member also has its checksum verified.
            arrays[info.filename.removesuffix(".npy")] = _npy(member.read(info.file_size + 1))
    return arrays


def _npy(data: bytes) -> np.ndarray:
    """One `.npy` file; NumPy's own reader would allocate what the header announces."""
    stream = BytesIO(data)
    version = np.lib.format.read_magic(stream)
    headers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = headers[version](stream)
    if dtype.kind not in "biufc":
        raise Refusal(f"holds {dtype.name}s; only numbers are read (allow_pickle=False)")
    array = _array(memoryview(data)[stream.tell() :], dtype, shape, "F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)
