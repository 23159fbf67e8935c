"""Keypoints of the people on pictures: one file or folder per set, 18 joints per picture.

``jaxreid.data.keypoint_files`` lists the formats. Pixels are counted as in ``jaxreid.data.poses``:
(0, 0) is the middle of the first one. A picture without keypoints is one whose joints are all
invisible: it can be redrawn in another pose, but shows none itself.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxreid.data import keypoint_files
from jaxreid.data.keypoint_files import FORMATS, Found
from jaxreid.data.layouts import Layout
from jaxreid.data.record import Record
from jaxreid.data.scanning import shortened

FILE = "keypoints.npz"  # in the folder of a world
INSIDE = 0.8  # share of the visible joints that lie in their pictures, at least
NOBODY = np.zeros((keypoint_files.JOINTS, 3), np.float32)
Sizes = Mapping[Path, tuple[int, int]]


def to_shares(keypoints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels ``[..., 18, 3]`` of pictures of ``size`` (height, width) as shares of their sides."""
    x, y, seen = np.moveaxis(np.asarray(keypoints, np.float64), -1, 0)
    shares = np.stack([(x + 0.5) / size[1], (y + 0.5) / size[0], seen], -1)
    return shares.astype(np.float32)


def to_pixels(shares: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The reverse of ``to_shares``, for pictures of any ``size``."""
    x, y, seen = np.moveaxis(np.asarray(shares, np.float64), -1, 0)
    return np.stack([x * size[1] - 0.5, y * size[0] - 0.5, seen], -1).astype(np.float32)


def attach(
    layout: Layout, root: Path, splits: Mapping[str, list[Record]], path: Path, sizes: Sizes
) -> dict[str, list[Record]]:
    """Gives every record its keypoints, and says how many pictures have none.

    A query or gallery of which no picture has keypoints is left without; methods need those of
    training images alone.

    Args:
        layout: of the set.
        root: its official folder.
        splits: records with the paths of their pictures.
        path: of the keypoints: a file or a folder. Pictures go by their path below ``root``, or by
            their bare name.
        sizes: (height, width) of the pictures.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no training picture has keypoints, a name that several pictures share, or
            numbers that are no pixels; or as ``keypoint_files.read``.
    """
    found, done = keypoint_files.read(path), {}
    people = _people(splits, root, found, path, sizes)
    for split, records in splits.items():
        missing = [str(r.image) for r in records if not people.get(r.image, NOBODY)[:, 2].any()]
        if split == "train" and len(missing) == len(records):
            raise ValueError(
                f"None of the {len(records):,} train pictures of {layout.title} has visible "
                f"keypoints in {path}, neither {shortened(missing)}; those there are of "
                f"{shortened(sorted(found.people)) or 'nobody'}. {how_to_make(path)}"
            )
        if 0 < len(missing) < len(records):
            print(
                f"note: {len(missing):,} of {len(records):,} {split} pictures of {layout.title} "
                f"have no visible keypoints in {path}, so they show no pose: {shortened(missing)}",
                flush=True,
            )
        if len(missing) < len(records):
            records = [replace(r, keypoints=people.get(r.image, NOBODY)) for r in records]
        done[split] = records
    return done


def how_to_make(path: Path | str = "FILE") -> str:
    """One sentence for error messages."""
    return (
        f"Write keypoints to {path} under the pictures' names, as {FORMATS}: run OpenPose or "
        "AlphaPose on the folders of the set, or 'python -m jaxreid.stages.keypoints ROOT' for a "
        f"small network's, ROOT/{FILE}; 'python -m jaxreid.data world DIR --keypoints' writes the "
        f"synthetic world with its own, DIR/{FILE}."
    )


def _people(
    splits: Mapping[str, list[Record]], root: Path, found: Found, path: Path, sizes: Sizes
) -> dict[bytes | Path, np.ndarray]:
    """The keypoints of all pictures that have some, as shares, by the picture's path."""
    named = {}
    pictures = sorted({Path(str(r.image)) for records in splits.values() for r in records})
    for picture in pictures:
        below = picture.relative_to(root)
        keys = [key.with_suffix("") if found.stems else key for key in (below, Path(below.name))]
        name = next((str(key) for key in keys if key.as_posix() in found.people), None)
        if name and (other := named.setdefault(name, picture)) != picture:
            raise ValueError(
                f"{path} has {name!r}, which may be {other} or {picture}: name pictures by their "
                f"path below {root}."
            )
    pixels = np.array([found.people[name] for name in named]).reshape(-1, *NOBODY.shape)
    shapes = np.array([found.size or sizes[picture] for picture in named.values()])
    if named:
        _check(pixels, shapes, path)
    shares = [to_shares(k, (int(h), int(w))) for k, (h, w) in zip(pixels, shapes, strict=True)]
    return dict(zip(named.values(), shares, strict=True))


def _check(pixels: np.ndarray, sizes: np.ndarray, path: Path) -> None:
    """Refuses numbers that are no pixels of these pictures."""
    seen, places = pixels[..., 2] > 0, pixels[..., :2]
    inside = np.all((places >= -0.5) & (places <= sizes[:, None, ::-1] - 0.5), axis=-1)
    if not seen.any():
        wrong = "no joint is visible: the third number is 1 where it is"
    elif places[seen].max() <= 1:
        wrong = f"no place is above {places[seen].max():.3g}: write pixels, not shares"
    elif inside[seen].mean() < INSIDE:
        wrong = (
            f"{1 - inside[seen].mean():.0%} of the visible joints lie outside of their pictures: "
            "write x before y, in pixels of the very pictures of the set"
        )
    else:
        return
    raise ValueError(f"The keypoints in {path} cannot be used: {wrong}.")
