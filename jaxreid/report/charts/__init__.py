"""Charts as inline SVG text: no scripts, no fonts to load, readable on light and on dark pages.

Colours are custom properties of the page (`--series-1`, `--accent`, ...) with fall-backs, so that a
chart also opens alone.
"""

from jaxreid.report.charts.bar import bar_chart
from jaxreid.report.charts.line import line_chart
from jaxreid.report.charts.matrix import matrix_chart

__all__ = ["bar_chart", "line_chart", "matrix_chart"]
