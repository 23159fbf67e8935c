"""Labelled contact sheets: sample grids, translation grids, ranked lists.

All pictures are uint8 RGB on the host. Sheets are drawn with Pillow's built-in font on white.
"""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxreid.report.files import write_atomically

Key = TypeVar("Key", bound=int | str)  # a camera, or the name of a domain, modality or pose
Colour = tuple[int, int, int]
RIGHT: Colour = (22, 138, 88)
WRONG: Colour = (206, 58, 46)
NEUTRAL: Colour = (52, 64, 84)  # frame of a real picture or a query
INK: Colour = (31, 41, 55)
PAPER: Colour = (255, 255, 255)

_GAP = 10  # between pictures; holds the frames of two neighbours
_FRAME = 3
_MARGIN = 8
_FONT_SIZE = 13
_LINE = 17  # height of a line of text


def grid(
    images: np.ndarray,
    row_labels: Sequence[str] = (),
    col_labels: Sequence[str] = (),
    scale: int = 1,
    *,
    captions: Sequence[Sequence[str]] | None = None,
    frames: Mapping[tuple[int, int], Colour] | None = None,
) -> np.ndarray:
    """Draws a labelled contact sheet.

    Args:
        images: uint8 [rows, cols, H, W, 3].
        row_labels: One text per row, at its left; may hold line breaks. Empty for none.
        col_labels: One text per column, above it. Empty for none.
        scale: Whole-number enlargement by repeating pixels, so that every source pixel stays exact.
        captions: One text per picture, below it. Accents and signs beyond ASCII may lack a glyph.
        frames: Colour of the frame around the picture at (row, col); the frame lies outside it.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: The pictures are not uint8 RGB, or the numbers of labels or captions differ from
            the numbers of rows and columns.
    """
    _check_grid(images, row_labels, col_labels, scale, captions)
    layout = _Layout.of(images, row_labels, col_labels, scale, captions)
    rows, cols = images.shape[:2]
    sheet = Image.new("RGB", (layout.left + cols * layout.dx, layout.top + rows * layout.dy), PAPER)
    draw = ImageDraw.Draw(sheet)
    frames = frames or {}
    for (row, col), frame in frames.items():
        x, y = layout.corner(row, col)
        draw.rectangle((x - _FRAME, y - _FRAME, x + layout.width + 2, y + layout.height + 2), frame)
    for row, col in np.ndindex(rows, cols):
        picture = images[row, col].repeat(scale, axis=0).repeat(scale, axis=1)
        sheet.paste(Image.fromarray(picture), layout.corner(row, col))
    for row, label in enumerate(row_labels):
        draw.text((_MARGIN, layout.corner(row, 0)[1]), label, INK, _font())
    for col, label in enumerate(col_labels):
        draw.text((layout.middle(col), _MARGIN), label, INK, _font(), anchor="ma")
    for row, line in enumerate(captions or ()):
        below = layout.corner(row, 0)[1] + layout.height + 2 * _FRAME
        for col, caption in enumerate(line):
            ink = frames.get((row, col), INK)
            draw.text((layout.middle(col), below), caption, ink, _font(), anchor="ma")
    return np.asarray(sheet)


def translation_grid(
    real: Mapping[Key, np.ndarray],
    fake: Mapping[tuple[Key, Key], np.ndarray],
    scale: int = 1,
) -> np.ndarray:
    """Draws each source picture (row) in the style of each target (column).

    The column of a row's own source holds the real picture, framed; a pair without translation
    stays blank. A source or target is a camera index from 0, shown one higher as in the file names
    of the data sets, or a text shown as it is (a domain, a modality, a pose).

    Args:
        real: Pictures by source, uint8 [n, H, W, 3].
        fake: The same pictures translated, by (source, target), uint8 [n, H, W, 3].
        scale: Whole-number enlargement.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: No source, a translation of an unknown source, or shapes that do not match.
    """
    _check_translations(real, fake)
    targets = list(dict.fromkeys([*real, *(target for _, target in fake)]))
    rows, labels, frames = [], [], {}
    for source, pictures in real.items():
        for index, picture in enumerate(pictures):
            blank = np.full_like(picture, 255)
            frames[len(rows), targets.index(source)] = NEUTRAL
            cells = [fake[source, t][index] if (source, t) in fake else blank for t in targets]
            cells[targets.index(source)] = picture
            rows.append(cells)
            labels.append("" if index else _named(source))
    return grid(np.array(rows), labels, [_named(t) for t in targets], scale, frames=frames)


@dataclass(frozen=True)
class RankedList:
    r"""One query and the first pictures of its ranked gallery.

    Attributes:
        label: Text at the left of the row, for example "median\nAP 0.61".
        query: uint8 [H, W, 3].
        gallery: uint8 [k, H, W, 3], nearest first.
        distances: float [k].
        right: bool [k], whether the picture shows the query's person.
    """

    label: str
    query: np.ndarray
    gallery: np.ndarray
    distances: np.ndarray
    right: np.ndarray


