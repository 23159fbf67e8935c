"""A map of points in the plane, with some of them marked by numbers."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxreid.report.figures import INK, PAPER, Colour

COLOURS: tuple[Colour, ...] = (
    *((47, 109, 181), (217, 119, 33), (46, 139, 87), (196, 60, 57)),
    *((127, 87, 176), (140, 96, 70), (214, 94, 160), (110, 122, 138)),
)
_SHARPER = 3  # drawn so much larger, then shrunk
_MARGIN = 24


def scatter(
    points: np.ndarray, groups: np.ndarray, marks: np.ndarray, side: int = 560
) -> np.ndarray:
    """Draws points in the colour of their group, and marks one place for each group.

    Args:
        points: ``[n, 2]``.
        groups: int ``[n]``, from 0; colours repeat after eight, numbers do not.
        marks: ``[K, 2]``; that of group k is a disc with the number k + 1.
        side: of the picture, in pixels.

    Returns:
        uint8 ``[side, side, 3]``.
    """
    low, high = (pick(np.concatenate([points, marks]), axis=0) for pick in (np.min, np.max))
    scale = _SHARPER * (side - 2 * _MARGIN) / max(*(high - low), 1e-12)
    corner = _SHARPER * side / 2 - scale * (low + high) / 2
    sheet = Image.new("RGB", (_SHARPER * side, _SHARPER * side), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13 * _SHARPER)
    for point, group in zip(scale * points + corner, groups.tolist(), strict=True):
        draw.circle(tuple(point), 2.5 * _SHARPER, COLOURS[group % len(COLOURS)])
    for group, mark in enumerate(scale * marks + corner):
        place, colour = tuple(mark), COLOURS[group % len(COLOURS)]
        draw.circle(place, 11 * _SHARPER, PAPER, colour, 3 * _SHARPER)
        draw.text(place, str(group + 1), INK, font, anchor="mm")
    return np.asarray(sheet.resize((side, side), Image.Resampling.LANCZOS))
