"""Histograms of oriented gradients (HOG)."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from jaxreid.features.colour import grey, require_images

CELL, BLOCK, BINS, CLIP = 8, 2, 9, 0.2
EPSILON = 1e-5  # of the norms of blocks


def hog(images: np.ndarray) -> np.ndarray:
    r"""HOG with the classical settings: 3,780 values of a 128x64 image.

    Central differences of 8-bit grey in [0, 1] (0 at the border) vote with their length for one of
    9 directions, opposite ones being the same, in cells of 8x8 pixels. Blocks of 2x2 cells, one
    cell apart, are normalised by L2-Hys: to unit length, clipped at 0.2, to unit length again, with
    $\lVert v \rVert \to \sqrt{\lVert v \rVert^2 + 10^{-10}}$. A vote goes to a single cell and
    direction: nothing is interpolated, as in scikit-image, whose `hog` of the same grey this is.

    Args:
        images: uint8 ``[n, H, W, 3]`` RGB, at least 16x16; rows and columns beyond a multiple of
            8 are not read. Resize to 128x64 first.

    Returns:
        float32 ``[n, (H/8 - 1) (W/8 - 1) 36]`` in [0, 1], in the order of blocks (rows of them
        first), cells in them (likewise) and directions.

    Raises:
        ValueError: for other arrays or smaller images.

    References:
        Dalal, Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005 (seed 001),
        who also interpolate votes and weigh them by a Gaussian over the block.
    """
    images = require_images("hog", images, CELL * BLOCK)
    cells = _cells(grey(images))
    blocks = sliding_window_view(cells, (BLOCK, BLOCK), axis=(1, 2))  # [n, rows, columns, 9, 2, 2]
    blocks = np.moveaxis(blocks, 3, -1)
    clipped = np.minimum(_unit(blocks), CLIP)
    return _unit(clipped).reshape(len(images), -1).astype(np.float32)


def _cells(brightness: np.ndarray) -> np.ndarray:
    """Votes ``[n, H/8, W/8, 9]``, means over the pixels of a cell."""
    down, across = np.zeros_like(brightness), np.zeros_like(brightness)
    down[:, 1:-1] = brightness[:, 2:] - brightness[:, :-2]
    across[:, :, 1:-1] = brightness[:, :, 2:] - brightness[:, :, :-2]
    angle = np.rad2deg(np.arctan2(down, across)) % 180
    direction = np.minimum(angle * BINS // 180, BINS - 1).astype(np.int64)
    n, rows, columns = (brightness.shape[0], *(side // CELL for side in brightness.shape[1:]))
    inside = np.s_[:, : rows * CELL, : columns * CELL]
    image, row, column = np.ogrid[:n, : rows * CELL, : columns * CELL]
    cell = (image * rows + row // CELL) * columns + column // CELL
    votes = np.bincount(
        (cell * BINS + direction[inside]).ravel(),
        np.hypot(down, across)[inside].ravel(),
        n * rows * columns * BINS,
    )
    return votes.reshape(n, rows, columns, BINS) / CELL**2


def _unit(blocks: np.ndarray) -> np.ndarray:
    squares = np.square(blocks).sum((-3, -2, -1), keepdims=True)
    return blocks / np.sqrt(squares + EPSILON**2)
