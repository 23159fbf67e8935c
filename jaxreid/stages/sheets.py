"""Contact sheets of generated sets, for the report."""

import numpy as np

from jaxreid.data import Split
from jaxreid.report import figures, html
from jaxreid.stages.sets import Generated

BESIDE = {  # kinds with one picture per source: title, column, what the version is
    "unity": ("Every camera in the unity style", "unity", "version in the unity style"),
    "target": (
        "Every camera of the source in the target's style",
        "target",
        "version in the target style",
    ),
    "modalities": ("Every camera in the other modality", "converted", "converted version"),
}


def sheet(real: Split, generated: Generated) -> html.Figure:
    """The pictures of a generated set that a reader should see, with what they show.

    Args:
        real: training images that the set stands beside.
        generated: of any kind.
    """
    if generated.kind in BESIDE:
        return _beside(real, generated.split, *BESIDE[generated.kind])
    sheets = {"noise": _noise, "cameras": _cameras, "poses": _poses}
    return sheets[generated.kind](real, generated.split)


def _noise(real: Split, generated: Split) -> html.Figure:
    columns = min(8, len(generated))
    images = generated.images(np.arange(min(24, len(generated) // columns * columns)))
    images = images.reshape(-1, columns, *images.shape[1:])
    caption = "The first pictures of the generated set, chosen by nobody."
    return html.Figure("Drawn from noise", caption, figures.grid(images, scale=2))


def _cameras(real: Split, generated: Split) -> html.Figure:
    rows = _first(real, 2)
    at = {key: row for row, key in enumerate(zip(generated.sources, generated.styles, strict=True))}
    fake = {
        (a, b): generated.images(np.array([at[real.names[row], b] for row in picked]))
        for a, picked in rows.items()
        for b in rows
        if a != b
    }
    caption = (
        "Rows: training images of a camera, framed on the diagonal. "
        "Columns: the camera whose style the translator gave them."
    )
    pictures = {camera: real.images(picked) for camera, picked in rows.items()}
    return html.Figure(
        "Each camera to each", caption, figures.translation_grid(pictures, fake, scale=2)
    )


def _poses(real: Split, generated: Split) -> html.Figure:
    picked = np.concatenate(list(_first(real, 3).values()))
    styles = np.unique(generated.styles)
    at = {key: row for row, key in enumerate(zip(generated.sources, generated.styles, strict=True))}
    redrawn = [
        generated.images(np.array([at[real.names[row], style] for style in styles]))
        for row in picked
    ]
    images = np.concatenate([real.images(picked)[:, None], np.array(redrawn)], axis=1)
    labels = [f"camera {camera + 1}" for camera in real.cameras[picked]]
    columns = ["real", *(f"pose {style + 1}" for style in styles)]
    caption = "Training images of every camera, each beside its versions in the canonical poses."
    picture = figures.grid(images, labels, columns, scale=2)
    return html.Figure("Everybody in the canonical poses", caption, picture)


def _beside(real: Split, generated: Split, title: str, column: str, what: str) -> html.Figure:
    rows = _first(real, 4)
    at = {source: row for row, source in enumerate(generated.sources)}
    images = []
    for picked in rows.values():
        restyled = np.array([at[real.names[row]] for row in picked])
        both = np.stack([real.images(picked), generated.images(restyled)], axis=1)
        images.append(both.reshape(-1, *both.shape[2:]))
    labels = [f"camera {camera + 1}" for camera in rows]
    columns = ["real", column] * (len(images[0]) // 2)
    caption = f"Training images of every camera, each beside its {what}."
    return html.Figure(title, caption, figures.grid(np.array(images), labels, columns, scale=2))


def _first(real: Split, count: int) -> dict[int, np.ndarray]:
    """The first rows of every camera, equally many."""
    cameras, counts = np.unique(real.cameras, return_counts=True)
    count = min(count, int(counts.min()))
    return {c: np.flatnonzero(real.cameras == c)[:count] for c in cameras.tolist()}
