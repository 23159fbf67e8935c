"""M2M-GAN, lite: from every camera of the source to every camera of the target, and back."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid import losses
from jaxreid.data import Split, augment, prefetch, unpaired
from jaxreid.nets.stargan import Discriminator, Generator
from jaxreid.report import figures
from jaxreid.stages import star
from jaxreid.stages.cycle_turns import CYCLEGAN, Settings, optimisers
from jaxreid.stages.domains import NAMES, Domains
from jaxreid.stages.sets import SOURCE, TARGET, Translators, require_batch
from jaxreid.training import Aux, Every, Phase, State, alternate, create, fit, run_once
from jaxreid.training.pool import empty_pool, exchange

NO_CAMERA = -1  # its one-hot label is zeros
Cameras = tuple[int, int]  # how many the source and the target have
SIDES = "ab"  # source and target, as a CycleGAN calls them
OUT, INTO = "GF", "FG"  # by domain: the generators that lead out of it and into it


def require(settings: Settings, data: Domains) -> None:
    """Finds out before any training whether ``data`` can be trained on.

    Raises:
        ValueError: fewer images than a batch, a batch that the devices cannot split, images that
            the networks do not take, settings that the networks do not have.
    """
    for name, value in {"dropout": 0.0, "candidates": 1}.items():
        if getattr(settings, name) != value:
            raise ValueError(
                f"gan.{name} is {getattr(settings, name)}, but M2M-GAN here has no dropout and "
                f"takes the last checkpoint: set it to {value}"
            )
    splits = data.source.train, data.target.train
    require_batch("gan.batch", settings.batch, min(map(len, splits)))
    try:
        made = program(settings, splits[0].size, (2, 2), 1, 1.0)
        jax.eval_shape(made[0], jax.random.key(0))
    except ValueError as error:
        raise ValueError(
            f"the images do not fit M2M-GAN. {error} The settings are data.height, data.width, "
            "gan.halvings and gan.patch_layers (the `layers` of the message)."
        ) from error


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
) -> list[Phase]:
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
        terms: dict[str, jax.Array] = {"d_camera": jnp.zeros(())}
        pools = {}
        for domain, k in zip((SOURCE, TARGET), jax.random.split(key), strict=True):
            side = SIDES[domain]
            pools[f"pool_{side}"], fake = exchange(memo[f"pool_{side}"], k, memo[f"fake_{side}"])
            # Without norms D treats images one by one, too.
            scores, logits = judged(nets, domain, jnp.concatenate([memo[side], fake]))
            named = losses.domain_classification(logits[: len(fake)], batch[f"camera_{side}"])
            terms[f"d_{side}"] = losses.lsgan_discriminator(*jnp.split(scores, 2)).mean()
            terms["d_camera"] += class_weight * named.mean()
        return sum(terms.values()), Aux(terms, pools)

    return [Phase(("G", "F"), generators), Phase(("DA", "DB"), discriminators)]


def networks(
    settings: Settings, cameras: Cameras
) -> tuple[Generator, tuple[Discriminator, Discriminator]]:
    """StarGAN's generator for both ways, and its patch discriminator with a head for cameras."""
    generator = Generator(settings.width, settings.blocks, settings.halvings)
    source, target = (Discriminator(n, settings.width, settings.patch_layers) for n in cameras)
    return generator, (source, target)


@cache
def program(
    settings: Settings, size: tuple[int, int], cameras: Cameras, epoch: int, class_weight: float
):
    """``init(key)`` and ``step(state, batch)``, made once."""
    generator, judges = networks(settings, cameras)
    tx = optimisers(settings, CYCLEGAN, epoch)

    def init(key: jax.Array) -> State:
        images, labels = jnp.zeros((1, *size, 3)), jnp.zeros((1, sum(cameras)))
        k_g, k_f, *k_d = jax.random.split(key, 4)
        nets = {"G": generator.init(k_g, images, labels), "F": generator.init(k_f, images, labels)}
        for side, judge, k in zip(SIDES, judges, k_d, strict=True):
            nets[f"D{side.upper()}"] = judge.init(k, images)
        pools = {f"pool_{side}": empty_pool(settings.pool, (*size, 3)) for side in SIDES}
        return create(jax.random.fold_in(key, 0), nets, tx, pools)

    return jax.jit(init), alternate(phases(settings, size, cameras, class_weight), tx)


