"""The finished re-ID network of an arm, for images of one's own."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxreid.stages import reid
from jaxreid.training import computing
from jaxreid.training.checkpoints import newest
from jaxreid.training.seals import read_json


class Network(NamedTuple):
    """A trained network and the size of the images that it takes.

    Attributes:
        model: network and variables.
        size: (height, width).
    """

    model: reid.Model
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
        return reid.by_batches(
            lambda rows: reid.looked(self.model, images[rows]), np.arange(len(images)), batch
        )


def load(directory: Path | str, seed: int | None = None) -> Network:
    """The network that a run has trained in ``directory``, such as ``runs/demo/reid_camstyle``.

    Args:
        directory: of one network (``reid_camstyle/seed_0``, where an arm has several), or of
            several that were trained as one program (``reid_camstyle/seed_0_1_2``).
        seed: of these the one with this seed.

    Raises:
        ValueError: no finished re-ID network is there, or none with this seed, or a file of it is
            damaged.
    """
    directory = Path(directory)
    if not (directory / "done.json").exists():
        inside = sorted(path.parent.name for path in directory.glob("seed_*/checkpoints"))
        hint = f": its networks are in {', '.join(inside)}" if inside else ""
        raise ValueError(f"{directory} is no finished stage of a run: it has no done.json{hint}")
    made = read_json(directory / "done.json")
    if "extras" not in made:
        raise ValueError(
            f"{directory} is no re-ID network that learned identities: name the folder reid_ARM of "
            "a run"
        )
    seeds = made.get("seeds") or [made["seed"]]
    if seed not in seeds and (seed is not None or len(seeds) > 1):
        raise ValueError(f"{directory} has networks with seeds {seeds}: name one, not {seed}")
    state = newest(directory / "checkpoints")["nets"]["reid"]
    variables = {"params": state["params"], "batch_stats": state["stats"]}
    if len(seeds) > 1:
        variables = jax.tree.map(lambda x: x[seeds.index(seed)], variables)
    classes = variables["params"]["head"]["classifier"]["kernel"].shape[-1]
    settings = reid.Settings(**made["reid"])
    form = dict(made["extras"].get("form", ()))
    with computing(made.get("dtype", "float32")):
        net = reid.build(settings, classes).clone(**form)
    variables = jax.tree.map(np.asarray, variables)  # for as many devices as will look
    return Network(reid.Model(net, variables), (made["size"][0], made["size"][1]))
