"""Foreground masks of photographs, by a network that was trained to find people.

``python -m jaxreid.stages.masks ROOT`` writes one PNG per picture where ``jaxreid.data.masks`` says
that masks lie, and ``ROOT/masks_sheet.png``, which shows some of them: look at it before training.
What is there is not made again, so an interrupted command can be given again. It needs the extra
``masks`` and a network (``jaxreid/nets/person.py``); both are named if they are missing.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxreid.data import LAYOUTS, scan
from jaxreid.data.masks import mask_path
from jaxreid.data.pictures import encode_mask
from jaxreid.data.scanning import SUFFIXES, shortened
from jaxreid.nets import person
from jaxreid.report import figures
from jaxreid.report.files import write_atomically

THRESHOLD = 0.5  # of the probability of the person
USUAL = (0.05, 0.95)  # shares of a picture that a person covers
SHOWN = 24  # pictures on the sheet


class Made(NamedTuple):
    """What came of one picture: the share of the person, or what is wrong with the file."""

    picture: Path
    share: float = 0.0
    problem: str = ""


def pictures(root: Path, masks: Path, layout: str = "") -> list[Path]:
    """The pictures of a data set, or all below a folder that are neither masks nor their sheet.

    Args:
        root: the folder.
        masks: the folder of masks, which may lie in it.
        layout: of the data set, empty for any folder.

    Raises:
        ValueError: there are none, or two that would have one mask; or as ``data.scan``.
        FileNotFoundError: no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder: pass that of the pictures")
    if layout:
        found = sorted({e.path for entries in scan(layout, root).values() for e in entries})
    else:
        ours = {root / "masks", masks, _sheet_of(root / "masks"), _sheet_of(masks)}
        below = [path for path in sorted(root.rglob("*")) if not ours & {path, *path.parents}]
        found = [path for path in below if _is_picture(path.relative_to(root))]
    if not found:
        raise ValueError(f"{root} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    taken: dict[Path, Path] = {}
    for path in found:
        if (other := taken.setdefault(mask_path(path, root, masks), path)) != path:
            raise ValueError(f"{other} and {path} would have one mask: rename one of them")
    return found


def write(
    root: Path, found: Sequence[Path], masks: Path, segment: person.Segmenter, *, batch: int = 64
) -> list[Made]:
    """Writes the masks that are missing, ``batch`` pictures at a time, and says how far it is.

    Returns:
        What was made now.
    """
    missing = [path for path in found if not mask_path(path, root, masks).is_file()]
    print(f"{len(found):,} pictures, {len(found) - len(missing):,} have a mask", flush=True)
    made, start = [], time.perf_counter()
    with ThreadPoolExecutor() as pool:
        for at in range(0, len(missing), batch):
            made += pool.map(partial(make, root, masks, segment), missing[at : at + batch])
            rate = len(made) / (time.perf_counter() - start)
            print(f"{len(made):,} of {len(missing):,}, {rate:.0f} pictures/s", flush=True)
    return made


def make(root: Path, masks: Path, segment: person.Segmenter, picture: Path) -> Made:
    """Writes the mask of one picture, all or nothing."""
    try:
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
    except OSError as error:
        return Made(picture, problem=str(error))
    shown = segment(pixels) > THRESHOLD
    mask = encode_mask(np.uint8(255) * shown[..., None])
    write_atomically(mask_path(picture, root, masks), mask)
    return Made(picture, float(shown.mean()))


def sheet(root: Path, found: Sequence[Path], masks: Path) -> np.ndarray:
    """Pictures spread evenly over all that have a mask, each beside what the mask leaves of it."""
    masked = [path for path in found if mask_path(path, root, masks).is_file()]
    count = min(SHOWN, len(masked))
    picked = [masked[i] for i in np.linspace(0, len(masked) - 1, count).astype(int)]
    pairs = [_beside(path, mask_path(path, root, masks)) for path in picked]
    blank = np.full_like(pairs[0], 255)
    pairs += [blank] * (-count % 6)
    rows = np.stack(pairs).reshape(-1, 12, *blank.shape[1:])
    return figures.grid(rows, col_labels=["picture", "cut out"] * 6)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 if something went wrong."""
    parser = argparse.ArgumentParser(prog="python -m jaxreid.stages.masks", description=__doc__)
    parser.add_argument("root", type=Path, help="the folder of the pictures")
    parser.add_argument("--layout", choices=LAYOUTS, default="", help="only pictures of that set")
    parser.add_argument("--masks", type=Path, help="folder to write; default ROOT/masks")
    parser.add_argument("--network", type=Path, help="its file; default: where fetch writes it")
    parser.add_argument("--batch", type=int, default=64, help="pictures between two lines")
    flags = parser.parse_args(argv)
    masks = flags.masks or flags.root / "masks"
    try:
        segment = person.segmenter(flags.network)
        found = pictures(flags.root, masks, flags.layout)
        made = write(flags.root, found, masks, segment, batch=flags.batch)
        bad = [f"{each.picture} ({each.problem})" for each in made if each.problem]
        if len(bad) < len(found):
            figures.write_png(_sheet_of(masks), sheet(flags.root, found, masks))
            print(f"look at {_sheet_of(masks)}")
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for line in _doubts(made):
        print(line)
    if bad:
        print(f"error: {len(bad):,} pictures have no mask:\n" + "\n".join(bad), file=sys.stderr)
    return int(bool(bad))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(p.startswith(".") for p in path.parts)


def _sheet_of(masks: Path) -> Path:
    return masks.with_name(f"{masks.name}_sheet.png")


def _beside(picture: Path, mask: Path, size: tuple[int, int] = (64, 128)) -> np.ndarray:
    with Image.open(picture) as image, Image.open(mask) as shape:
        pixels = np.asarray(image.convert("RGB").resize(size))
        share = np.asarray(shape.convert("L").resize(size), np.float32)[..., None] / 255
    around = np.array([255, 0, 255], np.float32)
    return np.stack([pixels, np.uint8(share * pixels + (1 - share) * around)])


def _doubts(made: Iterable[Made]) -> list[str]:
    """A line about masks that hardly show a person, and one about those that hide nothing."""
    done = [each for each in made if not each.problem]
    low, high = USUAL
    odd = {
        f"cover less than {low:.0%} of the picture": [m for m in done if m.share < low],
        f"cover more than {high:.0%} of the picture": [m for m in done if m.share > high],
    }
    return [
        f"{len(some):,} masks {what}: {shortened([str(each.picture) for each in some])}"
        for what, some in odd.items()
        if some
    ]


if __name__ == "__main__":
    sys.exit(main())
