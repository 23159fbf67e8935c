"""The HTML report of a run: one file that opens from disk, without scripts or outside resources."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from jaxreid.report import markup, results
from jaxreid.report.charts import bar_chart
from jaxreid.report.files import write_atomically
from jaxreid.report.markup import escaped
from jaxreid.report.results import BASELINE, GAP_SCORES, ORACLE, SCORES, Arms, percent


class Figure(NamedTuple):
    """A picture of the report: heading, explanation (screen readers say it), uint8 [H, W, 3]."""

    title: str
    caption: str
    image: np.ndarray


@dataclass(frozen=True)
class Report:
    """What a report shows. An empty part leaves its section out.

    Attributes:
        title: Heading of the page.
        summary: Text below it; an empty line starts a new paragraph.
        command: The exact command that repeats the run.
        arms: Scores by arm as fractions, in the order of the rows; see `jaxreid.report.results`.
        system: The arm whose scores stand large at the top of the page; empty for none.
        spread: Standard deviations over seeds, by arm and score, where known.
        quality: Scores of generated images as fractions, by set of images; see
            `jaxreid.report.results.QUALITY`.
        distances: Distances of sets of images by set and key; see `jaxreid.evaluation.quality` and
            `jaxreid.evaluation.pairs`.
        protocols: The evaluation protocol of each arm, by field.
        curves: Charts of the training, as `<svg>` from `jaxreid.report.charts`.
        matrices: Charts by camera pair, likewise.
        figures: Pictures, such as translation grids and ranked lists.
        data: By split, counts such as images, identities and cameras.
        settings: The run's configuration, nested.
        environment: Versions, devices and platform, by name.
    """

    title: str
    summary: str
    command: str
    arms: Arms
    system: str = ""
    spread: Arms = field(default_factory=dict)
    quality: Arms = field(default_factory=dict)
    distances: Arms = field(default_factory=dict)
    protocols: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    curves: Sequence[str] = ()
    matrices: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    data: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)


def write(path: str | os.PathLike[str], report: Report) -> None:
    """Writes the page to `path`, atomically; equal reports give equal bytes.

    Raises:
        ValueError: A score, spread or quality is not a fraction, `system` is not an arm, or a
            figure is not uint8 RGB; the message names it.
    """
    write_atomically(path, page(report).encode())


def page(report: Report) -> str:
    """The whole page as text; see `write`."""
    results.check_arms(report.arms)
    results.check_arms(report.spread)
    results.check_arms(report.quality)
    if report.system and report.system not in report.arms:
        raise ValueError(f"system {report.system!r} is not among the arms {list(report.arms)}.")
    matrices = [markup.scrolling("Camera pairs", chart) for chart in report.matrices]
    sections = {
        "Scores": _scores(report),
        "Generated images": _quality(report.quality) + _distances(report.distances),
        "Camera pairs": markup.wrapped("matrices", matrices),
        "Training": markup.wrapped("charts", report.curves),
        "Pictures": "".join(markup.figure(*figure) for figure in report.figures),
        "Data": _data(report.data),
        "Reproduce": _reproduce(report),
    }
    shown = {name: body for name, body in sections.items() if body}
    anchors = {name: name.lower().replace(" ", "-") for name in shown}
    return _PAGE.format(
        title=escaped(report.title),
        style=(resources.files("jaxreid.report") / "style.css").read_text(encoding="utf-8"),
        summary="".join(f"<p>{escaped(part)}</p>" for part in report.summary.split("\n\n")),
        tiles=_tiles(report),
        links="".join(f'<a href="#{anchors[name]}">{name}</a>' for name in shown),
        sections="\n".join(
            f'<section id="{anchors[name]}"><h2>{name}</h2>{body}</section>'
            for name, body in shown.items()
        ),
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{title}</h1>{summary}</header>
{tiles}
<nav aria-label="Sections">{links}</nav>
<main>
{sections}
</main>
</body>
</html>
"""


def _tiles(report: Report) -> str:
    """The system's main scores, large, with their distance from the baseline."""
    scores = report.arms.get(report.system, {})
    base = report.arms.get(BASELINE, {}) if report.system != BASELINE else {}
    tiles = []
    for key in GAP_SCORES:
        if key in scores:
            points = 100 * (scores[key] - base.get(key, scores[key]))
            note = f"{points:+.1f} points against baseline" if key in base else ""
            tiles.append((SCORES[key], scores[key], note))
    for key, closed in results.gap_closed(report.arms).get(report.system, {}).items():
        tiles.append((f"gap closed, {SCORES[key]}", closed, "baseline 0 %, oracle 100 %"))
    return markup.wrapped(
        "tiles",
        (
            f"<div><dt>{label}</dt><dd><strong>{percent(value)} %</strong>"
            f"<small>{note}</small></dd></div>"
            for label, value, note in tiles
        ),
        tag="dl",
    )


