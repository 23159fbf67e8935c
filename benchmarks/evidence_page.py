"""``EVIDENCE.md``: one table per system from the runs that are stored in the tree."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import claims, crossing_page
from benchmarks.cells import interval, percent, plain, verdict
from jaxreid.evaluation.statistics import gap_closed, paired_difference
from jaxreid.report import markdown
from jaxreid.report.results import BASELINE, GAP_SCORES, ORACLE, by_chance, ends
from jaxreid.training.workdir import flat

HEAD = """# Evidence

Made by `make evidence-table` from the runs stored in `evidence/`, one file per system and seed. A
seed decides the world (its people, cameras and pictures), initialisation, batches, augmentation and
generators. So an interval says what to expect of another world of the same size and strength;
seeds count from 1, as settings were chosen on the world of seed 0 and on others not used here. The
last digits are one machine's: another number of cores rounds differently, and training magnifies
it, so a run repeated elsewhere is one more draw within these intervals.

Scores are in percent, mean (standard deviation) over the seeds. Arms that end with `_lmp` are the
same networks retrieving by local max pooling, and are compared with `baseline_lmp` and
`oracle_lmp`. Differences from the baseline pair the arms of one seed and are in points, with the
95 % interval by Student's t; nothing is corrected for the number of arms. Gap closed is the mean
gain of an arm over the mean gain of the oracle, with
Fieller's 95 % interval from the same pairs; blank without an oracle, or where the oracle itself is
not shown to be above the baseline. The verdict is about mAP: *shown* where the interval of the
difference lies above 0, *opposite* where it lies below, else *not shown*. Runs on one machine share
stages of equal settings: each file lists those that it took over, and from which run. Where nothing
was shared, arms that several systems have were trained again, by other code or on another number of
cores, and may have other scores. Below, each system is compared with the arms of its own runs.

The second table of a system asks networks that never saw a generated image about those of held-out
training people, in percent. *identity*: mAP of translated images that search real ones of the
target camera. *recognised*: mAP of them searching real ones of their own camera (of all others,
where the images were given one common style). *style*: how often a network that names cameras names
the target. *target_style*, between two sets: how often a network that tells the sets apart takes
them for the target's; *recognised* is then of them searching the source's other cameras.
*source_camera*: how often it still names the source, where styles became one. *between_cameras*,
*within_cameras*: standard deviation of mean colours, of the cameras and of the images of one
camera; the first should fall and the second stay. The row `untranslated` is the source images as
they are, `real` the accuracy on real images (of the target).

