import xml.etree.ElementTree as ET

import numpy as np
import pytest

from jaxreid.report import charts
from jaxreid.report.charts.axis import Axis

NS = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [node.text or "" for node in ET.fromstring(svg).iter(f"{NS}text")]


def points(svg):
    """The vertices of every curve, [n, 2] each."""
    lines = ET.fromstring(svg).iter(f"{NS}polyline")
    return [
        np.array([p.split(",") for p in node.attrib["points"].split()], float) for node in lines
    ]


def label_position(svg, label, axis):
    nodes = ET.fromstring(svg).iter(f"{NS}text")
    (node,) = (node for node in nodes if node.text == label)
    return float(node.attrib[axis])


@pytest.mark.parametrize(
    "low, high, labels",
    [
        (0, 10, ["0", "2", "4", "6", "8", "10"]),
        (0.2, 0.66, ["0.2", "0.3", "0.4", "0.5", "0.6", "0.7"]),
        (-1, 1, ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
        (0, 20000, ["0", "5,000", "10,000", "15,000", "20,000"]),
        (0, 2e-5, ["0", "5e-06", "1e-05", "1.5e-05", "2e-05"]),
        (2, 2, ["1.0", "1.5", "2.0", "2.5", "3.0"]),
        (0, 0, ["-0.6", "-0.4", "-0.2", "0.0", "0.2", "0.4", "0.6"]),
        (1, 1 + 1e-15, ["0.4", "0.6", "0.8", "1.0", "1.2", "1.4", "1.6"]),
        (0, 3e-15, ["0", "1e-15", "2e-15", "3e-15"]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, labels):
    axis = Axis.fit(np.array([low, high]), 0, 100)
    assert axis.labels() == labels
    assert axis.low <= low and axis.high >= high


@pytest.mark.parametrize(
    "low, high, labels", [(0.02, 7, ["0.01", "0.1", "1", "10"]), (5, 5, ["1", "10"])]
)
def test_logarithmic_ticks_are_decades(low, high, labels):
    axis = Axis.fit(np.array([low, high]), 0, 100, log=True)
    assert axis.labels() == labels
    assert axis(np.array([axis.low, axis.high])) == pytest.approx([0, 100])
    assert len(Axis.fit(np.array([1e-30, 1.0]), 0, 100, log=True).ticks) <= 8


def test_line_chart_draws_values_where_its_ticks_say():
    svg = charts.line_chart({"a": ([0, 1, 2], [0, 10, 5])}, "T", "step", "loss")
    ((_, (x1, y1), (_, y2)),) = points(svg)
    top, bottom = label_position(svg, "10", "y") - 4, label_position(svg, "0", "y") - 4
    assert y1 == pytest.approx(top, abs=0.2)
    assert y2 == pytest.approx((top + bottom) / 2, abs=0.2)
    assert x1 == pytest.approx(label_position(svg, "1.0", "x"), abs=0.2)
    assert {"T", "step", "loss"} <= set(texts(svg))
    assert "Last values: a 5." in ET.fromstring(svg).attrib["aria-label"]


def test_logarithmic_chart_spaces_decades_evenly():
    svg = charts.line_chart({"a": ([0, 1, 2], [1, 0.1, 0.01])}, "T", "x", "y", log_y=True)
    (curve,) = points(svg)
    first, second = np.diff(curve[:, 1])
    assert first == pytest.approx(second, abs=0.2) and first > 50


def test_smoothing_adds_the_centred_average_over_the_raw_curve():
    y = np.array([0.0, 3.0, 0.0, 3.0, 0.0])
    raw, smooth = points(charts.line_chart({"a": (range(5), y)}, "T", "x", "y", smooth=3))
    per_unit = (raw[0, 1] - raw[1, 1]) / 3
    averages = (raw[0, 1] - smooth[:, 1]) / per_unit
    assert averages == pytest.approx([1.5, 1, 2, 1, 1.5], abs=0.01)


def test_points_that_cannot_be_drawn_are_counted_in_the_legend():
    svg = charts.line_chart({"a": ([0, 1, 2, 3], [1, np.nan, np.inf, 2])}, "T", "x", "y")
    assert "a (2 not drawn)" in texts(svg)
    assert [len(curve) for curve in points(svg)] == [2]
    svg = charts.line_chart({"a": ([0, 1, 2], [1, 0, 2])}, "T", "x", "y", log_y=True)
    assert "a (1 not drawn)" in texts(svg)
    empty = charts.line_chart({"a": ([0], [np.nan])}, "T", "x", "y")
    assert "a (1 not drawn)" in texts(empty) and not points(empty)


def test_long_series_stays_small_and_keeps_its_spike():
    y = np.zeros(100_000)
    y[54_321] = 7
    (curve,) = points(charts.line_chart({"a": (np.arange(100_000), y)}, "T", "x", "y"))
    assert len(curve) < 1000
    assert curve[:, 1].min() < curve[0, 1] - 100
    assert curve[0, 0] < curve[-1, 0]


def test_many_series_get_a_legend_and_different_strokes():
    series = {f"pair {i}": ([0, 1], [i, i]) for i in range(12)}
    svg = charts.line_chart(series, "T", "x", "y")
    assert set(series) <= set(texts(svg))
    strokes = {
        (node.attrib["style"], node.attrib.get("stroke-dasharray"))
        for node in ET.fromstring(svg).iter(f"{NS}polyline")
    }
    assert len(strokes) == 12


def test_matrix_chart_shows_each_value_and_shades_by_size():
    values = np.array([[np.nan, 0.25], [0.5, 1.0]])
    svg = charts.matrix_chart(values, ["r1", "r2"], ["c1", "c2"], "T", "{:.0%}", "query", "gallery")
    assert {"T", "r1", "r2", "c1", "c2", "query", "gallery", "·"} <= set(texts(svg))
    assert [t for t in texts(svg) if t.endswith("%")] == ["25%", "50%", "100%"]
    cells = list(ET.fromstring(svg).iter(f"{NS}rect"))
    shades = [float(cell.attrib["fill-opacity"]) for cell in cells[1:]]
    assert shades == sorted(shades) and shades[0] < shades[2]
    assert cells[0].attrib["y"] == cells[1].attrib["y"]  # row by row
    said = ET.fromstring(svg).attrib["aria-label"]
    assert said == "T. Lowest 25% at row r1, column c2; highest 100% at row r2, column c2."


def test_matrix_chart_of_equal_or_missing_values():
    svg = charts.matrix_chart(np.full((1, 2), 0.5), ["r"], ["c1", "c2"], "T")
    assert texts(svg).count("0.50") == 2
    svg = charts.matrix_chart(np.full((1, 1), np.nan), ["r"], ["c"], "T")
    assert "No pair has a value." in ET.fromstring(svg).attrib["aria-label"]


def test_bars_are_proportional_and_whiskers_reach_one_deviation():
    svg = charts.bar_chart({"a": 10, "b": 40}, "T", "percent", {"b": 10}, highlight="b")
    a, b = ET.fromstring(svg).iter(f"{NS}rect")
    assert float(b.attrib["width"]) == pytest.approx(4 * float(a.attrib["width"]), abs=0.4)
    assert b.attrib["fill-opacity"] > a.attrib["fill-opacity"]
    (whisker,) = (node.attrib["d"] for node in ET.fromstring(svg).iter(f"{NS}path"))
    low, high = float(whisker[1:].split()[0]), float(whisker.split("H")[1].split("m")[0])
    assert high - low == pytest.approx(2 * float(a.attrib["width"]), abs=0.4)
    assert {"a", "b", "10.0", "40.0", "percent"} <= set(texts(svg))


def test_text_is_escaped():
    nasty = '<script>"&'
    for svg in (
        charts.line_chart({nasty: ([0], [1]), "b": ([0], [1])}, nasty, nasty, nasty),
        charts.matrix_chart(np.ones((1, 1)), [nasty], [nasty], nasty, "{:.1f}", nasty, nasty),
        charts.bar_chart({nasty: 1}, nasty, nasty),
    ):
        assert "<script" not in svg
        assert nasty in texts(svg)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: charts.line_chart({}, "T", "x", "y"), "'T' needs at least one series"),
        (lambda: charts.line_chart({"a": ([0, 1], [1])}, "T", "x", "y"), r"'a'.*\[2\].*\[1\]"),
        (lambda: charts.matrix_chart(np.ones((1, 2)), ["r"], ["c"], "T"), r"'T'.*\[1, 2\]"),
        (lambda: charts.matrix_chart(np.full((1, 1), np.inf), ["r"], ["c"], "T"), "infinite"),
        (lambda: charts.bar_chart({}, "T", "x"), "at least one"),
        (lambda: charts.bar_chart({"a": float("nan")}, "T", "x"), "'a' is nan"),
        (lambda: charts.bar_chart({"a": -1}, "T", "x"), "'a' is -1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_long_names_leave_room_for_their_bars():
    svg = charts.bar_chart({"x" * 200: 1.0}, "T", "percent")
    (bar,) = ET.fromstring(svg).iter(f"{NS}rect")
    assert float(bar.attrib["width"]) > 100
    assert "x" * 27 + "…" in texts(svg)
