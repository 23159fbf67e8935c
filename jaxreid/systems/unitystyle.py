"""UnityStyle: training, query and gallery images alike in a style between those of all cameras.

Liu, Chang, Shen, "Unity Style Transfer for Person Re-Identification", CVPR 2020. One UnityGAN per
camera smooths its style away; the network learns from each real image and its unity version as if
both were real, and at test compares unity versions only.
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
from jaxreid.data import Split
from jaxreid.stages import arms, generate, judge, publish, reid, sets, unity
from jaxreid.stages.sets import Restylers, Sets, Translators
from jaxreid.training import Every

UNITY = reid.Extras(companions=((0,),))  # the one version of each real image of a batch


def unity_loss(forward, stats, batch, key, *, separate: bool):
    """Section 4.4: cross-entropy on real images plus that on their unity versions, one-hot both.

    Two means, so the rate is twice that of one mean over all. They pass the network together, or
    apart (``separate``), so that batch norm sees each kind by itself.
    """
    kinds = (batch["image"], batch["generated_image"])
    if separate:
        k_real, k_unity = jax.random.split(key)
        real, stats = forward(stats, kinds[0], k_real)
        restyled, stats = forward(stats, kinds[1], k_unity)
        logits = (real["logits"], restyled["logits"])
    else:
        outputs, stats = forward(stats, jnp.concatenate(kinds), key)
        logits = jnp.split(outputs["logits"], [len(kinds[0])])
    labels = (batch["label"], batch["generated_label"])
    terms = {
        name: losses.cross_entropy(z, losses.smooth_labels(y, z.shape[-1])).mean()
        for name, z, y in zip(("real", "unity"), logits, labels, strict=True)
    }
    return terms, stats


def restyled(workdir: Path, data: Sets, restylers: Restylers) -> tuple[sets.Generated, Sets]:
    """The training images in the unity style, and ``data`` with query and gallery in it."""
    made = {
        name: generate.to_unity(workdir, name, split, restylers)
        for name, split in (("train", data.train), ("query", data.query), ("gallery", data.gallery))
    }
    by = f"{data.made_by} {made['query'].made_by} {made['gallery'].made_by}"
    query, gallery = made["query"].split, made["gallery"].split
    return made["train"], data._replace(query=query, gallery=gallery, made_by=by)


def repeated(split: Split) -> sets.Generated:
    """Real images as if they were unity versions: what the doubled loss does by itself."""
    copies = replace(split, sources=split.names, styles=np.zeros(len(split), np.int64))
    return sets.Generated(copies, "the real images", "unity")


def as_first_camera(truth: Translators) -> Restylers:
    """The world in the place of the UnityGANs: every image as camera 1 would have taken it.

    Viewpoint and scene, too, are camera 1's, which no translator of pictures can bring about.
    """
    first = min(source for source, _ in truth.between)
    others = {source: make for (source, to), make in truth.between.items() if to == first}
    return Restylers({first: Split.images, **others}, truth.made_by)


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Baselines, UnityGANs, restyled splits, re-ID network on both, its two tests, report.

    The arm ``twice`` has the loss and the batches of ``unitystyle``, on real images alone.
    """
    options = config["unitystyle"]
    common = {"seed": config["seed"], "every": Every(**config["every"])}
    plain, gan = reid.Settings(**config["reid"]), unity.Settings(**config["unitygan"])
    reid.companions_each(plain)
    data = sets.prepare(workdir, sets.Settings(**config["data"]))
    reid.require(plain, data)
    unity.require(gan, data)
    for name, split in (("query", data.query), ("gallery", data.gallery)):
        sets.require_cameras(name, split)
    if options["judge"]:
        judge.require(plain, data, seed=config["seed"])

    jittered = replace(plain, jitter=options["jitter"])
    loss = partial(unity_loss, separate=options["separate_bn_batches"])
    beside = {"loss": loss, "extras": UNITY, **common}
    restylers = unity.train(workdir / "unitygan", data, gan, **common)
    fakes, unified = restyled(workdir / "generated", data, restylers)
    trained = arms.train(workdir, data, "unitystyle", plain, generated=fakes, **beside)
    found = [
        arms.run_arm(workdir, data, "baseline", plain, **common),
        arms.run_arm(workdir, data, "jitter", jittered, **common),
        arms.run_arm(workdir, data, "twice", plain, generated=repeated(data.train), **beside),
        arms.score(trained, unified),
        arms.score(trained, data, "real"),
    ]
    made = {"unitystyle": fakes}
    if data.truth is not None:
        made["truth"], true = restyled(workdir / "truth", data, as_first_camera(data.truth))
        trained = arms.train(workdir, data, "oracle", plain, generated=made["truth"], **beside)
        found.append(arms.score(trained, true))
    quality = None
    if options["judge"]:
        judges = judge.judge(workdir / "judges", data, plain, **common)
        quality = judge.quality(workdir / "quality", judges, made, unified=True)
    return publish.publish(workdir, config, unified, found, fakes, quality)
