"""From an official folder to records: names, counts and pixels are proved before anything runs."""

from pathlib import Path

from jaxreid.data import keypoints as poses
from jaxreid.data.layouts import Layout, announce, find
from jaxreid.data.masks import attach
from jaxreid.data.pictures import Inspection, inspect
from jaxreid.data.record import Record
from jaxreid.data.scanning import Entry, count, scan


def official_records(
    name: str,
    root: Path,
    *,
    allow_partial: bool = False,
    masks: Path | None = None,
    keypoints: Path | None = None,
    notice: bool = True,
) -> dict[str, list[Record]]:
    """Scans and verifies an official folder.

    Args:
        name: of a layout.
        root: the official folder, unpacked.
        allow_partial: accept counts that differ from the published ones.
        masks: folder of foreground masks, see ``jaxreid.data.masks``; None leaves them out.
        keypoints: file or folder of keypoints, see ``jaxreid.data.keypoints``; None as well.
        notice: whether the terms of the set are said.

    Returns:
        Records of every split, with the paths of their files.

    Raises:
        FileNotFoundError: as ``scan``.
        ValueError: as ``scan``; counts that differ from the published ones; files that cannot be
            decoded, masks that are missing or unfit, keypoints that are unfit. All are listed in
            one message.
    """
    layout = find(name)
    if notice:
        announce(name)
    splits = scan(name, root)
    differences = differing(layout, splits)
    if differences and not allow_partial:
        raise ValueError(
            f"{root} is not the complete {layout.title}: {'; '.join(differences)}. "
            "Unpack the archive again, or allow partial sets (allow_partial=True)."
        )
    if differences and notice:
        print(
            f"{root} is not the complete {layout.title}, so scores do not compare with published "
            f"ones: {'; '.join(differences)}",
            flush=True,
        )
    paths = {entry.path for entries in splits.values() for entry in entries}
    inspections = inspect(sorted(paths))
    require_readable(inspections)
    records = {
        split: [Record(e.path, e.pid, e.camera, layout.name, e.name) for e in entries]
        for split, entries in splits.items()
    }
    if keypoints:
        sizes = {each.path: each.size for each in inspections}
        records = poses.attach(layout, root, records, keypoints, sizes)
    return attach(layout, root, records, masks) if masks else records


def differing(layout: Layout, splits: dict[str, list[Entry]]) -> list[str]:
    """What differs from the published counts, one sentence part for each number."""
    differences = []
    for split, published in layout.published.items():
        found = count(layout, splits[split])
        for key, expected in vars(published).items():
            value = getattr(found, key)
            if expected != () and value != expected:
                differences.append(f"{split} has {key} {value} where {expected} are published")
    return differences


def require_readable(inspections: list[Inspection]) -> None:
    """Raises one ValueError that lists the files that cannot be used, if there are any."""
    bad = [f"{each.path} ({each.problem})" for each in inspections if each.problem]
    if bad:
        raise ValueError(
            f"{len(bad):,} of {len(inspections):,} pictures cannot be used: "
            "restore them from the archive or remove them, then try again.\n" + "\n".join(bad)
        )
