"""Tracklet association (TAUDL): a re-ID network that learns from the target's own images.

Li, Zhu, Gong, "Person Re-identification by Deep Learning Tracklet Association", ECCV 2018. Which
images of ONE camera show one person has to be known (``domains.tracklets``: per-camera identities);
nothing is known across cameras. A classifier per camera tells its tracklets apart, and tracklets of
different cameras that look alike are pulled together.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxreid.data import Plan, prefetch
from jaxreid.evaluation import Protocol
from jaxreid.nets.convert import load_pretrained
from jaxreid.stages import arms, embedding, reid
from jaxreid.stages.arms import Trained
from jaxreid.stages.crossing import Crossing, sized
from jaxreid.stages.domains import Domains
from jaxreid.stages.sets import require_batch
from jaxreid.stages.tracklet_turn import Settings, program
from jaxreid.training import State, create, fit, remembered, run_once
from jaxreid.training.workdir import fingerprint

__all__ = ["NOTE", "RAW", "Settings", "Tracklets", "associate", "numbered", "rounds", "second"]

RAW = Protocol(normalize=False)  # Euclidean distance of x as it is
NOTE = (
    "per-camera identities used: the tracklets it learned from are the target's training images "
    "grouped by camera and identity, so it is no unsupervised result"
)
TRUNK = ("backbone", "depth", "width", "stem", "last_stride", "ibn", "pretrained")


class Tracklets(NamedTuple):
    """Tracklets of a split, numbered through all cameras, camera by camera.

    Attributes:
        numbers: int64 ``[n]``, tracklet of every image, -1 for none.
        owners: int64 ``[M]``, camera of every tracklet, cameras counted from 0 without gaps.
    """

    numbers: np.ndarray
    owners: np.ndarray


def numbered(data: Domains) -> Tracklets:
    """The target's tracklets with one number each, instead of one per camera."""
    kept = data.tracklets >= 0
    pairs = np.stack([data.target.train.cameras, data.tracklets], 1)
    found, inverse = np.unique(pairs[kept], axis=0, return_inverse=True)
    numbers = np.full(len(pairs), -1)
    numbers[kept] = inverse
    return Tracklets(numbers, np.unique(found[:, 0], return_inverse=True)[1])


def second(run: Crossing, block: Mapping[str, Any]) -> Callable[[Trained], Trained]:
    """Tracklet association as the second stage of a system, such as SPGAN + TAUDL.

    Call it before any long work, since it refuses what cannot be trained, and what it returns on
    the network of the first stage.

    Args:
        run: see ``crossing.begin``.
        block: fields of ``Settings``, the config's block ``tracklets``.

    Returns:
        Network of the first stage to network of the second; the name ends with ``_taudl``.
    """
    settings = Settings(**block)
    require(run, settings)
    return lambda first: associate(run, settings, first, f"{first.name}_taudl")


def require(run: Crossing, settings: Settings) -> None:
    """Finds out before any training whether the target can be learned from.

    Raises:
        ValueError: images without camera, one camera, a camera with too few tracklets for a batch,
            a batch that devices or cameras cannot share evenly.
    """
    reid.require_one(run.reid, run.config["system"])
    unknown = int((run.data.target.train.cameras < 0).sum())
    if unknown:
        raise ValueError(
            f"{unknown} training images of data.target have no camera (camera -1), but tracklets "
            "are those of a camera: records carry it as 'camera', read from the file names"
        )
    per_camera = np.bincount(numbered(run.data).owners)
    cameras = len(per_camera)
    if cameras < 2:
        raise ValueError(
            f"data.target has tracklets of {cameras} camera, but association is between cameras: "
            "take a target that several cameras see"
        )
    most = cameras * int(per_camera.min())
    if not 1 <= settings.tracklets <= most:
        raise ValueError(
            f"tracklets.tracklets is {settings.tracklets}: choose 1 to {most}, since each of the "
            f"{cameras} cameras gives equally many and one has only {per_camera.min()}"
        )
    if settings.per_camera_norm and settings.tracklets % cameras:
        raise ValueError(
            f"tracklets.per_camera_norm needs equally many images of the {cameras} cameras in a "
            f"batch, so make tracklets.tracklets, {settings.tracklets}, a multiple of {cameras}"
        )
    require_batch("tracklets.tracklets x tracklets.images", settings.tracklets * settings.images)


