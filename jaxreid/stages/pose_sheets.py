"""Pictures of canonical poses: the skeletons above people who stand like them, and a map."""

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxreid.data import Split
from jaxreid.data.augment import to_uint8
from jaxreid.data.poses import draw
from jaxreid.evaluation import tsne
from jaxreid.report import figures, html
from jaxreid.report.scatter import scatter
from jaxreid.stages import photographs
from jaxreid.stages.clustering import squared_distances

SHEET, MAP = "poses.png", "tsne.png"
PEOPLE = 3  # shown of every group, at most
CAPTIONS = {
    SHEET: (
        "Canonical poses",
        "Each stands for a group of training poses, whose size is above it; below are the images "
        "whose poses are nearest to it.",
    ),
    MAP: (
        "Poses of the training images",
        "A map by t-SNE of what poses are grouped by (at most 2,000 of them), in the colours of "
        "their groups; numbers mark the canonical poses.",
    ),
}
SAMPLES = 2000  # of the poses, in the map, at most
LEAST = 4  # points that t-SNE needs
HEIGHT = 128  # of a shown picture, at least


class Shown(NamedTuple):
    """Grouped poses and what stands for the groups.

    Attributes:
        split: ``n`` images of the poses.
        points: their features ``[n, D]``.
        labels: int ``[n]``, their groups.
        canonical: keypoints ``[K, 18, 3]`` that stand for the groups.
        marks: their features ``[K, D]``.
    """

    split: Split
    points: np.ndarray
    labels: np.ndarray
    canonical: np.ndarray
    marks: np.ndarray


def write(directory: Path, shown: Shown, seed: int) -> None:
    """Writes both pictures; ``seed`` draws the poses of the map where they are too many.

    There is no map of fewer points than ``LEAST``.
    """
    figures.write_png(directory / SHEET, sheet(shown))
    if len(shown.points) + len(shown.marks) >= LEAST:
        figures.write_png(directory / MAP, chart(shown, seed))


def report(directory: Path) -> list[html.Figure]:
    """The pictures as ``write`` left them, with what they show."""
    return [
        html.Figure(title, caption, photographs.read(directory / name))
        for name, (title, caption) in CAPTIONS.items()
        if (directory / name).exists()
    ]


def sheet(shown: Shown) -> np.ndarray:
    """A column per canonical pose: its drawing, then the images whose poses are nearest to it."""
    size, scale = shown.split.size, -(-HEIGHT // shown.split.size[0])
    large = (size[0] * scale, size[1] * scale)
    columns = []
    for k, pose in enumerate(shown.canonical):
        rows = np.flatnonzero(shown.labels == k)
        gaps = squared_distances(shown.points[rows], shown.marks[k : k + 1])[:, 0]
        people = shown.split.resized(large).images(rows[np.argsort(gaps, kind="stable")[:PEOPLE]])
        column = np.full((1 + PEOPLE, *large, 3), 255, np.uint8)
        column[1 : 1 + len(people)] = people
        column[0] = to_uint8(draw(jnp.asarray(_scaled(pose, scale)), large))
        columns.append(column)
    counts = np.bincount(shown.labels, minlength=len(columns))
    titles = [f"pose {k + 1}: {count:,}" for k, count in enumerate(counts)]
    return figures.grid(np.stack(columns, axis=1), col_labels=titles)


def chart(shown: Shown, seed: int) -> np.ndarray:
    """A map of the poses by t-SNE, in the colours of their groups, canonical poses numbered."""
    rows = np.random.default_rng(seed).permutation(len(shown.points))
    rows = np.sort(rows[: SAMPLES - len(shown.marks)])
    places = tsne(np.concatenate([shown.marks, shown.points[rows]]))
    marks, points = np.split(places, [len(shown.marks)])
    return scatter(points, shown.labels[rows], marks)


def _scaled(keypoints: np.ndarray, scale: int) -> np.ndarray:
    """Keypoints in a picture ``scale`` times as large."""
    return np.concatenate([(keypoints[..., :2] + 0.5) * scale - 0.5, keypoints[..., 2:]], axis=-1)
