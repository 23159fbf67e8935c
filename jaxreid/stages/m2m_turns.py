"""The turns of M2M-GAN, lite: its networks, its labels and what each turn lowers."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxreid import losses
from jaxreid.data import augment
from jaxreid.nets.stargan import Discriminator, Generator
from jaxreid.stages.cycle_turns import Settings, pooled
from jaxreid.stages.sets import SOURCE, TARGET
from jaxreid.training import Aux, Interlude, Phase, in_dtype

NO_CAMERA = -1  # its one-hot label is zeros
Cameras = tuple[int, int]  # how many the source and the target have
SIDES = "ab"  # source and target, as a CycleGAN calls them
OUT, INTO = "GF", "FG"  # by domain: the generators that lead out of it and into it


def pair(domain: int, own: jax.Array, other: jax.Array, cameras: Cameras) -> jax.Array:
    """Labels ``[B, C_S + C_T]``: the one-hot camera of the source, then that of the target.

    Args:
        domain: where the images come from.
        own: their cameras ``[B]``, counted in their domain.
        other: cameras of the other domain ``[B]``.
        cameras: how many there are.
    """
    numbers = (own, other) if domain == SOURCE else (other, own)
    planes = [jax.nn.one_hot(n, k) for n, k in zip(numbers, cameras, strict=True)]
    return jnp.concatenate(planes, axis=-1)


def phases(
    settings: Settings, size: tuple[int, int], cameras: Cameras, class_weight: float
) -> list[Phase | Interlude]:
    r"""M2M-GAN's two turns: both generators, then both discriminators on pooled fakes.

    With x from camera c of one domain and c' a camera of the other, drawn uniformly, G leads there
    and F back, and D judges and names cameras there; the same terms once more from there to here:

    $$L_G = (D(G(x, c, c')) - 1)^2 + w_{class}\,\ell(D(G(x, c, c')), c')
          + w_{cycle}\,\overline{|x - F(G(x, c, c'), c', c)|}
          + w_{identity}\,\overline{|x - F(x, \cdot, c)|}$$
    $$L_D = \tfrac12 [(D(y) - 1)^2 + D(\mathrm{pool}\,G(x, c, c'))^2] + w_{class}\,\ell(D(y), c_y)$$

    l is the cross-entropy of the camera head, which learns on real images alone. Both generators
    take the pair of cameras as planes, that of the source first; the dot is a label of zeros.

    ``batch['image_a'], batch['image_b']``: uint8 ``[B, h, w, 3]`` of source and target, somewhat
    larger than ``size``; ``camera_a``, ``camera_b``: integers ``[B]``.

    References:
        After the abstract of Liang, Wang, Lai, Zhu, "M2M-GAN: Many-to-Many Generative Adversarial
        Transfer Learning for Person Re-Identification", 2018; the terms are ours.
    """
    generator, judges = networks(settings, cameras)

    def translate(nets, name, images, label) -> Any:
        return generator.apply({"params": nets[name].params}, images, label)

    def judged(nets, domain, images) -> Any:
        params = nets[f"D{SIDES[domain].upper()}"].params
        return judges[domain].apply({"params": params}, images)

    def generators(nets, batch, memo, key):
        del memo
        names = ("g_adversarial", "g_camera", "g_cycle", "g_identity")
        terms: dict[str, jax.Array] = dict.fromkeys(names, jnp.zeros(()))
        kept = {}
        for domain, k in zip((SOURCE, TARGET), jax.random.split(key), strict=True):
            side, other = SIDES[domain], 1 - domain
            k_image, k_camera = jax.random.split(k)
            real = augment.crop_and_flip(k_image, batch[f"image_{side}"], size)
            own = batch[f"camera_{side}"]
            drawn = jax.random.randint(k_camera, own.shape, 0, cameras[other])
            there = pair(domain, own, drawn, cameras)
            here = pair(domain, own, jnp.full_like(own, NO_CAMERA), cameras)
            fake = translate(nets, OUT[domain], real, there)
            # Instance norm treats images one by one, so two batches may share a call.
            both, labels = jnp.concatenate([fake, real]), jnp.concatenate([there, here])
            back, same = jnp.split(translate(nets, INTO[domain], both, labels), 2)
            scores, logits = judged(nets, other, fake)
            named = losses.domain_classification(logits, drawn).mean()
            terms["g_adversarial"] += losses.lsgan_generator(scores).mean()
            terms["g_camera"] += class_weight * named
            terms["g_cycle"] += settings.cycle_weight * losses.cycle(real, back).mean()
            terms["g_identity"] += (
                settings.identity_weight * losses.identity_mapping(real, same).mean()
            )
            kept |= {side: real, f"fake_{SIDES[other]}": fake}
        return sum(terms.values()), Aux(terms, kept)

    def discriminators(nets, batch, memo, key):
        del key
        terms: dict[str, jax.Array] = {"d_camera": jnp.zeros(())}
        for domain in (SOURCE, TARGET):
            side = SIDES[domain]
            fake = memo[f"pooled_{side}"]
            # Without norms D treats images one by one, too.
            scores, logits = judged(nets, domain, jnp.concatenate([memo[side], fake]))
            named = losses.domain_classification(logits[: len(fake)], batch[f"camera_{side}"])
            terms[f"d_{side}"] = losses.lsgan_discriminator(*jnp.split(scores, 2)).mean()
            terms["d_camera"] += class_weight * named.mean()
        return sum(terms.values()), Aux(terms)

    judging = Phase(("DA", "DB"), discriminators)
    return [Phase(("G", "F"), generators), Interlude(pooled), judging]


def networks(
    settings: Settings, cameras: Cameras
) -> tuple[Generator, tuple[Discriminator, Discriminator]]:
    """StarGAN's generator for both ways, and its patch discriminator with a head for cameras."""
    generator = Generator(settings.width, settings.blocks, settings.halvings)
    source, target = (
        in_dtype(Discriminator(n, settings.width, settings.patch_layers)) for n in cameras
    )
    return in_dtype(generator), (source, target)
