"""Atomic file writing."""

import os
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes `content` to `path` so that a reader sees the old file or the new one, never half.

    Args:
        path: The file to make or replace; missing parent folders are made.
        content: All bytes of the file.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The same folder, because a rename is atomic only within one file system; the process number,
    # because several processes may write one file.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
