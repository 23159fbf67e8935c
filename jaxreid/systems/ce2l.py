"""CE2L: every image also in the other modality, before visible and infrared people are matched.

Dai, Xie, Ma, Liu, Xiong, "RGB-Infrared Person Re-identification via Image Modality Conversion". A
CycleGAN converts visible to infrared images and back; converted images join the training with
smoothed labels, beside a ranking loss across modalities and one within each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxreid import losses
from jaxreid.stages import (
    cycle,
    generate,
    handcrafted,
    modal,
    modal_rivals,
    modalities,
    publish,
    sets,
)
from jaxreid.stages.modal_turn import FORMS, Side, Terms
from jaxreid.stages.modalities import Tests
from jaxreid.stages.scoring import Arm, Features
from jaxreid.stages.sets import Sets
from jaxreid.training import Every


@dataclass(frozen=True)
class Losses:
    """The terms of the loss.

    Attributes:
        identity: weight of cross-entropy on real images.
        lsr: weight of cross-entropy on converted images.
        cross: weight of the ranking across modalities.
        intra: weight of the term within a modality.
        cross_margin: rho_1.
        intra_margin: rho_2.
        positives: ``hardest`` or ``all``, see ``losses.cross_modality``.
        anchored: whether the pairs within a modality are those that the ranking found (BDTR's
            code), or every image and its nearest of another person.
        epsilon: of smoothed labels.
        lsr_on_converted: whether labels of converted images are smoothed.
        lsr_on_real: whether those of real images are.
        converted_in_rank_loss: whether converted images take part in the last two terms.
    """

    identity: float
    lsr: float
    cross: float
    intra: float
    cross_margin: float
    intra_margin: float
    positives: Literal["hardest", "all"]
    anchored: bool
    epsilon: float
    lsr_on_converted: bool
    lsr_on_real: bool
    converted_in_rank_loss: bool

    def __post_init__(self):
        """Refuses values that nothing stands behind."""
        if self.positives not in ("hardest", "all"):
            raise ValueError(
                f"losses.positives is {self.positives!r}; choose one of ('hardest', 'all')"
            )


def ce2l_loss(visible: Side, thermal: Side, options: Losses) -> tuple[Terms, Terms]:
    """The four terms of the poster; without converted images BDTR's three.

    Each is a mean (BDTR's code), where the poster prints sums. Logged beside them: how often the
    farthest positive is nearer than the nearest negative.
    """
    both = jax.tree.map(lambda *parts: jnp.concatenate(parts), visible, thermal)
    smooth = jnp.where(both.converted, options.lsr_on_converted, options.lsr_on_real)
    targets = losses.smooth_labels(both.labels, both.logits.shape[-1], options.epsilon * smooth)
    entropy = losses.cross_entropy(both.logits, targets)
    v, t = visible, thermal
    in_v, in_t = (options.converted_in_rank_loss | ~side.converted for side in (v, t))
    ranks = losses.cross_modality(
        *(v.embeddings, v.labels, t.embeddings, t.labels),
        margin=options.cross_margin,
        positives=options.positives,
        visible_where=in_v,
        thermal_where=in_t,
    )
    within = [
        apart(other, anchors, other_in, anchors_in, options)
        for other, anchors, other_in, anchors_in in ((t, v, in_t, in_v), (v, t, in_v, in_t))
    ]
    right = [nearer(v, t, in_v, in_t), nearer(t, v, in_t, in_v)]
    terms = {
        "identity": options.identity * mean(entropy, ~both.converted),
        "lsr": options.lsr * mean(entropy, both.converted),
        "cross": options.cross * (mean(ranks[0], in_v) + mean(ranks[1], in_t)),
        "intra": options.intra * sum(within),
    }
    values, where = (jnp.concatenate(parts) for parts in zip(*right, strict=True))
    return terms, {"ranked_right": mean(values, where)}


def nearer(
    anchors: Side, side: Side, anchors_where: jax.Array, where: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Whether an anchor's farthest positive in ``side`` is nearer than its nearest negative.

    Returns:
        1 or 0 per anchor ``[N]``, and which of them count: those with a positive and a negative.
    """
    found = losses.mine_pairs(
        anchors.embeddings, anchors.labels, side.embeddings, side.labels, where=where
    )
    squares = [jnp.square(anchors.embeddings - side.embeddings[rows]).sum(-1) for rows in found]
    counted = anchors_where & (found[0] >= 0) & (found[1] >= 0)
    return (squares[0] < squares[1]).astype(jnp.float32), counted


def apart(side: Side, anchors: Side, where: jax.Array, anchors_where: jax.Array, options: Losses):
    """Mean of the term within ``side``; anchored, by the pairs that ``anchors`` found in it."""
    given: dict[str, Any] = {"margin": options.intra_margin}
    if not options.anchored:
        values = losses.intra_modality(side.embeddings, side.labels, where=where, **given)
        return mean(values, where)
    found = (anchors.embeddings, anchors.labels, side.embeddings, side.labels)
    given |= {"pairs": losses.mine_pairs(*found, where=where), "where": anchors_where}
    return mean(losses.intra_modality(side.embeddings, side.labels, **given), anchors_where)


def mean(values: jax.Array, where: jax.Array) -> jax.Array:
    """Over the entries that ``where`` names; 0 if there is none."""
    return jnp.where(where, values, 0.0).sum() / jnp.maximum(where.sum(), 1)


def tested(features: Sequence[Features], data: Sets, how: Tests) -> list[Arm]:
    """The arms of one training, its last step first, by the distance that its paper ranks by."""
    last, *kept = features
    return modalities.score(last, data, how, kept, modal_rivals.PLAIN)


def same_start(tone: Mapping[str, Any], net: modal.Settings) -> Mapping[str, Any]:
    """TONE's settings with the weights that ``net`` begins with, if it is such a network."""
    alike = tone["net"] == net.net and not tone["pretrained"]
    return {**tone, "pretrained": net.pretrained} if alike else tone


def run(config: Mapping[str, Any], workdir: Path) -> dict[str, Any]:
    """Baseline (BDTR) and jitter, rivals, converter, converted set, CE2L, features, report.

    The arm ``grey`` has the loss and the batches of ``ce2l``, with visible images without colour in
    the place of converted ones.
    """
    options, seed = config["ce2l"], config["seed"]
    common = {"seed": seed, "every": Every(**config["every"])}
    net, gan = modal.Settings(**config["modal"]), cycle.Settings(**config["gan"])
    terms = Losses(**config["losses"])
    handcrafted.require("ce2l.features", options["features"])
    source = sets.Settings(**config["data"])
    modalities.require_layout(source.layout)
    data = sets.prepare(workdir, source)
    modalities.require(data.train)
    how = modalities.tests(data, options["permutations"], options["multi_shot"])
    styles = modalities.styles(data)
    modal.require(net, data)
    if not net.form:
        raise ValueError(f"modal.form is empty; choose one of {FORMS}: how converted images join")
    tone = same_start(config["tone"], net)
    rivals = modal_rivals.plan(data, options["rivals"], config["rivals"], tone, config["contrast"])
    cycle.require(gan, styles, [modalities.PAIR])

    # First, since learning a metric upon them may take more memory than there is.
    by_hand = [handcrafted.arm(workdir, data, name) for name in options["features"]]
    tested_by_hand = [modalities.score(each, data, modalities.plain(how)) for each in by_hand]
    train = partial(modal.train, workdir, data, **common)
    # What no converted image is there for decides nothing, and sweeps need not train it anew.
    plain = replace(terms, lsr=0.0, lsr_on_converted=False, converted_in_rank_loss=False)
    trained = [train("baseline", net, ce2l_loss, plain)]
    trained.append(train("jitter", replace(net, jitter=options["jitter"]), ce2l_loss, plain))
    trained += modal_rivals.train(workdir, data, rivals, **common)
    converter = cycle.train(
        workdir / "converter", styles, [modalities.PAIR], gan, names=modalities.NAMES, **common
    )
    sources = {"grey": modalities.grey(data), "ce2l": converter}
    if data.truth is not None:
        sources["oracle"] = modalities.truth(workdir, data, seed)
    made = {
        name: generate.converted(workdir / f"converted_{name}", data.train, by)
        for name, by in sources.items()
    }
    trained += [
        train(name, net, ce2l_loss, terms, generated=images) for name, images in made.items()
    ]
    found = [arm for features in trained for arm in tested(features, data, how)]
    found += [arm for arms in tested_by_hand for arm in arms]
    notes = {"galleries": how.note} if how.note else None
    return publish.publish(workdir, config, data, found, made["ce2l"], notes=notes)
