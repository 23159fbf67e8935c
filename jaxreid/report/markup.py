"""The little HTML that the report is made of. Every function takes text and escapes it."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image


def escaped(value: Any) -> str:
    """A value as text that is safe between tags and in attributes; sequences with commas."""
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return html.escape(str(value))


def wrapped(css_class: str, parts: Iterable[str], tag: str = "div") -> str:
    """Markup `parts` inside one element, or nothing where there are none."""
    inside = "".join(parts)
    return f'<{tag} class="{css_class}">{inside}</{tag}>' if inside else ""


def scrolling(label: str, inside: str) -> str:
    """Markup that scrolls sideways where the screen is too narrow, by keyboard too."""
    name = escaped(label)
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{name}">{inside}</div>'


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    css_class: str = "",
    strong: frozenset[tuple[int, int]] = frozenset(),
) -> str:
    """A table whose first column names the rows.

    Args:
        caption: What the table shows.
        head: Names of the columns.
        rows: Texts, as many per row as in `head`.
        css_class: Class of the table.
        strong: (row, column) of the cells in bold.

    Returns:
        Markup, in a region that scrolls on narrow screens.
    """
    names = "".join(f'<th scope="col">{escaped(name)}</th>' for name in head)
    lines = []
    for row, (name, *cells) in enumerate(rows):
        marked = [
            f"<td><strong>{escaped(cell)}</strong></td>"
            if (row, col) in strong
            else f"<td>{escaped(cell)}</td>"
            for col, cell in enumerate(cells, 1)
        ]
        lines.append(f'<tr><th scope="row">{escaped(name)}</th>{"".join(marked)}</tr>')
    body = f"<thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody>"
    # The caption stays out of the region so that it wraps while a wide table scrolls.
    region = scrolling(caption, f'<table class="{css_class}">{body}</table>')
    return f'<p class="note">{escaped(caption)}</p>{region}'


def folded(title: str, values: Mapping[str, Any]) -> str:
    """A table of names and values that opens at a click; nested mappings get dotted names."""
    lines = "".join(
        f'<tr><th scope="row">{escaped(name)}</th><td>{escaped(value)}</td></tr>'
        for name, value in _flat(values)
    )
    body = f'<table class="pairs">{lines}</table>'
    return f"<details><summary>{escaped(title)}</summary>{body}</details>"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def figure(title: str, caption: str, image: np.ndarray) -> str:
    """A captioned picture, uint8 [H, W, 3], embedded as JPEG: a fifth of PNG's size for photos.

    Quality 95 without colour subsampling, so that compression is not taken for a fault of a GAN.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"Figure {title!r} must be uint8 [H, W, 3], not {image.dtype} {list(image.shape)}."
        )
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95, subsampling=0)
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    height, width = image.shape[:2]
    name = escaped(f"{title}. {caption}")
    return (
        f"<figure><figcaption><strong>{escaped(title)}</strong>{escaped(caption)}</figcaption>"
        f'<div class="sheet" role="region" tabindex="0" aria-label="{escaped(title)}">'
        f'<img src="{source}" alt="{name}" width="{width}" height="{height}"></div></figure>'
    )
