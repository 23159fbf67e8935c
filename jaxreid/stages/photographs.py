"""What the tools for photographs share: which pictures, work with a count, a sheet to look at."""

import argparse
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from jaxreid.data import LAYOUTS, scan
from jaxreid.data.scanning import SUFFIXES

Made = TypeVar("Made")


def pictures(root: Path, ours: Collection[Path], layout: str = "") -> list[Path]:
    """The pictures of a data set, or all below a folder that these tools did not write.

    Args:
        root: the folder.
        ours: files and folders that hold what was made of pictures; they may lie in ``root``.
        layout: of the data set, empty for any folder.

    Raises:
        ValueError: there are none; or as ``data.scan``.
        FileNotFoundError: no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder: pass that of the pictures")
    if layout:
        found = sorted({e.path for entries in scan(layout, root).values() for e in entries})
    else:
        known = {root / "masks", root / "masks_sheet.png", root / "keypoints_sheet.png", *ours}
        below = [path for path in sorted(root.rglob("*")) if not known & {path, *path.parents}]
        found = [path for path in below if _is_picture(path.relative_to(root))]
    if not found:
        raise ValueError(f"{root} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    return found


def in_batches(
    make: Callable[[Path], Made], missing: Sequence[Path], batch: int
) -> Iterator[list[Made]]:
    """Applies ``make`` to pictures on all cores, ``batch`` at a time, and says how far it is."""
    done, start = 0, time.perf_counter()
    with ThreadPoolExecutor() as pool:
        for at in range(0, len(missing), batch):
            made = list(pool.map(make, missing[at : at + batch]))
            yield made
            done += len(made)
            rate = done / (time.perf_counter() - start)
            print(f"{done:,} of {len(missing):,}, {rate:.0f} pictures/s", flush=True)


def read(picture: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Its pixels, uint8 ``[H, W, 3]``; at another ``size`` (height, width) if one is given."""
    with Image.open(picture) as image:
        pixels = image.convert("RGB")
        return np.asarray(pixels.resize((size[1], size[0])) if size else pixels)


def size(picture: Path) -> tuple[int, int]:
    """(height, width); its pixels are not decoded."""
    with Image.open(picture) as image:
        return image.height, image.width


def spread(found: Sequence[Path], count: int) -> list[Path]:
    """``count`` of the pictures, or all if they are fewer, spread evenly."""
    picked = np.linspace(0, len(found) - 1, min(count, len(found))).astype(int)
    return [found[i] for i in picked]


def side_by_side(pairs: Sequence[np.ndarray], across: int) -> np.ndarray:
    """Pairs ``[2, H, W, 3]`` as rows of ``across`` pairs, the last one filled up with white."""
    blank = np.full_like(pairs[0], 255)
    whole = np.stack([*pairs, *([blank] * (-len(pairs) % across))])
    return whole.reshape(-1, 2 * across, *blank.shape[1:])


def parser(prog: str, doc: str | None) -> argparse.ArgumentParser:
    """The flags that all these tools take."""
    made = argparse.ArgumentParser(prog=prog, description=doc)
    made.add_argument("root", type=Path, help="the folder of the pictures")
    made.add_argument("--layout", choices=LAYOUTS, default="", help="only pictures of that set")
    made.add_argument("--network", type=Path, help="its file; default: where fetch writes it")
    made.add_argument("--batch", type=positive, default=64, help="pictures between two lines")
    return made


def positive(text: str) -> int:
    """The number that ``text`` says; raises ValueError, which parsers report, below 1."""
    if (number := int(text)) < 1:
        raise ValueError(f"{number} is below 1")
    return number


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(p.startswith(".") for p in path.parts)
