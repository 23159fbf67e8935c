"""Bars with whiskers."""

from collections.abc import Mapping

import numpy as np

from jaxreid.report.charts.axis import Axis, ticks_below
from jaxreid.report.charts.svg import ACCENT, WIDTH, document, element, heading, text, text_width

_LONGEST = 28  # letters of a name beside its bar


def bar_chart(
    values: Mapping[str, float],
    title: str,
    label: str,
    spread: Mapping[str, float] | None = None,
    highlight: str = "",
    fmt: str = "{:.1f}",
) -> str:
    """Draws one horizontal bar per name, from zero, with whiskers for the spread over seeds.

    Args:
        values: Finite and not negative, by name.
        title: Heading of the chart.
        label: Quantity on the axis.
        spread: Standard deviation by name, where known; whiskers reach one to either side.
        highlight: The name whose bar stands out; empty for none.
        fmt: Format of the value beside its bar.

    Returns:
        An `<svg>` element.

    Raises:
        ValueError: There is no value, or one is negative or not finite.
    """
    if not values:
        raise ValueError(f"Bar chart {title!r} needs at least one value.")
    for name, value in values.items():
        if not 0 <= value < np.inf:
            raise ValueError(f"Bar chart {title!r}: {name!r} is {value}, not a finite length.")
    spread = spread or {}
    names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in values]
    left, top, pitch = max(map(text_width, names)) + 10, 30, 28
    bottom = top + pitch * len(values)
    reach = [0, *(value + spread.get(name, 0) for name, value in values.items())]
    right = WIDTH - 14 - text_width(fmt.format(max(values.values())))
    axis = Axis.fit(np.array(reach), left, right)
    marks = []
    for row, (name, value) in enumerate(values.items()):
        middle = top + (row + 0.5) * pitch
        marks.append(text(left - 10, middle + 4, names[row], text_anchor="end"))
        strong = not highlight or name == highlight
        marks += _bar(axis, middle, value, spread.get(name, 0), strong)
        end = float(axis(np.array(value + spread.get(name, 0))))
        marks.append(text(end + 7, middle + 4, fmt.format(value)))
    return document(
        WIDTH,
        bottom + 40,
        f"{title}: {', '.join(f'{name} {fmt.format(v)}' for name, v in values.items())}.",
        heading(title),
        *ticks_below(axis, bottom, label),
        *marks,
    )


def _bar(axis: Axis, middle: float, value: float, spread: float, strong: bool) -> list[str]:
    zero, end, low, high = axis(np.array([0, value, max(0, value - spread), value + spread]))
    box = {"x": zero, "y": middle - 8, "width": end - zero, "height": 16, "rx": 2}
    marks = [
        element("rect", **box, style=f"fill: {ACCENT}", fill_opacity="0.9" if strong else "0.4")
    ]
    if spread:
        whisker = f"M{low:.1f} {middle - 4}v8m0 -4H{high:.1f}m0 -4v8"
        marks.append(element("path", d=whisker, stroke="currentColor", fill="none"))
    return marks
