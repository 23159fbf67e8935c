"""Fitted exponents and the page of ``benchmarks.growth``."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import growth
from benchmarks.growth_page import exponent, write
from jaxreid.evaluation import Scores


def points(power: float, mib: float = 1.0) -> list[dict[str, float]]:
    """Costs of 3 n^power seconds."""
    return [{"number": n, "seconds": 3 * n**power, "mib": mib} for n in (10, 20, 80)]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_is_that_power(power: float) -> None:
    assert exponent(points(power), "seconds") == pytest.approx(power, abs=1e-12)


def test_the_exponent_is_the_least_squares_slope_over_all_points() -> None:
    # Logarithms to base two: (0, 0), (1, 1), (2, 3), whose slope is 3/2.
    found = [{"number": n, "seconds": y} for n, y in [(1, 1), (2, 2), (4, 8)]]
    assert exponent(found, "seconds") == pytest.approx(1.5, abs=1e-12)


def test_a_cost_of_nothing_has_no_exponent() -> None:
    assert str(exponent(points(1.0, mib=0.0), "mib")) == "nan"


def test_the_page_has_a_row_per_axis_and_two_whole_pictures(tmp_path: Path) -> None:
    for name, power in (("ranking", 1.0), ("cameras", 2.0)):
        found = {"said": f"number of {name}", "jax": "0", "cores": 1, "points": points(power)}
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    write(tmp_path, tmp_path)
    rows = (tmp_path / "growth.md").read_text().splitlines()
    assert "| number of cameras: 10, 20, 80 | 300 s, 1.2e+03 s, 1.92e+04 s | 2.00 |" in next(
        row for row in rows if "cameras" in row
    )
    assert sum(row.startswith("| number of") for row in rows) == 3  # with the head
    for kind in ("time", "memory"):
        assert ElementTree.parse(tmp_path / f"growth_{kind}.svg").getroot().tag.endswith("svg")


def test_the_work_of_an_axis_is_of_the_number_that_is_asked_for() -> None:
    scores = growth.ranking(300)()
    assert isinstance(scores, Scores)
    assert (scores.queries, scores.gallery_size) == (growth.QUERIES, 300)
