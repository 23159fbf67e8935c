"""Files of a work directory, and what is said when it cannot be used."""

import json
import os
from pathlib import Path
from typing import Any


class WorkdirError(RuntimeError):
    """The work directory cannot be used; the message says why and how to mend it."""


def cache() -> Path:
    """Where this machine keeps what any run may use again."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jaxreid"


def write_json(path: Path, value: Any) -> None:
    """Writes JSON so that the file is either the old one or the whole new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
