"""Lists an official folder: who is on which picture, seen by which camera."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxreid.data.layouts import JUNK, Counts, Layout, Source, find

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})
ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".rar", ".7z"})
SHOWN = 5  # names printed of a longer list


class Entry(NamedTuple):
    """One picture of an official set.

    Attributes:
        path: the file.
        pid: person; offset where two splits give one number to two people, -1 for junk.
        camera: 0-based.
        name: of the file, below its subfolder where the layout has any; unique in a split.
    """

    path: Path
    pid: int
    camera: int
    name: str


def scan(name: str, root: Path | str) -> dict[str, list[Entry]]:
    """Lists the pictures of an official folder, sorted by path; opens none of them.

    ``Thumbs.db``, ``._*`` and other files that are no pictures are ignored. A folder one or two
    levels above the official one (the roots of torchreid and fast-reid) or inside it is refused
    with the path to give instead.

    Args:
        name: of a layout.
        root: the official folder, unpacked.

    Returns:
        Entries of train, query and gallery.

    Raises:
        FileNotFoundError: ``root`` does not exist, is empty or not the official folder, or a
            listed picture is missing.
        ValueError: an archive; names that do not belong to the layout; lists that cannot be read;
            a split without pictures; fewer than two cameras; a single identity; identities that are
            both in train and in the test set.
    """
    layout = find(name)
    root = Path(root)
    _check_root(layout, root)
    splits = {split: _entries(layout, root, split) for split in layout.splits}
    _check_labels(layout, root, splits)
    _check_apart(layout, root, splits)
    return splits


def count(layout: Layout, entries: list[Entry]) -> Counts:
    """Counts the entries of one split in the way that sets publish it."""
    pids = np.array([entry.pid for entry in entries])
    junk, distractors = pids == JUNK, np.isin(pids, layout.distractors)
    cameras = np.array([entry.camera for entry in entries])[~junk]
    return Counts(
        identities=len(np.unique(pids[~junk & ~distractors])),
        images=len(cameras),
        cameras=tuple(np.bincount(cameras).tolist()),
        junk=int(junk.sum()),
        distractors=int(distractors.sum()),
    )


def shortened(names: list[str]) -> str:
    """The first few names and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _check_root(layout: Layout, root: Path) -> None:
    if root.is_file():
        mend = "unpack it first" if root.suffix in ARCHIVES else "pass the folder instead"
        raise ValueError(
            f"{root} is a file: {mend}, and pass the folder that holds {_wants(layout)}."
        )
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist: pass the folder of {layout.title}.")
    missing = _missing(layout, root)
    if not missing:
        return
    here = sorted(path.name for path in root.iterdir())
    for candidate in _nearby(root):
        if not _missing(layout, candidate):
            raise FileNotFoundError(
                f"{root} is not the folder of {layout.title} itself: pass {candidate} instead."
            )
    if not here:
        raise FileNotFoundError(f"{root} is empty: unpack {layout.title} there.")
    packed = [name for name in here if Path(name).suffix in ARCHIVES]
    if packed:
        raise FileNotFoundError(
            f"{root} lacks {', '.join(missing)} but holds {shortened(packed)}: unpack it first."
        )
    raise FileNotFoundError(
        f"{root} lacks {', '.join(missing)}, so it is not a complete {layout.title}, which holds "
        f"{_wants(layout)}. It holds {shortened(here)}."
    )


def _nearby(root: Path) -> Iterator[Path]:
    """Folders that a user may have meant: those above the given one, then those inside it."""
    yield from list(root.resolve().parents)[:2]
    for pattern in ("*", "*/*"):
        folders = (path for path in sorted(root.glob(pattern)) if path.is_dir())
        yield from (path for path in folders if path.name not in ("__MACOSX", "masks"))


def _needed(layout: Layout) -> list[str]:
    sources = layout.splits.values()
    needed = (
        name
        for source in sources
        for name in (*_places(source), *source.lists, *source.people_lists)
    )
    return list(dict.fromkeys(needed))


def _places(source: Source) -> list[str]:
    """The folders with pictures, below the root."""
    parts = source.subfolders or ("",)
    return [Path(source.folder, part).as_posix() for part in parts]


def _missing(layout: Layout, root: Path) -> list[str]:
    return [name for name in _needed(layout) if not (root / name).exists()]


def _wants(layout: Layout) -> str:
    return ", ".join(_needed(layout))


