"""IDE + MMD: people learned in the source, features that have one distribution in both domains.

What Lin, Li, Li, Kot, "Multi-task Mid-level Feature Alignment Network for Unsupervised
Cross-Dataset Person Re-Identification" (MMFA), BMVC 2018, comes to without its attributes: the
identity loss on the source, and the maximum mean discrepancy between pooled features of both
domains.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxreid import losses
from jaxreid.data import shuffled
from jaxreid.stages import crossing, reid
from jaxreid.stages.sets import require_batch
from jaxreid.training.workdir import fingerprint


def aligned_loss(forward, stats, batch, key, *, weight: float, bandwidths: tuple[float, ...]):
    """Cross-entropy of the source + ``weight`` * MMD^2 between f of the source and of the target.

    Both domains go through the network in one call: apart, each would be normalised by statistics
    of its own, which hides from MMD the shift that the test, with one set of them, will meet.
    """
    n = len(batch["label"])
    images = jnp.concatenate([batch["image"], batch["target_image"]])
    outputs, stats = forward(stats, images, key)
    targets = losses.smooth_labels(batch["label"], outputs["logits"].shape[-1])
    identity = losses.cross_entropy(outputs["logits"][:n], targets).mean()
    pooled = outputs["metric"]
    apart = losses.mmd(pooled[:n], pooled[n:], bandwidths=bandwidths)
    return {"identity": identity, "mmd": weight * apart}, stats


def beside(run: crossing.Crossing, batch: int) -> reid.Joined:
    """``batch`` images of the target in every step, shuffled anew in every epoch of their own."""
    target = reid.loaded(crossing.sized(run, run.data.target.train), run.reid)

    def arrays(seed: int) -> Callable[[int], dict[str, np.ndarray]]:
        plan = shuffled(len(target), batch, (seed, 1))
        return lambda step: {"target_image": target.images(plan(step))}

    return reid.Joined(arrays, fingerprint({"target": run.data.target.made_by, "batch": batch}))


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Both sets, the network that aligns them, all other arms, report."""
    options = config["mmd"]
    _require(options, config["reid"])
    started = crossing.begin(config, workdir)
    require_batch("mmd.batch", options["batch"], len(started.data.target.train))
    bandwidths = tuple(options["bandwidths"])
    loss = partial(aligned_loss, weight=options["weight"], bandwidths=bandwidths)
    joined = beside(started, options["batch"])
    return crossing.conclude(started, [crossing.train(started, "mmd", loss=loss, joined=joined)])


def _require(options: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    if not options["bandwidths"] or min(options["bandwidths"]) <= 0:
        raise ValueError(
            f"mmd.bandwidths is {options['bandwidths']}: name one or more numbers above 0, in "
            "units of the median distance"
        )
    if options["weight"] < 0:
        raise ValueError(f"mmd.weight is {options['weight']}: below 0 it drives the domains apart")
    if settings["head"] == "fc1024_triplet":
        raise ValueError(
            "reid.head is 'fc1024_triplet', whose metric embedding no loss here trains: choose a "
            "head whose metric embedding is f, fc1024 say"
        )
