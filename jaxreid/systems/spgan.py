"""SPGAN: source people in the target's style, alike to themselves and to nobody of the target.

Deng, Zheng, Ye, Kang, Yang, Jiao, "Image-Image Domain Adaptation with Preserved Self-Similarity and
Domain-Dissimilarity for Person Re-identification", CVPR 2018. A CycleGAN between two data sets and
a small siamese net M that embeds a translated image near its original and far from images of the
other domain; local max pooling (LMP) at test.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxreid import losses
from jaxreid.nets.sianet import SiaNet
from jaxreid.stages import crossing, cycle, tracklets
from jaxreid.stages.cycle import Method, Seen
from jaxreid.training import Aux, Phase, in_dtype


def contrastive(net: SiaNet, nets, images, key, **options) -> jax.Array:
    """Eq. 5 over a batch of x, G(x), y, F(y): mean over the pairs."""
    together = jnp.concatenate(images)
    embedded: Any = net.apply({"params": nets["M"].params}, together, rngs={"dropout": key})
    x, mapped_x, y, mapped_y = jnp.split(embedded, len(images))
    return losses.spgan_contrastive(x, mapped_x, y, mapped_y, **options).mean()


def method(options: Mapping[str, Any], steps: int) -> Method:
    """CycleGAN, the contrastive term in its generators' loss, and M's own turn.

    Both begin late, M after ``siamese_from`` of the steps and the generators' term after
    ``contrastive_from``, so that nobody follows a net that has learned nothing.
    """
    net = in_dtype(SiaNet(options["width"], options["blocks"]))
    pairs = {"margin": options["margin"], "pairs": options["pairs"]}
    late = (("M", math.ceil(options["siamese_from"] * steps)),)

    def begun(share: float, step) -> jax.Array:
        return jnp.where(step >= share * steps, 1.0, 0.0)

    def terms(nets, seen: Seen, step, key):
        images = (seen.a, seen.fake_b, seen.b, seen.fake_a)
        value = contrastive(net, nets, images, key, role="generators", **pairs)
        weight = options["weight"] * begun(options["contrastive_from"], step)
        return {"g_contrastive": weight * value}

    def siamese(nets, batch, memo, key):
        del batch
        images = (memo["a"], memo["fake_b"], memo["b"], memo["fake_a"])
        value = contrastive(net, nets, images, key, role="siamese", **pairs)
        value *= begun(options["siamese_from"], memo["step"])
        return value, Aux({"m_contrastive": value})

    return Method(
        terms=terms,
        nets=(("M", net),),
        turns=(Phase(("M",), siamese),),
        rates=rates,
        late=late,
        epoch=min,
        made_by=(*sorted(options.items()), ("late", late)),
    )


def rates(settings: cycle.Settings, steps_per_epoch: int):
    """Constant for ``epochs``, then falling to 0 over ``decay_epochs`` (none in the paper)."""
    end = steps_per_epoch * (settings.epochs + settings.decay_epochs)
    falling = steps_per_epoch * settings.decay_epochs

    def rate(step):
        share = (end - step) / falling if falling else 1.0
        return settings.rate * jnp.minimum(1.0, share)

    return rate, rate


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Both sets, translator, generated set, arms with and without LMP, SPGAN + TAUDL, report."""
    options = dict(config["spgan"])
    hybrid = options["taudl"]
    del options["taudl"]  # the translator does not depend on it
    started, gan = crossing.begin(config, workdir), cycle.Settings(**config["gan"])
    second = tracklets.second(started, config["tracklets"]) if hybrid else None
    made = method(options, crossing.steps(started, gan))
    return crossing.finish(started, crossing.translate(started, gan, made), second)
