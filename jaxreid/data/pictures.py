"""Picture files on the host: decoding to RGB, encoding, and the check that they decode at all."""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
from PIL import Image

MAX_SIDE = 8192  # a person crop is a few hundred pixels; more is a mistake or an attack
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})  # 8-bit ones


def decode(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decodes a picture file and resizes it bicubically.

    Args:
        data: an encoded JPEG, PNG or BMP of any 8-bit mode; alpha is dropped.
        size: (height, width).

    Returns:
        uint8 ``[H, W, 3]``, RGB.

    Raises:
        ValueError: more than ``MAX_SIDE`` pixels a side, or not 8 bits per channel.
    """
    image = _open(data).convert("RGB")
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def decode_mask(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decodes a mask and resizes it with a triangle filter.

    That filter takes averages: a mask grows a soft border, which says how much of each pixel the
    person covers, and stays within its values. The bicubic filter of pictures overshoots, so that
    a ring around the person would count a little as person; and nearest pixels would move the
    outline against the picture's.

    Args:
        data: an encoded picture; other modes than 8-bit grey are turned into it.
        size: (height, width).

    Returns:
        uint8 ``[H, W, 1]``, 0 to 255.

    Raises:
        ValueError: as ``decode``.
    """
    image = _open(data).convert("L")
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))[..., None]


def encode_mask(mask: np.ndarray) -> bytes:
    """Encodes uint8 ``[H, W, 1]`` as grey PNG, without loss."""
    if mask.dtype != np.uint8 or mask.ndim != 3 or mask.shape[2] != 1:
        raise ValueError(f"Expected uint8 [H, W, 1], got {mask.dtype} {list(mask.shape)}.")
    file = io.BytesIO()
    Image.fromarray(mask[..., 0]).save(file, "PNG")
    return file.getvalue()


def encode_png(image: np.ndarray) -> bytes:
    """Encodes uint8 ``[H, W, 3]`` RGB without loss."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"Expected uint8 [H, W, 3], got {image.dtype} {list(image.shape)}.")
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


class Inspection(NamedTuple):
    """What one file turned out to be.

    Attributes:
        path: the file.
        size: (height, width), (0, 0) if unreadable.
        mode: Pillow's mode, '' if unreadable.
        digest: SHA-256 of the file's bytes, '' if unreadable.
        problem: why it cannot be used, '' if it can.
    """

    path: Path
    size: tuple[int, int]
    mode: str
    digest: str
    problem: str


def inspect(paths: Iterable[Path]) -> list[Inspection]:
    """Opens and fully decodes every file once, in threads; problems are returned, not raised."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_inspect, paths))


class Pictures:
    """Pictures by number, decoded when asked for and kept while all of them fit in memory.

    Args:
        read: encoded files of the given numbers; called under a lock, so it need not be
            thread-safe.
        count: number of pictures.
        size: (height, width) that they are resized to.
        budget: bytes; a set that is larger when decoded is not kept but decoded at every use.
        masks: whether the files are masks, of one channel.
    """

    def __init__(
        self,
        read: Callable[[Sequence[int]], list[bytes]],
        count: int,
        size: tuple[int, int],
        budget: int,
        masks: bool = False,
    ):
        shape = (count, *size, 1 if masks else 3)
        kept = int(np.prod(shape)) <= budget
        self._read, self._size, self._lock = read, size, Lock()
        self._budget, self._count, self._masks = budget, count, masks
        self._pixels = np.empty(shape, np.uint8) if kept else None  # pages are claimed when filled
        self._filled = np.zeros(count, bool)

    def resized(self, size: tuple[int, int]) -> "Pictures":
        """The same pictures at another (height, width), with a cache of their own."""
        return Pictures(self._read, self._count, size, self._budget, self._masks)

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """Decoded pictures, uint8 ``[len(numbers), H, W, 3 or 1]``; a new array. Thread-safe."""
        if self._pixels is None:
            return self._decoded(numbers)
        missing = np.unique(numbers[~self._filled[numbers]])
        if len(missing):
            self._pixels[missing] = self._decoded(missing)
            self._filled[missing] = True
        return self._pixels[numbers]

    def files(self, numbers: np.ndarray) -> list[bytes]:
        """Encoded files of these numbers. Thread-safe."""
        with self._lock:
            return self._read([int(number) for number in numbers])

    def _decoded(self, numbers: np.ndarray) -> np.ndarray:
        files = self.files(numbers)
        images = np.empty((len(files), *self._size, 1 if self._masks else 3), np.uint8)
        read = decode_mask if self._masks else decode
        for image, file in zip(images, files, strict=True):
            image[:] = read(file, self._size)
        return images


def _inspect(path: Path) -> Inspection:
    try:
        data = path.read_bytes()
        image = _open(data)
        image.load()
    except Exception as error:  # decoders fail with many kinds of error; each means: unusable
        problem = "the file is empty" if path.is_file() and not path.stat().st_size else str(error)
        return Inspection(path, (0, 0), "", "", problem)
    digest = hashlib.sha256(data).hexdigest()
    return Inspection(path, (image.height, image.width), image.mode, digest, "")


def _open(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    if max(image.size) > MAX_SIDE:
        raise ValueError(
            f"{image.width} x {image.height} pixels, more than {MAX_SIDE} a side: crop or shrink it"
        )
    if image.mode not in MODES:
        raise ValueError(f"pixel mode {image.mode} is not 8-bit: convert it to 8-bit RGB")
    return image
