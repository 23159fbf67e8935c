"""BUC: every image of the target begins as a class of its own; the nearest classes are merged.

Lin, Dong, Zheng, Yan, Yang, "A Bottom-Up Clustering Approach to Unsupervised Person
Re-identification", AAAI 2019, as corrected by the authors. No identity of either set is used: the
source only teaches the arms that this one stands beside.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxreid.data import Split
from jaxreid.stages import arms, clustering, crossing, embedding, reid, repelled
from jaxreid.stages.arms import Trained
from jaxreid.stages.crossing import Crossing
from jaxreid.stages.sets import require_batch
from jaxreid.training import processes, run_once


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Both sets, the merging steps on the target, all other arms, report."""
    _require(config["buc"])
    started = crossing.begin(config, workdir)
    reid.require_one(started.reid, "buc")
    _require_images(config["buc"], len(started.data.target.train))
    return crossing.conclude(started, [learn(started, config["buc"])])


def learn(run: Crossing, options: Mapping[str, Any]) -> Trained:
    """The network after ``merges`` merging steps; the images' order is drawn once."""
    target = crossing.sized(run, run.data.target.train)
    order = np.random.default_rng((run.config["seed"], 4)).permutation(len(target))
    images, trained = target.take(order), None
    for k in range(options["merges"] + 1):
        trained = merging_step(run, options, images, k, trained)
    assert trained is not None
    return trained


def schedule(settings: reid.Settings, options: Mapping[str, Any], k: int) -> reid.Settings:
    """Step 0 is long, its rates fall once; all later ones are short, at the rates it fell to."""
    own = {"batch": options["batch"], "images_per_identity": 0, "warmup": 0}
    rates = {"rate": options["rate"], "head_rate": options["head_rate"]}
    if not k:
        first = {"epochs": options["epochs"], "decay_every": options["decay_every"]}
        return replace(settings, **own, **rates, **first)
    epochs = options["later_epochs"]
    rates = {name: rate / 10 for name, rate in rates.items()}
    return replace(settings, **own, **rates, epochs=epochs, decay_every=epochs)


def merging_step(
    run: Crossing, options: Mapping[str, Any], images: Split, k: int, before: Trained | None
) -> Trained:
    """Merges by the network before (not in step 0), then trains it on; done once.

    Leaves ``clusters.npy``, int ``[N]`` in the order of ``images``, and ``network.npz``.
    """
    directory = run.workdir / "reid_buc" / f"step_{k}"
    settings, seed = schedule(run.reid, options, k), run.config["seed"]
    merging = {"share": options["share"], "size_weight": options["size_weight"]}

    def cluster() -> None:
        """Once: what a checkpoint has learned belongs to these labels, rounded as they were."""
        if (directory / "clusters.npy").exists():
            return
        labels = merged(before, images, **merging) if before else np.arange(len(images))
        np.save(directory / "unfinished.npy", labels)
        (directory / "unfinished.npy").replace(directory / "clusters.npy")

    def make() -> None:
        processes.tell(cluster)
        labels = np.load(directory / "clusters.npy")
        print(f"buc: step {k} learns {labels.max() + 1} clusters", flush=True)
        given = {"seed": (seed, 5, k), "every": run.common["every"]}
        start = before.model if before else None
        repelled.train(directory, images, labels, settings, start, **given)

    determined_by = {
        "reid": settings.of_one(),
        "pretrained": arms.checksum(settings.pretrained),
        "seed": seed,
        "data": run.data.target.made_by,
        "size": list(images.size),
        "step": k,
    }
    determined_by |= {"before": before.made_by, "buc": merging} if before else {}
    made_by = run_once(directory, determined_by, make, trains=True)
    model = partial(repelled.read, directory, settings)
    return Trained("buc", directory, model, settings.batch, made_by)


def merged(before: Trained, images: Split, *, share: float, size_weight: float) -> np.ndarray:
    """The clusters of the step before, less int(share N), by its network's test embeddings."""
    labels = np.load(before.directory / "clusters.npy")
    points = embedding.embed(before.model(), images, before.batch).embeddings
    return clustering.merge(points, labels, int(share * len(images)), size_weight=size_weight)


def _require(options: Mapping[str, Any]) -> None:
    for name, least in {"merges": 0, "batch": 1, "epochs": 1, "later_epochs": 1}.items():
        if options[name] < least:
            raise ValueError(f"buc.{name} is {options[name]}: choose {least} or more")


def _require_images(options: Mapping[str, Any], images: int) -> None:
    """Every step merges as many clusters, and two at least are left."""
    require_batch("buc.batch", options["batch"], images)
    each = int(options["share"] * images)
    if not each or images - options["merges"] * each < 2:
        raise ValueError(
            f"buc.share is {options['share']}: each of {options['merges']} merging steps "
            f"(buc.merges) takes {each} of {images} clusters away, but it must take at least 1 "
            "and all together must leave 2; change one of them"
        )
