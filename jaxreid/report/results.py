"""The numbers of a run: `results.json`, the terminal table, the environment.

An *arm* is one way of training on one budget: `{name: {"rank-1": 0.512, "mAP": 0.304, ...}}`, with
scores as fractions. The arms named `baseline` and `oracle` span the gap that the others try to
close.
"""

import json
import math
import os
import platform
from collections.abc import Collection, Mapping, Sequence
from importlib import metadata
from typing import Any

import jax
import numpy as np

from jaxreid.report.files import write_atomically

BASELINE = "baseline"
ORACLE = "oracle"
SCORES: Mapping[str, str] = {
    "rank-1": "rank-1",
    "rank-5": "rank-5",
    "rank-10": "rank-10",
    "mAP": "mAP",
    "mAP_trapezoid": "mAP (trapezoid)",
    "mINP": "mINP",
    "rank-1_reranked": "rank-1 re-ranked",
    "mAP_reranked": "mAP re-ranked",
}
GAP_SCORES = ("rank-1", "mAP")
# Of a smaller gap no fraction means anything: training again, at scale demo, moves a score as far.
SMALLEST_GAP = 0.1
QUALITY: Mapping[str, str] = {
    "identity": "found in the target camera, mAP",
    "recognised": "recognised, mAP",
    "style": "target camera's style",
    "target_style": "taken for the target's",
    "source_camera": "source camera still named",
    "between_cameras": "mean colour, spread between cameras",
    "within_cameras": "within a camera",
}

Arms = Mapping[str, Mapping[str, Any]]


