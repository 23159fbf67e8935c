"""Seals: what the files of a folder were when it was finished, so that damage is found.

Neither NumPy's files nor Orbax's notice every changed bit, and a result would silently differ.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SEAL = "seal.json"
OPEN = {"checkpoints", "unreadable", "samples", "tensorboard"}  # may change, or have other seals
LOOSE = {
    SEAL,
    "settings.json",
    "done.json",
    "metrics.jsonl",
    "groups.json",
}  # and hidden files, such as locks


def of(directory: Path) -> dict[str, str]:
    """Digests by path; stages inside it have seals of their own.

    Of records, which may be many gigabytes and have hashes that are checked when they are read,
    it is the size alone.
    """
    return {str(path.relative_to(directory)): _digest(path) for path in _files(directory)}


def altered(directory: Path) -> list[Path]:
    """Files that are not, or no longer, what the folder's seal says; [] where it has none."""
    if not (directory / SEAL).exists():
        return []
    sealed, found = read_json(directory / SEAL), of(directory)
    return [directory / name for name in sealed if sealed[name] != found.get(name)]


def read_json(path: Path) -> Any:
    """The content of a file that a run has written.

    Raises:
        ValueError: it is damaged; names it.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): {mend(path.parent)}") from None


def mend(directory: Path) -> str:
    """What to do about a damaged folder."""
    return f"delete the folder {directory}, then the same command makes it again."


def _files(directory: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(directory):
        inside = (name for name in folders if not Path(folder, name, "settings.json").exists())
        folders[:] = sorted(set(inside) - OPEN)
        shown = (name for name in names if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(set(shown) - LOOSE))


def _digest(path: Path) -> str:
    if ".array_record" in path.name:
        return f"{path.stat().st_size} bytes"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
