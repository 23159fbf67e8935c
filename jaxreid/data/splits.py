"""Splits in memory: labels as arrays, pictures decoded on demand."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxreid.data import keypoints as poses
from jaxreid.data import layouts, records, validation
from jaxreid.data.masks import how_to_make, made_up
from jaxreid.data.pictures import Pictures

CACHE_BYTES = 2 << 30


@dataclass(frozen=True, eq=False)
class Split:
    """A list of labelled pictures, or a selection of one.

    Attributes:
        pids: int64 ``[n]``, raw person numbers; -1 is junk.
        cameras: int64 ``[n]``, 0-based.
        names: file names.
        styles: int64 ``[n]``, target style of generated pictures, -1 for real ones.
        sources: name of the picture that each was generated from, '' for real ones.
        size: (height, width) of ``images``.
        numbers: int64 ``[n]``, positions of these rows in ``pictures``.
        pictures: decodes and caches; shared by all selections of one split.
        foreground: the same for masks; None if the pictures have none.
        joints: float32 ``[n, 18, 3]``, keypoints as shares of the pictures' sides; None likewise.
        domain: layout or generated set that all of them belong to, '' if to several.
    """

    pids: np.ndarray
    cameras: np.ndarray
    names: tuple[str, ...]
    styles: np.ndarray
    sources: tuple[str, ...]
    size: tuple[int, int]
    numbers: np.ndarray
    pictures: Pictures
    foreground: Pictures | None = None
    joints: np.ndarray | None = None
    domain: str = ""

    def __len__(self) -> int:
        return len(self.pids)

    @property
    def modalities(self) -> np.ndarray:
        """int64 ``[n]``: 0 where the camera sees visible light, 1 where it sees infrared.

        Raises:
            ValueError: the pictures are not those of one layout, so their cameras do not tell.
        """
        if self.domain not in layouts.LAYOUTS:
            raise ValueError(
                f"{len(self):,} pictures of {self.domain or 'several sets'!r} are asked for their "
                "modality, but only cameras of one official layout tell it: take it from the "
                "pictures that they were made or joined from."
            )
        return np.isin(self.cameras, layouts.LAYOUTS[self.domain].infrared).astype(np.int64)

    def images(self, rows: np.ndarray) -> np.ndarray:
        """Pictures of ``rows``: uint8 ``[len(rows), H, W, 3]`` RGB. Thread-safe."""
        return self.pictures(self.numbers[rows])

    def masks(self, rows: np.ndarray) -> np.ndarray:
        """Foreground masks of ``rows``: uint8 ``[len(rows), H, W, 1]``, 255 on the person.

        Thread-safe.

        Raises:
            ValueError: the pictures have no masks; see ``require_masks``.
        """
        require_masks("selected", self)
        assert self.foreground is not None
        return self.foreground(self.numbers[rows])

    def masked(self, rows: np.ndarray) -> np.ndarray:
        """Pictures with their masks as fourth channel: uint8 ``[len(rows), H, W, 4]``."""
        return np.concatenate([self.images(rows), self.masks(rows)], axis=-1)

    def keypoints(self, rows: np.ndarray) -> np.ndarray:
        """Keypoints of ``rows``: float32 ``[len(rows), 18, 3]``, as ``jaxreid.data.poses`` draws.

        x and y are pixels of ``images(rows)``; the third number is above 0 where a joint is seen.

        Raises:
            ValueError: the pictures have no keypoints; see ``require_keypoints``.
        """
        require_keypoints("selected", self)
        assert self.joints is not None
        return poses.to_pixels(self.joints[rows], self.size)

    def take(self, rows: np.ndarray) -> "Split":
        """The selection ``rows`` (positions or a mask), in their order; pictures are shared."""
        rows = np.arange(len(self))[rows]
        return replace(
            self,
            pids=self.pids[rows],
            cameras=self.cameras[rows],
            names=tuple(self.names[row] for row in rows),
            styles=self.styles[rows],
            sources=tuple(self.sources[row] for row in rows),
            numbers=self.numbers[rows],
            joints=None if self.joints is None else self.joints[rows],
        )

    def resized(self, size: tuple[int, int]) -> "Split":
        """The same rows at another (height, width), resized from the original files."""
        if size == self.size:
            return self
        foreground = self.foreground and self.foreground.resized(size)
        return replace(self, size=size, pictures=self.pictures.resized(size), foreground=foreground)


def with_masks(split: Split, kind: str, cache_bytes: int = CACHE_BYTES) -> Split:
    """The same pictures, all with one mask of ``jaxreid.data.masks.made_up``.

    Args:
        split: any; masks that it has are not used.
        kind: ``ones`` or ``centre_ellipse``.
        cache_bytes: as for ``load``.
    """
    file, count = made_up(kind), 1 + int(max(split.numbers, default=0))
    masks = Pictures(lambda rows: [file] * len(rows), count, split.size, cache_bytes, masks=True)
    return replace(split, foreground=masks)


def require_masks(name: str, split: Split) -> None:
    """Raises ValueError if ``split``, called ``name`` in the message, has no foreground masks.

    For the beginning of a run: before any long work.
    """
    if split.foreground is None:
        first = f", the first is {split.names[0]!r}" if len(split) else ""
        raise ValueError(
            f"The {len(split):,} {name} pictures have no foreground masks{first}: prepare the set "
            f"with masks=FOLDER. {how_to_make()}"
        )


def require_keypoints(name: str, split: Split) -> None:
    """Raises ValueError if ``split``, called ``name`` in the message, has no keypoints.

    For the beginning of a run: before any long work.
    """
    if split.joints is None:
        first = f", the first is {split.names[0]!r}" if len(split) else ""
        raise ValueError(
            f"The {len(split):,} {name} pictures have no keypoints{first}: prepare the set with "
            f"keypoints=FILE. {poses.how_to_make()}"
        )


def prepare(
    name: str,
    root: Path | str,
    directory: Path | str,
    *,
    allow_partial: bool = False,
    masks: Path | str | None = None,
    keypoints: Path | str | None = None,
    notice: bool = True,
) -> None:
    """Checks an official folder and writes it as records; nothing is written if anything is wrong.

    Every picture is opened and fully decoded once, so that no run fails on a broken one later.

    Args:
        name: of a layout, see ``jaxreid.data.LAYOUTS``; ``'world'`` for the synthetic world.
        root: the official folder, unpacked.
        directory: to be created with the splits train, query and gallery; older records there are
            replaced.
        allow_partial: accept counts that differ from the published ones.
        masks: folder of foreground masks (``jaxreid.data.masks`` says how they lie), which the
            records then hold; None leaves them out.
        keypoints: file or folder of keypoints (``jaxreid.data.keypoint_files`` lists formats),
            likewise.
        notice: whether the terms of the set are said, which do not hold for a synthetic world that
            stands in for it.

    Raises:
        FileNotFoundError: no such folder; the message names the right one if it is near.
        ValueError: anything else that is wrong with the folder, with what to do.
    """
    masks = None if masks is None else Path(masks)
    keypoints = None if keypoints is None else Path(keypoints)
    found = validation.official_records(
        name,
        Path(root),
        allow_partial=allow_partial,
        masks=masks,
        keypoints=keypoints,
        notice=notice,
    )
    records.write(directory, found, name)


def load(
    directory: Path | str, size: tuple[int, int], cache_bytes: int = CACHE_BYTES
) -> dict[str, Split]:
    """Reads what ``prepare`` or ``write_generated`` wrote.

    Args:
        directory: of the records.
        size: (height, width) that pictures are resized to, bicubically, when decoded.
        cache_bytes: a split whose decoded pictures need no more than this keeps them in memory.

    Returns:
        The splits by name, in the order in which they were written. One has masks, or keypoints,
        if all of its records have.
    """
    return {
        split: _split(source, size, cache_bytes)
        for split, source in records.read(directory).items()
    }


def held_out(split: Split, identities: int, seed: int) -> tuple[Split, Split, Split]:
    """Sets some training identities aside to choose models by, without touching the test set.

    Args:
        split: a training split.
        identities: how many to hold out; drawn from those seen by at least two cameras.
        seed: of the draw of identities and of their query pictures.

    Returns:
        (train, query, gallery). Train has none of the held-out identities; gallery has all their
        pictures; query has one of them per identity and camera. A query is itself in the gallery,
        where the rule "same identity and same camera do not count" removes it.
    """
    pairs = np.unique(np.stack([split.pids, split.cameras], 1), axis=0)
    pids, cameras = np.unique(pairs[:, 0], return_counts=True)
    eligible = pids[cameras > 1]
    if not 0 < identities <= min(len(eligible), len(pids) - 1):
        raise ValueError(
            f"Cannot hold out {identities} identities: the split has {len(pids)}, of which "
            f"{len(eligible)} are seen by two cameras or more, and some must remain for training."
        )
    rng = np.random.default_rng(seed)
    held = np.isin(split.pids, rng.choice(eligible, identities, replace=False))
    gallery = split.take(held)
    shuffle = rng.permutation(len(gallery))
    seen = np.stack([gallery.pids, gallery.cameras], 1)[shuffle]
    first = np.unique(seen, axis=0, return_index=True)[1]
    return split.take(~held), gallery.take(np.sort(shuffle[first])), gallery


def _split(source: Sequence, size: tuple[int, int], cache_bytes: int) -> Split:
    rows = [_labels(source[i]) for i in range(len(source))]
    order = np.argsort([row["index"] for row in rows])

    def column(key: str) -> np.ndarray:
        return np.array([rows[i][key] for i in order], np.int64)

    def text(key: str) -> tuple[str, ...]:
        return tuple(rows[i][key].decode() for i in order)

    def files(key: str) -> Callable[[Sequence[int]], list[bytes]]:
        return lambda numbers: [row[key] for row in source.__getitems__(numbers)]  # pyright: ignore

    masked, posed = (all(row[key] for row in rows) for key in ("mask", "posed"))
    return Split(
        pids=column("pid"),
        cameras=column("camera"),
        names=text("name"),
        styles=column("style"),
        sources=text("source"),
        size=size,
        numbers=order,
        pictures=Pictures(files("image"), len(rows), size, cache_bytes),
        foreground=Pictures(files("mask"), len(rows), size, cache_bytes, masks=True)
        if masked
        else None,
        joints=np.array([rows[i]["keypoints"] for i in order], np.float32) if posed else None,
        domain=common(text("domain")),
    )


def common(domains: Sequence[str]) -> str:
    """The domain of all, '' if they have several."""
    return domains[0] if len(set(domains)) == 1 else ""


def _labels(row: Mapping[str, Any]) -> dict[str, Any]:
    """A record without its files; older ones do not know of masks and keypoints."""
    labels = {key: value for key, value in row.items() if key != "image"}
    posed = len(row.get("keypoints", ())) > 0
    return {**labels, "mask": bool(row.get("mask")), "posed": posed}
