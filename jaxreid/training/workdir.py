"""Stages on disk: done once, continued after a kill, refused when made by other settings.

Runs below a directory that was marked by ``share`` take finished stages over from one another.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from jaxreid.training import mirror, processes, seals
from jaxreid.training.files import WorkdirError, locked, write_json
from jaxreid.training.mesh import shards
from jaxreid.training.precision import dtype

__all__ = [
    "WorkdirError",
    "fingerprint",
    "flat",
    "occupied",
    "probe",
    "refuse_others",
    "run_once",
    "share",
    "write_json",
]
_SHARED = "shared.json"


def run_once(
    directory: Path,
    settings: Mapping[str, Any],
    make: Callable[[], object],
    *,
    trains: bool = False,
) -> str:
    """Runs ``make`` unless ``directory`` says that it was completed with the same settings.

    ``settings.json`` is written before, ``done.json`` after ``make``: a directory with the first
    alone is continued. ``make`` itself must be able to continue, and must leave nothing
    half-written that it would trust the next time. Of joint processes the first looks, and makes.
    What was completed is sealed (``seals``), and refused where it has changed since.

    Below a root marked by ``share``, a ``directory`` that does not exist yet becomes a link to a
    finished stage of the same name and settings, if there is one. A stage inside a linked one is
    made where the link leads: who comes second waits for who makes it.

    Args:
        directory: the stage's own directory, created if needed.
        settings: plain values that determine the result: the stage's part of the config and the
            fingerprints of its inputs. The number of shards (``mesh.parallel``) and the type of
            computation (``precision.computing``) join them.
        make: does the work.
        trains: whether ``make`` is a training, in which all processes take part.

    Returns:
        The fingerprint of settings, for the stages that build on this one.

    Raises:
        WorkdirError: if the directory was made with other settings; names the first that differ.
            If files of a completed stage are missing or damaged; names them.
    """
    settings = json.loads(json.dumps({**settings, **_mode()}))

    def begin() -> bool:
        _take_over(directory, settings)
        refuse_others(directory, settings)
        if (directory / "done.json").exists():
            _refuse_damage(directory)
            return True
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / "settings.json", settings)
        return False

    def whole() -> None:
        with _only_maker(directory):
            if not begin():
                make()
                end()

    def end() -> None:
        write_json(directory / seals.SEAL, seals.of(directory))
        write_json(directory / "done.json", settings)
        mirror.push()

    if not trains:
        processes.tell(whole)
    elif not processes.tell(begin):
        make()
        processes.tell(end)
    return fingerprint(settings)


@contextmanager
def _only_maker(directory: Path) -> Iterator[None]:
    """Other runs may come to the same stage by links to the one above it."""
    above = directory.parent
    if above.exists() and (above / "done.json").exists():
        with locked(above / f".{directory.name}.lock", directory, wait=True):
            yield
    else:
        yield


def _mode() -> dict[str, Any]:
    """The number of shards and the type of computation, where they are not 1 and float32."""
    mode = {"shards": (shards(), 1), "dtype": (dtype(), "float32")}
    return {name: value for name, (value, usual) in mode.items() if value != usual}


def share(root: Path) -> None:
    """Marks ``root``: runs below it share their finished stages (see ``run_once``)."""
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / _SHARED, {"shared": True})


def _take_over(directory: Path, settings: Mapping[str, Any]) -> None:
    """Links ``directory`` to a finished stage of equal name and settings, where runs share them."""
    if directory.is_symlink() and not directory.exists():
        directory.unlink()  # the stage behind it was deleted
    home = directory.parent.resolve()
    roots = [above for above in (home, *home.parents) if (above / _SHARED).exists()]
    if directory.exists() or not roots:
        return
    # Of the outermost root. Links are not followed, folders that vanish meanwhile are passed over.
    found = sorted(Path(folder) for folder, _, names in os.walk(roots[-1]) if "done.json" in names)
    for stage in found:
        if stage.name == directory.name and seals.read_json(stage / "done.json") == settings:
            directory.parent.mkdir(parents=True, exist_ok=True)
            # Where the file system knows no links, or another process was faster: as if unshared.
            with suppress(OSError):
                directory.symlink_to(os.path.relpath(stage, home), target_is_directory=True)
                print(f"{directory.name}: taken from {stage}, of the same settings", flush=True)
            return


def refuse_others(directory: Path, settings: Mapping[str, Any]) -> None:
    """Raises ``WorkdirError`` if ``directory`` was begun with settings other than these."""
    found = [f for f in ("settings.json", "done.json") if (directory / f).exists()]
    if not found:
        return
    old = flat(seals.read_json(directory / found[0]))
    new = flat(json.loads(json.dumps(settings)))
    names = [k for k in sorted(old.keys() | new.keys()) if old.get(k, "-") != new.get(k, "-")]
    if names:
        rows = [f"  {k}: {old.get(k, 'absent')} there, {new.get(k, 'absent')} now" for k in names]
        more = [f"  ... and {len(rows) - 8} more"] if len(rows) > 8 else []
        raise WorkdirError(
            f"{directory} was made with other settings:\n"
            + "\n".join(rows[:8] + more)
            + "\nUse another --workdir, or the old settings, or delete that directory."
        )


def _refuse_damage(directory: Path) -> None:
    if altered := seals.altered(directory):
        more = f", nor are {len(altered) - 1} more" if altered[1:] else ""
        raise WorkdirError(
            f"{altered[0]} is missing or not as it was when its stage was completed{more}: "
            f"{seals.mend(directory.resolve())}"  # not a link to it
        )


def determined(settings: Mapping[str, Any]) -> str:
    """What ``run_once`` returns for these settings here."""
    return fingerprint({**settings, **_mode()})


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A short hash of plain settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def occupied(directory: Path) -> Iterator[None]:
    """Keeps other runs out of ``directory``, until the end or the death of this process.

    Raises:
        WorkdirError: if another run works there.
    """
    with ExitStack() as held:
        processes.tell(lambda: held.enter_context(locked(directory / ".lock", directory)))
        yield


def probe(directory: Path, needed_bytes: int = 1 << 20) -> None:
    """Finds out before any work whether ``directory`` can be written.

    Raises:
        WorkdirError: if it cannot be created or written, or its disk is full.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"\0" * needed_bytes)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise WorkdirError(
            f"the work directory {directory} cannot be written ({error.strerror}): "
            "choose another with --workdir, or free its disk"
        ) from error


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name: ``{"gan": {"rate": 1}}`` gives ``{"gan.rate": 1}``."""
    if not isinstance(settings, dict):
        return {prefix: settings}
    rows: dict[str, Any] = {}
    for key, value in settings.items():
        rows |= flat(value, f"{prefix}.{key}" if prefix else key)
    return rows
