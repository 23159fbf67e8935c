"""The turns of a UnityGAN: its settings, the generators' four terms, what each turn trains on."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxreid import losses
from jaxreid.data import augment
from jaxreid.nets.layers import Judgement
from jaxreid.nets.unitygan import DilatedDiscriminator, UnityGenerator
from jaxreid.training import Aux, Phase

OPTIONS = {
    "merge": ("add", "concat"),
    "norm": ("ibn", "in"),
    "draw": ("all", "one"),
    "weight_grad": ("stop", "flow"),
    "weight_norm": ("sum1", "none"),
}
TERMS = ("gan", "matching", "identity", "cycle")  # in the order of a step's four loss scales


@dataclass(frozen=True)
class Settings:
    """One UnityGAN and its training.

    Attributes:
        width: channels of the first layer of a generator, half those of a discriminator (64).
        blocks: residual blocks per group of a generator (3).
        merge: how a residual block joins its input, ``add`` or ``concat``.
        norm: ``ibn``, with batch statistics, or ``in``, which treats images one by one.
        batch: images of every domain and camera per turn; 8 or more for ``ibn``.
        margin: images are loaded this much larger than they are cropped to (286/256 - 1).
        gan_weight: share of the adversarial term; the four shares add up to 1.
        matching_weight: share of feature matching.
        identity_weight: share of the identity mapping.
        cycle_weight: share of cycle consistency.
        ssim_share: part of 1 - MS-SSIM in the cycle term; the rest is the absolute difference.
        beta: share of the old running average in the normalisation of the terms (0.99).
        update_every: steps between two moves of the normalisers (200).
        draw: ``all`` sums over all cameras in each step, ``one`` draws one of them, unbiased.
        weight_grad: ``stop`` or ``flow``: whether the losses' weights pass gradients to attention.
        weight_norm: ``sum1`` or ``none``: whether the weights are divided by their sum.
        rate: Adam's learning rate, for generators and discriminators alike.
        epochs: at the full rate; an epoch is as many steps as the training images of all cameras
            fill batches.
        decay_epochs: at a rate that falls linearly to 0.
    """

    width: int
    blocks: int
    merge: Literal["add", "concat"]
    norm: Literal["ibn", "in"]
    batch: int
    margin: float
    gan_weight: float
    matching_weight: float
    identity_weight: float
    cycle_weight: float
    ssim_share: float
    beta: float
    update_every: int
    draw: Literal["all", "one"]
    weight_grad: Literal["stop", "flow"]
    weight_norm: Literal["sum1", "none"]
    rate: float
    epochs: int
    decay_epochs: int

    def __post_init__(self):
        """Refuses values that mean nothing, by name."""
        for name, allowed in OPTIONS.items():
            self._require(name, getattr(self, name) in allowed, f"one of {', '.join(allowed)}")
        for name in ("width", "blocks", "batch", "update_every"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("margin", "epochs", "decay_epochs"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in (*(f"{term}_weight" for term in TERMS), "ssim_share"):
            self._require(name, 0 <= getattr(self, name) <= 1, "a share, from 0 to 1")
        self._require("beta", 0 <= self.beta < 1, "at least 0 and below 1")
        self._require("rate", self.rate > 0, "above 0")
        self._require("epochs", self.epochs + self.decay_epochs > 0, "above 0 without decay_epochs")
        self._require("batch", self.norm == "in" or self.batch > 1, "above 1, or norm 'in'")
        total = sum(self.shares)
        if abs(total - 1) > 1e-6:
            names = ", ".join(f"{term}_weight" for term in TERMS)
            raise ValueError(f"unitygan's {names} add up to {total:g}; they are shares of 1")

    @property
    def shares(self) -> list[float]:
        """The weights of the four terms, in the order of ``TERMS``."""
        return [getattr(self, f"{term}_weight") for term in TERMS]

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ValueError(f"unitygan.{name} is {getattr(self, name)!r}; it must be {allowed}")


class Journey(NamedTuple):
    """Images of one domain and all that the generator's turn asks about them.

    Attributes:
        images: x ``[B, H, W, 3]``.
        back: x after both translations.
        same: x through the generator whose target is the domain of x.
        judged: of x by the discriminator of its own domain.
        judged_there: of x, translated, by the discriminator of the other domain.
        stats: running statistics of the generator that translated x.
    """

    images: jax.Array
    back: jax.Array
    same: jax.Array
    judged: Judgement
    judged_there: Judgement
    stats: Any


def phases(settings: Settings, size: tuple[int, int], cameras: int) -> list[Phase]:
    r"""UnityGAN's two turns: the discriminators in even steps, then the generators in every step.

    ``G`` maps x, of the model's camera, to the style y between all cameras, and ``F`` back; ``DX``
    and ``DY`` judge the domain in their name. With $y_k$ of camera k and $\bar A$ the mean style
    attention of G, the generators lower

    $$\sum_t \lambda_t\, \mathrm{SLN}\Big(\sum_k w_k\, L_t(x, y_k)\Big), \qquad
    w_k = \bar A(y_k) \Big/ \sum_j \bar A(y_j)$$

    over the four ``TERMS``, on images in [0, 1] and summed over both domains. With ``draw='one'``
    the inner sum becomes $C\, w_k L_t(x, y_k)$ for one k drawn by chance, which equals it on
    average. The discriminators see all cameras alike: all their images, or with ``draw='one'`` as
    many as a batch, each from a camera drawn by itself.

    Every pass uses its batch's statistics. Running statistics, which generation uses, move in the
    generators' turn only: those of G by its pass on x, those of F by its passes on y (their mean).

    ``batch['d_x'], batch['g_x']``: uint8 ``[B, h, w, 3]``, somewhat larger than ``size``, one for
    each turn; ``batch['d_y'], batch['g_y']``: ``[cameras, B, h, w, 3]``. ``State.extra`` holds the
    terms' running ``scales``.

    References:
        Liu, Chang, Shen, CVPR 2020; Gokaslan et al., ECCV 2018 (GANimorph) and its code, for the
        reductions, the turns and the normalisation.
    """
    generator, judge = networks(settings)

    def run(nets, name, images, method="__call__") -> Any:
        variables = {"params": nets[name].params, "batch_stats": nets[name].stats}
        outputs, updated = generator.apply(
            variables, images, train=True, mutable=["batch_stats"], method=method
        )
        return outputs, updated.get("batch_stats", {})

    def judged(nets, name, images) -> Any:
        return judge.apply({"params": nets[name].params}, images)

    def augmented(key, batch, turn):
        k_x, k_y = jax.random.split(key)
        crop = partial(augment.crop_and_flip, size=size)
        y = jax.vmap(crop)(jax.random.split(k_y, cameras), batch[f"{turn}_y"])
        return crop(k_x, batch[f"{turn}_x"]), y

    def discriminators(nets, batch, memo, key):
        k_images, k_draw = jax.random.split(key)
        x, y = augmented(k_images, batch, "d")
        if settings.draw == "one":
            drawn = jax.random.randint(k_draw, (settings.batch,), 0, cameras)
            y = y[drawn, jnp.arange(settings.batch)][None]
        x_scores = judged(nets, "DX", x).scores
        fake_y_scores = judged(nets, "DY", run(nets, "G", x)[0]).scores

        def towards(y):
            y_scores, fake_x = judged(nets, "DY", y).scores, run(nets, "F", y)[0]
            fake_x_scores = judged(nets, "DX", fake_x).scores
            d_x = losses.nonsaturating_discriminator(x_scores, fake_x_scores).mean()
            d_y = losses.nonsaturating_discriminator(y_scores, fake_y_scores).mean()
            return {"d_x": d_x, "d_y": d_y}

        terms = {name: values.mean() for name, values in jax.vmap(towards)(y).items()}
        return sum(terms.values()), Aux(terms)

    def travel(nets, there, back, images) -> Journey:
        home, away = ("DX", "DY") if there == "G" else ("DY", "DX")
        fake, stats = run(nets, there, images)
        returned, _ = run(nets, back, fake)
        same, _ = run(nets, back, images)
        judgements = judged(nets, home, images), judged(nets, away, fake)
        return Journey(images, returned, same, *judgements, stats)

    def generators(nets, batch, memo, key):
        k_images, k_draw = jax.random.split(key)
        x, y = augmented(k_images, batch, "g")
        attention = jax.vmap(lambda images: run(nets, "G", images, "attention")[0])(y)
        chosen, weights = drawn_cameras(settings, k_draw, attention)
        out = travel(nets, "G", "F", x)
        back = jax.vmap(lambda images: travel(nets, "F", "G", images))(y[chosen])
        towards = jax.vmap(lambda journey: journey_terms(settings, out, journey))(back)
        terms = (weights[:, None] * towards).sum(0)
        normal, scales = losses.scheduled_normalization(
            terms,
            memo["scales"],
            update=memo["step"] % settings.update_every == 0,
            beta=settings.beta,
        )
        metrics = {f"g_{name}": terms[i] for i, name in enumerate(TERMS)}
        metrics["attention"] = attention.mean()
        stats = {"G": out.stats, "F": jax.tree.map(lambda s: s.mean(0), back.stats)}
        loss = (jnp.array(settings.shares) * normal).sum()
        return loss, Aux(metrics, {"scales": scales}, stats)

    return [Phase(("DX", "DY"), discriminators, every=2), Phase(("G", "F"), generators)]


def journey_terms(settings: Settings, x: Journey, y: Journey) -> jax.Array:
    """UnityGAN's four ``TERMS`` of x and the images y of one camera, ``[4]``."""
    pairs = [(j, *((1 + i) / 2 for i in (j.images, j.back, j.same))) for j in (x, y)]
    adversarial = [losses.nonsaturating_generator(j.judged_there.scores).mean() for j in (x, y)]
    matching = [
        losses.feature_matching(a.judged.features, b.judged_there.features, reduce="mean")
        for a, b in ((x, y), (y, x))
    ]
    identity = [losses.identity_mapping(real, same).mean() for _, real, _, same in pairs]
    share = settings.ssim_share
    cycle = [
        share * (1 - losses.ms_ssim(real, back)) + (1 - share) * losses.cycle(real, back).mean()
        for _, real, back, _ in pairs
    ]
    return jnp.stack([sum(both) for both in (adversarial, matching, identity, cycle)])


def drawn_cameras(
    settings: Settings, key: jax.Array, attention: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The cameras that a step looks at, and the weights of their losses: ``[K]`` each.

    Args:
        settings: ``draw`` says whether these are all, or one that stands for all.
        key: of the draw.
        attention: style attention of each camera's images, ``[cameras, ...]``.
    """
    weights = losses.style_weights(
        attention, weight_grad=settings.weight_grad, weight_norm=settings.weight_norm
    )
    if settings.draw == "all":
        return jnp.arange(len(weights)), weights
    one = jax.random.randint(key, (1,), 0, len(weights))
    return one, len(weights) * weights[one]


def networks(settings: Settings) -> tuple[UnityGenerator, DilatedDiscriminator]:
    """Generator and discriminator."""
    generator = UnityGenerator(settings.width, settings.blocks, settings.merge, settings.norm)
    return generator, DilatedDiscriminator(settings.width)
