"""Weights files: what PyTorch and safetensors wrote is read exactly, hostile ones run nothing."""

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from contextlib import contextmanager

import ml_dtypes
import numpy as np
import pytest
from nets_golden import GOLDEN
from weights_files import (
    ORDERED_DICT,
    as_legacy,
    as_zip,
    call,
    mapping,
    name,
    number,
    several,
    storage,
    tensor,
    text,
)

from jaxreid.nets import weights
from jaxreid.nets.weights.torchfile import DTYPES

FILES = {
    "weights_zip.pth": "torch.save, PyTorch 2.13, zip",
    "weights_legacy.pth": "torch.save, PyTorch 2.13, legacy",
    "weights.safetensors": "safetensors 0.8",
}
BASE = np.arange(24, dtype=np.float32).reshape(4, 6) / 8
EXPECTED = {
    "float32": BASE,
    "transposed": BASE.T,
    "part": BASE[1:, ::2],
    "float64": BASE.astype(np.float64),
    "float16": BASE[:2].astype(np.float16),
    "bfloat16": BASE[:2].astype(ml_dtypes.bfloat16),
    "int64": np.arange(5) - 2,
    "uint8": np.arange(3, dtype=np.uint8),
    "bool": np.array([True, False, True]),
    "scalar": np.float32(3.5),
    "empty": np.zeros((0, 3), np.float32),
    "complex64": np.array([1 + 2j, -3j], np.complex64),
    "parameter": BASE[2:, :2],
    "uint16": np.arange(4, dtype=np.uint16),
}
SIX = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def read(tmp_path):
    """Reads bytes as a file whose name says nothing; afterwards nothing has been run."""
    path, sentinel = tmp_path / "file.bin", tmp_path / "sentinel"

    def run(data):
        path.write_bytes(data)
        return weights.read(path)

    run.path, run.sentinel = path, sentinel
    yield run
    assert not sentinel.exists()


@pytest.fixture
def refuse(read):
    """Asserts that bytes are refused with a ValueError that names the file."""

    def check(data, message=None):
        with pytest.raises(ValueError, match=message) as caught:
            read(data)
        assert str(caught.value).startswith(f"Weights file '{read.path}'")

    check.sentinel = read.sentinel
    return check


