import base64
import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from jaxreid.report import charts, html

ARMS = {
    "baseline": {"rank-1": 0.501, "mAP": 0.302, "mAP_trapezoid": 0.291},
    "colour jitter": {"rank-1": 0.56, "mAP": 0.25, "mAP_trapezoid": 0.24},
    "camstyle": {"rank-1": 0.551, "mAP": 0.327, "mAP_trapezoid": 0.315},
    "oracle": {"rank-1": 0.701, "mAP": 0.402, "mAP_trapezoid": 0.389},
}
IMAGE = np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8)
CURVE = charts.line_chart({"loss": ([0, 1], [2, 1])}, "Loss curve", "step", "loss")
MATRIX = charts.matrix_chart(np.eye(2), ["c1", "c2"], ["c1", "c2"], "Rank-1 by pair")
FULL = html.Report(
    title="CamStyle",
    summary="First paragraph.\n\nSecond paragraph.",
    command="python launch.py --config configs/camstyle.py",
    arms=ARMS,
    system="camstyle",
    spread={"camstyle": {"rank-1": 0.004}},
    quality={
        "real": {"style": 0.95},
        "untranslated": {"identity": 0.201, "recognised": 0.8, "style": 0.1},
        "camstyle": {"identity": 0.352, "recognised": 0.7, "style": 0.6},
    },
    distances={"source": {"fd/net": 9.5}, "camstyle": {"fd/net": 7.25, "lpips/oracle": 0.1}},
    protocols={"baseline": {"mask": "same_id_same_camera", "junk_pids": (-1,)}},
    curves=[CURVE],
    matrices=[MATRIX],
    figures=[html.Figure("Translations", "Rows are sources.", IMAGE)],
    data={"train": {"images": 12936, "identities": 751}, "query": {"images": 3368, "cameras": 6}},
    settings={"seed": 3, "gan": {"lr": 2e-4, "weights": {"cycle": 10.0}, "betas": (0.5, 0.999)}},
    environment={"jax": "0.10.2"},
)
BARE = html.Report("IDE", "No GAN.", "", {"baseline": ARMS["baseline"]})


def tables(page):
    """Every table as rows of cell texts, bold ones starred."""

    def text(cell):
        return ("*" if cell.find("strong") is not None else "") + "".join(cell.itertext())

    return [
        [[text(cell) for cell in row] for row in ET.fromstring(found).iter("tr")]
        for found in re.findall(r"<table.*?</table>", page, re.S)
    ]


def headings(page):
    return re.findall(r"<h2>(.*?)</h2>", page)


class Balance(HTMLParser):
    """Fails where an element is closed out of turn."""

    VOID = ("meta", "img")

    def __init__(self):
        super().__init__()
        self.open, self.attributes = [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page):
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    return parser.attributes


def test_scores_are_the_inputs_best_in_bold_and_gap_exact():
    scores = tables(html.page(FULL))[0]
    gap = "gap\N{NO-BREAK SPACE}closed, "
    assert scores == [
        ["arm", "rank-1", "mAP", "mAP (trapezoid)", gap + "rank-1", gap + "mAP"],
        ["baseline", "50.1", "30.2", "29.1", "–", "–"],
        ["colour jitter", "*56.0", "25.0", "24.0", "29.5", "-52.0"],
        ["camstyle", "55.1 ±0.4", "*32.7", "*31.5", "25.0", "25.0"],
        ["oracle", "70.1", "40.2", "38.9", "–", "–"],
    ]


def test_an_oracle_that_ties_is_not_bold():
    arms = {name: {"mAP": 0.5} for name in ("baseline", "camstyle", "oracle")}
    rows = tables(html.page(replace(BARE, arms=arms)))[0]
    assert [row[1] for row in rows] == ["mAP", "*50.0", "*50.0", "50.0"]


def test_head_of_the_page_compares_the_system_with_the_baseline():
    (tiles,) = re.findall(r'<dl class="tiles">.*?</dl>', html.page(FULL))
    texts = list(ET.fromstring(tiles).itertext())
    assert texts[:6] == ["rank-1", "55.1 %", "+5.0 points against baseline",
                         "mAP", "32.7 %", "+2.5 points against baseline"]  # fmt: skip
    assert texts[6:8] == ["gap closed, rank-1", "25.0 %"]
    assert 'class="tiles"' not in html.page(replace(FULL, system=""))
    assert "points against" not in html.page(replace(FULL, system="baseline"))


