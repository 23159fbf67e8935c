"""CR-GAN: source people in the context of target images, rendered while the re-ID network learns.

Chen, Zhu, Gong, "Instance-Guided Context Rendering for Cross-Domain Person Re-Identification", ICCV
2019. One generator puts any person into the street of any target image, so that every source image
gives as many training images as the target has; the frozen generator runs inside the jitted re-ID
step, and no image passes through a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data import augment
from jaxreid.data.joined import concatenate
from jaxreid.nets.crgan import ContextGenerator
from jaxreid.stages import arms, crossing, domains, generate, reid, rendering, tracklets
from jaxreid.stages.rendering_turns import Settings, generator_net
from jaxreid.stages.sets import Generated
from jaxreid.training.workdir import fingerprint

DEPLOYMENTS = ("on_the_fly", "disk")


def render(nets, batch, key, *, net: ContextGenerator, real_ratio: float):
    """Every source image in the context of its target image; a share of them stays as it is."""
    source = augment.to_float(batch["image"])
    made = rendering.rendered(net, nets["G"].params, batch["image"], batch["context"])
    stays = jax.random.bernoulli(key, real_ratio, (len(source), 1, 1, 1))
    return {"image": jnp.where(stays, source, made.image), "label": batch["label"]}


def on_the_fly(run: crossing.Crossing, renderer: rendering.Renderer) -> arms.Trained:
    """The arm whose every training image is rendered when it is needed.

    A step draws one target image per source image by (the network's seed, step).
    """
    seed, options, target = run.config["seed"], run.config["crgan"], run.data.target.train

    def contexts(seed: int, step: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((seed, 3, step))
        return {"context": target.masked(rng.integers(len(target), size=run.reid.batch))}

    net, ratio = generator_net(renderer.settings), options["real_source_ratio"]
    made_by = fingerprint({"renderer": renderer.made_by, "real": ratio, "seed": seed})
    seen_in = partial(render, net=net, real_ratio=ratio)
    joined = reid.Joined(lambda seed: partial(contexts, seed), made_by, renderer.frozen, seen_in)
    return crossing.train(run, "crgan", joined=joined)


def written(run: crossing.Crossing, renderer: rendering.Renderer, number: int = 0) -> Generated:
    """One rendering of every source image as records; another ``number`` has other contexts."""
    translators = renderer.translators(partial(crossing.guides, run, number=number), number)
    name = f"generated_{number + 1}" if number else "generated"
    return generate.to_target(run.workdir / name, run.data.source.train, translators)


def drawn(
    run: crossing.Crossing, renderer: rendering.Renderer, rows: np.ndarray, number: int
) -> np.ndarray:
    """Images of the source in one of many contexts, as ``distances.Outputs`` wants them."""
    guide = crossing.guides(run, len(run.data.source.train), number)[rows]
    return renderer.images(run.data.source.train.images(rows), guide)


def from_disk(run: crossing.Crossing, parts: Sequence[Generated]) -> arms.Trained:
    """The arm that is taught by written renderings, in as many steps as on the fly."""
    count, made_by = len(parts), fingerprint({"parts": [part.made_by for part in parts]})
    together = Generated(concatenate([part.split for part in parts]), made_by, "target")
    shorter = {k: max(1, getattr(run.reid, k) // count) for k in ("epochs", "decay_every")}
    return crossing.train(run, "crgan", together, settings=replace(run.reid, **shorter))


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Both sets, C_id, generator, renderings, arms with and without LMP, CR-GAN + TAUDL, report."""
    options, settings = config["crgan"], Settings(**config["renderer"])
    _require(options, config["crossing"])
    started = crossing.begin(config, workdir)
    domains.require_masks(started.data)
    domains.require_cameras(started.data)
    rendering.require(settings, started.data)
    second = tracklets.second(started, config["tracklets"]) if options["taudl"] else None
    judge = crossing.direct(started)
    renderer = rendering.train(
        workdir / "translator", started.data, judge, settings, **started.common
    )
    first = written(started, renderer)
    if options["deploy"] == "on_the_fly":
        arm = on_the_fly(started, renderer)
    else:
        further = range(1, options["pairs_per_image"])
        arm = from_disk(started, [first, *(written(started, renderer, n) for n in further)])
    own = [arm, second(arm)] if second else [arm]
    outputs = {"crgan": partial(drawn, started, renderer)}
    return crossing.conclude(started, own, {"crgan": first}, outputs=outputs)


def _require(options: Mapping[str, Any], crossed: Mapping[str, Any]) -> None:
    if options["deploy"] not in DEPLOYMENTS:
        raise ValueError(f"crgan.deploy is {options['deploy']!r}; choose one of {DEPLOYMENTS}")
    if not 0 <= options["real_source_ratio"] < 1:
        raise ValueError(
            f"crgan.real_source_ratio is {options['real_source_ratio']}; choose 0 (all images are "
            "rendered) or more, but less than 1"
        )
    if options["deploy"] == "disk" and options["real_source_ratio"]:
        raise ValueError(
            "crgan.real_source_ratio is for crgan.deploy=on_the_fly; from disk only renderings are "
            "read: make it 0"
        )
    if options["deploy"] == "on_the_fly" and any(crossed["size"]):
        raise ValueError(
            f"crossing.size is {tuple(crossed['size'])}, but on the fly the re-ID network sees "
            "what the generator renders: make it (0, 0), or say crgan.deploy=disk"
        )
    if options["pairs_per_image"] < 1:
        raise ValueError(f"crgan.pairs_per_image is {options['pairs_per_image']}; choose 1 or more")
