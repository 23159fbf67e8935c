"""One arm of an experiment: train a re-ID network, embed query and gallery, score."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxreid.evaluation import Embedded, Scores, evaluate
from jaxreid.stages import reid
from jaxreid.stages.sets import Generated, Sets
from jaxreid.training import Every, run_once


class Arm(NamedTuple):
    """What an arm leaves: its name and directory, its scores, the embeddings they come from."""

    name: str
    directory: Path
    scores: Scores
    query: Embedded
    gallery: Embedded


def run_arm(
    workdir: Path,
    data: Sets,
    name: str,
    settings: reid.Settings,
    *,
    seed: int,
    every: Every,
    loss: reid.ReidLoss = reid.identity_loss,
    generated: Generated | None = None,
) -> Arm:
    """Trains and scores one arm below ``workdir``, once; a finished arm is read back.

    Args:
        workdir: of the whole run.
        data: training, query and gallery images.
        name: of the arm; its directory is ``reid_<name>``.
        settings: of the re-ID network.
        seed: of the arm.
        every: how often to log and save.
        loss: see ``reid.train``; the keywords of a ``functools.partial`` are part of the arm's
            settings.
        generated: see ``reid.train``.
    """
    directory = workdir / f"reid_{name}"
    tests = {"query": data.query, "gallery": data.gallery}

    def make() -> None:
        model = reid.train(
            directory,
            data.train,
            settings,
            seed=seed,
            every=every,
            loss=loss,
            generated=generated.split if generated else None,
        )
        for split_name, split in tests.items():
            embedded = reid.embed(model, split, settings.batch)
            np.save(directory / f"{split_name}.npy", embedded.embeddings)

    determined_by = {
        "reid": asdict(settings),
        "loss": {"name": getattr(loss, "func", loss).__name__, **getattr(loss, "keywords", {})},
        "seed": seed,
        "data": data.made_by,
        "size": list(data.train.size),
        "generated": generated.made_by if generated else "",
        "pretrained": _checksum(settings.pretrained),
    }
    run_once(directory, determined_by, make)
    query, gallery = (
        Embedded(np.load(directory / f"{split_name}.npy"), split.pids, split.cameras)
        for split_name, split in tests.items()
    )
    return Arm(name, directory, evaluate(query, gallery), query, gallery)


def _checksum(path: str) -> str:
    """Of the file of weights: another one under the same name is another setting."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16] if path else ""
