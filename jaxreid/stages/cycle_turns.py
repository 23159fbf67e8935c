"""The turns of a two-way translator: CycleGAN's, and what other methods add to them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from jaxreid import losses
from jaxreid.data import augment
from jaxreid.nets.cyclegan import PatchGAN, ResnetGenerator
from jaxreid.training import Aux, Interlude, Phase, in_dtype
from jaxreid.training.pool import exchange

Rate = Callable[[Any], jax.Array]


@dataclass(frozen=True)
class Settings:
    """One CycleGAN.

    Attributes:
        width: channels of the first layer, of generators and discriminators (64 in the paper).
        blocks: residual blocks of a generator (9 at 256 rows, 6 at 128).
        halvings: stride-2 layers of a generator (2 in the paper).
        patch_layers: stride-2 layers of the discriminators; 3 judge patches of 70 x 70.
        dropout: inside residual blocks while training; 0.5 in CamStyle's scripts, by omission (they
            drop while translating, too, which is not done here).
        batch: images of each style per step.
        margin: images are loaded this much larger than they are cropped to (286/256 - 1).
        cycle_weight: weight of the cycle loss.
        identity_weight: weight of the identity-mapping loss.
        pool: capacity of the image pools.
        rate: Adam's learning rate, for generators and discriminators alike.
        epochs: at the full rate.
        decay_epochs: at a rate that falls linearly; an epoch is the mean over the pairs of the
            larger of their two sets.
        candidates: checkpoints, evenly spaced over the second half of the training, that can be
            chosen among; 1 for the last alone, as published.
    """

    width: int
    blocks: int
    halvings: int
    patch_layers: int
    dropout: float
    batch: int
    margin: float
    cycle_weight: float
    identity_weight: float
    pool: int
    rate: float
    epochs: int
    decay_epochs: int
    candidates: int


class Seen(NamedTuple):
    """What the generators' turn has before it: images ``[B, H, W, 3]`` in [-1, 1].

    Attributes:
        a: real images of style A.
        b: real images of style B.
        fake_a: ``F(b)``.
        fake_b: ``G(a)``.
        mask_a: ``[B, H, W, 1]`` in [0, 1], 1 on the person of ``a``; no channel without masks.
        mask_b: that of ``b``.
    """

    a: jax.Array
    b: jax.Array
    fake_a: jax.Array
    fake_b: jax.Array
    mask_a: jax.Array
    mask_b: jax.Array


def no_terms(nets: dict[str, Any], seen: Seen, step: jax.Array, key: jax.Array) -> dict:
    """CycleGAN itself: no further terms."""
    del nets, seen, step, key
    return {}


def camstyle_rates(settings: Settings, steps_per_epoch: int) -> tuple[Rate, Rate]:
    """The code's rate: factor ``1 - max(0, e + 2 - epochs) / (decay_epochs + 1)`` in epoch e."""

    def rate(step):
        epoch = step // steps_per_epoch
        late = jnp.maximum(0, epoch + 2 - settings.epochs)
        return settings.rate * (1.0 - late / (settings.decay_epochs + 1))

    return rate, rate


@dataclass(frozen=True)
class Method:
    """What a two-way translator does beyond CycleGAN; the default is CycleGAN as CamStyle ran it.

    Attributes:
        terms: ``terms(nets, seen, step, key)``, further weighted terms of the generators' loss.
        nets: further networks by name.
        turns: optimiser turns after the discriminators'; their memo holds a, b, fake_a and fake_b.
        rates: ``rates(settings, steps_per_epoch)`` gives the rate in a step, of the generators and
            of all other networks.
        late: networks that do not learn from the beginning, and the step in which they begin.
        epoch: ``max`` or ``min``: whether the larger or the smaller set sets the epoch.
        masks: whether the images come with masks of the persons.
        made_by: all that determines the above, by name.
    """

    terms: Callable[[dict[str, Any], Seen, jax.Array, jax.Array], dict[str, Any]] = no_terms
    nets: tuple[tuple[str, nn.Module], ...] = ()
    turns: tuple[Phase, ...] = ()
    rates: Callable[[Settings, int], tuple[Rate, Rate]] = camstyle_rates
    late: tuple[tuple[str, int], ...] = ()
    epoch: Callable[[int, int], int] = max
    masks: bool = False
    made_by: tuple[tuple[str, Any], ...] = ()


CYCLEGAN = Method()


def networks(settings: Settings) -> tuple[ResnetGenerator, PatchGAN]:
    """The generator and the discriminator of ``settings``."""
    generator = ResnetGenerator(
        settings.width, settings.blocks, settings.halvings, dropout=settings.dropout
    )
    return in_dtype(generator), in_dtype(PatchGAN(settings.width, settings.patch_layers))


