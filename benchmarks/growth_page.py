"""The page and pictures of what ``benchmarks.growth`` found."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxreid.report.charts import line_chart
from jaxreid.report.files import write_atomically
from jaxreid.report.markdown import table

HEAD = """# How cost grows

`make growth` (`python -m benchmarks.growth`) wrote this page with JAX {jax} on {cores} cores of a
CPU; images and networks are those of the demos, queries 1,000 of 512 numbers. Every point is a
process of its own; compilation is left out; memory is what the process held at most, inputs and
all, above what it held when it had started. The exponent is the slope of a straight line through
the logarithms of all points: 1 where twice as much takes twice as long, 2 where it takes four times
as long. Numbers of an axis stand in its first column.

![time](growth_time.svg)
![memory](growth_memory.svg)

"""
KINDS = {"time": ("seconds", "time", "{:.3g} s"), "memory": ("mib", "memory", "{:.0f} MiB")}


def exponent(points: list[dict[str, Any]], key: str) -> float:
    """Slope of log(``key``) over log(number), by least squares; nan where a value is not positive.

    A cost of ``a * number ** b`` gives ``b``.
    """
    numbers, values = (np.array([each[name] for each in points]) for name in ("number", key))
    if (values <= 0).any():
        return float("nan")
    return float(np.polyfit(np.log(numbers), np.log(values), 1)[0])


def write(store: Path, docs: Path) -> None:
    """``growth.md`` and its two pictures in ``docs``, of all that is kept in ``store``."""
    found = [json.loads(path.read_text()) for path in sorted(store.glob("*.json"))]
    for kind, (key, said, _) in KINDS.items():
        series = {each["said"]: _doublings(each["points"], key) for each in found}
        series = {name: xy for name, xy in series.items() if len(xy[0]) > 1}
        chart = line_chart(series, f"Doublings of {said}", "doublings of the number", "doublings")
        write_atomically(docs / f"growth_{kind}.svg", _alone(chart).encode())
    header = ["number of", *(f"{kind}{more}" for kind in KINDS for more in ("", ", exponent"))]
    text = HEAD.format(**found[0]) + table([header, *map(_row, found)]) + "\n"
    write_atomically(docs / "growth.md", text.encode())


def _alone(chart: str) -> str:
    """A chart as a file: on white, in the colours that a report's style would set."""
    chart = re.sub(r"var\([^,()]+, ([^()]+)\)", r"\1", chart)
    return chart.replace("<svg ", '<svg style="background: white" ', 1)


def _doublings(points: list[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """How often number and cost have doubled since the first point whose cost is positive."""
    rows = np.array([(each["number"], each[key]) for each in points if each[key] > 0])
    numbers, values = np.log2(rows / rows[0]).T
    return numbers, values


def _row(found: dict[str, Any]) -> list[str]:
    points = found["points"]
    cells = [f"{found['said']}: " + ", ".join(f"{each['number']:,}" for each in points)]
    for key, _, form in KINDS.values():
        cells += [", ".join(form.format(each[key]) for each in points)]
        cells += [f"{exponent(points, key):.2f}"]
    return cells
