"""PN-GAN: every image in eight canonical poses, and a second network that sees only those.

Qian, Fu, Xiang, Wang, Qiu, Wu, Jiang, Xue, "Pose-Normalized Image Generation for Person
Re-identification", ECCV 2018. A generator redraws a person in a given pose. One re-ID network
learns from original images, another from redrawn ones; at test their nine features of an image,
each of unit length, are fused by an element-wise maximum.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxreid import losses
from jaxreid.data import Split, world
from jaxreid.data.pictures import decode, encode_png
from jaxreid.stages import (
    arms,
    fusion,
    generate,
    pose_sheets,
    poses,
    posing,
    publish,
    reid,
    sets,
)
from jaxreid.stages.generate import Redrawn
from jaxreid.stages.posing_turns import Settings
from jaxreid.training import Every
from jaxreid.training.workdir import fingerprint

NOTES = {
    "baseline": "the network of original images alone",
    "two_nets": "two networks of original images, fused: what any second network brings",
    "normalised": "the network of redrawn images alone, its features of all poses fused",
    "pngan": "both, fused",
}


def redrawn_loss(forward, stats, batch, key):
    """Cross-entropy of redrawn images alone, equally many of each real one of a batch; a mean."""
    outputs, stats = forward(stats, batch["generated_image"], key)
    targets = losses.smooth_labels(batch["generated_label"], outputs["logits"].shape[-1])
    return {"identity": losses.cross_entropy(outputs["logits"], targets).mean()}, stats


def by(poser: posing.Poser, canonical: poses.Canonical) -> Redrawn:
    """Images as the generator redraws them."""

    def redraw(split: Split, k: int, rows: np.ndarray) -> np.ndarray:
        return poser.images(split.images(rows), canonical.keypoints[k])

    return Redrawn(
        redraw,
        len(canonical.names),
        fingerprint({"poser": poser.made_by, "poses": canonical.made_by}),
    )


def truly(root: Path, canonical: poses.Canonical, made_by: str) -> Redrawn:
    """The world in the generator's place: the same picture with the person in a canonical pose."""

    def redraw(split: Split, k: int, rows: np.ndarray) -> np.ndarray:
        names = [split.names[row] for row in rows]
        images = world.repose(root, names, [canonical.names[k]] * len(names))
        return np.stack([decode(encode_png(image), split.size) for image in images])

    return Redrawn(
        redraw, len(canonical.names), fingerprint({"data": made_by, "poses": canonical.made_by})
    )


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Canonical poses, generator, redrawn set, both networks, fused features, report.

    The arm ``two_nets`` fuses two networks of original images: what any second network brings.
    """
    options, seed = config["pngan"], config["seed"]
    common = {"seed": seed, "every": Every(**config["every"])}
    plain = reid.Settings(**config["reid"])
    reid.require_one(plain, "pngan")
    settings = Settings(**config["posing"])
    chosen = poses.Settings(**config["poses"], seed=seed)
    fuse = {"how": options["fusion"], "renorm": options["fuse_renorm"]}
    fusion.require(fuse["how"])
    data = sets.prepare(workdir, sets.Settings(**config["data"]))
    reid.require(plain, data)
    reid.companions_each(plain)
    posing.require(settings, data, options["save_norm"])
    canonical = poses.canonical(workdir / "poses", data.train, chosen, data.made_by)

    train = partial(arms.train, workdir, data, every=common["every"])
    first, other = (
        train(n, plain, seed=s) for n, s in (("baseline", seed), ("two_nets", seed + 1))
    )
    jitter = train("jitter", replace(plain, jitter=options["jitter"]), seed=seed)
    found = [arms.score(first, data), arms.score(jitter, data)]
    originals, others = (fusion.originals(arms.score(each, data)) for each in (first, other))
    found.append(fusion.score(other, data, [originals, others], **fuse))

    def arm(name: str, redrawn: Redrawn, alone: str = "") -> sets.Generated:
        """Trains the second network on redrawn images; adds it alone, if named, and fused."""
        made = generate.in_poses(workdir / f"redrawn_{name}", data, redrawn)
        groups = reid.Extras(companions=(tuple(range(redrawn.poses)),))
        given = {"loss": redrawn_loss, "extras": groups, "generated": made}
        second = train(name, plain, seed=seed, **given)
        features = fusion.embed(second.directory / "poses", second, data, redrawn)
        if alone:
            found.append(fusion.score(second._replace(name=alone), data, [features], **fuse))
        found.append(fusion.score(second, data, [originals, features], **fuse))
        return made

    poser = posing.train(
        workdir / "poser", data.train, settings, options["save_norm"], data.made_by, **common
    )
    made = arm("pngan", by(poser, canonical), alone="normalised")
    if data.truth is not None:
        arm("oracle", truly(sets.pictures(workdir), canonical, data.made_by))
    pictures = pose_sheets.report(workdir / "poses")
    return publish.publish(workdir, config, data, found, made, notes=NOTES, shown_too=pictures)
