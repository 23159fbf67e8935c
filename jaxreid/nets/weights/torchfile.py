"""PyTorch's two file formats, zip (since 1.6) and legacy, read without PyTorch.

Both hold a pickle in which tensors are views of storages (dtype, offset, size, strides) and the
bytes of the storages beside it. The pickle is read as data (`pickles`), and every view is checked
against its storage before an array is made of it. Arrays are read-only views of the file's bytes.
"""

import math
import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple
from zipfile import ZipFile, ZipInfo

import ml_dtypes
import numpy as np

from jaxreid.nets.weights.pickles import Global, Refusal, ordered_dict, unpickle

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
MAX_AXES = 64  # NumPy's limit

DTYPES = {
    "float32": "<f4",
    "float64": "<f8",
    "float16": "<f2",
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "i1",
    "uint64": "<u8",
    "uint32": "<u4",
    "uint16": "<u2",
    "uint8": "u1",
    "bool": "?",
    "complex64": "<c8",
    "complex128": "<c16",
}
_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}


class Storage(NamedTuple):
    """A flat array of `items` in the file; its tensors may be confined to `items` from `start`."""

    key: str
    dtype: np.dtype
    items: int
    start: int = 0
    stop: int | None = None


class Tensor(NamedTuple):
    """A view of a storage, not yet checked; offset and strides count items of `dtype`."""

    storage: Storage
    dtype: np.dtype
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Contents(NamedTuple):
    """The pickled value, with `Tensor`s in it, and the bytes of every storage."""

    tree: Any
    storage: Callable[[str], memoryview]


def from_zip(data: bytes, archive: ZipFile) -> Contents:
    """Opens the zip format: `<prefix>/data.pkl` and a member `<prefix>/data/<key>` per storage."""
    members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    _require(len(pickles) == 1, f"has {len(pickles)} members '<name>/data.pkl' instead of one")
    (pickle,) = pickles
    prefix = pickle.removesuffix("data.pkl")
    if f"{prefix}byteorder" in members:
        order = bytes(_stored(data, members[f"{prefix}byteorder"]))
        _require(order == b"little", "is big-endian: save it on an ordinary machine")

    def storage(key: str) -> memoryview:
        _require(f"{prefix}data/{key}" in members, f"lacks its storage {key!r:.100}")
        return _stored(data, members[f"{prefix}data/{key}"])

    return Contents(_unpickle(BytesIO(_stored(data, members[pickle]))), storage)


def from_legacy(data: bytes) -> Contents:
    """Opens the legacy format: five pickles, then for each storage its count and its bytes."""
    stream = BytesIO(data)
    _require(_unpickle(stream) == MAGIC, "is a pickle, but none of PyTorch's")
    version, system = _unpickle(stream), _unpickle(stream)
    _require(version == VERSION, "has an unknown version of PyTorch's legacy format")
    _require(type(system) is dict and system.get("little_endian") is True, "is big-endian")
    sizes: dict[str, int] = {}
    tree, keys = _unpickle(stream, sizes), _unpickle(stream)
    _require(isinstance(keys, list), "lists no storages")
    storages, at = {}, stream.tell()
    for key in keys:
        _require(isinstance(key, str) and key in sizes, "lists a storage that no tensor has")
        _require(key not in storages, "lists a storage twice")
        (count,) = struct.unpack_from("<q", data, at)
        end = at + 8 + count * sizes[key]
        _require(0 <= count and end <= len(data), "ends inside a storage")
        storages[key], at = memoryview(data)[at + 8 : end], end
    return Contents(tree, storages.__getitem__)


