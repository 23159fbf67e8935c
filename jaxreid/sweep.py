"""Sweeps: the rows of one ablation, each a run of its own, and one table of them all.

A config file names its sweeps and says what each row overrides, by dotted key:
``SWEEPS = {"images": {"720": {"lsro.images": 720}, "1440": {"lsro.images": 1440}}}``. Then
``python launch.py --config=configs/lsro.py --sweep=images`` runs every row. What rows have in
common, such as the data and the baseline, is done once.
"""

import difflib
import runpy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxreid.report import markdown, results
from jaxreid.report.files import write_atomically
from jaxreid.training import processes, seals, workdir

REFERENCES = (results.BASELINE, "jitter", "cut_and_paste", "two_nets", results.ORACLE)
"""Arms that a system is compared with, in any view; the others are its own."""

MEASURED = {"quality", "distances"}  # what rows may have found of sets of images

TRIALS = "trial"
"""The sweep whose rows are one experiment on several splits: their mean and spread are shown."""

_TRIAL = "data.trial"

Overrides = dict[str, dict[str, Any]]


def overrides(path: str, name: str) -> Overrides:
    """What each row of the sweep ``name`` changes, as the config file at ``path`` says.

    Args:
        path: of the config file; a scale after a colon is ignored.
        name: of the sweep.

    Raises:
        ValueError: if the file has no such sweep; names those that it has.
    """
    path = path.partition(":")[0]
    known = runpy.run_path(path).get("SWEEPS", {})
    if name not in known:
        there = f"its sweeps are {', '.join(known)}" if known else "it has no SWEEPS"
        raise ValueError(f"no sweep {name!r} in {path}: {there}{_hint(name, known)}")
    return known[name]


def configs(config: ConfigDict, rows: Overrides) -> dict[str, dict[str, Any]]:
    """The plain config of each row: ``config`` with the row's own values, which win.

    Raises:
        ValueError: if a row names a key that ``config`` lacks, gives a value of another type, or
            chooses a trial of data that have none.
    """
    from jaxreid.stages import sets  # here: not every start of the program reads data

    found = {row: _overridden(config, row, changes) for row, changes in rows.items()}
    read = {row: sets.Settings(**found[row]["data"]).layout for row in rows if _TRIAL in rows[row]}
    if len(set(read.values())) < len(read):
        raise ValueError(
            f"every row would be the same experiment on {next(iter(read.values()))}, which has no "
            f"trials: only RegDB has some ({_TRIAL})"
        )
    return found


def run(
    directory: Path,
    rows: Mapping[str, dict[str, Any]],
    run_row: Callable[[dict[str, Any], Path], object],
    settings: Mapping[str, Any],
) -> None:
    """Runs every row below ``directory``, then writes and prints the table of all.

    Args:
        directory: each row gets a folder in it; ``sweep.json`` and ``sweep.md`` go beside them.
        rows: config of each row.
        run_row: ``run_row(config, folder)`` leaves ``results.json`` in ``folder``; called again, it
            continues or finds all done.
        settings: for ``sweep.json``: what the rows have in common and what each changes.
    """
    workdir.probe(directory)
    workdir.share(directory)
    found, spread, notes, measured = {}, {}, {}, {}
    for row, config in rows.items():
        print(f"\nrow {row}")
        run_row(config, directory / row)
        left = seals.read_json(directory / row / "results.json")
        found[row], notes = left["arms"], notes | left.get("notes", {})
        spread[row] = left.get("spread", {})
        for part in MEASURED & left.keys():
            measured.setdefault(part, {})[row] = left[part]
    _publish(directory, found, spread, notes, measured, settings)


@processes.first
def _publish(
    directory: Path,
    found: Mapping[str, Any],
    spreads: Mapping[str, Any],
    notes: Mapping[str, str],
    measured: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """The table of all rows."""
    arms, spread = lines(found), lines(spreads)
    if TRIALS in settings.get("sweep", {}) and len(found) > 1:
        means, over = over_trials(found)
        arms, spread = arms | means, spread | over
    done = {"arms": arms, "settings": settings, "environment": results.environment()}
    done |= {"spread": spread} if spread else {}
    done |= {part: lines(rows) for part, rows in measured.items()}
    results.write_results(directory / "sweep.json", done)
    said = [f"{arm}: {note}" for arm, note in notes.items()]
    text = "\n\n".join([markdown.table(results.cells(arms, spread)), *said]) + "\n"
    write_atomically(directory / "sweep.md", text.encode())
    print("\n".join(["", results.table(arms, spread), *said]))
    print(f"\ntable: {directory / 'sweep.md'}", flush=True)


def lines(found: Mapping[str, results.Arms]) -> dict[str, Any]:
    """Scores by line of the table: ``arm (row)``, or ``arm`` for a reference equal in all rows."""
    table: dict[str, Any] = {}
    for arm in dict.fromkeys(arm for arms in found.values() for arm in arms):
        scores = {row: arms.get(arm) for row, arms in found.items()}
        first = next(iter(scores.values()))
        if arm.startswith(REFERENCES) and all(one == first for one in scores.values()):
            table[arm] = first
        else:
            table |= {f"{arm} ({row})": one for row, one in scores.items() if one is not None}
    return table


def over_trials(found: Mapping[str, results.Arms]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Mean and standard deviation (n - 1) of every score over the rows that all have an arm."""
    rows = list(found.values())
    means, spread = {}, {}
    for arm in (name for name in rows[0] if all(name in row for row in rows)):
        keys = [key for key in (*results.SCORES, "rank-20") if all(key in row[arm] for row in rows)]
        values = {key: [row[arm][key] for row in rows] for key in keys}
        means[f"{arm} (mean)"] = {key: float(np.mean(each)) for key, each in values.items()}
        spread[f"{arm} (mean)"] = {key: float(np.std(each, ddof=1)) for key, each in values.items()}
    return means, spread


def _overridden(config: ConfigDict, row: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    known = workdir.flat(config.to_dict())
    for key in changes.keys() - known.keys():
        raise ValueError(f"sweep row {row!r}: no config key {key!r}{_hint(key, known)}")
    changed = config.copy_and_resolve_references()
    try:
        changed.update_from_flattened_dict(changes)
    except TypeError as error:
        raise ValueError(f"sweep row {row!r}: {error}") from None
    return changed.to_dict()


def _hint(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    return f". Did you mean {close[0]!r}?" if close else ""
