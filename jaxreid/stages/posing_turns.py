"""The turns of PN-GAN's training: its settings, its networks and what each turn lowers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import losses
from jaxreid.data import augment, poses
from jaxreid.nets.pngan import Discriminator, Generator
from jaxreid.training import Aux, Phase, in_dtype

ADVERSARIAL = {
    "lsgan": (losses.lsgan_generator, losses.lsgan_discriminator),
    "bce": (losses.nonsaturating_generator, losses.nonsaturating_discriminator),
}
REAL = ("source", "target")
POSE_INPUTS = {
    "drawing": poses.draw,
    "smooth_drawing": partial(poses.draw, antialiased=True),
    "heat_maps": poses.heat_maps,
}


@dataclass(frozen=True)
class Settings:
    """PN-GAN's generator and its training.

    Attributes:
        width: channels of the generator's first layer (64 in the code).
        blocks: its residual blocks (9).
        halvings: its stride-2 layers (2).
        judge_width: channels of the discriminator's first layer (64).
        patch_layers: its stride-2 layers (3).
        pose_input: how the generator is shown a pose: as a ``drawing`` (published), as a
            ``smooth_drawing``, whose outlines are anti-aliased, or as ``heat_maps``, one per joint.
        batch: pairs of images per step (32).
        adversarial: ``lsgan`` (the code's) or ``bce`` (logarithms, as in the paper, in the
            non-saturating form).
        real: what the discriminator takes for real, the pair's ``source`` (the code) or ``target``.
        l1_weight: of the mean absolute difference to the target image (10).
        pairs_per_epoch: drawn evenly over identities; 0 for all ordered pairs once (published).
        rate: Adam's learning rate, of both networks; betas 0.5 and 0.999.
        epochs: at the full rate (10).
        decay_epochs: that follow, of which the last has rate 0 (10).
    """

    width: int
    blocks: int
    halvings: int
    judge_width: int
    patch_layers: int
    pose_input: str
    batch: int
    adversarial: str
    real: str
    l1_weight: float
    pairs_per_epoch: int
    rate: float
    epochs: int
    decay_epochs: int

    def __post_init__(self):
        """Refuses values that nothing stands behind."""
        choices = {"adversarial": ADVERSARIAL, "real": REAL, "pose_input": POSE_INPUTS}
        for name, known in choices.items():
            if (given := getattr(self, name)) not in known:
                raise ValueError(f"posing.{name} is {given!r}; choose one of {tuple(known)}")
        least = {"width": 1, "judge_width": 1, "batch": 1, "blocks": 0, "halvings": 0}
        least |= {"patch_layers": 0, "pairs_per_epoch": 0, "epochs": 0, "decay_epochs": 0}
        for name, lowest in least.items():
            if (given := getattr(self, name)) < lowest:
                raise ValueError(f"posing.{name} is {given}: choose {lowest} or more")
        if not self.epochs + self.decay_epochs:
            raise ValueError("posing.epochs and posing.decay_epochs are 0: nothing would be learnt")
        if self.pairs_per_epoch and self.pairs_per_epoch < self.batch:
            raise ValueError(
                f"posing.pairs_per_epoch is {self.pairs_per_epoch}, fewer than posing.batch, "
                f"{self.batch}: raise it, or choose 0 for all pairs"
            )

    def schedule(self, steps_per_epoch: int) -> Callable[[Any], jax.Array]:
        """The rate in a step: constant for ``epochs``, then one part less in every epoch."""

        def rate(step):
            number = 1 + step // steps_per_epoch
            late = jnp.maximum(0, number - self.epochs)
            return self.rate * (1 - late / max(1, self.decay_epochs))

        return rate

    def show(self, keypoints: jax.Array, size: tuple[int, int]) -> jax.Array:
        """Poses ``[..., 18, 3]`` in pixels of ``size`` as the generator is given them."""
        return POSE_INPUTS[self.pose_input](keypoints, size)


def networks(settings: Settings) -> dict[str, nn.Module]:
    """Generator G and discriminator D."""
    return {
        "G": in_dtype(Generator(settings.width, settings.blocks, settings.halvings)),
        "D": in_dtype(Discriminator(settings.judge_width, settings.patch_layers)),
    }


def phases(settings: Settings, size: tuple[int, int]) -> list[Phase]:
    r"""PN-GAN's two turns: the generator, then the discriminator on the same fake.

    With source s, target t of the same person and t's pose p,

    $$L_G = \overline{(D(G(s, p)) - 1)^2} + w_{l1}\,\overline{|G(s, p) - t|}$$
    $$L_D = \overline{D(G(s, p))^2} + \overline{(D(s) - 1)^2}$$

    or both with logarithms, and with t in the place of D's s. The discriminator knows of no pose.

    ``batch``: ``source`` and ``target`` uint8 ``[B, H, W, 3]``; ``pose`` ``[B, 18, 3]``, keypoints
    of the target in pixels.

    References:
        Qian et al., ECCV 2018, and its code (train.py of naiq/PN_GAN); the weights are the code's.
    """
    nets = networks(settings)
    for_generator, for_judge = ADVERSARIAL[settings.adversarial]

    def applied(states, name, *images) -> Any:
        return nets[name].apply({"params": states[name].params}, *images)

    def generator(states, batch, memo, key):
        del memo, key
        seen = {name: augment.to_float(batch[name]) for name in ("source", "target")}
        fake = applied(states, "G", seen["source"], settings.show(batch["pose"], size))
        terms = {
            "g_adversarial": for_generator(applied(states, "D", fake)).mean(),
            "g_l1": settings.l1_weight * jnp.abs(fake - seen["target"]).mean(),
        }
        return sum(terms.values()), Aux(terms, {"fake": fake, "real": seen[settings.real]})

    def judge(states, batch, memo, key):
        del batch, key
        # Instance norm treats images one by one, so real and made ones may share a call.
        both = jnp.concatenate([memo["real"], memo["fake"]])
        value = 2 * for_judge(*jnp.split(applied(states, "D", both), 2)).mean()
        return value, Aux({"d": value})

    return [Phase(("G",), generator), Phase(("D",), judge)]