def array(tensor: Tensor, storage: memoryview) -> np.ndarray:
    """The tensor as a read-only view of its storage's bytes.

    Raises:
        Refusal: if it reaches out of the storage, is larger than it (as expanded tensors are,
            which would let a small file fill the memory), or the storage has another length.
    """
    part, dtype = tensor.storage, tensor.dtype
    size, stride = tensor.size, tensor.stride
    stop = part.items if part.stop is None else part.stop
    _require(isinstance(size, tuple) and isinstance(stride, tuple), "has a tensor without a shape")
    _require(len(size) == len(stride) <= MAX_AXES, "has a tensor of odd strides")
    numbers = (tensor.offset, part.items, part.start, stop, *size, *stride)
    _require(all(type(n) is int and 0 <= n < 2**62 for n in numbers), "has a tensor of odd numbers")
    announced, item = part.items * part.dtype.itemsize, dtype.itemsize
    _require(
        announced == len(storage) and part.start <= stop <= part.items,
        f"announces {announced} bytes for a storage that has {len(storage)}",
    )
    begin, end = part.start * part.dtype.itemsize, stop * part.dtype.itemsize
    count = math.prod(size)
    if not count:
        return np.empty(size, dtype)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    _require(
        max(count, last + 1) * item <= end - begin,
        f"has a tensor of shape {size} that reaches out of its storage",
    )
    steps = [step * item for step in stride]
    return np.ndarray(size, dtype, storage[begin:end], tensor.offset * item, steps)


def _unpickle(stream: BytesIO, item_sizes: dict[str, int] | None = None) -> Any:
    """Reads a pickle of PyTorch's; notes the size in bytes of an item of every storage in it."""

    def persistent(identity: Any) -> Storage:
        kind, scalar, key, _, items, *view = identity
        _require(kind == "storage" and isinstance(key, str), "has a persistent id of no storage")
        dtype = _dtype(scalar)
        if item_sizes is not None:
            known = item_sizes.setdefault(key, dtype.itemsize)
            _require(known == dtype.itemsize, "has a storage of two types")
        if view and view[0] is not None:  # part of a storage; only old files have them
            _, start, length = view[0]
            return Storage(key, dtype, items, start, start + length)
        return Storage(key, dtype, items)

    return unpickle(stream, _GLOBALS, _build, persistent)


def _dtype(value: Any) -> np.dtype:
    _require(type(value) is Global and isinstance(value.value, np.dtype), "has an unknown type")
    return value.value


def _build(instance: Any, state: Any) -> None:
    """Leaves out the state of dictionaries (`_metadata`) and of parameters (hooks)."""
    _require(type(instance) in (dict, Tensor), "sets the state of what is no tensor")


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, grad=False, hooks=None, metadata=None
) -> Tensor:
    _require(type(storage) is Storage, "has a tensor without a storage")
    _require(not metadata, "has a conjugated or negated tensor: save tensor.resolve_conj()")
    return Tensor(storage, storage.dtype, offset, size, stride)


def _tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, grad, hooks, dtype: Any, metadata=None
) -> Tensor:
    tensor = _tensor(storage, offset, size, stride, grad, hooks, metadata)
    return tensor._replace(dtype=_dtype(dtype))


def _parameter(data: Any, *_: Any) -> Tensor:
    _require(type(data) is Tensor, "has a parameter that is no tensor")
    return data


_GLOBALS = {
    "collections OrderedDict": ordered_dict,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_tensor_v3": _tensor_v3,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._utils _rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter Parameter": _parameter,  # until PyTorch 0.3
    "torch.storage UntypedStorage": np.dtype("u1"),
    **{f"torch {name}": np.dtype(dtype) for name, dtype in DTYPES.items()},
    **{f"torch {name}": np.dtype(DTYPES[dtype]) for name, dtype in _STORAGES.items()},
}


def _stored(data: bytes, info: ZipInfo) -> memoryview:
    """The bytes of a zip member, which PyTorch never compresses."""
    plain = info.compress_type == 0 and not info.flag_bits & 1
    _require(plain and info.file_size == info.compress_size, "has compressed or encrypted members")
    at = info.header_offset
    _require(0 <= at and data[at : at + 4] == b"PK\x03\x04", "has a member that is not there")
    begin = at + 30 + sum(struct.unpack_from("<HH", data, at + 26))
    _require(begin + info.file_size <= len(data), "has a member that is cut off")
    return memoryview(data)[begin : begin + info.file_size]


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise Refusal(complaint)
