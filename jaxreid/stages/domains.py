"""Two data sets: people learned in a labelled source, looked for in an unlabelled target."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxreid import data
from jaxreid.data import Split, world
from jaxreid.data.joined import concatenate
from jaxreid.stages import sets
from jaxreid.stages.sets import SOURCE, TARGET, Generated, Sets, Translators
from jaxreid.training.workdir import fingerprint

NAMES = ("source", "target")


@dataclass(frozen=True)
class Settings:
    """The two sets, at one size.

    Attributes:
        height: rows of the pictures fed to the networks.
        width: columns.
        source: ``name``, ``root``, ``world`` and ``masks`` of the source, as in ``sets.Settings``.
        target: those of the target.
    """

    height: int
    width: int
    source: Mapping[str, Any]
    target: Mapping[str, Any]

    def of(self, domain: str) -> sets.Settings:
        """The settings of ``source`` or ``target`` by itself."""
        return sets.Settings(**getattr(self, domain), height=self.height, width=self.width)


class Domains(NamedTuple):
    """A source and a target.

    Attributes:
        source: its training images are learned from; its test images are not used.
        target: all training images show person -1, since nothing may read their identities; query
            and gallery are the test.
        truth: for two worlds, the world as translator between their styles, else None.
        made_by: fingerprint of source and target.
        tracklets: int64 ``[n]``, see ``tracklets``; for ``stages.tracklets`` alone. Whoever reads
            them learns with per-camera identities of the target and has to say so.
    """

    source: Sets
    target: Sets
    truth: Translators | None
    made_by: str
    tracklets: np.ndarray = np.empty(0, np.int64)


def prepare(workdir: Path, settings: Settings, *, seed: int) -> Domains:
    """Draws or finds both sets below ``workdir``, and forgets who is who in the target.

    Args:
        workdir: of the run.
        settings: see ``Settings``.
        seed: of the cameras of the target by which the world, as translator, sees people, and of
            the numbers of tracklets.

    Raises:
        ValueError: both are the same set, people of the source are tested, or what ``sets.prepare``
            refuses.
    """
    if settings.source == settings.target:
        raise ValueError(
            "data.source and data.target are the same set, so there is nothing to cross: change "
            "data.target.name, .root or .world"
        )
    source, target = (
        sets.prepare(workdir / name, settings.of(name), name=f"data.{name}") for name in NAMES
    )
    data.require_unseen(source.train, target.query)
    unknown = replace(target.train, pids=np.full(len(target.train), -1))
    made_by = fingerprint({"source": source.made_by, "target": target.made_by})
    truth = None
    if source.truth and target.truth:
        roots = [sets.pictures(workdir / name) for name in NAMES]
        seen_by = partial(_seen_by, *roots, np.unique(unknown.cameras), seed)
        truth = Translators({(SOURCE, TARGET): seen_by}, fingerprint({"of": made_by, "seed": seed}))
    labels = tracklets(target.train, seed)
    return Domains(source, target._replace(train=unknown), truth, made_by, labels)


def tracklets(split: Split, seed: int) -> np.ndarray:
    """Which images of one camera show one person; nothing about other cameras.

    Cameras number their people by themselves, from 0 and in an order of their own that is drawn, so
    that the numbers of two cameras have nothing to do with each other, nor with identities.

    On image sets this is what the code of TAUDL calls tracklets: identities within a camera, which
    somebody has to annotate. In the synthetic world, where a person passes a camera once, they are
    the uninterrupted runs of frames that a perfect tracker of that camera alone would report.

    Args:
        split: labelled images; those of person -1 are in no tracklet.
        seed: of the orders.

    Returns:
        int64 ``[n]``, -1 for images in no tracklet.
    """
    labels = np.full(len(split), -1)
    for camera in np.unique(split.cameras):
        rows = np.flatnonzero((split.cameras == camera) & (split.pids >= 0))
        _, first, own = np.unique(split.pids[rows], return_index=True, return_inverse=True)
        appeared = np.argsort(np.argsort(first))  # by first image, whatever the person's number
        order = np.random.default_rng((seed, 3, camera + 1)).permutation(len(first))
        labels[rows] = order[appeared[own]]
    return labels


def require_masks(domains: Domains) -> None:
    """Raises ValueError unless every training image of both sets has a mask."""
    for name, split in zip(NAMES, (domains.source.train, domains.target.train), strict=True):
        data.require_masks(f"{name} training", split)


def require_cameras(domains: Domains) -> None:
    """Finds out before any training whether the target's training images have camera labels.

    For methods that translate to the target's cameras (HHL, CR-GAN), not to the target as a whole.

    Raises:
        ValueError: an image whose camera is not known (-1), or a single camera; the message names
            the field, what was expected, and where cameras come from.
    """
    train = domains.target.train
    unknown, known = np.flatnonzero(train.cameras < 0), np.unique(train.cameras)
    if len(unknown):
        found = (
            f"{len(unknown):,} of {len(train):,} have none ('camera' is -1), the first is "
            f"{train.names[unknown[0]]!r}"
        )
    elif len(known) < 2:
        found = (
            f"all {len(train):,} are of camera {known[0] + 1}" if len(known) else "there is none"
        )
    else:
        return
    raise ValueError(
        "data.target: this method translates to the cameras of the target, so that each of its "
        f"training images needs the label 'camera', and two or more cameras; {found}. Official "
        "layouts read it from the names of files (c1, c2, ...) or folders (cam_a, cam_b): put the "
        "true camera there, or take a method that needs none (ptgan, spgan)"
    )


def crossed(domains: Domains, learned: Generated | None = None) -> Sets:
    """What a re-ID network is trained and tested on: source or generated people, target test."""
    query, gallery = domains.target.query, domains.target.gallery
    if learned is None:
        return Sets(domains.source.train, query, gallery, None, domains.made_by)
    made_by = fingerprint({"domains": domains.made_by, "learned": learned.made_by})
    return Sets(learned.split, query, gallery, None, made_by)


def styles(domains: Domains) -> Sets:
    """Both training splits as one, nobody's, in which ``cameras`` tells the domain."""
    splits = [domains.source.train, domains.target.train]
    both = concatenate(splits)
    domain = np.repeat([SOURCE, TARGET], [len(split) for split in splits])
    both = replace(both, pids=np.full(len(both), -1), cameras=domain)
    return crossed(domains)._replace(train=both)


def _seen_by(
    source: Path, target: Path, cameras: np.ndarray, seed: int, split: Split, rows: np.ndarray
) -> np.ndarray:
    """The oracle: people of the source as cameras of the target would have taken them."""
    drawn = np.random.default_rng((seed, 1)).choice(cameras, len(split))[rows]
    names = [split.names[row] for row in rows]
    return world.restyle(source, names, drawn.tolist(), seen_by=target)
