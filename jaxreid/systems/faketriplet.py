"""StarGAN + fake triplet: a real anchor, its farthest generated image, other people's real images.

Qin, Gu, Wang, Qi, Zhang, "Learning Camera-invariant Representation", ICANN 2019. One StarGAN gives
every training image in every other camera's style. Translation distorts, so generated images are
no ordinary samples: a real anchor pulls the farthest of its identity, and none is ever an anchor.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid import losses
from jaxreid.evaluation import Protocol
from jaxreid.stages import between, cycle, generate, judge, publish, reid, sets, star
from jaxreid.stages.arms import Arm, run_arm
from jaxreid.training import Every

TERMS = ("cls", "tri", "fake")
UNREAD = ("terms", "fake_groups", "jitter", "judge")  # options that the loss does not read
ON_FAKES = ("fake_margin", "negatives", "cls_on_fake", "two_passes")  # nor without L_fake, these
RAW = Protocol(normalize=False)  # ranked by the distance that the triplets train
CHOICES = {"negatives": ("real", "fake", "all"), "smooth_on": ("all", "fake")}


def camera_invariant_loss(forward, stats, batch, key, *, terms, options):
    """L_cls + L_tri + L_fake, each a mean: over images, over real anchors, over real anchors.

    L_cls sees generated images, too, where ``options['cls_on_fake']`` says so; L_tri never does.
    Without L_fake the generated images are left out altogether. Means instead of the printed sums,
    equal weights, and generated images under L_cls are choices that the paper leaves open.
    """
    parts = ["", "generated_"] if "fake" in terms else [""]
    images, labels = ([batch[part + name] for part in parts] for name in ("image", "label"))
    apart = "fake" in terms and options["two_passes"]
    outputs, stats = _passes(forward, stats, images, key, apart)
    found = {}
    if "cls" in terms:
        found["cls"] = _classification(outputs, labels, options)
    real = outputs[0]["metric"], labels[0]
    if "tri" in terms:
        found["tri"] = losses.triplet(*real, margin=options["margin"]).mean()
    if "fake" in terms:
        fake, rules = (outputs[1]["metric"], labels[1]), {"negatives": options["negatives"]}
        margin = options["fake_margin"]
        found["fake"] = losses.fake_triplet(*real, *fake, margin=margin, **rules).mean()
    return found, stats


def _passes(forward, stats, images, key, apart) -> tuple[list[dict[str, jax.Array]], Any]:
    """Real and generated images through the network: together, as batch norm sees them, or not."""
    if not apart:
        outputs, stats = forward(stats, jnp.concatenate(images), key)
        first = len(images[0])
        kinds = (slice(first), slice(first, None))[: len(images)]
        return [{name: x[kind] for name, x in outputs.items()} for kind in kinds], stats
    found = []
    for kind, k in zip(images, jax.random.split(key, len(images)), strict=True):
        outputs, stats = forward(stats, kind, k)
        found.append(outputs)
    return found, stats


def _classification(outputs, labels, options) -> jax.Array:
    values = []
    for kind, (output, y) in enumerate(zip(outputs, labels, strict=True)):
        smoothed = kind == 1 or options["smooth_on"] == "all"
        epsilon = options["epsilon"] if smoothed else 0.0
        targets = losses.smooth_labels(y, output["logits"].shape[-1], epsilon)
        values.append(losses.cross_entropy(output["logits"], targets))
    seen = values if len(values) > 1 and options["cls_on_fake"] else values[:1]
    return jnp.concatenate(seen).mean()


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Baselines without generated images, StarGAN, generated set, the three losses, report."""
    options = config["faketriplet"]
    common = {"seed": config["seed"], "every": Every(**config["every"])}
    plain = reid.Settings(**config["reid"])
    gans = cycle.Settings(**config["gan"]), star.Settings(**config["stargan"])
    translator = between.Settings(config["translator"], *gans, judged=options["judge"])
    terms = parse_terms(options["terms"])
    _require_options(options, plain)
    reid.companions_each(plain)
    data = sets.prepare(workdir, sets.Settings(**config["data"]))
    reid.require(plain, data)
    groups = ()
    if "fake" in terms:
        groups = parse_groups(options["fake_groups"], np.unique(data.train.cameras).tolist())
        between.require(translator, data)
        if options["judge"]:
            judge.require(plain, data, seed=config["seed"])

    def arm(name: str, terms: tuple[str, ...], settings=plain, generated=None) -> Arm:
        unread = UNREAD if "fake" in terms else UNREAD + ON_FAKES
        read = {k: v for k, v in options.items() if k not in unread}
        loss = partial(camera_invariant_loss, terms=terms, options=read)
        given = {"extras": reid.Extras(companions=groups)} if generated else {}
        given |= {"loss": loss, "generated": generated, "protocol": RAW}
        return run_arm(workdir, data, name, settings, **given, **common)

    arms = [
        arm("baseline", ("cls", "tri")),
        arm("jitter", ("cls", "tri"), replace(plain, jitter=options["jitter"])),
    ]
    if "fake" not in terms:
        arms.append(arm("faketriplet", terms))
        return publish.publish(workdir, config, data, arms)
    judges = judge.judge(workdir / "judges", data, plain, **common) if options["judge"] else None
    translators = between.train(workdir, data, translator, judges=judges, **common)
    made = {"faketriplet": generate.every_camera(workdir / "generated", data, translators)}
    arms.append(arm("faketriplet", terms, generated=made["faketriplet"]))
    if data.truth is not None:
        made["truth"] = generate.every_camera(workdir / "truth", data, data.truth)
        arms.append(arm("oracle", terms, generated=made["truth"]))
    quality = judge.quality(workdir / "quality", judges, made) if judges else None
    return publish.publish(workdir, config, data, arms, made["faketriplet"], quality)