def write_results(path: str | os.PathLike[str], results: Mapping[str, Any]) -> None:
    """Writes `results` as canonical JSON: sorted keys, two-space indent, one final newline.

    Args:
        path: The file to make or replace, atomically.
        results: Nested mappings with text keys, sequences, text, booleans, None, and numbers;
            NumPy and JAX scalars and arrays become plain numbers and lists.

    Raises:
        ValueError: A number is NaN or infinite, a key is not text, or a value has no JSON form; the
            message names the place.
    """
    plain = _plain(results, "results")
    text = json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def _plain(value: Any, place: str) -> Any:
    """`value` in JSON's own types; `place` is how messages call it."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        value = np.asarray(value).tolist()
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise ValueError(f"{place} has the key {wrong[0]!r}; JSON keys must be text.")
        return {key: _plain(item, f"{place}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value}; results must be finite. Leave the key out instead.")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{place} is a {type(value).__name__}, which has no JSON form.")


def check_arms(arms: Arms) -> None:
    """Raises ValueError naming the arm and score where one is not a fraction in [0, 1]."""
    for arm, scores in arms.items():
        for key in (SCORES.keys() | QUALITY.keys()) & scores.keys():
            if not 0 <= scores[key] <= 1:  # also false for NaN
                raise ValueError(
                    f"Arm {arm!r}: {key} is {scores[key]}; scores are fractions from 0 to 1."
                )


def best(arms: Arms) -> dict[str, dict[str, float]]:
    """The highest value of each score among the competing arms of every view, by its baseline.

    The oracle has the world in the place of a generator and does not compete. With fewer than two
    competitors nothing is best. See `ends` for views.
    """
    views: dict[str, dict[str, Mapping[str, float]]] = {}
    for arm, scores in arms.items():
        low, high = ends(arm, arms)
        if arm != high:
            views.setdefault(low, {})[arm] = scores
    return {
        low: {
            key: max(scores[key] for scores in rivals.values() if key in scores)
            for key in shown(rivals)
        }
        for low, rivals in views.items()
        if len(rivals) > 1
    }


def ends(arm: str, arms: Collection[str]) -> tuple[str, str]:
    """The arms that an arm is measured by: baseline and oracle, tested as it was itself.

    Where a network is tested in several ways there are arms `<name>` and `<name>_<view>`; if one of
    `arms` is `baseline_<view>`, then arms of this view have `baseline_<view>` and `oracle_<view>`;
    of several such views the longest counts.
    A sweep's `<name> (<row>)` is measured as `<name>` is, by the baseline and the oracle of its row
    where these have one.
    """
    name, bracket, row = arm.partition(" (")
    names = [other.partition(" (")[0] for other in arms if other.startswith(f"{BASELINE}_")]
    views = [other.removeprefix(BASELINE) for other in names]
    view = max((view for view in views if name.endswith(view)), key=len, default="")
    low, high = (
        end + bracket + row if bracket and end + bracket + row in arms else end
        for end in (BASELINE + view, ORACLE + view)
    )
    return low, high


def gap_closed(arms: Arms) -> dict[str, dict[str, float]]:
    """The fraction of the gap between baseline and oracle that each other arm closes.

    `(arm - baseline) / (oracle - baseline)` for rank-1 and mAP: 0 is the baseline, 1 the oracle;
    below 0 the arm harms. See `ends` for arms that are tested in a way of their own.

    Args:
        arms: Scores by arm.

    Returns:
        `{arm: {score: fraction}}`, empty unless both `baseline` and `oracle` are there. A score is
        left out where the oracle is not 10 points above the baseline: in one run that is no gap.
    """
    closed = {}
    for arm, scores in arms.items():
        low, high = (arms.get(end, {}) for end in ends(arm, arms))
        if arm in ends(arm, arms):
            continue
        both = [k for k in GAP_SCORES if k in low and k in high and k in scores]
        keys = [k for k in both if high[k] - low[k] >= SMALLEST_GAP]
        closed[arm] = {k: (scores[k] - low[k]) / (high[k] - low[k]) for k in keys}
    return {arm: fractions for arm, fractions in closed.items() if fractions}


def percent(score: float | None, spread: float | None = None) -> str:
    """A fraction as percent with one decimal, `85.7` or `85.7 ±0.4`; a dash for None."""
    if score is None:
        return "–"
    return f"{100 * score:.1f}" + (f" ±{100 * spread:.1f}" if spread is not None else "")


def table(arms: Arms, spread: Arms | None = None) -> str:
    """The scores as aligned text for a terminal, in percent.

    Args:
        arms: Scores by arm, as fractions; only the keys of `SCORES` are shown.
        spread: Standard deviations over seeds, with the same keys where known.

    Returns:
        A header, one line per arm, what a random order would have and, where the oracle is clearly
        above the baseline, one line per other arm with the fraction of the gap that it closes. No
        final newline.

    Raises:
        ValueError: A score or spread is not a fraction; the message names it.
    """
    check_arms(arms)
    check_arms(spread or {})
    gaps = [
        f"gap closed by {arm}: " + ", ".join(f"{percent(v)} % of {k}" for k, v in closed.items())
        for arm, closed in gap_closed(arms).items()
    ]
    return "\n".join([*_aligned(cells(arms, spread)), *by_chance(arms), *gaps])


def by_chance(arms: Arms) -> list[str]:
    """What a random order would have, a line for every view that it differs between; see `ends`."""
    said = {}
    for arm, scores in arms.items():
        expected = (f"{key} {percent(value)}" for key, value in scores.get("chance", {}).items())
        said[ends(arm, arms)[0]] = ", ".join(expected)
    said = {arm: text for arm, text in said.items() if text}
    if len(set(said.values())) == 1:
        return [f"by chance: {text}" for text in set(said.values())]
    return [f"by chance, tested as {arm} is: {text}" for arm, text in said.items()]


def shown(arms: Arms) -> list[str]:
    """The keys of `SCORES` that any arm has, in their order."""
    return [key for key in SCORES if any(key in scores for scores in arms.values())]


def cells(arms: Arms, spread: Arms | None = None) -> list[list[str]]:
    """The table as text: a header, then one row per arm; see `table`."""
    keys = shown(arms)
    rows = [["arm", *(SCORES[key] for key in keys)]]
    for arm, scores in arms.items():
        deviations = (spread or {}).get(arm, {})
        rows.append([arm, *(percent(scores.get(key), deviations.get(key)) for key in keys)])
    return rows


def quality_cells(quality: Arms) -> list[list[str]]:
    """The scores of generated images as text: a header, then one row per set of images."""
    keys = [key for key in QUALITY if any(key in scores for scores in quality.values())]
    head = ["images", *(QUALITY[key] for key in keys)]
    rows = [[name, *(percent(s.get(key)) for key in keys)] for name, s in quality.items()]
    return [head, *rows]


def quality_table(quality: Arms) -> str:
    """The scores of generated images as aligned text for a terminal, in percent."""
    return "\n".join(_aligned(quality_cells(quality)))


def distance_cells(distances: Arms) -> list[list[str]]:
    """Distances of sets of images as text: a header, then one row per set; a dash where unknown."""
    keys = sorted({key for values in distances.values() for key in values})
    rows = [
        [name, *(_number(values[key]) if key in values else "–" for key in keys)]
        for name, values in distances.items()
    ]
    return [["images", *keys], *rows]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def distance_table(distances: Arms) -> str:
    """Distances of sets of images as aligned text for a terminal."""
    return "\n".join(_aligned(distance_cells(distances)))


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns padded to equal width, the first to the left and the rest to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        ).rstrip()
        for line in lines
    ]


def environment() -> dict[str, str | int]:
    """Versions, devices and platform of this process; nothing that names a host, user or path."""
    packages = (
        "jax",
        "jaxlib",
        "flax",
        "optax",
        "orbax-checkpoint",
        "numpy",
        "tensorflow-datasets",
    )
    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