def ranked_lists(lists: Sequence[RankedList], scale: int = 1) -> np.ndarray:
    """Draws queries with their nearest gallery pictures.

    Each picture has its distance below it. Right ones are framed green, wrong ones red with a cross
    before the distance, so that colour is not the only sign.

    Args:
        lists: One per row; a shorter list leaves blanks.
        scale: Whole-number enlargement.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: No list, or arrays of one list with different lengths.
    """
    if not lists:
        raise ValueError("ranked_lists needs at least one query.")
    length = max(len(entry.gallery) for entry in lists)
    shape = (len(lists), length + 1, *lists[0].query.shape)
    images = np.full(shape, 255, np.uint8)
    captions = [[""] * (length + 1) for _ in lists]
    frames: dict[tuple[int, int], Colour] = {}
    for row, entry in enumerate(lists):
        if not len(entry.gallery) == len(entry.distances) == len(entry.right):
            raise ValueError(
                f"Ranked list {entry.label!r}: {len(entry.gallery)} pictures, "
                f"{len(entry.distances)} distances and {len(entry.right)} marks must be as many."
            )
        images[row, 0] = entry.query
        images[row, 1 : len(entry.gallery) + 1] = entry.gallery
        frames[row, 0] = NEUTRAL
        for rank, (distance, right) in enumerate(zip(entry.distances, entry.right, strict=True), 1):
            frames[row, rank] = RIGHT if right else WRONG
            captions[row][rank] = f"{distance:.3f}" if right else f"x {distance:.3f}"
    columns = ["query", *(str(rank) for rank in range(1, length + 1))]
    labels = [entry.label for entry in lists]
    return grid(images, labels, columns, scale, captions=captions, frames=frames)


def write_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Writes `image`, uint8 [H, W, 3], as a PNG file, atomically.

    Raises:
        ValueError: The image is of another type or shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"{path}: a picture must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}."
        )
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())


def write_sample(directory: Path, step: int, image: np.ndarray) -> None:
    """Writes the picture that a training in `directory` leaves after `step`."""
    write_png(directory / "samples" / f"step_{step:06d}.png", image)


@dataclass(frozen=True)
class _Layout:
    """Where pictures lie on a sheet, in pixels."""

    left: int  # of the first cell
    top: int  # of the first picture
    dx: int  # from cell to cell
    dy: int
    width: int  # of an enlarged picture
    height: int

    @classmethod
    def of(cls, images, row_labels, col_labels, scale, captions) -> "_Layout":
        height, width = images.shape[2] * scale, images.shape[3] * scale
        under = [text for line in captions or () for text in line]
        cell = max([width, *map(_text_width, [*col_labels, *under])])
        labels = max(map(_text_width, row_labels), default=0)
        return cls(
            left=_MARGIN + labels + (_GAP if labels else 0),
            top=_MARGIN + (_LINE + _GAP if col_labels else 0),
            dx=cell + _GAP,
            dy=height + _GAP + (_LINE + _GAP if under else 0),
            width=width,
            height=height,
        )

    def corner(self, row: int, col: int) -> tuple[int, int]:
        """Left and top of a picture, centred in its cell."""
        inset = (self.dx - _GAP - self.width) // 2
        return self.left + col * self.dx + inset, self.top + row * self.dy

    def middle(self, col: int) -> int:
        return self.corner(0, col)[0] + self.width // 2


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_FONT_SIZE)


def _text_width(text: str) -> int:
    return int(np.ceil(max(_font().getbbox(line)[2] for line in text.split("\n"))))


def _named(source: int | str) -> str:
    return source if isinstance(source, str) else f"camera {source + 1}"


def _check_grid(images, row_labels, col_labels, scale, captions) -> None:
    if images.dtype != np.uint8 or images.ndim != 5 or images.shape[-1] != 3 or not images.size:
        raise ValueError(
            "A grid needs uint8 pictures [rows, cols, H, W, 3], at least one; "
            f"these are {images.dtype} {list(images.shape)}."
        )
    if scale < 1:
        raise ValueError(f"scale must be a whole number of at least 1, not {scale}.")
    expected = {"row": (row_labels, images.shape[0]), "column": (col_labels, images.shape[1])}
    for name, (labels, count) in expected.items():
        if labels and len(labels) != count:
            raise ValueError(f"{len(labels)} {name} labels for {count} {name}s of pictures.")
    if captions is not None and [len(line) for line in captions] != [images.shape[1]] * len(images):
        raise ValueError(f"captions must be {images.shape[0]} rows of {images.shape[1]} texts.")


def _check_translations(real, fake) -> None:
    if not real:
        raise ValueError("translation_grid needs the real pictures of at least one source.")
    for (source, target), pictures in fake.items():
        if source not in real:
            raise ValueError(f"Translations {source!r} to {target!r}, but {source!r} has no reals.")
        if pictures.shape != real[source].shape:
            raise ValueError(
                f"Translations {source!r} to {target!r} have shape {list(pictures.shape)}, "
                f"their real pictures {list(real[source].shape)}."
            )