def test_all_parts_appear():
    page = html.page(FULL)
    assert headings(page) == [
        "Scores", "Generated images", "Camera pairs", "Training", "Pictures", "Data", "Reproduce",
    ]  # fmt: skip
    assert CURVE in page and MATRIX in page
    assert "<p>First paragraph.</p><p>Second paragraph.</p>" in page
    assert "mask same_id_same_camera; junk_pids -1" in page
    assert FULL.command in page
    _, quality, distances, data, general, gan, environment = tables(page)
    assert distances == [
        ["images", "fd/net", "lpips/oracle"],
        ["source", "9.5", "–"],
        ["camstyle", "7.25", "0.1"],
    ]
    assert quality == [
        ["images", "found in the target camera, mAP", "recognised, mAP", "target camera's style"],
        ["real", "–", "–", "95.0"],
        ["untranslated", "20.1", "80.0", "10.0"],
        ["camstyle", "35.2", "70.0", "60.0"],
    ]
    assert data == [
        ["split", "images", "identities", "cameras"],
        ["train", "12,936", "751", "–"],
        ["query", "3,368", "–", "6"],
    ]
    assert general == [["seed", "3"]]
    assert gan == [["lr", "0.0002"], ["weights.cycle", "10.0"], ["betas", "0.5, 0.999"]]
    assert environment == [["jax", "0.10.2"]]


def test_missing_parts_leave_no_section():
    page = html.page(BARE)
    assert headings(page) == ["Scores"]
    assert tables(page) == [
        [["arm", "rank-1", "mAP", "mAP (trapezoid)"], ["baseline", "50.1", "30.2", "29.1"]]
    ]
    assert not re.search(r"<svg|<img|<dl|<pre|<details", page)


def test_pictures_are_embedded_with_their_text():
    page = html.page(FULL)
    (data,) = re.findall(r'src="data:image/jpeg;base64,(.*?)"', page)
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), float)
    assert np.abs(shown - IMAGE).mean() < 4  # noise, the worst case for JPEG
    assert ("img", "alt", "Translations. Rows are sources.") in parsed(page)


def test_page_is_balanced_and_loads_nothing_from_outside():
    for report in (FULL, BARE):
        for tag, name, value in parsed(html.page(report)):
            assert tag not in ("script", "link", "iframe", "object")
            if name in ("src", "href", "srcset", "data"):
                assert value.startswith(("data:", "#")), (tag, value)
    (style,) = re.findall(r"<style>(.*?)</style>", html.page(FULL), re.S)
    assert "url(" not in style and "@import" not in style


def test_links_lead_to_sections():
    attributes = parsed(html.page(FULL))
    links = {value for _, name, value in attributes if name == "href"}
    assert links == {f"#{value}" for _, name, value in attributes if name == "id"}
    assert len(links) == 7


def test_every_text_is_escaped():
    bad = '<script>alert("&")</script>'
    report = html.Report(
        bad,
        bad,
        bad,
        {bad: {"rank-1": 0.5}, "b": {"rank-1": 0.4}},
        system=bad,
        protocols={bad: {bad: bad}},
        figures=[html.Figure(bad, bad, IMAGE)],
        quality={bad: {"style": 0.5}},
        data={bad: {bad: 1}},
        settings={bad: [bad], "group": {bad: {bad: bad}}, bad + "2": {"a": 1}},
        environment={bad: bad},
    )
    page = html.page(report)
    assert "<script" not in page
    parsed(page)
    assert [row[0] for row in tables(page)[0]] == ["arm", bad, "b"]


def test_equal_reports_give_equal_bytes(tmp_path):
    html.write(tmp_path / "a.html", FULL)
    html.write(tmp_path / "b.html", replace(FULL))
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"arms": {"camstyle": {"mAP": float("nan")}}}, "'camstyle': mAP is nan"),
        ({"spread": {"camstyle": {"mAP": float("nan")}}}, "'camstyle': mAP is nan"),
        ({"quality": {"camstyle": {"style": 60.0}}}, "'camstyle': style is 60.0"),
        ({"arms": {"camstyle": {"rank-1": 88.1}}}, "'camstyle': rank-1 is 88.1"),
        ({"system": "spgan"}, "'spgan' is not among"),
        ({"figures": [html.Figure("Grid", "", IMAGE / 255)]}, "'Grid' must be uint8.*float64"),
    ],
)
def test_bad_parts_are_named_and_leave_the_old_page(tmp_path, change, message):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ValueError, match=message):
        html.write(path, replace(FULL, **change))
    assert path.read_text() == "old"
