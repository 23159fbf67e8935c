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

from jaxreid.data.masks import mask_path
from jaxreid.data.pictures import encode_mask
from jaxreid.data.world.drawing import cameras_of, draw_all
from jaxreid.data.world.planning import plan
from jaxreid.data.world.spec import FOLDERS, Spec

MASKS = "masks"
_SPEC_FILE = "world.json"


def write(spec: Spec, root: str | Path, *, masks: bool = False) -> None:
    """Draws a whole world into ``root`` in the official layout that ``spec`` names.

    ``root`` appears only when it is complete. The same specification gives the same bytes. A
    ``root`` that already holds this very world is left as it is.

    Args:
        spec: what to draw.
        root: folder to make; holds ``bounding_box_train``, ``bounding_box_test``, ``query`` and
            ``world.json`` (the specification) afterwards.
        masks: whether to write the exact foreground masks, too, to ``masks`` below ``root``.

    Raises:
        FileExistsError: ``root`` exists and holds something else, or this world without the masks.
    """
    root = Path(root)
    if root.exists():
        _require_same(spec, root, masks)
        return
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for folder in FOLDERS:
        (partial / folder).mkdir(parents=True)
        if masks:
            (partial / MASKS / folder).mkdir(parents=True)
    table = plan(spec)
    quality = np.asarray(cameras_of(spec).quality)
    pictures = draw_all(spec, table, np.arange(len(table.names)), table.camera)
    start = time.monotonic()
    for row, picture in enumerate(pictures):
        path = partial / FOLDERS[table.folder[row]] / table.names[row]
        path.write_bytes(encode_jpeg(np.asarray(picture.image), int(quality[table.camera[row]])))
        if masks:
            mask = np.asarray(255 * picture.mask, np.uint8)[..., None]
            mask_path(path, partial, partial / MASKS).write_bytes(encode_mask(mask))
        if (row + 1) % 1000 == 0 or row + 1 == len(table.names):
            _report(row + 1, len(table.names), time.monotonic() - start)
    text = json.dumps({"spec": dataclasses.asdict(spec)}, indent=2)
    (partial / _SPEC_FILE).write_text(text + "\n")
    partial.rename(root)


def _require_same(spec: Spec, root: Path, masks: bool) -> None:
    mend = "give another folder, or remove this one."
    if not (root / _SPEC_FILE).exists() or read_spec(root) != spec:
        raise FileExistsError(f"{root} exists and does not hold this world: {mend}")
    if masks and not (root / MASKS).is_dir():
        raise FileExistsError(f"{root} holds this world without its masks: {mend}")


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


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Encodes uint8 [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _report(done: int, total: int, seconds: float) -> None:
    speed = done / max(seconds, 1e-6)
    left = (total - done) / speed
    print(f"world: {done}/{total} pictures, {speed:.0f}/s, {left:.0f} s left", file=sys.stderr)
