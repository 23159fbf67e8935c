"""A trained re-ID network, and what it makes of images."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreid.data import Split, augment
from jaxreid.evaluation import Embedded
from jaxreid.nets.reid import ReID
from jaxreid.training import divided

__all__ = ["Model", "by_batches", "embed", "looked"]


class Model(NamedTuple):
    """A trained re-ID network."""

    net: ReID
    variables: Mapping[str, Any]


@partial(jax.jit, static_argnums=0)
def _embed(net: ReID, variables, images: jax.Array) -> jax.Array:
    outputs: Any = net.apply(variables, augment.to_float(images))
    return outputs["test"]


def looked(model: Model, images: np.ndarray) -> np.ndarray:
    """Test embeddings ``[n, D]`` of uint8 images ``[n, H, W, 3]``, in one call of the network."""
    return np.asarray(_embed(model.net, model.variables, divided(images)))


def embed(
    model: Model,
    split: Split,
    batch: int,
    images: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Embedded:
    """Test embeddings of every image of ``split``, in its order.

    ``images``: rows to what is seen in the place of these images, uint8 ``[n, H, W, 3]``.
    """
    images = images or split.images

    def look(rows: np.ndarray) -> np.ndarray:
        return looked(model, images(rows))

    return Embedded(by_batches(look, np.arange(len(split)), batch), split.pids, split.cameras)


def by_batches(
    look: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, batch: int, fill: bool = True
) -> Any:
    """``look(rows)``, a batch at a time; the last one is filled up by repeating its first row.

    ``fill=False`` leaves it smaller, for a ``look`` whose rows depend on those beside them.
    """
    parts = []
    for start in range(0, len(rows), batch):
        picked = rows[start : start + batch]
        missing = batch - len(picked) if fill else 0
        filled = np.concatenate([picked, np.full(missing, picked[0])])
        parts.append(look(filled)[: len(picked)])
    return np.concatenate(parts)
