"""The oracle: a world's pictures drawn again as other cameras, other people or masks see them."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxreid.data.pictures import decode
from jaxreid.data.world.drawing import draw_all
from jaxreid.data.world.files import encode, read_spec
from jaxreid.data.world.moments import PERSON, SCENES
from jaxreid.data.world.planning import Plan, plan
from jaxreid.data.world.spec import OUTSIDER, TRAIN, VISIBLE, Spec


def restyle(
    root: str | Path,
    names: Sequence[str],
    cameras: Sequence[int],
    seen_by: str | Path | None = None,
) -> np.ndarray:
    """The oracle translation: pictures as other cameras would have taken them.

    Person, gait, place, box and obstruction stay; viewpoint, scene, light and sensor are those of
    the other camera. A picture's own camera gives that picture before JPEG compression.

    Args:
        root: a world made by :func:`write`.
        names: file names in it.
        cameras: 0-based target camera of each.
        seen_by: the world whose cameras look, such as another city; None means ``root``. Its people
            stay at home, and pictures keep the size of those of ``root``.

    Returns:
        uint8 [n, H, W, 3].

    Raises:
        FileNotFoundError: ``root`` or ``seen_by`` is no world.
        ValueError: an unknown name, a camera that does not exist, or lengths that differ.
    """
    spec = read_spec(root)
    viewers = read_spec(root if seen_by is None else seen_by)
    table, rows = _lookup(spec, names)
    targets = np.asarray(cameras, np.int32)
    if targets.shape != rows.shape or not ((targets >= 0) & (targets < viewers.cameras)).all():
        raise ValueError(
            f"cameras must hold one number from 0 to {viewers.cameras - 1} for each of the "
            f"{len(rows)} names, got {list(cameras)[:8]} ..."
        )
    drawn = draw_all(spec, table, rows, targets, seen_by=viewers)
    return _stack(spec, (p.image for p in drawn), np.uint8, 3)


def convert(root: str | Path, names: Sequence[str], seed: int = 0) -> np.ndarray:
    """The oracle translation between modalities: visible pictures as infrared ones and back.

    Each is the same moment as a camera of the other modality would have taken it (``restyle``), in
    RegDB's layout the one beside the picture's own, in SYSU-MM01's any of them.

    Args:
        root: a world of two modalities made by :func:`write`.
        names: file names in it, of either modality.
        seed: with the name, decides which camera of several looks.

    Returns:
        uint8 [n, H, W, 3]; infrared pictures have equal channels.

    Raises:
        FileNotFoundError: ``root`` is no world.
        ValueError: an unknown name, or the world has visible cameras only.
    """
    spec = read_spec(root)
    visible = np.array([modality == VISIBLE for modality in spec.modalities])
    if visible.all():
        raise ValueError(
            f"{root} is a world of the layout {spec.layout}, which has visible cameras only: write "
            "one with layout=regdb or layout=sysu_mm01."
        )
    table, rows = _lookup(spec, names)
    others = [np.flatnonzero(visible != visible[camera]) for camera in table.camera[rows]]
    dice = [np.random.default_rng((seed, zlib.crc32(name.encode()))) for name in names]
    targets = [int(rng.choice(few)) for rng, few in zip(dice, others, strict=True)]
    return restyle(root, names, targets)


def repose(root: str | Path, names: Sequence[str], like: Sequence[str]) -> np.ndarray:
    """The oracle of poses: pictures with people in the pose of those on other pictures.

    Whoever is on ``names[i]`` walks as the person of ``like[i]`` does, turned to the camera alike.
    Camera, scene, place, light and box stay.

    Args:
        root: a world made by :func:`write`.
        names: file names in it.
        like: file names in it, of the poses, as many.

    Returns:
        uint8 [n, H, W, 3].

    Raises:
        FileNotFoundError: ``root`` is no world.
        ValueError: an unknown name, or lengths that differ.
    """
    if len(names) != len(like):
        raise ValueError(f"{len(names)} names and {len(like)} pictures to be like: give as many")
    spec = read_spec(root)
    table, rows = _lookup(spec, names)
    _, poses = _lookup(spec, like)
    drawn = draw_all(spec, table, rows, table.camera[rows], poses=poses)
    return _stack(spec, (p.image for p in drawn), np.uint8, 3)


def outsiders(root: str | Path, start: int, count: int) -> np.ndarray:
    """Pictures of people who are in no folder of a world, a new person in each.

    They are taken as those of known people are, by every camera in turn, and compressed alike.

    Args:
        root: a world made by :func:`write`.
        start: number of the first; each number is a picture, whatever is drawn beside it.
        count: how many.

    Returns:
        uint8 [count, H, W, 3].
    """
    spec = read_spec(root)
    shot, camera = np.divmod(np.arange(start, start + count, dtype=np.int32), spec.cameras)
    same = functools.partial(np.full, count, dtype=np.int32)
    folder, stream, pid, kind = same(TRAIN), same(OUTSIDER), same(0), same(PERSON)
    table = Plan((), folder, stream, pid, camera, shot, shot % SCENES, kind)
    drawn = zip(camera.tolist(), draw_all(spec, table, np.arange(count), camera), strict=True)
    files = (encode(spec, seen_by, np.asarray(p.image)) for seen_by, p in drawn)
    return _stack(spec, (decode(f, (spec.height, spec.width)) for f in files), np.uint8, 3)


def truth(root: str | Path, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Exact foreground masks and keypoints of written pictures.

    Args:
        root: a world made by :func:`write`.
        names: file names in it.

    Returns:
        Masks, uint8 [n, H, W], 1 on the person; keypoints, float32 [n, 18, 3]: x and y in pixels,
        (0, 0) in the middle of the first, and 1 where visible, in COCO/OpenPose-18 order.

    Raises:
        ValueError: an unknown name.
    """
    spec = read_spec(root)
    table, rows = _lookup(spec, names)
    pictures = list(draw_all(spec, table, rows, table.camera[rows]))
    masks = _stack(spec, (p.mask for p in pictures), np.uint8)
    return masks, np.array([p.keypoints for p in pictures], np.float32).reshape(-1, 18, 3)


def _stack(spec: Spec, images: Iterator, dtype: type, *channels: int) -> np.ndarray:
    return np.array(list(images), dtype).reshape(-1, spec.height, spec.width, *channels)


def _lookup(spec: Spec, names: Sequence[str]) -> tuple[Plan, np.ndarray]:
    table = plan(spec)
    row_of = {name: row for row, name in enumerate(table.names)}
    unknown = [name for name in names if name not in row_of]
    if unknown:
        raise ValueError(
            f"{unknown[0]!r} ({len(unknown)} of {len(names)} names) is no picture of this world: "
            f"give names such as {table.names[0]!r}."
        )
    return table, np.array([row_of[name] for name in names], np.int32)
