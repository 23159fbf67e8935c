"""One picture of a data set, real or generated: what is stored of it."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxreid.data.pictures import encode_mask, encode_png


@dataclass(frozen=True)
class Record:
    """One picture of a data set.

    Attributes:
        image: an encoded JPEG, PNG or BMP, or the path of one.
        pid: person; raw number, -1 for junk.
        camera: 0-based.
        domain: layout or set that the picture belongs to.
        name: of the file, or ``subfolder/file``; a generated picture's tells it from its siblings.
        source: name of the picture that this one was generated from, '' for a real one.
        style: target camera, domain or pose of a generated picture, -1 for a real one.
        generated: whether a network made it.
        mask: foreground, an encoded 8-bit grey PNG or the path of one; None if there is none.
        keypoints: float32 ``[18, 3]``, x and y as shares of the picture's width and height, and
            above 0 where visible (``jaxreid.data.keypoints``); None if there are none.
    """

    image: bytes | Path
    pid: int
    camera: int
    domain: str
    name: str
    source: str = ""
    style: int = -1
    generated: bool = False
    mask: bytes | Path | None = None
    keypoints: np.ndarray | None = field(default=None, compare=False)


def generated(
    image: np.ndarray,
    *,
    pid: int,
    camera: int,
    domain: str,
    name: str,
    source: str,
    style: int,
    mask: np.ndarray | None = None,
) -> Record:
    """The record of a generated picture, stored as PNG.

    Args:
        image: uint8 ``[H, W, 3]`` RGB.
        pid: person that it shows, -1 for nobody in particular (LSRO).
        camera: 0-based camera of the source picture, -1 if made from noise; its new style is
            ``style``.
        domain: set that it was generated for.
        name: of its own.
        source: name of the source picture, '' if made from noise.
        style: target camera, domain or pose.
        mask: uint8 ``[H, W, 1]``, 255 on the person; None if there is none.
    """
    png = None if mask is None else encode_mask(mask)
    return Record(encode_png(image), pid, camera, domain, name, source, style, True, png)
