"""One picture of a data set, real or generated: what is stored of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxreid.data.pictures import encode_png


@dataclass(frozen=True)
class Record:
    """One picture of a data set.

    Attributes:
        image: an encoded JPEG, PNG or BMP, or the path of one.
        pid: person; raw number, -1 for junk.
        camera: 0-based.
        domain: layout or set that the picture belongs to.
        name: file name; a generated picture's name tells it from its siblings.
        source: name of the picture that this one was generated from, '' for a real one.
        style: target camera, domain or pose of a generated picture, -1 for a real one.
        generated: whether a network made it.
    """

    image: bytes | Path
    pid: int
    camera: int
    domain: str
    name: str
    source: str = ""
    style: int = -1
    generated: bool = False


def generated(
    image: np.ndarray, *, pid: int, camera: int, domain: str, name: str, source: str, style: int
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
    """
    return Record(encode_png(image), pid, camera, domain, name, source, style, generated=True)
