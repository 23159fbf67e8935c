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
from jaxreid.training import Aux, Phase, in_dtype

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
        draw: ``all`` sums over all cameras in each step, ``one`` draws one of them, unbiased; the
            discriminators then see a batch of mixed cameras, which ``ibn`` normalises together.
        weight_grad: ``stop`` or ``flow``: whether the losses' weights pass gradients to attention.
        weight_norm: ``sum1`` or ``none``: whether the weights are divided by their sum; under
            ``stop`` the normalisation of the terms makes up for it in time.
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
        return [self.gan_weight, self.matching_weight, self.identity_weight, self.cycle_weight]

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ValueError(f"unitygan.{name} is {getattr(self, name)!r}; it must be {allowed}")


class Seen(NamedTuple):
    """What the generators' turn sees: the images x at place 0, then y of K cameras, all ``[1+K]``.

    Attributes:
        images: ``[1+K, B, H, W, 3]``.
        back: the same after both translations.
        same: the same through the generator whose target is their own domain.
        judged_x: what ``DX`` says of x, then of the translated y.
        judged_y: what ``DY`` says of the translated x, then of y.
    """

    images: jax.Array
    back: jax.Array
    same: jax.Array
    judged_x: Judgement
    judged_y: Judgement


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
    each turn; ``batch['d_y'], batch['g_y']``: ``[B, cameras, h, w, 3]``. ``State.extra`` holds the
    terms' running ``scales``.

    References:
        Liu, Chang, Shen, CVPR 2020; Gokaslan et al., ECCV 2018 (GANimorph) and its code, for the
        reductions, the turns and the normalisation.
    """
    generator, judge = networks(settings)

    def run(nets, name, images, method="__call__") -> Any:
        """Maps [K,B,H,W,3], with the batch statistics of each of the K; their update, too."""
        variables = {"params": nets[name].params, "batch_stats": nets[name].stats}

        def one(images) -> Any:
            outputs, updated = generator.apply(
                variables, images, train=True, mutable=["batch_stats"], method=method
            )
            return outputs, updated.get("batch_stats", {})

        return jax.vmap(one)(images)

    def judged(nets, name, images) -> Any:
        return jax.vmap(partial(judge.apply, {"params": nets[name].params}))(images)

    def augmented(key, images):
        """Maps [B,K,h,w,3] to [K,B,H,W,3]."""
        crop = partial(augment.crop_and_flip, size=size)
        by_camera = images.swapaxes(0, 1)
        return jax.vmap(crop)(jax.random.split(key, len(by_camera)), by_camera)

    def discriminators(nets, batch, memo, key):
        k_x, k_y, k_draw = jax.random.split(key, 3)
        x, y = augmented(k_x, batch["d_x"][:, None]), augmented(k_y, batch["d_y"])
        if settings.draw == "one":
            drawn = jax.random.randint(k_draw, (y.shape[1],), 0, cameras)
            y = y[drawn, jnp.arange(y.shape[1])][None]
        fake_x, fake_y = run(nets, "F", y)[0], run(nets, "G", x)[0]
        scores_x = judged(nets, "DX", jnp.concatenate([x, fake_x])).scores
        scores_y = judged(nets, "DY", jnp.concatenate([fake_y, y])).scores
        loss = losses.nonsaturating_discriminator
        terms = {
            "d_x": loss(jnp.broadcast_to(scores_x[:1], scores_x[1:].shape), scores_x[1:]).mean(),
            "d_y": loss(scores_y[1:], jnp.broadcast_to(scores_y[:1], scores_y[1:].shape)).mean(),
        }
        return sum(terms.values()), Aux(terms)

    def seen(nets, images):
        through_g, g_stats = run(nets, "G", images)
        through_f, f_stats = run(nets, "F", images)
        (fake_y, same_y), (same_x, fake_x) = (jnp.split(a, [1]) for a in (through_g, through_f))
        back_x, back_y = run(nets, "F", fake_y)[0], run(nets, "G", fake_x)[0]
        x, y = jnp.split(images, [1])
        judged_x = judged(nets, "DX", jnp.concatenate([x, fake_x]))
        judged_y = judged(nets, "DY", jnp.concatenate([fake_y, y]))
        back, same = jnp.concatenate([back_x, back_y]), jnp.concatenate([same_x, same_y])
        stats = {
            "G": jax.tree.map(lambda s: s[0], g_stats),
            "F": jax.tree.map(lambda s: s[1:].mean(0), f_stats),
        }
        return Seen(images, back, same, judged_x, judged_y), stats

    def generators(nets, batch, memo, key):
        k_x, k_y, k_draw = jax.random.split(key, 3)
        x, y = augmented(k_x, batch["g_x"][:, None]), augmented(k_y, batch["g_y"])
        attention, _ = run(nets, "G", y, "attention")
        chosen, weights = drawn_cameras(settings, k_draw, attention)
        what, stats = seen(nets, jnp.concatenate([x, y[chosen]]))
        terms = (weights * generator_terms(settings, what)).sum(1)
        normal, scales = losses.scheduled_normalization(
            terms,
            memo["scales"],
            update=memo["step"] % settings.update_every == 0,
            beta=settings.beta,
        )
        metrics = {f"g_{name}": terms[i] for i, name in enumerate(TERMS)}
        metrics["attention"] = attention.mean()
        loss = (jnp.array(settings.shares) * normal).sum()
        return loss, Aux(metrics, {"scales": scales}, stats)

    return [Phase(("DX", "DY"), discriminators, every=2), Phase(("G", "F"), generators)]


def generator_terms(settings: Settings, seen: Seen) -> jax.Array:
    """UnityGAN's four ``TERMS`` of x and the images y of each of K cameras: ``[4, K]``."""
    images, back, same = ((a + 1) / 2 for a in seen[:3])
    gan = [losses.nonsaturating_generator(j.scores) for j in (seen.judged_y, seen.judged_x)]
    match = partial(losses.feature_matching, reduce="mean")
    x, y = seen.judged_x.features, seen.judged_y.features
    real_x, fake_y = ([layer[0] for layer in layers] for layers in (x, y))
    fake_x, real_y = ([layer[1:] for layer in layers] for layers in (x, y))
    matching = jax.vmap(lambda a, b: match(real_x, a) + match(b, fake_y))(fake_x, real_y)
    identity = losses.identity_mapping(images, same).mean(1)
    similarity = jax.vmap(losses.ms_ssim)(images, back)
    absolute = losses.cycle(images, back).mean(1)
    cycle = settings.ssim_share * (1 - similarity) + (1 - settings.ssim_share) * absolute
    return jnp.stack(
        [
            gan[0][0].mean() + gan[1][1:].mean((1, 2, 3, 4)),
            matching,
            identity[0] + identity[1:],
            cycle[0] + cycle[1:],
        ]
    )


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
    return in_dtype(generator), in_dtype(DilatedDiscriminator(settings.width))