def train(
    directory: Path,
    data: Domains,
    settings: Settings,
    class_weight: float,
    *,
    seed: int,
    every: Every,
) -> Translators:
    """Trains both generators on all training images of both domains.

    Args:
        directory: for checkpoints, metrics and sample grids.
        data: both sets, of which images and cameras are used, no identities.
        settings: those of a CycleGAN; ``patch_layers`` are the discriminators' stride-2 layers.
        class_weight: of the camera heads' cross-entropy.
        seed: of initialisation, batches and augmentation, and of the cameras that images go to.
        every: how often to log, save and sample.

    Returns:
        The translator from source to target, each image in the style of a random target camera:
        that by which the world, as oracle, sees it.
    """
    made_by = {"gan": asdict(settings), "class_weight": class_weight, "seed": seed}
    made_by |= {"data": data.made_by, "size": data.source.train.size}
    training = cache(partial(_train, directory, data, settings, class_weight, seed, every))
    trained = run_once(directory, made_by, training)
    target = len(_cameras(data.target.train))

    def translate(split: Split, rows: np.ndarray) -> np.ndarray:
        drawn = np.random.default_rng((seed, 1)).choice(target, len(split))[rows]
        # Called again, a finished training only reads its last checkpoint.
        return _styled(training, data, settings, SOURCE, rows, drawn)

    return Translators({(SOURCE, TARGET): translate}, trained)


def _train(directory: Path, data: Domains, settings, class_weight, seed, every) -> State:
    splits = data.source.train, data.target.train
    size, cameras = splits[0].size, [_cameras(split) for split in splits]
    plan = unpaired(len(splits[0]), len(splits[1]), settings.batch, (seed, SOURCE, TARGET), min)
    counts = (len(cameras[0]), len(cameras[1]))
    init, step = program(settings, size, counts, plan.steps_per_epoch, class_weight)
    loaded = [split.resized(augment.larger(size, settings.margin)) for split in splits]

    def batch(index: int) -> dict[str, np.ndarray]:
        found = {}
        for domain, rows in enumerate(plan(index)):
            side, split = SIDES[domain], loaded[domain]
            found[f"image_{side}"] = split.images(rows)
            found[f"camera_{side}"] = _numbers(split, rows)
        return found

    return fit(
        lambda: init(jax.random.key(seed)),
        step,
        lambda start, stop: prefetch(batch, start, stop),
        steps=plan.steps_per_epoch * (settings.epochs + settings.decay_epochs),
        directory=directory,
        every=every,
        sample=lambda state, step: _sample(directory, step, lambda: state, data, settings),
    )


def _cameras(split: Split) -> Sequence[int]:
    return np.unique(split.cameras).tolist()


def _numbers(split: Split, rows: np.ndarray) -> np.ndarray:
    """Cameras counted in their domain: numbers of files may have gaps."""
    return np.searchsorted(_cameras(split), split.cameras[rows]).astype(np.int32)


def _styled(
    state: Callable[[], State],
    data: Domains,
    settings: Settings,
    domain: int,
    rows: np.ndarray,
    other: np.ndarray,
) -> np.ndarray:
    """Images of a domain in the style of the cameras ``other`` of the other one."""
    splits = data.source.train, data.target.train
    cameras = (len(_cameras(splits[SOURCE])), len(_cameras(splits[TARGET])))
    split, generator = splits[domain], networks(settings, cameras)[0]
    label = pair(domain, jnp.asarray(_numbers(split, rows)), jnp.asarray(other), cameras)
    params = state().nets[OUT[domain]].params
    return np.asarray(star.render(generator, params, split.images(rows), label))


def _sample(directory: Path, step: int, state, data: Domains, settings: Settings) -> None:
    """Two images of every camera in the style of every camera of the other domain."""
    splits = data.source.train, data.target.train
    names = [[f"{n} {c + 1}" for c in _cameras(s)] for n, s in zip(NAMES, splits, strict=True)]
    real, fake = {}, {}
    for domain, split in enumerate(splits):
        for name, camera in zip(names[domain], _cameras(split), strict=True):
            rows = np.flatnonzero(split.cameras == camera)[:2]
            real[name] = split.images(rows)
            for number, other in enumerate(names[1 - domain]):
                drawn = np.full(len(rows), number)
                fake[name, other] = _styled(state, data, settings, domain, rows, drawn)
    figures.write_sample(directory, step, figures.translation_grid(real, fake, scale=2))
