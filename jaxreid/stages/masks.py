"""Foreground masks of photographs, by a network that was trained to find people.

``python -m jaxreid.stages.masks ROOT`` writes one PNG per picture where ``jaxreid.data.masks`` says
that masks lie, and ``ROOT/masks_sheet.png``, which shows some of them: look at it before training.
What is there is not made again, so an interrupted command can be given again. It needs the extra
``masks`` and a network (``jaxreid/nets/person.py``); both are named if they are missing.
"""

import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxreid.data.masks import mask_path
from jaxreid.data.pictures import encode_mask
from jaxreid.data.scanning import shortened
from jaxreid.nets import person
from jaxreid.report import figures
from jaxreid.report.files import write_atomically
from jaxreid.stages import photographs

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
        ValueError: two would have one mask; or as ``photographs.pictures``.
        FileNotFoundError: no such folder.
    """
    found = photographs.pictures(root, {masks, _sheet_of(masks)}, layout)
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
    batches = photographs.in_batches(partial(make, root, masks, segment), missing, batch)
    return [each for made in batches for each in made]


def make(root: Path, masks: Path, segment: person.Segmenter, picture: Path) -> Made:
    """Writes the mask of one picture, all or nothing."""
    try:
        pixels = photographs.read(picture)
    except OSError as error:
        return Made(picture, problem=str(error))
    shown = segment(pixels) > THRESHOLD
    mask = encode_mask(np.uint8(255) * shown[..., None])
    write_atomically(mask_path(picture, root, masks), mask)
    return Made(picture, float(shown.mean()))


def sheet(root: Path, found: Sequence[Path], masks: Path) -> np.ndarray:
    """Pictures spread evenly over all that have a mask, each beside what the mask leaves of it."""
    masked = [path for path in found if mask_path(path, root, masks).is_file()]
    picked = photographs.spread(masked, SHOWN)
    pairs = [_beside(path, mask_path(path, root, masks)) for path in picked]
    rows = photographs.side_by_side(pairs, across=6)
    return figures.grid(rows, col_labels=["picture", "cut out"] * 6)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; 0, or 1 if something went wrong."""
    parser = photographs.parser("python -m jaxreid.stages.masks", __doc__)
    parser.add_argument("--masks", type=Path, help="folder to write; default ROOT/masks")
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


def _sheet_of(masks: Path) -> Path:
    return masks.with_name(f"{masks.name}_sheet.png")


def _beside(picture: Path, mask: Path, size: tuple[int, int] = (128, 64)) -> np.ndarray:
    pixels = photographs.read(picture, size)
    with Image.open(mask) as shape:
        values = np.asarray(shape.convert("L").resize((size[1], size[0])), np.float32)
    share = values[..., None] / 255
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
