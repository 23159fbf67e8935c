"""The finished re-ID network of an arm, for images of one's own."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreid.stages import embedding, reid
from jaxreid.training import computing
from jaxreid.training.checkpoints import newest
from jaxreid.training.seals import read_json


class Network(NamedTuple):
    """A trained network and the size of the images that it takes.

    Attributes:
        model: network and variables.
        size: (height, width).
    """

    model: embedding.Model
    size: tuple[int, int]

    def __call__(self, images: np.ndarray, batch: int = 64) -> np.ndarray:
        """Test embeddings of images, a batch at a time.

        Args:
            images: uint8 ``[n, H, W, 3]``, RGB, of ``size``.
            batch: images per call of the network.

        Returns:
            float32 ``[n, D]``.

        Raises:
            ValueError: other images than these.
        """
        expected = (*self.size, 3)
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            raise ValueError(
                f"Expected uint8 images [n, {', '.join(map(str, expected))}], "
                f"got {images.dtype} {list(images.shape)}."
            )
        return embedding.by_batches(
            lambda rows: embedding.looked(self.model, images[rows]), np.arange(len(images)), batch
        )


def load(directory: Path | str, seed: int | None = None) -> Network:
    """The network that a run has trained in ``directory``, such as ``runs/demo/reid_camstyle``.

    Args:
        directory: of an arm.
        seed: of the network, where the arm has several (``reid.seeds``).

    Raises:
        ValueError: no finished re-ID network is there, or none with this seed, or a file of it is
            damaged.
    """
    found = _found(Path(directory))
    if seed is None and len(found) == 1:
        (seed,) = found
    if seed not in found:
        raise ValueError(f"{directory} has networks with the seeds {sorted(found)}: name one")
    place, made = found[seed]
    state = newest(place / "checkpoints")["nets"]["reid"]
    variables = {"params": state["params"], "batch_stats": state["stats"]}
    if "seeds" in made:
        variables = jax.tree.map(lambda x: x[made["seeds"].index(seed)], variables)
    classes = variables["params"]["head"]["classifier"]["kernel"].shape[-1]
    settings = reid.Settings(**made["reid"])
    form = dict(made["extras"].get("form", ()))
    with computing(made.get("dtype", "float32")):
        net = reid.build(settings, classes).clone(**form)
    variables = jax.tree.map(np.asarray, variables)  # for as many devices as will look
    return Network(embedding.Model(net, variables), (made["size"][0], made["size"][1]))


def _found(directory: Path) -> dict[int, tuple[Path, dict[str, Any]]]:
    """By seed the folder of the training, and what determined it."""
    places = [directory, *sorted(directory.glob("seed_*"))]
    done = [place for place in places if (place / "done.json").exists()]
    if not done:
        raise ValueError(f"{directory} is no finished stage of a run: it has no done.json")
    found = {}
    for place in done:
        made = read_json(place / "done.json")
        if "extras" not in made:
            raise ValueError(
                f"{place} is no re-ID network that learned identities: name the folder reid_ARM of "
                "a run"
            )
        for seed in made.get("seeds") or [made["seed"]]:
            found.setdefault(seed, (place, made))
    return found
