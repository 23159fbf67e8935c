"""Object storage: a work directory kept there and worked in here, a data set copied from there.

A run works in a directory of this machine. After every stage and at every checkpoint, what is new
goes up, and a list of all files goes last: whoever continues elsewhere finds the directory as it
was at one of these moments.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from etils import epath

from jaxreid.training.files import WorkdirError, cache, locked, write_json

LIST = ".files.json"
Sizes = dict[str, list[int]]  # of every file by its path: bytes, and here the time of its change
_CURRENT: ContextVar["Mirror | None"] = ContextVar("mirror", default=None)


class Mirror:
    """A directory of this machine and its copy.

    Every push makes a new generation of the copy. Who holds an older one than is up there takes
    that; who holds the newest keeps what was done here since.
    """

    def __init__(self, here: Path, there: epath.Path):
        """Takes over what is ``there``, if something newer is."""
        self._here, self._there = here, there
        mine, newest = _read(epath.Path(here) / LIST), _read(there / LIST)
        if newest["generation"] > mine["generation"]:
            print(f"{there}: copied to {here}", flush=True)
            _set_aside(here)
            _together(partial(_take, there, here), newest["files"])
            here.mkdir(parents=True, exist_ok=True)
            mine = {"generation": newest["generation"], "files": _files(here)}
            write_json(here / LIST, mine)
        self._listed, self._attempted = mine, mine

    def push(self) -> None:
        """Copies what is new or changed, then the list, then removes what is gone.

        Raises:
            WorkdirError: another run has pushed since this one began or pushed.
        """
        now = _files(self._here)
        known = self._listed["files"]
        changed = [name for name, said in now.items() if known.get(name) != said]
        gone = known.keys() - now.keys()
        if not changed and not gone:
            return
        # What was written may be there although the storage said that it failed.
        ours = self._listed["generation"], self._attempted["generation"]
        if _read(self._there / LIST)["generation"] not in ours:
            raise WorkdirError(f"another run works in {self._there}: use another --workdir")
        here = epath.Path(self._here)
        _together(lambda name: _copy(here / name, self._there / name), changed)
        self._attempted = {"generation": max(ours) + 1, "files": now}
        (self._there / LIST).write_text(json.dumps(self._attempted))
        write_json(self._here / LIST, self._attempted)
        self._listed = self._attempted
        _together(lambda name: (self._there / name).unlink(missing_ok=True), gone)


@contextmanager
def kept(here: Path, there: str) -> Iterator[None]:
    """Inside, ``push`` keeps ``here`` on object storage; in the end, however it comes, as well.

    Args:
        here: a directory of this machine, made if needed.
        there: such as ``gs://bucket/runs/market``.

    Raises:
        WorkdirError: ``there`` cannot be read, or in the end not written; a list of files is
            damaged; another run of this machine works ``here``.
    """
    # Locked before anything else: who is refused must neither replace nor push what is there.
    with locked(here.with_name(f".{here.name}.lock"), here):
        try:
            mirror = Mirror(here, epath.Path(there))
        except _Damaged as error:
            raise WorkdirError(str(error)) from error
        except Exception as error:  # whatever the packages of a storage raise
            raise WorkdirError(unreachable(there, error)) from error
        token = _CURRENT.set(mirror)
        try:
            yield
        finally:
            _CURRENT.reset(token)
            _push_last(mirror, here, there)


def _push_last(mirror: Mirror, here: Path, there: str) -> None:
    try:
        mirror.push()
    except WorkdirError:
        raise
    except Exception as error:
        raise WorkdirError(
            f"{there} cannot be written ({error}); all is in {here}: the same command goes on"
        ) from error


def _set_aside(here: Path) -> None:
    """What is ``here``, of an older generation, may never have been uploaded: it is kept."""
    if here.exists() and any(here.iterdir()):
        aside = here.with_name(f"{here.name}.before")
        shutil.rmtree(aside, ignore_errors=True)
        here.rename(aside)
        print(f"what was there before is in {aside}", flush=True)


def push() -> None:
    """Copies what is new, where a work directory is kept on object storage (see ``kept``).

    A storage that fails is tried again with the next checkpoint or stage: training goes on.
    """
    mirror = _CURRENT.get()
    if not mirror:
        return
    try:
        mirror.push()
    except WorkdirError:
        raise
    except Exception as error:  # whatever the packages of a storage raise
        print(f"not uploaded now, but with what comes next: {error}", flush=True)


def remote(path: str) -> bool:
    """Whether a path names object storage."""
    return "://" in path


def fetched(root: str) -> Path:
    """A folder on object storage as one of this machine, copied when first asked for.

    A copy that was cut short is completed; one that is whole is not compared again. Other paths are
    left as they are.

    Raises:
        ValueError: ``root`` cannot be read, or has no files.
    """
    if not remote(root):
        return Path(root)
    here, there = cache() / "data" / local_name(root), epath.Path(root)
    if (here / LIST).exists():
        return here
    try:
        sizes = dict(_sizes(there, there))
    except Exception as error:
        raise ValueError(unreachable(root, error)) from error
    if not sizes:
        raise ValueError(f"{root} has no files")
    have = _files(here)
    new = [name for name, size in sizes.items() if have.get(name, [-1])[0] != size]
    print(f"{root}: {len(new)} files are copied to {here}", flush=True)
    _together(partial(_take, there, here), new)
    write_json(here / LIST, sizes)
    return here


def _sizes(root: epath.Path, folder: epath.Path) -> Iterator[tuple[str, int]]:
    """Every file below ``root`` and its bytes."""
    for path in folder.iterdir():
        if path.is_dir():
            yield from _sizes(root, path)
        else:
            yield str(path.relative_to(root)), path.stat().length


def local_name(there: str) -> str:
    """A folder's name for what is ``there``: its last part, and what tells it from others."""
    told = hashlib.sha256(there.encode()).hexdigest()[:8]
    return f"{there.rstrip('/').rpartition('/')[2]}-{told}"