def parse_terms(text: str) -> tuple[str, ...]:
    """``'cls+tri+fake'`` or any part of it, as the rows of the ablation.

    Raises:
        ValueError: on other or repeated names.
    """
    terms = tuple(text.split("+"))
    if not set(terms) <= set(TERMS) or len(set(terms)) < len(terms):
        raise ValueError(f"faketriplet.terms is {text!r}; join some of {', '.join(TERMS)} by +")
    return terms


def parse_groups(text: str, cameras: list[int]) -> tuple[tuple[int, ...], ...]:
    """``'1,2,3;4,5,6'``: camera styles used at first, and those that join at half of the steps.

    Of n groups, number g (from 0) joins when g / n of the steps are done.

    Args:
        text: camera numbers as in file names, from 1; empty for all cameras from the start.
        cameras: 0-based cameras that there are.

    Raises:
        ValueError: on what is no number or no camera, and if a camera's images would have no
            generated image from the start, since none keeps its own camera's style.
    """
    if not text:
        return (tuple(cameras),)
    try:
        groups = tuple(tuple(int(c) - 1 for c in group.split(",")) for group in text.split(";"))
    except ValueError:
        groups = ((-1,),)
    if not {camera for group in groups for camera in group} <= set(cameras):
        known = ", ".join(str(camera + 1) for camera in cameras)
        raise ValueError(
            f"faketriplet.fake_groups is {text!r}; cameras are {known}: write groups like '1,2;3'"
        )
    if len(set(groups[0])) == 1:
        raise ValueError(
            f"faketriplet.fake_groups is {text!r}: images of camera {groups[0][0] + 1} would have "
            "no generated image at first; begin with two cameras or more"
        )
    return groups


def _require_options(options: Mapping[str, Any], settings: reid.Settings) -> None:
    for name, known in CHOICES.items():
        if options[name] not in known:
            raise ValueError(f"faketriplet.{name} is {options[name]!r}; choose one of {known}")
    if settings.images_per_identity < 2:
        raise ValueError(
            f"reid.images_per_identity is {settings.images_per_identity}, but a triplet needs at "
            "least 2 images of an identity in a batch"
        )