def _scores(report: Report) -> str:
    """The table of arms, the protocols behind it, and bars where there are several arms."""
    parts = []
    if report.arms:
        parts.append(_arms_table(report))
    rules = {
        arm: "; ".join(f"{escaped(k)} {escaped(v)}" for k, v in protocol.items())
        for arm, protocol in report.protocols.items()
    }
    for fields in dict.fromkeys(rules.values()):
        arms = ", ".join(escaped(arm) for arm in rules if rules[arm] == fields)
        whose = f" of {arms}" if len(set(rules.values())) > 1 else ""
        parts.append(f'<p class="note">Protocol{whose}: {fields}.</p>')
    for line in results.by_chance(report.arms):
        parts.append(f'<p class="note">In percent {escaped(line)}.</p>')
    if len(report.arms) > 1:
        parts.append(markup.wrapped("charts", _bars(report)))
    return "".join(parts)


def _arms_table(report: Report) -> str:
    """The scores in percent, with the fraction of the gap closed where there is an oracle."""
    head, *rows = results.cells(report.arms, report.spread)
    best, gaps = results.best(report.arms), results.gap_closed(report.arms)
    strong = {
        (row, col)
        for row, (arm, scores) in enumerate(report.arms.items())
        for col, key in enumerate(results.shown(report.arms), 1)
        if not arm.startswith(ORACLE)
        and key in scores
        and scores[key] == best.get(results.ends(arm, report.arms)[0], {}).get(key)
    }
    for key in GAP_SCORES:
        if any(key in closed for closed in gaps.values()):
            head.append(f"gap\N{NO-BREAK SPACE}closed, {SCORES[key]}")
            for row in rows:
                row.append(percent(gaps.get(row[0], {}).get(key)))
    notes = ["In percent"]
    if best:
        which = " of every test" if len(best) > 1 else ""
        aside = ", the oracle aside" if ORACLE in report.arms else ""
        notes.append(f"the best{which} is bold{aside}")
    if report.spread:
        notes.append("± is one standard deviation over seeds")
    return markup.table("; ".join(notes) + ".", head, rows, "scores", frozenset(strong))


def _bars(report: Report) -> list[str]:
    """One bar chart per main score."""
    charts = []
    for key in GAP_SCORES:
        values = {arm: 100 * scores[key] for arm, scores in report.arms.items() if key in scores}
        spread = {arm: 100 * stds[key] for arm, stds in report.spread.items() if key in stds}
        if values:
            charts.append(bar_chart(values, SCORES[key], "percent", spread, report.system))
    return charts


def _quality(quality: Arms) -> str:
    """The judges' table."""
    if not quality:
        return ""
    head, *rows = results.quality_cells(quality)
    caption = (
        "Do generated images keep the person and take the style? In percent, on training people "
        "who were kept from two networks that judge: one names people, one cameras or sets. Found: "
        "an image looks for its person among real images of the target camera. Recognised: the "
        "person is looked for where the image came from, without the image itself (between sets: "
        "in the other cameras of the source). Taken for the target's: share that the second "
        "network takes for images of the target set. Untranslated: the same of the images that "
        "the others were made from; real: how often the camera of a real image is named right, or "
        "an image of the target taken for one."
    )
    return markup.table(caption, head, rows, "scores")


def _distances(distances: Arms) -> str:
    """How far sets of images are from the target."""
    if not distances:
        return ""
    head, *rows = results.distance_cells(distances)
    caption = (
        "Distances. fd, kd (or fid, kid): Frechet and kernel distance to the target's training "
        "images by the features that the name tells; floor: one half of the target against the "
        "other. N: images of the set and of what it is compared with, d: features; with few images "
        "per feature a Frechet distance comes out too large, so floor, of half as many, does not "
        "compare with the rest. "
        "lpips/source_target: between random images; source_generated: between an image and "
        "its translation; generated_spread: between translations of one image; oracle: between a "
        "translation and the truth. Lower is nearer. precision: share of the set within the k-th "
        "neighbours of target images, recall the reverse (Kynkaanniemi et al. 2019); higher is "
        "better, and only sets of one size compare. colour/spread: standard deviation of mean "
        "colours over that of the target; one tint for all images stays far below 1."
    )
    return markup.table(caption, head, rows, "scores")


def _data(data: Mapping[str, Mapping[str, int]]) -> str:
    if not data:
        return ""
    counts = list(dict.fromkeys(name for split in data.values() for name in split))
    rows = [
        [split, *(f"{numbers[name]:,}" if name in numbers else "–" for name in counts)]
        for split, numbers in data.items()
    ]
    return markup.table("Counts by split.", ["split", *counts], rows)


def _reproduce(report: Report) -> str:
    """The command, then the settings by group, then the environment, folded."""
    plain = {k: v for k, v in report.settings.items() if not isinstance(v, Mapping)}
    groups = {k: v for k, v in report.settings.items() if isinstance(v, Mapping)}
    folds = {"general": plain, **groups}
    parts = [f"<pre><code>{escaped(report.command)}</code></pre>"] if report.command else []
    parts += [
        markup.folded(f"Settings: {name}", values) for name, values in folds.items() if values
    ]
    if report.environment:
        parts.append(markup.folded("Environment", report.environment))
    return "".join(parts)
