"""What a run left, bit for bit, and how a run that met a fault is judged by it."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxreid.data import records
from jaxreid.training import checkpoints

IDENTICAL, CLEAR, WRONG, LATE = "identical", "clear error", "wrong", "too late"
SUFFIXES = {".npy", ".npz"}
FILES = {"results.json", "choice.json"}


def contents(workdir: Path) -> dict[str, str]:
    """Digests of all that a finished run must leave alike, by its place below ``workdir``."""
    found = {}
    for path in sorted(workdir.rglob("*")):
        place = path.relative_to(workdir).as_posix()
        if place.startswith(".") or "/." in place:
            continue  # what a killed run left unfinished
        if path.suffix in SUFFIXES or path.name in FILES:
            found[place] = _digest([path.read_bytes()])
        elif path.name == "checkpoints":
            newest = max(int(p.name) for p in path.iterdir() if p.name.isdigit())
            found[f"{place}/{newest}"] = _arrays(path)
        elif path.name == records.MARK:
            found[place] = _pictures(path.parent)
    return found


def differences(
    expected: Mapping[str, str], found: Mapping[str, str], damaged: Sequence[Path] = ()
) -> list[str]:
    """Places that are not alike; a file that was damaged, and is not read again, does not count."""
    places = sorted(expected.keys() | found.keys())
    other = [place for place in places if expected.get(place) != found.get(place)]
    return [place for place in other if not any(place in str(path) for path in damaged)]


def verdict(
    code: int, said: str, other: Sequence[str], workdir: Path, damaged: Sequence[Path]
) -> tuple[str, str]:
    """How a run to the end is judged, and why.

    Only damage excuses an error, which must then name the file or a folder of it in ``workdir``.
    """
    if code == 0 and not other:
        return IDENTICAL, "same results"
    if code == 0:
        return WRONG, f"differs: {', '.join(other)}"
    names = [p for path in damaged for p in (path, *path.parents) if workdir in p.parents]
    clear = bool(names) and named(said, [str(name) for name in names])
    return CLEAR if clear else WRONG, f"exit {code}: {last(said)}"


def in_time(outcome: str, hit: bool) -> str:
    """The outcome, unless the run was well because nothing befell it."""
    return outcome if hit or outcome != IDENTICAL else LATE


def last(said: str) -> str:
    """The last line of a run, which is the error where there is one."""
    return (said.strip().splitlines() or ["silence"])[-1][:300]


def named(said: str, names: Iterable[str]) -> bool:
    """Whether a run ended with a message, and no traceback, that has one of these in it."""
    message = f"\n{said}".rpartition("\nerror: ")[2] if "error: " in said else ""
    return "Traceback" not in said and any(name in message for name in names)


def table(trials: Sequence[Mapping[str, str]]) -> str:
    """The Markdown table of all trials; those that came too late were not tried."""
    counts = Counter((t["system"], t["fault"], t["outcome"]) for t in trials)
    rows = [
        "| system | fault | tried | identical | clear error | wrong | too late |",
        "|---|---|---|---|---|---|---|",
    ]
    for system, fault in dict.fromkeys((t["system"], t["fault"]) for t in trials):
        numbers = [counts[system, fault, outcome] for outcome in (IDENTICAL, CLEAR, WRONG)]
        cells = [system, fault, sum(numbers), *numbers, counts[system, fault, LATE]]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows) + "\n"


def _arrays(directory: Path) -> str:
    try:
        state = checkpoints.newest(directory)  # of however many devices
    except ValueError as error:
        return f"{directory}: {error}"  # like no other run's
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return _digest(part for path, leaf in leaves for part in (str(path).encode(), *_bytes(leaf)))


def _bytes(leaf: Any) -> tuple[bytes, bytes]:
    typed = isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    array = np.asarray(jax.random.key_data(leaf) if typed else leaf)
    return f"{array.dtype}{array.shape}".encode(), array.tobytes()


def _pictures(directory: Path) -> str:
    parts = []
    for split, rows in records.read(directory).items():
        parts.append(split.encode())
        parts += [rows[i][key] for i in range(len(rows)) for key in ("name", "image", "mask")]
    return _digest(parts)


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()