@contextmanager
def at_most(allocated):
    """Asserts that no more bytes are allocated at any time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < allocated
    finally:
        tracemalloc.stop()


def largest_difference(ours, theirs):
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    wide = np.complex128 if np.iscomplexobj(theirs) else np.float64
    return np.abs(ours.astype(wide) - theirs.astype(wide)).max(initial=0)


@pytest.mark.parametrize("file", FILES)
def test_files_of_the_official_writers_are_read_exactly(file, proof):
    arrays = weights.read(GOLDEN / file)
    assert set(EXPECTED) - set(arrays) <= {"uint16"}
    worst = max(largest_difference(array, EXPECTED[key]) for key, array in arrays.items())
    proof(f"weights.read, {len(arrays)} types and layouts", FILES[file], worst, 0)


@pytest.mark.parametrize(("zipped", "protocol"), [(True, 2), (True, 5), (False, 2), (False, 4)])
def test_every_type_and_layout_of_an_installed_pytorch(read, zipped, protocol):
    torch = pytest.importorskip("torch")
    base = torch.arange(48.0).reshape(2, 3, 4, 2)
    tree = {
        dtype: base.to(getattr(torch, dtype))
        for dtype in DTYPES
        if zipped or dtype not in ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2")
    }
    tree["last"] = base.contiguous(memory_format=torch.channels_last)
    tree["flipped"] = base.permute(3, 1, 0, 2)[1]
    stream = io.BytesIO()
    torch.save(tree, stream, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    arrays = read(stream.getvalue())
    assert list(arrays) == list(tree)
    for key, array in arrays.items():
        assert str(array.dtype) == str(tree[key].dtype).removeprefix("torch.")
        np.testing.assert_array_equal(
            array.astype(np.complex128), tree[key].to(torch.complex128).numpy()
        )


@pytest.mark.parametrize("write", [as_zip, as_legacy])
def test_forms_of_older_pytorch_versions(read, write):
    old = name("torch._utils", "_rebuild_tensor")
    plain = call(old, storage(), number(0), several(number(6)), several(number(1)))
    parameter = name("torch.nn.parameter", "Parameter") + several(tensor()) + b"\x81"
    state = several(b"\x88", b"\x89", ORDERED_DICT) + b"b"
    pair = several(b"U\x01p", parameter + state)  # U: a text of Python 2
    part = storage(view=several(text("1"), number(2), number(3)))
    view = tensor(part, size=(3,), stride=(1,))
    pairs = b"](" + several(text("plain"), plain) + pair + several(text("view"), view) + b"e"
    arrays = read(write(call(name("collections", "OrderedDict"), pairs)))
    np.testing.assert_array_equal(arrays["plain"], SIX.ravel())
    np.testing.assert_array_equal(arrays["p"], SIX)
    np.testing.assert_array_equal(arrays["view"], [2, 3, 4])


@pytest.mark.parametrize("write", [as_zip, as_legacy])
def test_state_of_dictionaries_sets_no_attributes(read, write):
    entries = ORDERED_DICT + mapping(a=tensor())[1:] + mapping(_metadata=b"}", items=b"N") + b"b"
    np.testing.assert_array_equal(read(write(entries))["a"], SIX)


def test_state_dict_of_a_training_checkpoint():
    arrays, notes = weights.parse(GOLDEN / "weights_checkpoint.pth")
    assert len(arrays) == 7
    np.testing.assert_array_equal(arrays["fc.weight"], np.arange(6).reshape(3, 2) / 8)
    assert notes == (
        "the weights were under 'state_dict'",
        "the prefix 'module.' was taken from every name",
    )


def test_what_is_no_tensor_is_left_out_and_noted(read):
    read(as_zip(mapping(a=tensor(), epoch=number(3), config=b"}")))
    arrays, notes = weights.parse(read.path)
    assert (list(arrays), len(notes)) == (["a"], 2)
    assert "'epoch' is no tensor: left out" in notes


@pytest.mark.parametrize("compress", [np.savez, np.savez_compressed])
def test_npz(read, compress):
    stream = io.BytesIO()
    arrays = {"a.b": SIX, "c": SIX.T[::2], "d": SIX.astype(">f8"), "e": np.int64(3)}
    compress(stream, **{f"module.{key}": value for key, value in arrays.items()})
    found = read(stream.getvalue())
    for key, value in arrays.items():
        np.testing.assert_array_equal(found[key], value)
        assert found[key].dtype.isnative


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        weights.read(tmp_path / "absent.pth")


class Evil:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def hostile_pickles(command):
    """Bodies without protocol and end that would run `command`, or at least name what could."""
    system = name("os", "system")
    nested = call(name("builtins", "getattr"), name("os", "path"), text("os"))
    array = pickle.dumps(np.zeros(2), 2)
    return {
        "os.system": call(system, text(command)),
        "posix.system": pickle.dumps(Evil(os.system, command), 2)[2:-1],
        "eval": call(name("builtins", "eval"), text(f"__import__('os').system({command!r})")),
        "getattr": call(call(name("builtins", "getattr"), nested, text("system")), text(command)),
        "partial": call(call(name("functools", "partial"), system, text(command))),
        "numpy": array[2:-1],
        "STACK_GLOBAL": call(text("os") + text("system") + b"\x93", text(command)),
        "INST": b"(" + text(command) + b"ios\nsystem\n",
        "OBJ": b"(" + system + text(command) + b"o",
        "EXT1": b"\x82\x01" + several(text(command)) + b"R",
        "NEWOBJ": name("subprocess", "Popen") + several(text(command)) + b"\x81",
        "after a tensor": tensor() + b"0" + call(system, text(command)),
        "in a persistent id": several(text("storage"), call(system, text(command))) + b"Q",
        "under a trusted name": call(name("torch._utils", "os.system"), text(command)),
        "torch.load": call(name("torch", "load"), text("other")),
        "state of a dict": ORDERED_DICT + mapping(x=call(system, text(command))) + b"b",
    }


@pytest.mark.parametrize("write", [as_zip, as_legacy])
@pytest.mark.parametrize("attack", hostile_pickles(""))
def test_code_in_a_pickle_is_refused_and_never_runs(refuse, write, attack):
    body = hostile_pickles(f"touch {refuse.sentinel}")[attack]
    refuse(write(mapping(a=tensor(), b=body)))
    refuse(write(body))


def test_the_sentinel_would_show_an_execution(tmp_path):
    sentinel = tmp_path / "sentinel"
    pickle.loads(b"\x80\x02" + hostile_pickles(f"touch {sentinel}")["os.system"] + b".")
    assert sentinel.exists()


def test_a_refused_global_is_named(refuse):
    refuse(as_zip(call(name("os", "system"), text("true"))), "names 'os.system'.*was not run")
    torch_module = name("torch.nn.modules.linear", "Linear") + b")\x81}b"
    refuse(as_legacy(torch_module), r"'torch\.nn\.modules\.linear\.Linear'.*state_dict\(\) alone")


IDENTITY = (text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), number(6))
MALFORMED = {
    "calls a text": call(text("os.system"), text("true")),
    "calls a storage type": call(name("torch", "FloatStorage"), number(6)),
    "calls the result of a call": call(ORDERED_DICT, number(6)),
    "calls with a list": name("collections", "OrderedDict") + b"]R",
    "an ordered dict of numbers": call(name("collections", "OrderedDict"), number(6)),
    "an ordered dict of singles": call(
        name("collections", "OrderedDict"), b"](" + number(6) + b"e"
    ),
    "state of a list": b"]}b",
    "state of a tuple": b")}b",
    "items of a list": b"](" + text("a") + tensor() + b"u",
    "items of a tensor": tensor() + text("a") + tensor() + b"s",
    "an odd number of items": b"}(" + text("a") + b"u",
    "appends to a dict": b"}" + tensor() + b"a",
    "an unhashable key": b"}(]" + tensor() + b"u",
    "a tuple as key": b"}()" + tensor() + b"u",
    "a number as key": b"}(" + number(1) + tensor() + b"u",
    "a key twice": b"}(" + text("a") + tensor() + text("a") + tensor() + b"u",
    "no tensor": mapping(a=number(1)),
    "a lone tensor": tensor(),
    "a storage as entry": mapping(a=storage()),
    "itself as state dict": b"}q\x00(" + text("state_dict") + b"h\x00u",
    "an empty stack": b"R",
    "an unknown memo": b"h\x07",
    "two values": b"}}",
    "no value": b"",
    "a persistent id that is no tuple": text("storage") + b"Q",
    "a persistent id of a module": several(text("module"), *IDENTITY[1:]) + b"Q",
    "a persistent id without type": several(text("storage"), b"N", *IDENTITY[2:]) + b"Q",
    "a persistent id of a function": (
        several(text("storage"), name("collections", "OrderedDict"), *IDENTITY[2:]) + b"Q"
    ),
    "a persistent id whose key is no text": several(*IDENTITY[:2], number(0), *IDENTITY[3:]) + b"Q",
    "a textual persistent id": b"Pstorage\n",
    "another storage": mapping(a=tensor(storage("1"))),
    "a path as storage": mapping(a=tensor(storage("../../../../etc/passwd"))),
    "the pickle as storage": mapping(a=tensor(storage("../data.pkl"))),
    "fewer items announced": mapping(a=tensor(storage(items=5))),
    "more items announced": mapping(a=tensor(storage(items=7))),
    "negative items": mapping(a=tensor(storage(items=-1))),
    "another type of storage": mapping(a=tensor(storage(kind="DoubleStorage"))),
    "a view out of the storage": mapping(
        a=tensor(storage(view=several(b"N", number(3), number(4))))
    ),
    "an offset too far": mapping(a=tensor(offset=1)),
    "a negative offset": mapping(a=tensor(offset=-1)),
    "an offset past all": mapping(a=tensor(offset=2**62)),
    "a stride too long": mapping(a=tensor(stride=(4, 1))),
    "a negative stride": mapping(a=tensor(stride=(-3, 1))),
    "a huge stride": mapping(a=tensor(stride=(2**61, 1))),
    "a stride that wraps": mapping(a=tensor(stride=(2**62, 1))),
    "a size too large": mapping(a=tensor(size=(3, 3))),
    "a negative size": mapping(a=tensor(size=(-2, 3))),
    "a huge size": mapping(a=tensor(size=(2**40, 2**40), stride=(0, 0))),
    "an expanded tensor": mapping(a=tensor(size=(7,), stride=(0,))),
    "a missing stride": mapping(a=tensor(stride=(1,))),
    "too many axes": mapping(a=tensor(size=(1,) * 65, stride=(1,) * 65)),
    "a huge empty tensor": mapping(a=tensor(size=(0, 2**61), stride=(1, 1))),
    "a tensor of a list": mapping(
        a=call(name("torch._utils", "_rebuild_tensor_v2"), *[b"]"] * 6),
    ),
    "a tensor of too few arguments": mapping(a=call(name("torch._utils", "_rebuild_tensor_v2"))),
    "a conjugated tensor": mapping(
        a=call(name("torch._utils", "_rebuild_tensor_v2"), storage(), *[number(0)] * 5, b"\x88")
    ),
    "a parameter of a list": mapping(a=call(name("torch._utils", "_rebuild_parameter"), b"]")),
    "an unknown operation": b"\xff",
}


@pytest.mark.parametrize("write", [as_zip, as_legacy])
@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_content_is_refused(refuse, write, case):
    refuse(write(MALFORMED[case]))


def test_malformed_archives_are_refused(refuse):
    good = mapping(a=tensor())
    refuse(as_zip(good, byteorder=b"big"), "big-endian")
    refuse(as_zip(good, compression=zipfile.ZIP_DEFLATED), "compressed")
    refuse(as_zip(good, {}), "lacks its storage '0'")
    refuse(as_zip(good).replace(b"byteorder", b"data/0\0\0\0"))
    refuse(
        as_zip(good, **{"data/0": bytes(24)}).replace(b"archive/byteorder", b"archives/data.pkl")
    )
    stream = io.BytesIO(as_zip(good))
    with zipfile.ZipFile(stream, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", bytes(24))
    refuse(stream.getvalue(), "member twice")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("notes.txt", "hello")
    refuse(stream.getvalue(), "neither PyTorch's nor a .npz")


def test_malformed_legacy_files_are_refused(refuse):
    good, six = mapping(a=tensor()), struct.pack("<6f", *range(6))
    refuse(as_legacy(good, little=b"\x89"), "big-endian")
    refuse(as_legacy(good, {}))
    for count in (5, 7, -1, 2**60):
        refuse(as_legacy(good, {"0": (count, six)}))
    refuse(as_legacy(good, {"0": (6, six), "1": (6, six)}), "storage that no tensor has")
    two = tensor(storage(kind="HalfStorage"))
    refuse(as_legacy(mapping(a=tensor(), b=two)), "storage of two types")
    refuse(pickle.dumps({"a": 1}), "none of PyTorch's")


@pytest.mark.parametrize(
    "data",
    [b"", b"P", b"PK", b"PK\x03\x04", b"\x80", b"\x80\x02", b"hello", b"\x89HDF\r\n", b"{" * 30],
)
def test_other_files_are_refused(refuse, data):
    refuse(data)


def safetensors(header, body=b"", length=None):
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(encoded) if length is None else length) + encoded + body


def entry(begin, end, dtype="F32", shape=(2,)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


MALFORMED_SAFETENSORS = {
    "overlap": safetensors({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)),
    "same bytes": safetensors({"a": entry(0, 8), "b": entry(0, 8)}, bytes(8)),
    "gap": safetensors({"a": entry(0, 8), "b": entry(12, 20)}, bytes(20)),
    "end past the file": safetensors({"a": entry(0, 8)}, bytes(7)),
    "bytes left over": safetensors({"a": entry(0, 8)}, bytes(9)),
    "backwards": safetensors({"a": entry(8, 0)}, bytes(8)),
    "negative": safetensors({"a": entry(-8, 0)}, bytes(8)),
    "wrong size": safetensors({"a": entry(0, 8, shape=(3,))}, bytes(8)),
    "negative sizes": safetensors({"a": entry(0, 8, shape=(-1, -2))}, bytes(8)),
    "fractional sizes": safetensors({"a": entry(0, 8, shape=(2.0,))}, bytes(8)),
    "huge sizes": safetensors({"a": entry(0, 8, shape=(10**4000,) * 65)}, bytes(8)),
    "unknown type": safetensors({"a": entry(0, 8, "O")}, bytes(8)),
    "no offsets": safetensors({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "a number": safetensors({"a": 3}),
    "name twice": safetensors(b'{"a":1,"a":1}'),
    "nested too deep": safetensors(b'{"a":' + b"[" * 100_000),
    "no JSON": safetensors(b"{hello}"),
    "no text": safetensors(b"{\xff\xfe}"),
    "header past the file": safetensors(b"{}", length=3),
    "header past everything": safetensors(b"{}", length=2**63),
}


@pytest.mark.parametrize("case", MALFORMED_SAFETENSORS)
def test_malformed_safetensors_are_refused(refuse, case):
    refuse(MALFORMED_SAFETENSORS[case])


def npz(compression=zipfile.ZIP_STORED, **members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for member, content in members.items():
            archive.writestr(f"{member}.npy", content)
    return stream.getvalue()


def npy(dtype, shape, body=b""):
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + body


def test_malformed_npz_are_refused(refuse):
    refuse(npz(a=npy("|O", (1,), pickle.dumps([Evil(os.system, f"touch {refuse.sentinel}")]))))
    refuse(npz(a=npy("<f4", (10**12,))))
    refuse(npz(a=npy("<f4", (2,), bytes(7))))
    refuse(npz(a=npy("<f4", (-1, -2), bytes(8))))
    refuse(npz(a=b"\x93NUMPY\x03\x00"))
    refuse(npz(a=b"hello"))
    refuse(npz(a=npy("<f4", (2,), bytes(8))).replace(bytes(8), b"\x01" * 8, 1))  # the checksum
    refuse(npz(zipfile.ZIP_DEFLATED, a=npy("<f4", (2**24,), bytes(2**26))), "50 times its size")
    stream = io.BytesIO()
    np.save(stream, SIX)
    refuse(stream.getvalue(), "lone array, not a .npz")


BOMBS = {
    "memo": b"}r\xff\xff\xff\x7f",
    "text": b"X\xff\xff\xff\xff",
    "long text": b"\x8d" + struct.pack("<Q", 2**40),
    "bytes": b"\x8e" + struct.pack("<Q", 2**40),
    "byte array": b"\x96" + struct.pack("<Q", 2**40),
    "integer": b"\x8b\xff\xff\xff\x7f",
    "negative length": b"\x8b\xff\xff\xff\xff",
    "frame": b"\x95" + struct.pack("<Q", 2**60) + b"}",
    "digits": b"I" + b"9" * 5000 + b"\n",
    "operations": b"}" * 600_000,
    "marks": b"(" * 600_000,
    "laughs": b")" + b"q\x00h\x00\x86" * 1000,
    "calls": ORDERED_DICT + (b"0" + ORDERED_DICT) * 20_000,
    "expanded": mapping(**{f"a{i}": tensor(size=(2**30,), stride=(0,)) for i in range(10)}),
}


@pytest.mark.parametrize("case", BOMBS)
def test_announced_sizes_are_not_allocated(refuse, case):
    data = as_zip(BOMBS[case])
    with at_most(100e6):
        refuse(data)


PIECES = [
    *(ORDERED_DICT, storage(), tensor(), mapping(a=tensor()), several(), several(number(2))),
    *(text("a"), text("0"), text("state_dict"), number(0), number(6), number(-1)),
    *(name("torch", "FloatStorage"), name("collections", "OrderedDict")),
    *(name("torch._utils", f"_rebuild_{kind}") for kind in ("tensor_v2", "tensor_v3", "parameter")),
    *(b"q\x00", b"h\x00", b"q\x01", b"h\x01", b"\x94", b"\x93", b"\x81", b"\x85", b"\x86", b"\x87"),
    *(bytes([operation]) for operation in b"(}])NtusaeRbQ02dl"),
]


@pytest.mark.parametrize("write", [as_zip, as_legacy])
def test_random_programs_of_known_operations_give_arrays_or_a_value_error(write):
    rng, read = np.random.default_rng(0), 0
    for _ in range(2000):
        body = b"".join(PIECES[i] for i in rng.integers(0, len(PIECES), rng.integers(1, 10)))
        if rng.random() < 0.5:
            body = mapping(a=tensor())[:-1] + body + b"u"
        try:
            read += len(weights.parse_bytes(write(body)).arrays) > 0
        except ValueError as error:
            assert str(error).startswith("Weights file 'in memory' ")
    assert 0 < read < 1000


@pytest.mark.parametrize("file", FILES)
def test_a_file_cut_anywhere_is_refused(tmp_path, file):
    path = tmp_path / "cut.bin"
    path.write_bytes((GOLDEN / file).read_bytes())
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        try:
            weights.read(path)
        except ValueError:
            continue
        pytest.fail(f"{length} bytes were read")


@pytest.mark.parametrize("file", [*FILES, "weights_checkpoint.pth"])
def test_flipped_bits_give_arrays_or_a_value_error(read, file):
    data = np.frombuffer((GOLDEN / file).read_bytes(), np.uint8)
    refused = 0
    with at_most(100e6):
        for seed in range(400):
            rng = np.random.default_rng(seed)
            damaged = data.copy()
            for place in rng.integers(0, len(data), rng.integers(1, 8)):
                damaged[place] ^= rng.integers(1, 256)
            try:
                assert isinstance(read(damaged.tobytes()), dict)
            except ValueError:
                refused += 1
    assert 0 < refused < 400
