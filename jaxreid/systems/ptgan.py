"""PTGAN: source people in the target's style, held in place inside their masks.

Wei, Zhang, Gao, Tian, "Person Transfer GAN to Bridge Domain Gap for Person Re-Identification", CVPR
2018. A CycleGAN between two data sets, with one more term: where a mask says that there is a
person, a translated image stays close to its original.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jaxreid import losses
from jaxreid.losses.translation import Norm
from jaxreid.stages import crossing, cycle
from jaxreid.stages.cycle import Method, Seen


def masked_terms(nets, seen: Seen, step, key, *, weight: float, norm: Norm):
    """lambda_1 of the paper: both translations keep the persons of their originals."""
    del nets, step, key
    kept = losses.masked_identity(seen.a, seen.fake_b, seen.mask_a, norm=norm)
    kept += losses.masked_identity(seen.b, seen.fake_a, seen.mask_b, norm=norm)
    return {"g_person": weight * kept.mean()}


def rates(settings: cycle.Settings, steps_per_epoch: int, *, judge_rate: float):
    """Constant for ``epochs``, then the rate times ``(E - e) / decay_epochs`` in epoch e of E."""
    epochs, falling = settings.epochs + settings.decay_epochs, max(1, settings.decay_epochs)

    def share(step):
        return jnp.minimum(1.0, (epochs - step // steps_per_epoch) / falling)

    return (lambda step: settings.rate * share(step)), (lambda step: judge_rate * share(step))


def method(options: Mapping[str, Any]) -> Method:
    """CycleGAN with masked identity in the place of identity mapping."""
    return Method(
        terms=partial(masked_terms, weight=options["person_weight"], norm=options["norm"]),
        rates=partial(rates, judge_rate=options["judge_rate"]),
        epoch=min,
        masks=True,
        made_by=tuple(sorted(options.items())),
    )


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Both sets, translator, generated set, arms, report."""
    made = method(config["ptgan"])
    started = crossing.begin(config, workdir)
    translators = crossing.translate(started, cycle.Settings(**config["gan"]), made)
    return crossing.finish(started, translators)
