"""Worlds as files in an official layout."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from jaxreid.data import keypoint_files
from jaxreid.data.keypoints import FILE as KEYPOINTS
from jaxreid.data.masks import mask_path
from jaxreid.data.pictures import encode_mask
from jaxreid.data.world.drawing import cameras_of, draw_all
from jaxreid.data.world.lists import write_lists
from jaxreid.data.world.planning import Plan, plan
from jaxreid.data.world.spec import FOLDERS, REGDB, SYSU, VISIBLE, Spec

MASKS = "masks"
_SPEC_FILE = "world.json"


def write(spec: Spec, root: str | Path, *, masks: bool = False, keypoints: bool = False) -> None:
    """Draws a whole world into ``root`` in the official layout that ``spec`` names.

    ``root`` appears only when it is complete. The same specification gives the same bytes. A
    ``root`` that already holds this very world is left as it is.

    Args:
        spec: what to draw.
        root: folder to make; holds the official folders (``bounding_box_train``, ... or
            ``Visible``, ``Thermal``, ``idx``, or ``cam1``, ..., ``exp``) and ``world.json`` (the
            specification) afterwards.
        masks: whether to write the exact foreground masks, too, to ``masks`` below ``root``.
        keypoints: whether to write the exact keypoints, too, to ``keypoints.npz`` in ``root``.

    Raises:
        FileExistsError: ``root`` exists and holds something else, or this world without
            the masks or keypoints.
    """
    root = Path(root)
    if root.exists():
        _require_same(spec, root, masks, keypoints)
        return
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    table = plan(spec)
    paths = [partial / name for name in _paths(spec, table)]
    for folder in dict.fromkeys(path.parent for path in paths):
        folder.mkdir(parents=True)
        if masks:
            mask_path(folder, partial, partial / MASKS).with_suffix("").mkdir(parents=True)
    write_lists(spec, table, partial)
    pictures = draw_all(spec, table, np.arange(len(table.names)), table.camera)
    people, start = [], time.monotonic()
    for row, picture in enumerate(pictures):
        path = paths[row]
        path.write_bytes(encode(spec, int(table.camera[row]), np.asarray(picture.image)))
        if masks:
            mask = np.asarray(255 * picture.mask, np.uint8)[..., None]
            mask_path(path, partial, partial / MASKS).write_bytes(encode_mask(mask))
        people.append(np.asarray(picture.keypoints))
        if (row + 1) % 1000 == 0 or row + 1 == len(table.names):
            _report(row + 1, len(table.names), time.monotonic() - start)
    if keypoints:
        names = [f"{FOLDERS[f]}/{name}" for f, name in zip(table.folder, table.names, strict=True)]
        keypoint_files.write(partial / KEYPOINTS, names, np.array(people))
    text = json.dumps({"spec": dataclasses.asdict(spec)}, indent=2)
    (partial / _SPEC_FILE).write_text(text + "\n")
    partial.rename(root)


def _require_same(spec: Spec, root: Path, masks: bool, keypoints: bool) -> None:
    mend = "give another folder, or remove this one."
    if not (root / _SPEC_FILE).exists() or read_spec(root) != spec:
        raise FileExistsError(f"{root} exists and does not hold this world: {mend}")
    for wanted, place in ((masks, MASKS), (keypoints, KEYPOINTS)):
        if wanted and not (root / place).exists():
            what = place.removesuffix(".npz")
            raise FileExistsError(f"{root} holds this world without its {what}: {mend}")


def read_spec(root: str | Path) -> Spec:
    """Reads the specification of the world in ``root``.

    Raises:
        FileNotFoundError: ``root`` is not a world that :func:`write` made.
    """
    path = Path(root) / _SPEC_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: {root} is not a synthetic world made by write()."
        )
    return Spec(**json.loads(path.read_text())["spec"])


def encode(spec: Spec, camera: int, image: np.ndarray) -> bytes:
    """Encodes uint8 [H, W, 3] as the layout and the camera do; infrared ones store one channel."""
    buffer = io.BytesIO()
    grey = spec.modalities[camera] != VISIBLE
    picture = Image.fromarray(image[..., 0] if grey else image)
    if spec.layout == REGDB:
        picture.save(buffer, "BMP")
    else:
        picture.save(buffer, "JPEG", quality=int(np.asarray(cameras_of(spec).quality)[camera]))
    return buffer.getvalue()


def _paths(spec: Spec, table: Plan) -> list[str]:
    """Where the pictures lie below the root."""
    if spec.layout in (REGDB, SYSU):
        return list(table.names)
    rows = zip(table.folder, table.names, strict=True)
    return [f"{FOLDERS[folder]}/{name}" for folder, name in rows]


def _report(done: int, total: int, seconds: float) -> None:
    speed = done / max(seconds, 1e-6)
    left = (total - done) / speed
    print(f"world: {done}/{total} pictures, {speed:.0f}/s, {left:.0f} s left", file=sys.stderr)