The third table, between two sets, has distances of sets of images to the target's training images
(`fd`, `kd`: Frechet and kernel; `precision`, `recall`) by the network that the key names, and LPIPS
of pairs. `source` is the source as it is, `floor` one half of the target against the other. A
Frechet distance of few images is biased upwards, the more so the fewer they are per feature. The
halves of the floor have half as many images as the other sets, so its `fd` is too high to be
compared with theirs. `kd` has no such bias.
`colour/spread` is the standard deviation of the images' mean colours over that of the target.
"""
COLUMNS = (
    *("arm", "seeds", "rank-1", "mAP", "mAP less baseline"),
    *("gap closed (mAP)", "rank-1 less baseline", "verdict"),
)
SEEDS = ("seed", *(f"data.{block}world.seed" for block in ("", "source.", "target.")))
Run = dict[str, Any]


def page(store: Path) -> str:
    """The whole page, from all ``store/<name>/seed_<k>.json``."""
    folders = sorted({path.parent for path in store.glob("*/seed_*.json")})
    runs = {folder.name: [*_runs(folder).values()] for folder in folders}
    stored = [run for each in runs.values() for run in each]
    parts = [HEAD, claims.section(runs), crossing_page.section(stored)]
    parts += [_section(folder) for folder in folders]
    return "\n".join(part for part in parts if part)


def _section(folder: Path) -> str:
    seeds, runs = zip(*_runs(folder).items(), strict=True)
    _require_equal_settings(folder, runs)
    order = {BASELINE: 0, ORACLE: 2}
    names = {arm: ends(arm, runs[0]["arms"]) for arm in runs[0]["arms"]}
    views = {arm: low.removeprefix(BASELINE) for arm, (low, _) in names.items()}

    def place(arm: str) -> tuple[str, int, str]:
        return views[arm], order.get(arm.removesuffix(views[arm]), 1), arm

    arms = sorted(names, key=place)
    table = markdown.table([COLUMNS, *(_row(arm, runs) for arm in arms)])
    quality = _quality([run["quality"] for run in runs if "quality" in run], percent)
    apart = _quality([run["distances"] for run in runs if "distances" in run], plain)
    notes = "\n".join(f"`{arm}`: {note}." for arm, note in runs[0].get("notes", {}).items())
    parts = [f"## {folder.name}", table, notes, _chance(runs), quality, apart, _origin(runs, seeds)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _chance(runs: Sequence[Run]) -> str:
    """Mean scores of random orders over the runs that say them; '' where none does."""
    said = {}
    for arm in runs[0]["arms"]:
        if each := [r["arms"][arm]["chance"] for r in runs if "chance" in r["arms"][arm]]:
            said[arm] = {"chance": {key: np.mean([one[key] for one in each]) for key in GAP_SCORES}}
    return "\n".join(f"In percent {line}." for line in by_chance(said))


def _runs(folder: Path) -> dict[int, Run]:
    """The stored runs of a folder by their seed, the lowest first."""
    seeds = sorted(int(path.stem.removeprefix("seed_")) for path in folder.glob("seed_*.json"))
    return {seed: json.loads((folder / f"seed_{seed}.json").read_text()) for seed in seeds}


def _quality(found: Sequence[dict[str, dict[str, float]]], cell: Callable[..., str]) -> str:
    """Mean and spread of what was found of each set of images, '' where nothing was."""
    if not found:
        return ""
    kinds = list(dict.fromkeys(key for scores in found[0].values() for key in scores))
    rows = []
    for name, scores in found[0].items():
        values = {key: np.array([run[name][key] for run in found]) for key in scores}
        rows.append([name, *(cell(values[k]) if k in values else "" for k in kinds)])
    return markdown.table([("images", *kinds), *rows])


def settings_of(run: Run) -> dict[str, Any]:
    """What a run was made with; those made before a key was there were of its default."""
    later = {"parallel": "jit", "shards": 0, "dtype": "float32", "rerank": False}
    settings = later | dict(run["settings"])
    if "reid" in settings:
        settings["reid"] = {"seeds": 1} | settings["reid"]
    if "crossing" in settings:  # these had a number of generated images that nothing read
        settings["reid"] = {k: v for k, v in settings["reid"].items() if k != "generated_batch"}
    return settings


def _require_equal_settings(folder: Path, runs: Sequence[Run]) -> None:
    first, *others = [
        {k: v for k, v in flat(settings_of(run)).items() if k not in SEEDS} for run in runs
    ]
    for other in others:
        names = [k for k in sorted(first.keys() | other.keys()) if first.get(k) != other.get(k)]
        if names:
            raise ValueError(
                f"the runs in {folder} differ in {', '.join(names)}, not only in their seeds: "
                "delete those with old settings and say `make evidence` again"
            )


def _row(arm: str, runs: Sequence[Run]) -> list[str]:
    rank1, mean_ap = (_scores(arm, key, runs) for key in ("rank-1", "mAP"))
    row = [arm, str(len(runs)), percent(rank1), percent(mean_ap)]
    baseline = ends(arm, runs[0]["arms"])[0]
    if arm == baseline or baseline not in runs[0]["arms"] or len(runs) < 2:
        return row + [""] * (len(COLUMNS) - len(row))
    gain = paired_difference(mean_ap, _scores(baseline, "mAP", runs))
    gain1 = paired_difference(rank1, _scores(baseline, "rank-1", runs))
    return [*row, interval(gain), _gap(arm, runs), interval(gain1), verdict(gain)]


def _gap(arm: str, runs: Sequence[Run]) -> str:
    low, high = ends(arm, runs[0]["arms"])
    if arm == high or high not in runs[0]["arms"]:
        return ""
    own, baseline, oracle = (_scores(name, "mAP", runs) for name in (arm, low, high))
    closed = gap_closed(own, baseline, oracle)
    return interval(closed, digits=0) + " %" if closed else ""


def _scores(arm: str, key: str, runs: Sequence[Run]) -> np.ndarray:
    return np.array([run["arms"][arm][key] for run in runs])


def _origin(runs: Sequence[Run], seeds: Sequence[int]) -> str:
    names = {str(seeds[0]): "SEED", str(500 + seeds[0]): "$((500+SEED))"}  # the second: a target's
    command = re.sub(
        r"(?<=seed[=_])\d+\b", lambda match: names.get(match[0], match[0]), runs[0]["command"]
    )
    commits = {commit for r in runs for commit in r["code"]}
    machines = {f"{r['device']}, JAX {r['jax']}" for r in runs}
    return (
        f"`{command}` for SEED in {', '.join(map(str, seeds))}; "
        f"commit {', '.join(sorted(commits))}; {'; '.join(sorted(machines))}."
    )
