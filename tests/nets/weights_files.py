"""Writes PyTorch's file formats byte by byte, with any content: what hostile files are made of."""

import io
import json
import struct
import zipfile

import numpy as np

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
PROTOCOL = b"\x80\x02M\xe9\x03."
SYSTEM = b"\x80\x02}X\x0d\x00\x00\x00little_endian%ss."
ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value):
    return b"\x8a" + bytes([9]) + value.to_bytes(9, "little", signed=True)


def several(*items):
    """A tuple."""
    return b"(" + b"".join(items) + b"t"


def call(function, *arguments):
    return function + several(*arguments) + b"R"


def storage(key="0", kind="FloatStorage", items=6, view=b""):
    location = text("cpu")
    identity = (text("storage"), name("torch", kind), text(key), location, number(items), view)
    return several(*identity) + b"Q"


def tensor(stored=None, offset=0, size=(2, 3), stride=(3, 1)):
    shape, steps = (several(*map(number, numbers)) for numbers in (size, stride))
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    stored = storage() if stored is None else stored
    return call(rebuild, stored, number(offset), shape, steps, b"\x89", ORDERED_DICT)


def mapping(**entries):
    return b"}(" + b"".join(text(k) + v for k, v in entries.items()) + b"u"


def as_zip(body, storages=None, compression=zipfile.ZIP_STORED, **members):
    """A file of the zip format around a pickle; `storages` maps keys to bytes."""
    storages = {"0": struct.pack("<6f", *range(6))} if storages is None else storages
    members = {"data.pkl": b"\x80\x02" + body + b".", "byteorder": b"little", **members}
    members |= {f"data/{key}": content for key, content in storages.items()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for member, content in members.items():
            archive.writestr(f"archive/{member}", content)
    return stream.getvalue()


def as_legacy(body, storages=None, little=b"\x88"):
    """A file of the legacy format; `storages` maps keys to (number of items, bytes)."""
    storages = {"0": (6, struct.pack("<6f", *range(6)))} if storages is None else storages
    keys = b"\x80\x02](" + b"".join(map(text, storages)) + b"e."
    tail = b"".join(struct.pack("<q", count) + data for count, data in storages.values())
    return MAGIC + PROTOCOL + SYSTEM % little + b"\x80\x02" + body + b"." + keys + tail


def write_zip(state):
    """A state dict of float32 and int64 arrays, as `torch.save` writes it."""
    body, arrays = _state_dict(state)
    return as_zip(body, {key: array.tobytes() for key, array in arrays.items()})


def write_legacy(state):
    """The same before PyTorch 1.6."""
    body, arrays = _state_dict(state)
    return as_legacy(body, {key: (array.size, array.tobytes()) for key, array in arrays.items()})


def _state_dict(state):
    arrays = {key: np.array(array, order="C") for key, array in state.items()}
    entries = {}
    for key, array in arrays.items():
        kind = {"f": "FloatStorage", "i": "LongStorage"}[array.dtype.kind]
        strides = [step // array.itemsize for step in array.strides]
        entries[key] = tensor(storage(key, kind, array.size), 0, array.shape, strides)
    return ORDERED_DICT + mapping(**entries)[1:], arrays


def write_safetensors(state):
    """The same as a `.safetensors` file."""
    header, body = {}, b""
    for key, array in state.items():
        data = np.ascontiguousarray(array).tobytes()
        offsets = [len(body), len(body) + len(data)]
        dtype = {"f": "F32", "i": "I64"}[np.asarray(array).dtype.kind]
        header[key] = {"dtype": dtype, "shape": np.shape(array), "data_offsets": offsets}
        body += data
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + body
