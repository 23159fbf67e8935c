"""CamStyle: every training image in the style of every other camera.

Zhong, Zheng, Zheng, Li, Yang, "Camera Style Adaptation for Person Re-identification", CVPR 2018.
One CycleGAN per camera pair translates each training image to all other cameras; a translated
image keeps its identity, with a smoothed label that absorbs the noise of the translation.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxreid import losses
from jaxreid.stages import cycle, generate, judge, publish, reid, sets
from jaxreid.stages.arms import run_arm
from jaxreid.training import Every


def camstyle_loss(forward, stats, batch, key, *, epsilon: float):
    """Eq. 3 and 8: one-hot labels on real images, smoothed ones on their translations.

    Two means, so a translated image weighs M / N times a real one; two passes, so that batch norm
    sees each kind apart.
    """
    k_real, k_fake = jax.random.split(key)
    real, stats = forward(stats, batch["image"], k_real)
    fake, stats = forward(stats, batch["generated_image"], k_fake)
    classes = real["logits"].shape[-1]
    hard = losses.smooth_labels(batch["label"], classes)
    soft = losses.smooth_labels(batch["generated_label"], classes, epsilon)
    terms = {
        "real": losses.cross_entropy(real["logits"], hard).mean(),
        "fake": losses.cross_entropy(fake["logits"], soft).mean(),
    }
    return terms, stats


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Baselines, judges, CycleGANs for all camera pairs, generated set, CamStyle, report."""
    options = config["camstyle"]
    common = {"seed": config["seed"], "every": Every(**config["every"])}
    plain, gan = reid.Settings(**config["reid"]), cycle.Settings(**config["gan"])
    _require_judge(options["judge"], gan.candidates)
    data = sets.prepare(workdir, sets.Settings(**config["data"]))
    pairs = list(combinations(np.unique(data.train.cameras).tolist(), 2))
    reid.require(plain, data)
    cycle.require(gan, data, pairs)
    if options["judge"]:
        judge.require(plain, data, seed=config["seed"])

    train_and_score = partial(run_arm, workdir, data, **common)
    arms = [
        train_and_score("baseline", plain),
        train_and_score("jitter", replace(plain, jitter=options["jitter"])),
    ]
    loss = partial(camstyle_loss, epsilon=options["epsilon"])
    judges = judge.judge(workdir / "judges", data, plain, **common) if options["judge"] else None
    chooser = judge.chooser(judges) if judges else None
    translators = cycle.train(workdir / "cyclegan", data, pairs, gan, **common, chooser=chooser)
    made = {"camstyle": generate.every_camera(workdir / "generated", data, translators)}
    arms.append(train_and_score("camstyle", plain, generated=made["camstyle"], loss=loss))
    if data.truth is not None:
        made["truth"] = generate.every_camera(workdir / "truth", data, data.truth)
        arms.append(train_and_score("oracle", plain, generated=made["truth"], loss=loss))
    quality = judge.quality(workdir / "quality", judges, made) if judges else None
    return publish.publish(workdir, config, data, arms, made["camstyle"], quality)


def _require_judge(judge: bool, candidates: int) -> None:
    if candidates > 1 and not judge:
        raise ValueError(
            f"gan.candidates is {candidates}, but camstyle.judge is off, so nothing chooses among "
            "them: say --config.camstyle.judge, or --config.gan.candidates=1 for the last one"
        )