def associate(run: Crossing, settings: Settings, start: Trained | None, name: str) -> Trained:
    """Trains a network on the target's tracklets, once.

    Args:
        run: see ``crossing.begin``; its re-ID settings say what the backbone is.
        settings: see ``Settings``.
        start: the network whose backbone this one begins with; without, it begins with the weights
            of ``reid.pretrained``, or at random.
        name: of the arm; its directory is ``reid_<name>``.
    """
    trunk = replace(run.reid, pretrained="") if start else run.reid
    directory, found = run.workdir / f"reid_{name}", numbered(run.data)
    model = remembered(partial(_train, directory, run, trunk, settings, found, start))
    determined_by = {
        "trunk": {field: getattr(trunk, field) for field in TRUNK},
        "pretrained": arms.checksum(trunk.pretrained),
        "tracklets": asdict(settings),
        "labels": fingerprint({"numbers": found.numbers.tolist()}),
        "seed": run.common["seed"],
        "data": run.data.made_by,
        "size": list(sized(run, run.data.target.train).size),
        "start": start.made_by if start else "",
    }
    made_by = run_once(directory, determined_by, model, trains=True)
    return Trained(name, directory, model, run.reid.batch, made_by, RAW, NOTE)


def rounds(found: Tracklets, tracklets: int, images: int, seed: int) -> Plan[np.ndarray]:
    """Round-robin over cameras: a tracklet of the first, one of the second, and so on.

    In an epoch no tracklet comes twice, and every camera gives as many as the one with the fewest
    has; which ones is drawn anew for every epoch. What is left over makes no batch.

    Args:
        found: the tracklets.
        tracklets: of a step, at most cameras times tracklets of the camera with the fewest.
        images: of each; drawn with replacement where a tracklet has fewer.
        seed: of both draws.

    Returns:
        A plan of int64 ``[tracklets * images]`` rows, camera by camera, the images of a tracklet
        side by side.
    """
    rows_of = [np.flatnonzero(found.numbers == m) for m in range(len(found.owners))]
    owned = [np.flatnonzero(found.owners == c) for c in range(found.owners.max() + 1)]
    steps = len(owned) * min(map(len, owned)) // tracklets

    def rows(step: int) -> np.ndarray:
        epoch, position = divmod(step, steps)
        turns, cameras = np.divmod(position * tracklets + np.arange(tracklets), len(owned))
        orders = [
            np.random.default_rng((seed, 1, epoch, camera)).permutation(own)
            for camera, own in enumerate(owned)
        ]
        chosen = sorted(orders[c][t] for c, t in zip(cameras, turns, strict=True))
        rng = np.random.default_rng((seed, 2, step))
        drawn = (
            rng.choice(own, images, len(own) < images) for own in map(rows_of.__getitem__, chosen)
        )
        return np.concatenate(list(drawn))

    return Plan(rows, steps)


def _train(
    directory: Path,
    run: Crossing,
    trunk: reid.Settings,
    settings: Settings,
    found: Tracklets,
    start: Trained | None,
) -> embedding.Model:
    real, seed = sized(run, run.data.target.train), run.common["seed"]
    plan = rounds(found, settings.tracklets, settings.images, seed)
    net, tx, step = program(trunk, settings, tuple(found.owners.tolist()), plan.steps_per_epoch)

    def batch(step: int) -> dict[str, np.ndarray]:
        rows = plan(step)
        return {"image": real.images(rows), "label": found.numbers[rows].astype(np.int32)}

    def init() -> State:
        key = jax.random.key(seed)
        variables = reid.initial(net, key, real.size)
        if start:
            variables = reid.begin_with(variables, start.model().variables)
        elif trunk.pretrained:
            variables, report = load_pretrained(trunk.pretrained, variables)
            print(f"{directory.name}: {trunk.pretrained}: {report.describe()}", flush=True)
        return create(jax.random.fold_in(key, 0), {"reid": variables}, tx)

    state = fit(
        init,
        step,
        lambda start, stop: prefetch(batch, start, stop),
        steps=plan.steps_per_epoch * settings.epochs,
        directory=directory,
        every=run.common["every"],
    )
    trained = state.nets["reid"]
    return embedding.Model(net, {"params": trained.params, "batch_stats": trained.stats})
