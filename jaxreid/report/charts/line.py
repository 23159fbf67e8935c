"""Curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from jaxreid.report.charts.axis import Axis, ticks_below
from jaxreid.report.charts.svg import MUTED, WIDTH, document, element, heading, text, text_width

_SERIES = ("#2f6db5", "#c8641b", "#2a8a6e", "#94509a", "#a8830b", "#c0426b", "#5b6b7f", "#6a5acd")
_PLOT = 180  # height of a line chart's plot
_LEFT = 54
_RIGHT = WIDTH - 22  # room for half of the last tick label
_DOTTED = 16  # so many points still get a dot each
_BINS = 300  # a long series is drawn by the lowest and the highest point of each bin


def line_chart(
    series: Mapping[str, tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]],
    title: str,
    x_label: str,
    y_label: str,
    log_y: bool = False,
    smooth: int = 1,
) -> str:
    """Draws curves over common axes.

    Args:
        series: (x, y) by name, equally long, x ascending. Points that are not finite (on a
            logarithmic axis: not positive) are left out, and the legend counts them.
        title: Heading of the chart.
        x_label: Quantity on the horizontal axis.
        y_label: Quantity on the vertical axis.
        log_y: Whether the vertical axis is logarithmic.
        smooth: Points in the centred moving average that is drawn over the then faint raw curve;
            1 draws the raw curve alone.

    Returns:
        An `<svg>` element.

    Raises:
        ValueError: There is no series, or x and y differ in length.
    """
    if not series:
        raise ValueError(f"Line chart {title!r} needs at least one series.")
    lines = [_line(i, name, x, y, log_y) for i, (name, (x, y)) in enumerate(series.items())]
    legend, top = _legend(lines) if len(lines) > 1 or lines[0].missing else ([], 58)
    bottom = top + _PLOT
    x_axis = Axis.fit(np.concatenate([li.x for li in lines]), _LEFT, _RIGHT, tight=True)
    y_axis = Axis.fit(np.concatenate([li.y for li in lines]), bottom, top, log=log_y)
    return document(
        WIDTH,
        bottom + 40,
        f"{title}: {y_label} over {x_label}. Last values: {', '.join(map(_last, lines))}.",
        heading(title),
        *legend,
        text(_LEFT - 8, top - 12, y_label, fill_opacity=MUTED),
        *_horizontal_rules(y_axis),
        *ticks_below(x_axis, bottom, x_label),
        *(curve for line in lines for curve in _curves(line, x_axis, y_axis, smooth)),
    )


@dataclass(frozen=True)
class _Line:
    """What can be drawn of a series, and how."""

    name: str
    x: np.ndarray
    y: np.ndarray
    missing: int
    stroke: Mapping[str, str | None]


def _line(index: int, name: str, x, y, log_y: bool) -> _Line:
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"Series {name!r}: x of shape {list(x.shape)} and y of shape {list(y.shape)} "
            "must be equally long rows."
        )
    drawn = np.isfinite(x) & np.isfinite(y) & (y > 0 if log_y else True)
    slot = index % len(_SERIES)
    stroke = {
        "style": f"stroke: var(--series-{slot + 1}, {_SERIES[slot]})",
        "stroke_dasharray": "5 3" if index // len(_SERIES) % 2 else None,
    }
    return _Line(name, x[drawn], y[drawn], int(np.sum(~drawn)), stroke)


def _last(line: _Line) -> str:
    return f"{line.name} {line.y[-1]:.4g}" if line.y.size else f"{line.name} none"


def _legend(lines: Sequence[_Line]) -> tuple[list[str], int]:
    """Entries in as many rows as they need, and where the plot below them starts."""
    x, y, marks = 0.0, 38, []
    for line in lines:
        label = line.name + (f" ({line.missing} not drawn)" if line.missing else "")
        width = 38 + text_width(label)
        if x and x + width > WIDTH:
            x, y = 0.0, y + 18
        sample = {"x1": x, "x2": x + 16, "y1": y - 4, "y2": y - 4, "stroke_width": 2.5}
        marks += [element("line", **sample, **line.stroke), text(x + 22, y, label)]
        x += width
    return marks, y + 40


def _horizontal_rules(axis: Axis) -> list[str]:
    marks = []
    for y, label in zip(axis(np.array(axis.ticks)), axis.labels(), strict=True):
        ends = {"x1": _LEFT, "x2": _RIGHT, "y1": y, "y2": y}
        marks.append(element("line", **ends, stroke="currentColor", stroke_opacity="0.14"))
        marks.append(text(_LEFT - 8, y + 4, label, text_anchor="end", fill_opacity=MUTED))
    return marks


def _curves(line: _Line, x_axis: Axis, y_axis: Axis, smooth: int) -> list[str]:
    """The raw curve, faint where its average lies on top, with dots where points are few."""
    if not line.y.size:
        return []
    smoothed = smooth > 1 and len(line.y) > 2
    raw = _path(line, line.y, x_axis, y_axis, stroke_opacity="0.28" if smoothed else None)
    if smoothed:
        return [raw, _path(line, _moving_average(line.y, smooth), x_axis, y_axis)]
    if len(line.y) > _DOTTED:
        return [raw]
    fill = str(line.stroke["style"]).replace("stroke", "fill")
    dots = zip(x_axis(line.x), y_axis(line.y), strict=True)
    return [raw, *(element("circle", cx=x, cy=y, r=3, style=fill) for x, y in dots)]


def _path(line: _Line, y: np.ndarray, x_axis: Axis, y_axis: Axis, **attributes: str | None) -> str:
    rows = _thinned(y)
    points = zip(x_axis(line.x[rows]), y_axis(y[rows]), strict=True)
    return element(
        "polyline",
        points=" ".join(f"{px:.1f},{py:.1f}" for px, py in points),
        fill="none",
        stroke_width=1.8,
        stroke_linejoin="round",
        **line.stroke,
        **attributes,
    )


def _moving_average(y: np.ndarray, window: int) -> np.ndarray:
    """Centred; at the ends over the points that there are."""
    ones = np.ones(min(window, len(y)))
    return np.convolve(y, ones, "same") / np.convolve(np.ones(len(y)), ones, "same")


def _thinned(y: np.ndarray) -> np.ndarray:
    """Indices of the points to draw: no spike is lost, and a long run stays a small page."""
    if len(y) <= 2 * _BINS:
        return np.arange(len(y))
    edges = np.linspace(0, len(y), _BINS + 1).astype(int)
    kept = [a + pick(y[a:b]) for a, b in pairwise(edges) for pick in (np.argmin, np.argmax)]
    return np.unique([0, *kept, len(y) - 1])
