"""The end of a run: ``results.json``, ``report.html``, and a table in the terminal."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from jaxreid.data import Split
from jaxreid.data.layouts import find
from jaxreid.evaluation import CameraPairs, camera_pairs, drawn, query_scores, top_ranked
from jaxreid.report import charts, figures, html, results
from jaxreid.stages.scoring import RERANKING, Arm, told
from jaxreid.stages.sets import WORLD, Generated, Sets, official
from jaxreid.stages.sheets import sheet
from jaxreid.training import processes
from jaxreid.training.metrics import read_lines

RERANKED = (
    f"re-ranked: k-reciprocal, k1 {RERANKING.k1}, k2 {RERANKING.k2}, weight {RERANKING.weight}; it "
    "looks at all queries at once, so compare such scores with others of their kind alone"
)


@processes.first
def publish(
    workdir: Path,
    config: Mapping[str, Any],
    data: Sets,
    arms: Sequence[Arm],
    generated: Generated | None = None,
    quality: Mapping[str, Mapping[str, float]] | None = None,
    distances: Mapping[str, Mapping[str, float]] | None = None,
    notes: Mapping[str, str] | None = None,
    of: Split | None = None,
    shown_too: Sequence[html.Figure] = (),
) -> dict[str, Any]:
    """Writes the results of a run and prints their table.

    Args:
        workdir: of the run; ``results.json`` and ``report.html`` go here.
        config: the whole configuration.
        data: what was trained and tested on.
        arms: in the order of the table; the arm named like the system heads the report, the last
            one does where there is none.
        generated: the system's generated set, for its sheet of pictures.
        quality: scores of generated images by set, from ``judge.quality``.
        distances: of sets of images by set, from ``distances.measure``.
        notes: what has to be said beside the scores of an arm, by arm.
        of: what ``generated`` was made from, where this is not the training split of ``data``.
        shown_too: further pictures for the report.

    Returns:
        What ``results.json`` holds: equal runs give equal files.
    """
    shown = next((arm for arm in arms if arm.name == config["system"]), arms[-1])
    shown, searched = _searched(shown, data.gallery)
    pairs = camera_pairs(shown.query, shown.gallery, shown.scores.protocol)
    each = {arm.name: told(arm, config["rerank"]) for arm in arms}
    scores = {name: one.scores for name, one in each.items()}
    spread = {name: one.spread for name, one in each.items() if one.spread}
    found = {
        "system": config["system"],
        "arms": scores,
        "camera_pairs": {shown.name: pairs.to_dict()},
        "data": _counts(data),
        "settings": dict(config),
        "environment": results.environment(),
    }
    notices = _notices(config["data"])
    asides = {
        "notices": notices,
        "quality": quality,
        "distances": distances,
        "notes": dict(notes or {}),
        "spread": spread,
        "networks": {name: each[name].networks for name in spread},
    }
    found |= {name: aside for name, aside in asides.items() if aside}
    said = [f"{arm}: {note}" for arm, note in (notes or {}).items()]
    said += [RERANKED] if config["rerank"] else []
    results.write_results(workdir / "results.json", found)
    report = html.Report(
        title=f"jaxreid: {config['system']} {_where(config['data'])}",
        summary="\n\n".join([_summary(config, data), *notices, *said]),
        command=shlex.join(["python", *sys.argv]),
        arms=scores,
        spread=spread,
        system=shown.name,
        quality=quality or {},
        distances=distances or {},
        protocols={name: one["protocol"] for name, one in scores.items()},
        curves=_curves(workdir),
        matrices=_matrices(pairs, f"{shown.name}{_which(shown)}"),
        figures=[
            *shown_too,
            *_pictures(shown, data._replace(gallery=searched), generated, of or data.train),
        ],
        data=_counts(data),
        settings=dict(config),
        environment=found["environment"],
    )
    html.write(workdir / "report.html", report)
    tables = [results.quality_table(quality)] if quality else []
    tables += [results.distance_table(distances)] if distances else []
    tables.append("\n".join([results.table(scores, spread), *said]))
    print("\n" + "\n\n".join([*tables, f"report: {workdir / 'report.html'}"]), flush=True)
    return found


def _searched(arm: Arm, gallery: Split) -> tuple[Arm, Split]:
    """The arm and its gallery as one trial searches them: the first, where galleries are drawn."""
    draw = arm.scores.protocol.draw
    if not draw:
        return arm, gallery
    rows = drawn(arm.gallery, draw, arm.permutations)[0]
    return arm._replace(gallery=arm.gallery.take(rows)), gallery.take(rows)


def _which(arm: Arm) -> str:
    """What to say of network and gallery that are shown, where there are several."""
    draw, networks = arm.scores.protocol.draw, 1 + len(arm.others)
    network = f", the first of {networks} networks" if networks > 1 else ""
    return network + (f" in the first of {draw.trials} drawn galleries" if draw else "")


def _where(block: Mapping[str, Any]) -> str:
    """On which set, or between which."""
    if "name" in block:
        return f"on {block['name']}"
    return f"from {block['source']['name']} to {block['target']['name']}"


def _parts(block: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The set, or both."""
    parts = (block, *(block.get(domain, {}) for domain in ("source", "target")))
    return [part for part in parts if "name" in part]


