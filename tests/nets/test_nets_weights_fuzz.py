"""Damaged and made-up files of weights: arrays, or a message that names the file; nothing runs."""

import io
import os
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
import weights_files as made
from fuzzing import damaged, fuzz, orderly
from hypothesis import given
from hypothesis import strategies as st

from jaxreid.nets import convert, weights
from jaxreid.nets.weights.numpyfile import read_pickle

STATE = {"conv1.weight": np.ones((2, 3), np.float32), "n": np.arange(4)}


def npz():
    file = io.BytesIO()
    np.savez(file, **STATE)
    return file.getvalue()


WHOLE = {
    "zip": made.write_zip(STATE),
    "legacy": made.write_legacy(STATE),
    "safetensors": made.write_safetensors(STATE),
    "npz": npz(),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_damaged_files(tmp_path, kind):
    path = tmp_path / "file"
    path.write_bytes(WHOLE[kind])
    assert weights.read(path).keys() == STATE.keys()

    @fuzz(200)
    @given(damaged(WHOLE[kind]))
    def run(content):
        path.write_bytes(content)
        with orderly(path):
            for array in weights.read(path).values():
                assert array.nbytes <= len(content)

    run()


PIECES = [
    *(b"(", b")", b"]", b"}", b"N", b"0", b"2", b"R", b"\x81", b"b", b"s", b"u", b"a", b"e", b"t"),
    *(b"\x85", b"\x86", b"\x87", b"Q", b"\x93", b"\x94", b"o", b"q\x00", b"h\x00", b"\x82\x01"),
    *(b"\x90", b"\x8c\x01a", b"K\x01", b"I99999\n", b"\x8a\x01\x7f", b"G" + bytes(8), b"P0\n"),
    *(made.tensor(), made.storage(), made.ORDERED_DICT, made.text("state_dict"), made.number(-1)),
    made.name("collections", "OrderedDict"),
    made.name("torch._utils", "_rebuild_tensor_v2"),
    made.name("torch", "FloatStorage"),
]


@pytest.mark.parametrize("write", [made.as_zip, made.as_legacy])
def test_pickles_of_any_operations(tmp_path, write):
    path, sentinel = tmp_path / "file", tmp_path / "sentinel"
    system, command = made.name("os", "system"), made.text(f"touch {sentinel}")
    harm = [system, command, made.call(system, command), b"\x85R", b"ios\nsystem\n"]

    @fuzz(200)
    @given(st.lists(st.sampled_from(PIECES + harm), max_size=30).map(b"".join), st.booleans())
    def run(body, inside):
        path.write_bytes(write(made.mapping(a=made.tensor(), b=body) if inside else body))
        with orderly(path):
            weights.read(path)
        with orderly("The pickle"):
            read_pickle(b"\x80\x02" + body + b".")
        assert not sentinel.exists()

    run()


class Evil:
    def __init__(self, sentinel):
        self.sentinel = sentinel

    def __reduce__(self):
        return os.mkdir, (str(self.sentinel),)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_make_a_folder_makes_none(tmp_path, protocol):
    path, sentinel = tmp_path / "file.pth", tmp_path / "sentinel"
    data = pickle.dumps({"a": Evil(sentinel)}, protocol)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"file\.pth"):
        weights.read(path)
    assert not sentinel.exists()
    pickle.loads(data)
    assert sentinel.exists()


def test_a_small_pickle_cannot_fill_the_memory(tmp_path):
    """A list of pairs, of which dictionaries are made again and again."""
    pairs = b"](" + b"".join(made.number(i) + b"N\x86" for i in range(500)) + b"e"
    once = b"h\x01h\x00\x85R"
    body = pairs + b"q\x00" + made.name("collections", "OrderedDict") + b"q\x01"
    path = tmp_path / "file.pth"
    path.write_bytes(made.as_zip(b"(" + body + once * 500 + b"t"))
    with pytest.raises(ValueError, match=r"file\.pth.*used up"):
        weights.read(path)


NAMES = ["conv1.weight", "conv1.bias", "bn.weight", "bn.running_mean", "fc.weight"]
VARIABLES = {
    "params": {
        "conv1": {"kernel": jnp.zeros((1, 1, 2, 3)), "bias": jnp.zeros(3)},
        "bn": {"scale": jnp.ones(3), "bias": jnp.zeros(3)},
    },
    "batch_stats": {"bn": {"mean": jnp.zeros(3), "var": jnp.ones(3)}},
}


def test_arrays_of_any_name_and_shape():
    names = st.sampled_from(NAMES) | st.sampled_from(NAMES).flatmap(
        lambda name: damaged(name.encode()).map(lambda data: data.decode(errors="replace"))
    )
    shapes = st.sampled_from([(), (3,), (3, 2), (2, 3, 1), (3, 2, 1, 1), (3, 2, 1, 1, 1), (0,)])
    kinds = st.sampled_from(["float32", "float64", "int8", "bool"])
    arrays = st.builds(np.ones, shapes, kinds)

    @fuzz(200)
    @given(st.dictionaries(names, arrays, max_size=4))
    def run(state):
        with orderly(*(repr(name) for name in state), *(f"'{name}'" for name in state)):
            loaded, report = convert.from_torch(state, VARIABLES)
            assert len(report.used) + len(report.unexpected) <= len(state)
            assert loaded["params"]["bn"]["scale"].dtype == jnp.float32

    run()
