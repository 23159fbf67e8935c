"""Rivals of CE2L that learn: Wu et al.'s networks, TONE, and HCML upon TONE's features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jaxreid import losses
from jaxreid.features import hcml
from jaxreid.nets.streams import VARIANTS
from jaxreid.stages import handcrafted, modal
from jaxreid.stages.modal_turn import Settings, Side, Terms, identity_loss
from jaxreid.stages.scoring import Features
from jaxreid.stages.sets import Sets
from jaxreid.training import Every

NAMES = (*VARIANTS, "tone", "hcml")
PLAIN = (*VARIANTS, "hcml")  # ranked by Euclidean distance; TONE's features are of unit length


@dataclass(frozen=True)
class Contrast:
    """TONE's contrastive term.

    Attributes:
        weight: of its mean (0.2).
        margin: see ``losses.tone`` (0.5). Embeddings are of unit length, each by itself.
    """

    weight: float
    margin: float


def tone_loss(visible: Side, thermal: Side, options: Contrast) -> tuple[Terms, Terms]:
    """Mean cross-entropy over all images, and TONE's term of the pairs that share a row."""
    terms, further = identity_loss(visible, thermal)
    pairs = losses.tone(
        *(visible.embeddings, visible.labels, thermal.embeddings, thermal.labels),
        margin=options.margin,
    )
    return terms | {"contrast": options.weight * pairs.mean()}, further


class Plan(NamedTuple):
    """Rivals to train.

    Attributes:
        wu: Wu et al.'s networks by name.
        tone: TONE's, or None.
        contrast: of TONE's loss.
        hcml: whether to learn projections of TONE's features.
    """

    wu: dict[str, Settings]
    tone: Settings | None
    contrast: Contrast
    hcml: bool


def plan(
    data: Sets,
    chosen: Sequence[str],
    wu: Mapping[str, Any],
    tone: Mapping[str, Any],
    contrast: Mapping[str, Any],
) -> Plan:
    """Checks rivals before anything is trained.

    Args:
        data: what they are trained on.
        chosen: some of ``NAMES``.
        wu: settings of Wu et al.'s networks; ``net`` is each in turn.
        tone: settings of TONE's.
        contrast: see ``Contrast``.

    Raises:
        ValueError: an unknown rival, HCML without TONE, or what ``modal.require`` refuses.
    """
    if unknown := [name for name in chosen if name not in NAMES]:
        raise ValueError(f"ce2l.rivals has {unknown[0]!r}; choose among {', '.join(NAMES)}")
    if "hcml" in chosen and "tone" not in chosen:
        raise ValueError("ce2l.rivals has 'hcml', which learns from the features of 'tone': add it")
    variants = [name for name in chosen if name in VARIANTS]
    nets = {name: _settings("rivals", {**wu, "net": name}) for name in variants}
    for each in nets.values():
        modal.require(each, data, "rivals")
    own = _settings("tone", tone) if "tone" in chosen else None
    if own:
        modal.require(own, data, "tone")
    return Plan(nets, own, Contrast(**contrast), "hcml" in chosen)


def _settings(block: str, values: Mapping[str, Any]) -> Settings:
    """Settings whose errors name the config's block that they stand in."""
    try:
        return Settings(**values)
    except ValueError as error:
        raise ValueError(str(error).replace("modal.", f"{block}.")) from None


def train(
    workdir: Path, data: Sets, plan: Plan, *, seed: int, every: Every
) -> list[list[Features]]:
    """The features of every rival, each followed by those of an earlier step, if one is kept.

    HCML learns from the earlier step's features of TONE, which are the published ones, if kept.
    """
    fit = partial(modal.train, workdir, data, seed=seed, every=every)
    found = [fit(name, settings) for name, settings in plan.wu.items()]
    if plan.tone:
        found.append(fit("tone", plan.tone, tone_loss, plan.contrast))
    if plan.hcml:
        tone = found[-1][-1]
        found.append([handcrafted.learned(workdir, data, "hcml", tone, hcml.DEFAULTS)])
    return found