def unreachable(there: str, error: Exception) -> str:
    """What to say of storage that cannot be read."""
    extra = {"gs": "gcs", "s3": "s3"}.get(there.partition("://")[0])
    how = f"it needs .venv/bin/pip install -c constraints.txt -e '.[{extra}]' and your credentials"
    said = f"{there} cannot be read ({error!r:.200})"
    return f"{said}; {how if extra else 'paths on object storage begin with gs:// or s3://'}"


class _Damaged(Exception):
    """A list of files that is none."""


def _read(file: epath.Path) -> dict[str, Any]:
    if not file.exists():
        return {"generation": 0, "files": {}}
    try:
        found = json.loads(file.read_text())
        return {"generation": int(found["generation"]), "files": dict(found["files"])}
    except (ValueError, TypeError, KeyError) as error:
        raise _Damaged(
            f"{file} is damaged ({error!r}). If it is in the run's folder on this machine, delete "
            "it: all is taken from the storage again. If it is on the storage, and that folder "
            "complete, delete the list in both: all goes up again"
        ) from error


def _files(directory: Path) -> Sizes:
    """All files but hidden and unfinished ones; links are not followed (see ``workdir.share``)."""
    found = {}
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if "orbax-checkpoint-tmp" not in name]
        for name in names:
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix != ".tmp" and path.exists():
                said = path.stat()
                found[str(path.relative_to(directory))] = [said.st_size, said.st_mtime_ns]
    return found


def _take(there: epath.Path, here: Path, name: str) -> None:
    """A file appears whole: other processes of this machine may read it or copy it, too."""
    passing = here / f"{name}.{uuid4().hex}.tmp"
    _copy(there / name, epath.Path(passing))
    passing.replace(here / name)


def _copy(source: epath.Path, target: epath.Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as read, target.open("wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)


def _together(act: Any, names: Iterable[str]) -> None:
    """``act`` of every name, several at a time."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(act, names))