def _notices(block: Mapping[str, Any]) -> list[str]:
    """Terms and warnings of the sets, which hold for what was made of them, too."""
    real = (part for part in _parts(block) if part["name"] != WORLD)
    notices = (find(official(part["name"], part.get("trial", 0))).notice for part in real)
    return list(dict.fromkeys(notice for notice in notices if notice))


def _summary(config: Mapping[str, Any], data: Sets) -> str:
    names = [part["name"] for part in _parts(config["data"])]
    drawn = " Pictures of the synthetic world show rendered people." if WORLD in names else ""
    return (
        f"Trained and tested {_where(config['data'])}.{drawn} {len(data.train)} training images of "
        f"{len(np.unique(data.train.pids))} "
        f"identities, {len(data.query)} queries, seed {config['seed']}. {_meaning(config)}"
    )


def _meaning(config: Mapping[str, Any]) -> str:
    """How far scores can be trusted."""
    networks = config.get("reid", {}).get("seeds", 1)
    if networks > 1:
        return (
            f"Every arm has {networks} re-ID networks; their spread is that of their seeds alone, "
            "with one set of data and one translator."
        )
    return "One run: differences of a few points mean nothing without several seeds."


def _counts(data: Sets) -> dict[str, dict[str, int]]:
    splits = {"train": data.train, "query": data.query, "gallery": data.gallery}
    return {
        name: {
            "images": len(split),
            "identities": len(np.unique(split.pids[split.pids > 0])),
            "cameras": len(np.unique(split.cameras)),
        }
        for name, split in splits.items()
    }


def _curves(workdir: Path) -> list[str]:
    drawn = []
    # Unlike pathlib's, this glob follows the links of shared stages.
    for name in sorted(glob("**/metrics.jsonl", root_dir=workdir, recursive=True)):
        lines = read_lines(workdir / name)
        names = dict.fromkeys(name for line in lines for name in line if name != "step")
        points = {n: [(line["step"], line[n]) for line in lines if n in line] for n in names}
        series = {n: tuple(np.array(p).T) for n, p in points.items()}
        drawn.append(charts.line_chart(series, str(Path(name).parent), "step", "loss"))
    return drawn


def _matrices(pairs: CameraPairs, arm: str) -> list[str]:
    rows = [f"camera {c + 1}" for c in pairs.query_cameras]
    columns = [f"camera {c + 1}" for c in pairs.gallery_cameras]
    tables = {"rank-1": pairs.rank1, "mAP": pairs.mean_ap}
    return [
        charts.matrix_chart(
            values,
            rows,
            columns,
            f"{name}, {arm}",
            fmt="{:.0%}",
            row_title="query",
            col_title="gallery",
        )
        for name, values in tables.items()
    ]


def _pictures(arm: Arm, data: Sets, generated: Generated | None, real: Split) -> list[html.Figure]:
    ranked = html.Figure(
        "Best, median and worst queries",
        f"Ranked by average precision of the arm {arm.name}{_which(arm)}; green frames are right.",
        _ranked(arm, data),
    )
    return [sheet(real, generated), ranked] if generated else [ranked]


def _ranked(arm: Arm, data: Sets, count: int = 3, depth: int = 8) -> np.ndarray:
    rules = arm.scores.protocol
    precision = query_scores(arm.query, arm.gallery, rules).ap
    order = np.flatnonzero(~np.isnan(precision))
    order = order[np.argsort(-precision[order], kind="stable")]
    middle = max(0, len(order) // 2 - count // 2)
    picked = {
        "best": order[:count],
        "median": order[middle : middle + count],
        "worst": order[::-1][:count],
    }
    lists = []
    for label, queries in picked.items():
        ranked = top_ranked(arm.query, arm.gallery, queries, depth, rules)
        for query, rows, distances, right in zip(
            queries, ranked.rows, ranked.distances, ranked.right, strict=True
        ):
            there = rows >= 0
            lists.append(
                figures.RankedList(
                    f"{label}, AP {precision[query]:.0%}",
                    data.query.images(np.array([query]))[0],
                    data.gallery.images(rows[there]),
                    distances[there],
                    right[there],
                )
            )
    return figures.ranked_lists(lists, scale=2)
