"""Heat maps with their values."""

from collections.abc import Sequence

import numpy as np

from jaxreid.report.charts.svg import ACCENT, MUTED, document, element, heading, text, text_width


def matrix_chart(
    values: np.ndarray,
    row_labels: Sequence[str],
    col_labels: Sequence[str],
    title: str,
    fmt: str = "{:.2f}",
    row_title: str = "",
    col_title: str = "",
) -> str:
    """Draws a heat map with its values, for example rank-1 of each camera pair.

    Args:
        values: float [rows, cols]; NaN marks a pair that does not exist and shows a dot.
        row_labels: One per row.
        col_labels: One per column.
        title: Heading of the chart.
        fmt: Format of one value, such as `"{:.1f}"`.
        row_title: What the rows are.
        col_title: What the columns are.

    Returns:
        An `<svg>` element.

    Raises:
        ValueError: The labels do not fit the values, or a value is infinite.
    """
    values = np.asarray(values, float)
    if values.shape != (len(row_labels), len(col_labels)) or not values.size:
        raise ValueError(
            f"Matrix chart {title!r}: {len(row_labels)} row labels and {len(col_labels)} column "
            f"labels for values of shape {list(values.shape)}."
        )
    if np.isinf(values).any():
        raise ValueError(f"Matrix chart {title!r} has infinite values; NaN marks a missing pair.")
    captions = {at: "·" if np.isnan(v) else fmt.format(v) for at, v in np.ndenumerate(values)}
    size = max(44, *(text_width(label) + 12 for label in [*captions.values(), *col_labels]))
    left = max(map(text_width, [*row_labels, row_title])) + 14
    top, height = 62, 32
    shades = _shades(values)
    marks = []
    for (row, col), caption in captions.items():
        box = (left + col * size, top + row * height, size - 2, height - 2)
        marks += _cell(box, caption, float(shades[row, col]))
    for row, label in enumerate(row_labels):
        marks.append(text(left - 8, top + row * height + 19, label, text_anchor="end"))
    for col, label in enumerate(col_labels):
        marks.append(text(left + (col + 0.5) * size - 1, top - 7, label, text_anchor="middle"))
    width = max(left + size * len(col_labels), left + text_width(col_title), text_width(title, 14))
    return document(
        width,
        top + height * len(row_labels),
        f"{title}. {_extremes(values, row_labels, col_labels, fmt)}",
        heading(title),
        text(left, 38, col_title, fill_opacity=MUTED),
        text(left - 8, top - 7, row_title, fill_opacity=MUTED, text_anchor="end"),
        *marks,
    )


def _shades(values: np.ndarray) -> np.ndarray:
    """Values mapped to [0, 1] for the colour; NaN stays NaN."""
    known = values[~np.isnan(values)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    return (values - low) / (high - low) if high > low else np.where(np.isnan(values), np.nan, 0.5)


def _cell(box: tuple[float, float, float, float], caption: str, shade: float) -> list[str]:
    x, y, width, height = box
    place = {"x": x, "y": y, "width": width, "height": height, "rx": 3}
    centre = (x + width / 2, y + height / 2 + 4)
    if np.isnan(shade):
        blank = element("rect", **place, fill_opacity="0.05")
        return [blank, text(*centre, caption, text_anchor="middle", fill_opacity=MUTED)]
    # The deepest shade still lets the page's text colour stand out, on light and on dark pages.
    opacity = f"{0.05 + 0.5 * shade:.2f}"
    fill = element("rect", **place, style=f"fill: {ACCENT}", fill_opacity=opacity)
    return [fill, text(*centre, caption, text_anchor="middle")]


def _extremes(values: np.ndarray, row_labels, col_labels, fmt: str) -> str:
    """The lowest and the highest value in words, for readers who do not see the picture."""
    if np.isnan(values).all():
        return "No pair has a value."
    words = []
    for name, at in ("Lowest", np.nanargmin(values)), ("highest", np.nanargmax(values)):
        row, col = np.unravel_index(at, values.shape)
        value = fmt.format(values[row, col])
        words.append(f"{name} {value} at row {row_labels[row]}, column {col_labels[col]}")
    return f"{'; '.join(words)}."
