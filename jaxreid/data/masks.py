"""Foreground masks as files: where they lie, that all are there, and that they fit the pictures.

The mask of ``ROOT/bounding_box_train/NAME.jpg`` is ``MASKS/bounding_box_train/NAME.png``, 8-bit
grey, as large as its picture, 255 on the person and 0 off it; ``MASKS`` is ``ROOT/masks`` or any
other folder. Only the last suffix is replaced: the mask of ``NAME.jpg.jpg`` is ``NAME.jpg.png``.

Where there are none, every picture of a set can be given the same mask (``MADE_UP``).
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from jaxreid.data.layouts import Layout
from jaxreid.data.pictures import encode_mask
from jaxreid.data.record import Record

GREY = frozenset({"L", "1"})
MADE_UP = ("ones", "centre_ellipse")  # everything is the person; the largest ellipse is
Splits = Mapping[str, list[Record]]


def mask_path(picture: Path, root: Path, masks: Path) -> Path:
    """Where the mask of a picture below ``root`` lies below ``masks``."""
    return (masks / picture.relative_to(root)).with_suffix(".png")


def attach(layout: Layout, root: Path, splits: Splits, masks: Path) -> dict[str, list[Record]]:
    """Gives every record the path of its mask.

    Training needs masks, testing does not: a query or gallery of which no picture has one is left
    without.

    Args:
        layout: of the set.
        root: its official folder.
        splits: records with the paths of their pictures.
        masks: folder of the masks.

    Raises:
        ValueError: missing masks, or masks that cannot be read, are not 8-bit grey, differ in size
            from their picture, or hold 0 and 1 only. One message, which names the first.
    """
    found = {}
    for split, records in splits.items():
        paths = [mask_path(_picture(record), root, masks) for record in records]
        missing = [path for path in paths if not path.is_file()]
        if missing and (split == "train" or len(missing) < len(paths)):
            raise ValueError(
                f"{len(missing):,} of {len(paths):,} {split} pictures of {layout.title} in {root} "
                f"have no mask, the first is {missing[0]}. {how_to_make(masks)}"
            )
        masked = zip(records, paths, strict=True)
        found[split] = records if missing else [replace(r, mask=path) for r, path in masked]
    _check([record for records in found.values() for record in records if record.mask])
    return found


def made_up(kind: str) -> bytes:
    """An encoded mask for pictures of any size and any person.

    ``ones``: all pixels count, so a masked loss becomes one over the whole picture.
    ``centre_ellipse``: the largest ellipse that the picture holds, drawn 256 by 128 and shrunk with
    its picture.

    Raises:
        ValueError: no such kind.
    """
    if kind not in MADE_UP:
        raise ValueError(f"There are no masks {kind!r}: choose {' or '.join(MADE_UP)}.")
    if kind == "ones":
        return encode_mask(np.full((1, 1, 1), 255, np.uint8))
    y, x = ((np.arange(n) + 0.5) * 2 / n - 1 for n in (256, 128))
    return encode_mask(np.uint8(255) * (y[:, None, None] ** 2 + x[:, None] ** 2 <= 1))


def how_to_make(masks: Path | str = "ROOT/masks") -> str:
    """One sentence for error messages."""
    return (
        f"Write masks as PNG (8-bit grey, 255 on the person, of the picture's size) to {masks}, "
        f"under the picture's relative path: 'python -m jaxreid.stages.masks ROOT --masks {masks}' "
        "finds the people on photographs, 'python -m jaxreid.data world DIR --masks' writes the "
        f"synthetic world with its own. In a config, masks may also be {' or '.join(MADE_UP)}, or "
        "empty where the method reads none."
    )


def _picture(record: Record) -> Path:
    if isinstance(record.image, bytes):
        raise TypeError(f"Record {record.name!r} has no file of its own, so no mask beside it.")
    return record.image


def _check(records: list[Record]) -> None:
    """Opens every mask once, in threads."""
    with ThreadPoolExecutor() as pool:
        tops, problems = zip(*pool.map(_inspect, records), strict=True) if records else ((), ())
    bad = [problem for problem in problems if problem]
    if bad:
        raise ValueError(
            f"{len(bad):,} of {len(records):,} masks cannot be used: make them again.\n"
            + "\n".join(bad)
        )
    if tops and max(tops) <= 1:
        raise ValueError(
            f"No mask is above {max(tops)}, the first is {records[0].mask}: write 255, not 1, on "
            "the person."
        )


def _inspect(record: Record) -> tuple[int, str]:
    """The largest value of a mask, and what is wrong with it."""
    path = Path(str(record.mask))
    try:
        with Image.open(_picture(record)) as image:
            size = image.size
        with Image.open(path) as mask:
            if mask.mode not in GREY:
                return 0, f"{path} (pixel mode {mask.mode}: convert it to 8-bit grey)"
            if mask.size != size:
                return 0, f"{path} ({mask.size} pixels wide and high, but its picture is {size})"
            return int(np.asarray(mask.convert("L")).max()), ""
    except Exception as error:  # decoders fail with many kinds of error; each means: unusable
        return 0, f"{path} ({error})"
