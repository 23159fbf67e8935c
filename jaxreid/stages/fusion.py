"""Retrieval by fused features: one network's of an image, another's of what was made of it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from jaxreid.evaluation import Embedded, evaluate
from jaxreid.stages import embedding
from jaxreid.stages.arms import Arm, Trained
from jaxreid.stages.generate import Redrawn
from jaxreid.stages.sets import Sets
from jaxreid.training import run_once

FUSIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "max": lambda features: features.max(1),
    "mean": lambda features: features.mean(1),
    "concat": lambda features: features.reshape(len(features), -1),
}
TESTS = ("query", "gallery")


def fuse(features: np.ndarray, how: str, renorm: bool = False) -> np.ndarray:
    r"""One vector of the several of an image.

    $$v = \max_k f_k / \lVert f_k \rVert$$

    Args:
        features: ``[n, k, d]``; each of the k vectors is brought to unit length first.
        how: ``max`` (element by element), ``mean`` or ``concat``.
        renorm: brings the result to unit length, too.

    Returns:
        ``[n, d]``, or ``[n, k d]`` for ``concat``.

    References:
        Qian et al. (PN-GAN), ECCV 2018: element-wise maximum over nine features.
    """
    fused = FUSIONS[how](_unit(features))
    return _unit(fused) if renorm else fused


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def require(how: str) -> None:
    """Raises ValueError unless there is such a fusion."""
    if how not in FUSIONS:
        raise ValueError(f"pngan.fusion is {how!r}; choose one of {', '.join(FUSIONS)}")


def originals(arm: Arm) -> list[np.ndarray]:
    """Features ``[n, 1, d]`` of query and of gallery images, as an arm found them."""
    return [each.embeddings[:, None] for each in (arm.query, arm.gallery)]


def embed(directory: Path, trained: Trained, data: Sets, redrawn: Redrawn) -> list[np.ndarray]:
    """Features ``[n, poses, d]`` of query and of gallery images in every pose; made once.

    No image is stored: each batch is redrawn, embedded and forgotten.

    Args:
        directory: for the features.
        trained: the network that sees the redrawn images.
        data: query and gallery.
        redrawn: how images are redrawn.
    """

    def make() -> None:
        for name in TESTS:
            split = getattr(data, name)
            seen = (partial(redrawn.redraw, split, k) for k in range(redrawn.poses))
            found = [embedding.embed(trained.model(), split, trained.batch, see) for see in seen]
            np.save(directory / f"{name}.npy", np.stack([f.embeddings for f in found], axis=1))

    run_once(
        directory, {"model": trained.made_by, "data": data.made_by, "images": redrawn.made_by}, make
    )
    return [np.load(directory / f"{name}.npy") for name in TESTS]


def score(
    trained: Trained, data: Sets, features: Sequence[Sequence[np.ndarray]], how: str, renorm: bool
) -> Arm:
    """Scores an arm, called and kept like ``trained``, by fused features.

    ``features``: pairs of arrays ``[n, k, d]``, of query and of gallery; all vectors of an image
    are fused, see ``fuse`` for ``how`` and ``renorm``.
    """
    found = []
    for name, parts in zip(TESTS, zip(*features, strict=True), strict=True):
        split, whole = getattr(data, name), np.concatenate(parts, axis=1)
        found.append(Embedded(fuse(whole, how, renorm), split.pids, split.cameras))
    query, gallery = found
    # Features have unit length before they are fused, not after.
    scores = evaluate(query, gallery, replace(trained.protocol, normalize=False))
    return Arm(trained.name, trained.directory, scores, query, gallery)
