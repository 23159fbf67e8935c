"""What is in an official folder, and what is wrong with it, before a run finds out."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxreid.data.layouts import JUNK, Layout, find
from jaxreid.data.pictures import Inspection, inspect
from jaxreid.data.scanning import Entry, count, scan, shortened
from jaxreid.data.validation import differing

Splits = dict[str, list[Entry]]
PLAIN = frozenset({"RGB"})
GIB = 1 << 30


class Line(NamedTuple):
    """One line of the report.

    Attributes:
        text: what was found.
        wrong: whether it has to be mended before training.
    """

    text: str
    wrong: bool = False


def check(name: str, root: Path | str) -> list[Line]:
    """Examines an official folder: counts, pixels, cameras, identities, duplicates, sizes.

    Args:
        name: of a layout.
        root: the official folder, unpacked.

    Returns:
        The report. The set is fit for training if no line is ``wrong``.
    """
    layout = find(name)
    try:
        splits = scan(name, root)
    except (ValueError, FileNotFoundError) as error:
        return [Line(str(error), wrong=True)]
    paths = sorted({entry.path for entries in splits.values() for entry in entries})
    inspections = {each.path: each for each in inspect(paths)}
    return [
        Line(f"{layout.title} in {root}"),
        *([Line(layout.notice)] if layout.notice else []),
        *_table(layout, splits),
        *_published(layout, splits),
        *_pictures(list(inspections.values())),
        *_cameras(splits),
        *_duplicates(layout, splits, inspections),
        *_sizes(splits),
    ]


def _table(layout: Layout, splits: Splits) -> Iterator[Line]:
    yield Line(f"{'split':8}{'images':>8}{'ids':>7}{'junk':>7}{'distr.':>8}  images per camera")
    for split, entries in splits.items():
        found = count(layout, entries)
        numbers = f"{found.images:8}{found.identities:7}{found.junk:7}{found.distractors:8}"
        cameras = " ".join(f"c{i}:{n}" for i, n in enumerate(found.cameras, start=1) if n)
        yield Line(f"{split:8}{numbers}  {cameras}")


def _published(layout: Layout, splits: Splits) -> Iterator[Line]:
    if not layout.published:
        yield Line("published counts: none to compare with")
        return
    differences = differing(layout, splits)
    if not differences:
        yield Line("published counts: ok")
        return
    pairs = [(count(layout, splits[split]), known) for split, known in layout.published.items()]
    partial = all(found.images <= known.images for found, known in pairs)
    kind = "partial, files are missing" if partial else "differs"
    yield Line(f"published counts: {kind}: {'; '.join(differences)}", wrong=True)


def _pictures(inspections: list[Inspection]) -> Iterator[Line]:
    bad = [f"{each.path} ({each.problem})" for each in inspections if each.problem]
    good = [each for each in inspections if not each.problem]
    if bad:
        yield Line(f"{len(bad):,} unreadable pictures:\n" + "\n".join(bad), wrong=True)
    if not good:
        return
    sizes = np.array([each.size for each in good])
    low, middle, high = sizes.min(0), np.median(sizes, 0).astype(int), sizes.max(0)
    yield Line(
        f"height x width: smallest {low[0]} x {low[1]}, median {middle[0]} x {middle[1]}, "
        f"largest {high[0]} x {high[1]}"
    )
    odd = Counter(each.mode for each in good if each.mode not in PLAIN)
    if odd:
        modes = ", ".join(f"{number:,} {mode}" for mode, number in odd.items())
        yield Line(f"decoded to RGB from another mode: {modes}")


def _cameras(splits: Splits) -> Iterator[Line]:
    seen = _cameras_of(splits["train"])
    single = sum(len(cameras) == 1 for cameras in seen.values())
    if single:
        yield Line(f"{single:,} of {len(seen):,} training identities are seen by one camera only")
    gallery = _cameras_of(splits["gallery"])
    lonely = [e.name for e in splits["query"] if not gallery[e.pid] - {e.camera}]
    if lonely:
        everyone = " (all of them)" if len(lonely) == len(splits["query"]) else ""
        yield Line(
            f"{len(lonely):,} of {len(splits['query']):,} queries{everyone} have no picture of the "
            f"same person from another camera in the gallery: {shortened(lonely)}. Protocols drop "
            "them; toolkits stop with 'all query identities do not appear in gallery'. The usual "
            "cause: the file names give all pictures of a person one camera id.",
            wrong=True,
        )


def _duplicates(
    layout: Layout, splits: Splits, inspections: dict[Path, Inspection]
) -> Iterator[Line]:
    """Files of equal bytes on both sides of the train / test border, or under two identities."""
    groups: dict[str, list[tuple[str, Entry]]] = defaultdict(list)
    for split, entries in splits.items():
        for entry in entries:
            groups[inspections[entry.path].digest].append((split, entry))
    groups.pop("", None)  # unreadable files
    nobody = {JUNK, *layout.distractors}
    for what, parts in (
        ("are both in train and in the test set", lambda split, entry: split == "train"),
        ("show two identities", lambda _, entry: entry.pid),
    ):
        named = [
            members[0][1].name
            for members in groups.values()
            if len({parts(split, e) for split, e in members if e.pid not in nobody}) > 1
        ]
        if named:
            text = f"{len(named):,} pictures with equal content {what}: {shortened(named)}."
            yield Line(text, wrong=True)


def _sizes(splits: Splits) -> Iterator[Line]:
    number = {split: len(entries) for split, entries in splits.items()}
    disk = sum(e.path.stat().st_size for entries in splits.values() for e in entries)
    decoded = number["train"] * 256 * 128 * 3
    embedded = (number["query"] + number["gallery"]) * 2048 * 4
    yield Line(
        f"disk {disk / GIB:.2f} GiB; memory: training pictures at 256 x 128 {decoded / GIB:.2f} "
        f"GiB, test embeddings of 2,048 numbers {embedded / GIB:.2f} GiB"
    )


def _cameras_of(entries: list[Entry]) -> dict[int, set[int]]:
    cameras: dict[int, set[int]] = defaultdict(set)
    for entry in entries:
        cameras[entry.pid].add(entry.camera)
    return cameras
