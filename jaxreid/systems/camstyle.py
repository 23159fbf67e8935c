"""CamStyle: every training image in the style of every other camera.

Zhong, Zheng, Zheng, Li, Yang, "Camera Style Adaptation for Person Re-identification", CVPR 2018.
One CycleGAN per camera pair (or one StarGAN) translates each training image to all other cameras; a
translated image keeps its identity, with a smoothed label that absorbs the noise of translation.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from jaxreid import losses
from jaxreid.stages import between, cycle, generate, judge, publish, reid, sets, star
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
    """Baselines, judges, translators between cameras, generated set, CamStyle, report."""
    options = config["camstyle"]
    common = {"seed": config["seed"], "every": Every(**config["every"])}
    plain = reid.Settings(**config["reid"])
    gans = cycle.Settings(**config["gan"]), star.Settings(**config["stargan"])
    reid.require_generated(plain)
    translator = between.Settings(config["translator"], *gans, judged=options["judge"])
    data = sets.prepare(workdir, sets.Settings(**config["data"]))
    reid.require(plain, data)
    between.require(translator, data)
    if options["judge"]:
        judge.require(plain, data, seed=config["seed"])

    train_and_score = partial(run_arm, workdir, data, **common)
    arms = [
        train_and_score("baseline", plain),
        train_and_score("jitter", replace(plain, jitter=options["jitter"])),
    ]
    loss = partial(camstyle_loss, epsilon=options["epsilon"])
    judges = judge.judge(workdir / "judges", data, plain, **common) if options["judge"] else None
    translators = between.train(workdir, data, translator, judges=judges, **common)
    made = {"camstyle": generate.every_camera(workdir / "generated", data, translators)}
    arms.append(train_and_score("camstyle", plain, generated=made["camstyle"], loss=loss))
    if data.truth is not None:
        made["truth"] = generate.every_camera(workdir / "truth", data, data.truth)
        arms.append(train_and_score("oracle", plain, generated=made["truth"], loss=loss))
    quality = judge.quality(workdir / "quality", judges, made) if judges else None
    return publish.publish(workdir, config, data, arms, made["camstyle"], quality)