def _entries(layout: Layout, root: Path, split: str) -> list[Entry]:
    source = layout.splits[split]
    folder = root / source.folder
    found = sorted(_listed(root, source) if source.lists else _contained(root, source))
    people = source.people | _people(root, source)
    entries, strange = [], []
    for path, pid in found:
        name = path.relative_to(folder).as_posix() if source.subfolders else path.name
        match = _match(layout, name)
        if match is None:
            strange.append(name)
            continue
        # CUHK03 writes a person as pair_number, e.g. 1_003
        named = int(match["pid"].replace("_", ""))
        raw = named if pid is None or source.relabelled else pid
        if people and raw not in people:
            continue
        number = raw + source.pid_offset if raw != JUNK else JUNK
        entries.append(Entry(path, number, _camera(layout, match["camera"]), name))
    if strange:
        raise ValueError(
            f"{len(strange):,} of {len(found):,} file names in {folder} are not names of "
            f"{layout.title} ({layout.patterns[0]}): {shortened(strange)}. Remove or rename them, "
            "or choose the layout that they belong to."
        )
    if not entries:
        places = " and ".join(str(root / place) for place in _places(source))
        raise ValueError(
            f"{places} holds no pictures for the split {split!r} of {layout.title}: "
            "unpack the archive again."
        )
    return entries


def _match(layout: Layout, name: str) -> re.Match[str] | None:
    matches = (re.fullmatch(pattern, name, re.ASCII) for pattern in layout.patterns)
    return next((match for match in matches if match), None)


def _camera(layout: Layout, text: str) -> int:
    return layout.cameras.index(text) if layout.cameras else int(text) - 1


def _contained(root: Path, source: Source) -> Iterator[tuple[Path, None]]:
    for place in _places(source):
        for path in (root / place).glob("*/*" if source.nested else "*"):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("._"):
                yield path, None


def _listed(root: Path, source: Source) -> Iterator[tuple[Path, int]]:
    missing = []
    for name in source.lists:
        for number, line in enumerate(_text(root / name).splitlines(), start=1):
            if not line.strip():
                continue
            match = re.fullmatch(r"([\w./-]{1,250}) +(\d{1,9})", line.strip(), re.ASCII)
            if match is None or match[1].startswith("/") or ".." in match[1].split("/"):
                raise ValueError(
                    f"{root / name}, line {number}: expected 'path pid', the path below "
                    f"{root / source.folder}, found {line[:80]!r}. Restore the official list."
                )
            path = root / source.folder / match[1]
            if path.is_file():
                yield path, int(match[2])
            else:
                missing.append(match[1])
    if missing:
        raise FileNotFoundError(
            f"{len(missing):,} pictures that {', '.join(source.lists)} name are missing in "
            f"{root / source.folder}: {shortened(missing)}. Unpack the archive again."
        )


def _people(root: Path, source: Source) -> frozenset[int]:
    people: set[int] = set()
    for name in source.people_lists:
        text = _text(root / name).strip()
        if re.fullmatch(r"\d{1,9}(\s*,\s*\d{1,9})*", text, re.ASCII) is None:
            raise ValueError(
                f"{root / name}: expected person numbers between commas, found "
                f"{text[:40]!r}. Restore the official list."
            )
        people |= {int(number) for number in text.split(",")}
    return frozenset(people)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text. Restore the official list.") from None


def _check_labels(layout: Layout, root: Path, splits: dict[str, list[Entry]]) -> None:
    cameras = {entry.camera for entries in splits.values() for entry in entries}
    if len(cameras) < 2:
        raise ValueError(
            f"All pictures in {root} carry the camera id {cameras.pop() + 1}: no query can have a "
            "match in another camera. Put the true camera into the file names (c1, c2, ...)."
        )
    for split, entries in splits.items():
        if count(layout, entries).identities < 2:
            raise ValueError(
                f"The split {split!r} in {root} shows fewer than two identities, so nobody can be "
                "told apart. Check the person numbers in the file names."
            )


def _check_apart(layout: Layout, root: Path, splits: dict[str, list[Entry]]) -> None:
    nobody = {JUNK, *layout.distractors}
    test = {entry.pid for split in ("query", "gallery") for entry in splits[split]}
    shared = sorted({entry.pid for entry in splits["train"]} & test - nobody)
    if shared:
        lists = [name for s in layout.splits.values() for name in (*s.lists, *s.people_lists)]
        mend = f"the lists {shortened(list(dict.fromkeys(lists)))}" if lists else "the folders"
        raise ValueError(
            f"{len(shared):,} identities in {root} are both in train and in the test set: "
            f"{shortened([str(pid) for pid in shared])}. Scores would be far too high: restore "
            f"{mend} of {layout.title}."
        )
