"""PUL: cluster the target by a network of the source, learn from what is near the centres, repeat.

Fan, Zheng, Yan, Yang, "Unsupervised Person Re-identification: Clustering and Fine-tuning", TOMM
2018. Every round embeds the target with the network of the round before, and fine-tunes the network
of the source, never that of the round before, on the reliable images with clusters for identities.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxreid.evaluation import Protocol
from jaxreid.stages import arms, clustering, crossing, embedding, reid
from jaxreid.stages.arms import Trained
from jaxreid.stages.crossing import Crossing
from jaxreid.stages.sets import Sets
from jaxreid.training import run_once

RAW = Protocol(normalize=False)  # ranked by the distance that the clusters are made with


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Both sets, direct transfer as N_0, the rounds, all other arms, report."""
    _require(config["pul"])
    started = crossing.begin(config, workdir)
    reid.require_one(started.reid, "pul")
    images, clusters = len(started.data.target.train), config["pul"]["clusters"]
    if clusters > images:
        raise ValueError(
            f"pul.clusters is {clusters}, but the target has {images} training images: lower it"
        )
    return crossing.conclude(started, [learn(started, config["pul"])])


def learn(run: Crossing, options: Mapping[str, Any]) -> Trained:
    """N_t by the target's images that N_(t-1) makes reliable, t = 1 to ``rounds``; the last one."""
    first = last = crossing.direct(run)
    settings = fine_tuning(run.reid, options)
    for t in range(1, options["rounds"] + 1):
        chosen = select(run, last, t, options)
        spare = options["clusters"] - len(np.unique(chosen.train.pids))  # clusters left empty
        extras = reid.Extras(classes=spare)
        name, given = f"pul/round_{t}", {"extras": extras, "start": first}
        last = arms.train(run.workdir, chosen, name, settings, **run.common, **given)
    return last._replace(name="pul", protocol=RAW)


def fine_tuning(settings: reid.Settings, options: Mapping[str, Any]) -> reid.Settings:
    """Those of a round: constant rates of its own, from the start."""
    rates = {"rate": options["rate"], "head_rate": options["head_rate"]}
    own = {"epochs": options["epochs"], "decay_every": options["epochs"], "warmup": 0}
    return replace(settings, **rates, **own, images_per_identity=0)


def select(run: Crossing, network: Trained, t: int, options: Mapping[str, Any]) -> Sets:
    """The reliable images of the target with their clusters as identities; found once."""
    images, seed = crossing.sized(run, run.data.target.train), run.config["seed"]
    directory = run.workdir / "reid_pul" / f"clusters_{t}"
    own = {"own_centre": options["own_centre"], "threshold": options["threshold"]}

    def make() -> None:
        points = embedding.embed(network.model(), images, network.batch).embeddings
        found = clustering.kmeans(points, options["clusters"], (seed, t))
        kept = clustering.reliable(points, found, **own)
        np.save(directory / "clusters.npy", np.where(kept, found.labels, -1))

    determined_by = {"pul": {"clusters": options["clusters"], **own}, "seed": [seed, t]}
    made_by = run_once(
        directory,
        determined_by | {"network": network.made_by, "target": run.data.target.made_by},
        make,
    )
    labels = np.load(directory / "clusters.npy")
    rows = np.flatnonzero(labels >= 0)
    found = f"{len(rows)} of {len(images)} images in {len(np.unique(labels[rows]))} clusters"
    print(f"pul: round {t} learns from {found}", flush=True)
    if len(rows) < run.reid.batch or len(np.unique(labels[rows])) < 2:
        raise ValueError(
            f"pul.threshold is {options['threshold']}, which in round {t} only {found} exceed, "
            f"but a batch takes {run.reid.batch} (reid.batch), of 2 clusters or more: lower one"
        )
    return clustering.pseudo_labelled(run.data, images.take(rows), labels[rows], made_by)


def _require(options: Mapping[str, Any]) -> None:
    for name, least in {"clusters": 2, "rounds": 1, "epochs": 1}.items():
        if options[name] < least:
            raise ValueError(f"pul.{name} is {options[name]}: choose {least} or more")
    threshold = options["threshold"]
    if not -1 <= threshold < 1:
        fault = "every cosine exceeds" if threshold < -1 else "no cosine exceeds"
        raise ValueError(
            f"pul.threshold is {threshold}, which {fault}: choose a value from -1 to below 1"
        )
