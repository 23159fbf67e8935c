"""Files of a work directory, and what is said when it cannot be used."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class WorkdirError(RuntimeError):
    """The work directory cannot be used; the message says why and how to mend it."""


def cache() -> Path:
    """Where this machine keeps what any run may use again."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jaxreid"


@contextmanager
def locked(path: Path, directory: object, *, wait: bool = False) -> Iterator[None]:
    """Holds a lock on the file ``path`` until the end, or the death of this process.

    Where the file system knows no locks, nobody is kept out.

    Raises:
        WorkdirError: if somebody else holds it, unless asked to wait; names ``directory``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise WorkdirError(
                f"another run works in {directory}: wait for its end, or use another --workdir"
            ) from None
        except OSError:
            pass
        yield


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that the file is either the old one or the whole new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