def modules(settings: Settings, method: Method) -> dict[str, nn.Module]:
    """Every network of a translator by name."""
    generator, judge = networks(settings)
    return {"G": generator, "F": generator, "DA": judge, "DB": judge, **dict(method.nets)}


def optimisers(
    settings: Settings, method: Method, steps_per_epoch: int
) -> dict[str, optax.GradientTransformation]:
    """Adam for every network; one that begins late begins with an Adam that has seen nothing."""
    generators, others = method.rates(settings, steps_per_epoch)

    def adam(name: str) -> optax.GradientTransformation:
        moments, begin = optax.scale_by_adam(b1=0.5, b2=0.999), dict(method.late).get(name, 0)
        if begin:
            moments = optax.transforms.conditionally_mask(
                moments, lambda step, **_: jnp.asarray(step) >= begin
            )
        rate = optax.scale_by_learning_rate(generators if name in "GF" else others)
        return optax.chain(moments, rate)

    return {name: adam(name) for name in modules(settings, method)}


def phases(
    settings: Settings, size: tuple[int, int], method: Method = CYCLEGAN
) -> list[Phase | Interlude]:
    """CycleGAN's two turns, both generators, then both discriminators on pooled fakes; and more.

    ``G`` maps style A to B and ``F`` back; ``DA`` and ``DB`` judge the style in their name.
    ``batch['a'], batch['b']``: uint8 ``[B, h, w, 3]``, somewhat larger than ``size``, with the mask
    as a fourth channel where the method asks for it.

    References:
        Zhu et al., ICCV 2017; objective of the public code that CamStyle's images were made with.
    """
    generator, judge = networks(settings)

    def judged(nets, name, images) -> Any:
        return judge.apply({"params": nets[name].params}, images)

    def parted(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        return augment.split_mask(images) if method.masks else (images, images[..., 3:])

    def generators(nets, batch, memo, key):
        k_a, k_b, k_g, k_f, k_fg, k_gf = jax.random.split(key, 6)
        a, mask_a = parted(augment.crop_and_flip(k_a, batch["a"], size))
        b, mask_b = parted(augment.crop_and_flip(k_b, batch["b"], size))

        def translate(name, images, key) -> Any:
            variables = {"params": nets[name].params}
            return generator.apply(variables, images, train=True, rngs={"dropout": key})

        if settings.identity_weight:
            # Instance norm treats images one by one, so two batches may share a call.
            fake_b, same_b = jnp.split(translate("G", jnp.concatenate([a, b]), k_g), 2)
            fake_a, same_a = jnp.split(translate("F", jnp.concatenate([b, a]), k_f), 2)
        else:
            fake_b, same_b = translate("G", a, k_g), b
            fake_a, same_a = translate("F", b, k_f), a
        back_a, back_b = translate("F", fake_b, k_fg), translate("G", fake_a, k_gf)
        score_a, score_b = judged(nets, "DA", fake_a), judged(nets, "DB", fake_b)
        adversarial = (
            losses.lsgan_generator(score_a).mean() + losses.lsgan_generator(score_b).mean()
        )
        cycle = losses.cycle(a, back_a).mean() + losses.cycle(b, back_b).mean()
        identity = (
            losses.identity_mapping(a, same_a).mean() + losses.identity_mapping(b, same_b).mean()
        )
        terms = {
            "g_adversarial": adversarial,
            "g_cycle": settings.cycle_weight * cycle,
            "g_identity": settings.identity_weight * identity,
        }
        seen = Seen(a, b, fake_a, fake_b, mask_a, mask_b)
        terms |= method.terms(nets, seen, memo["step"], jax.random.fold_in(key, 6))
        memo = {"a": a, "b": b, "fake_a": fake_a, "fake_b": fake_b}
        return sum(terms.values()), Aux(terms, memo)

    def discriminators(nets, batch, memo, key):
        terms = {}
        for style in "ab":
            both = jnp.concatenate([memo[style], memo[f"pooled_{style}"]])
            real, fake = jnp.split(judged(nets, f"D{style.upper()}", both), 2)
            terms[f"d_{style}"] = losses.lsgan_discriminator(real, fake).mean()
        return sum(terms.values()), Aux(terms)

    judges = Phase(("DA", "DB"), discriminators)
    return [Phase(("G", "F"), generators), Interlude(pooled), judges, *method.turns]


def pooled(nets: Any, batch: Any, memo: dict[str, Any], key: jax.Array) -> dict[str, Any]:
    """Passes both kinds of fakes through their pools: ``fake_a`` becomes ``pooled_a``."""
    del nets, batch
    found = {}
    for style, k in zip("ab", jax.random.split(key), strict=True):
        exchanged = exchange(memo[f"pool_{style}"], k, memo[f"fake_{style}"])
        found |= dict(zip((f"pool_{style}", f"pooled_{style}"), exchanged, strict=True))
    return found
