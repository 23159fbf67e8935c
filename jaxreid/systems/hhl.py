"""HHL: a target image and its renderings in all target cameras are one more person.

Zhong, Zheng, Li, Yang, "Generalizing a Person Retrieval Model Hetero- and Homogeneously", ECCV
2018. A StarGAN learns the cameras of the target; a triplet loss holds a target image together with
its renderings (camera invariance) and apart from people of the source (domain connectedness), while
the source is classified.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxreid import losses
from jaxreid.data import Split, pk, shuffled
from jaxreid.stages import crossing, domains, generate, reid, star
from jaxreid.stages.sets import Generated, require_batch
from jaxreid.training.workdir import fingerprint

PARTS = ("source", "target", "rendered")  # of the batch that the triplets look at
SLOW = ("feat", "feat_bn", "triplet")  # all layers of the head but the classifier


def hhl_loss(
    forward, stats, batch, key, *, over: tuple[str, ...], margin: float, weight: float, cameras: int
):
    """CE(source) + ``weight`` * batch-hard triplet: a mean over source, target and renderings.

    Each target image is a person of its own with its renderings, one per camera, and no target
    image shows a person of the source. Three passes: the classified batch, the source of the
    triplets, the target with its renderings; batch norm sees each by itself.
    """
    outputs, stats = forward(stats, batch["image"], key)
    people = outputs["logits"].shape[-1]
    targets = losses.smooth_labels(batch["label"], people)
    terms = {"identity": losses.cross_entropy(outputs["logits"], targets).mean()}
    metric, labels = [], []
    if "source" in over:
        outputs, stats = forward(stats, batch["source_image"], key)
        metric, labels = [outputs["metric"]], [batch["source_label"]]
    if "target" in over:
        images = [batch["target_image"]]
        own = people + jnp.arange(len(images[0]))
        labels.append(own)
        if "rendered" in over:
            images.append(batch["rendered_image"])
            labels.append(jnp.repeat(own, cameras))
        outputs, stats = forward(stats, jnp.concatenate(images), key)
        metric.append(outputs["metric"])
    joint = jnp.concatenate(metric), jnp.concatenate(labels)
    return terms | {"triplet": weight * losses.triplet(*joint, margin=margin).mean()}, stats


def beside(
    run: crossing.Crossing, options: Mapping[str, Any], rendered: Generated | None
) -> reid.Joined:
    """What the triplets look at, drawn anew in every step.

    ``source_image`` holds ``people`` identities with ``images`` each, ``target_image`` ``batch``
    different images, ``rendered_image`` the renderings of the first, those of the second, ...
    """
    over = parse_over(options["over"])
    source, target = run.data.source.train, run.data.target.train
    loaded = partial(_loaded, run)
    real, other = loaded(source), loaded(target)
    people = np.unique(source.pids)
    fakes = loaded(rendered.split) if rendered else other
    rows_of = renderings(target, fakes) if rendered else np.zeros(0)

    def arrays(seed: int) -> Callable[[int], dict[str, np.ndarray]]:
        identities = pk(source.pids, options["people"], options["images"], (seed, 1))
        drawn = shuffled(len(target), options["batch"], (seed, 2))
        return lambda step: looked_up(identities(step), drawn(step))

    def looked_up(rows: np.ndarray, chosen: np.ndarray) -> dict[str, np.ndarray]:
        found = {}
        if "source" in over:
            labels = np.searchsorted(people, source.pids[rows])
            found |= {"source_image": real.images(rows), "source_label": labels.astype(np.int32)}
        if "target" in over:
            found["target_image"] = other.images(chosen)
        if rendered:
            found["rendered_image"] = fakes.images(rows_of[chosen].reshape(-1))
        return found

    sizes = {name: options[name] for name in ("over", "people", "images", "batch")}
    made_by = {"sets": run.data.made_by, "rendered": rendered.made_by if rendered else ""}
    return reid.Joined(arrays, fingerprint(made_by | sizes))


def _loaded(run: crossing.Crossing, split: Split) -> Split:
    return reid.loaded(crossing.sized(run, split), run.reid)


def renderings(real: Split, rendered: Split) -> np.ndarray:
    """Rows of ``rendered`` ``[N, C]``: of every image of ``real`` the renderings by camera."""
    order = np.lexsort([rendered.styles, np.unique(rendered.sources, return_inverse=True)[1]])
    by_name = order.reshape(len(real), -1)
    return by_name[np.argsort(np.argsort(real.names))]


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Both sets, StarGAN of the target, its renderings, the network, all other arms, report."""
    options, gan = config["hhl"], star.Settings(**config["stargan"])
    over = parse_over(options["over"])
    started = crossing.begin(config, workdir)
    domains.require_cameras(started.data)
    target = started.data.target
    _require(options, started)
    rendered = None
    if "rendered" in over:
        star.require(gan, target)
        translators = star.train(workdir / "stargan", target, gan, **started.common, own=True)
        rendered = generate.every_camera(workdir / "rendered", target, translators)
    loss = partial(
        hhl_loss,
        over=over,
        margin=options["margin"],
        weight=options["weight"],
        cameras=len(np.unique(target.train.cameras)),
    )
    # The others keep the head without the branch for triplets, which nothing would train.
    settings = replace(started.reid, head="fc1024_triplet")
    given = {"settings": settings, "joined": beside(started, options, rendered), "slow": SLOW}
    own = crossing.train(started, "hhl", loss=loss, **given)
    return crossing.conclude(started, [own], of_target=rendered)


def parse_over(text: str) -> tuple[str, ...]:
    """``'source+target+rendered'`` or a part of it, as the rows of the paper's ablation.

    Raises:
        ValueError: on other, repeated or no names, and on renderings without what they are of.
    """
    over = tuple(text.split("+"))
    if not set(over) <= set(PARTS) or len(set(over)) < len(over):
        raise ValueError(f"hhl.over is {text!r}; join some of {', '.join(PARTS)} by +")
    if "rendered" in over and "target" not in over:
        raise ValueError(f"hhl.over is {text!r}: renderings are held to target images; add +target")
    return over


def _require(options: Mapping[str, Any], run: crossing.Crossing) -> None:
    if run.reid.head != "fc1024":
        raise ValueError(
            f"reid.head is {run.reid.head!r}, but HHL adds its branch for triplets to fc1024"
        )
    people, source = options["people"], run.data.source.train
    there = len(np.unique(source.pids))
    if not 2 <= people <= there:
        raise ValueError(
            f"hhl.people is {people}, but the source has {there} identities and a triplet needs 2: "
            f"choose 2 to {there}"
        )
    if options["images"] < 2:
        raise ValueError(f"hhl.images is {options['images']}: a positive pair takes at least 2")
    require_batch("hhl.people * hhl.images", people * options["images"])
    require_batch("hhl.batch", options["batch"], len(run.data.target.train))
