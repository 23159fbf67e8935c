"""Two-way translators: one CycleGAN per pair of styles, all pairs trained as one program."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreid import losses
from jaxreid.data import Plan, Split, augment, prefetch, unpaired
from jaxreid.nets.cyclegan import PatchGAN, ResnetGenerator
from jaxreid.report import figures
from jaxreid.stages import choose
from jaxreid.stages.sets import Sets, Translate, Translators
from jaxreid.training import Aux, Every, Phase, State, alternate, create, fit, run_once
from jaxreid.training.pool import empty_pool, exchange
from jaxreid.training.workdir import fingerprint

Item = TypeVar("Item")


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


def require(settings: Settings, data: Sets, pairs: Sequence[tuple[int, int]]) -> None:
    """Finds out before any training whether ``data`` can be trained on.

    Raises:
        ValueError: one camera only, a camera with fewer images than a batch, images that the
            networks do not take, more candidates than there are steps.
    """
    if not pairs:
        raise ValueError(
            "all training images carry one camera number, so there is no other camera's style to "
            "learn; look at the _cN part of the file names"
        )
    counts = {camera: int(np.sum(data.train.cameras == camera)) for camera in sum(pairs, ())}
    few = {f"camera {c + 1}": n for c, n in counts.items() if n < settings.batch}
    if few:
        raise ValueError(f"gan.batch is {settings.batch}, but there are images: {few}; lower it")
    shape = (1, *data.train.size, 3)
    for net in _networks(settings):
        try:
            jax.eval_shape(net.init, jax.random.key(0), jnp.zeros(shape))
        except ValueError as error:
            raise ValueError(
                f"the images do not fit the CycleGAN. {error} The settings are data.height, "
                "data.width, gan.halvings and gan.patch_layers."
            ) from error
    try:
        _candidates(settings, _epoch(_draws(_styles(data.train, pairs), settings, pairs, seed=0)))
    except ValueError as error:
        raise ValueError(f"gan.{error}") from error


def phases(settings: Settings, size: tuple[int, int]) -> list[Phase]:
    """CycleGAN's two turns: both generators, then both discriminators on pooled fakes.

    ``G`` maps style A to B and ``F`` back; ``DA`` and ``DB`` judge the style in their name.
    ``batch['a'], batch['b']``: uint8 ``[B, h, w, 3]``, somewhat larger than ``size``.

    References:
        Zhu et al., ICCV 2017; objective of the public code that CamStyle's images were made with.
    """
    generator, judge = _networks(settings)

    def judged(nets, name, images) -> Any:
        return judge.apply({"params": nets[name].params}, images)

    def generators(nets, batch, memo, key):
        k_a, k_b, k_g, k_f, k_fg, k_gf = jax.random.split(key, 6)
        a = augment.crop_and_flip(k_a, batch["a"], size)
        b = augment.crop_and_flip(k_b, batch["b"], size)

        def translate(name, images, key) -> Any:
            variables = {"params": nets[name].params}
            return generator.apply(variables, images, train=True, rngs={"dropout": key})

        # Instance norm treats images one by one, so two batches may share a call.
        fake_b, same_b = jnp.split(translate("G", jnp.concatenate([a, b]), k_g), 2)
        fake_a, same_a = jnp.split(translate("F", jnp.concatenate([b, a]), k_f), 2)
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
        memo = {"a": a, "b": b, "fake_a": fake_a, "fake_b": fake_b}
        return sum(terms.values()), Aux(terms, memo)

    def discriminators(nets, batch, memo, key):
        terms, pools = {}, {}
        for style, k in zip("ab", jax.random.split(key), strict=True):
            pools[f"pool_{style}"], fake = exchange(memo[f"pool_{style}"], k, memo[f"fake_{style}"])
            both = jnp.concatenate([memo[style], fake])
            real, fake = jnp.split(judged(nets, f"D{style.upper()}", both), 2)
            terms[f"d_{style}"] = losses.lsgan_discriminator(real, fake).mean()
        return sum(terms.values()), Aux(terms, pools)

    return [Phase(("G", "F"), generators), Phase(("DA", "DB"), discriminators)]


def schedule(settings: Settings, steps_per_epoch: int) -> Callable[[Any], jax.Array]:
    """The code's rate: factor ``1 - max(0, e + 2 - epochs) / (decay_epochs + 1)`` in epoch e."""

    def rate(step):
        epoch = step // steps_per_epoch
        late = jnp.maximum(0, epoch + 2 - settings.epochs)
        return settings.rate * (1.0 - late / (settings.decay_epochs + 1))

    return rate


def train(
    directory: Path,
    data: Sets,
    pairs: Sequence[tuple[int, int]],
    settings: Settings,
    *,
    seed: int,
    every: Every,
    chooser: choose.Chooser | None = None,
) -> Translators:
    """Trains one CycleGAN per pair of cameras.

    Args:
        directory: for checkpoints, metrics and sample grids, one folder per group of pairs.
        data: its training images are used, without their identities.
        pairs: cameras ``(a, b)``.
        settings: see ``Settings``.
        seed: of initialisation, batches and augmentation.
        every: how often to log, save and sample.
        chooser: picks among ``settings.candidates`` checkpoints, the same step for all pairs; None
            takes the last.

    Returns:
        Translators for every ordered pair.
    """
    styles = _styles(data.train, pairs)
    draws = _draws(styles, settings, pairs, seed)
    steps = _candidates(settings, _epoch(draws))
    trainings, fingerprints = [], []
    for group in groups(pairs):
        name = f"pair_{group[0][0] + 1}_{group[0][1] + 1}"
        name += f"_and_{len(group) - 1}_more" if len(group) > 1 else ""
        training = partial(
            _train_group, directory / name, styles, group, draws, settings, seed, every, steps
        )
        made_by = {"gan": asdict(settings), "pairs": group, "seed": seed}
        made_by |= {"data": data.made_by, "size": data.train.size}
        fingerprints.append(run_once(directory / name, made_by, partial(training, steps[-1])))
        trainings.append((group, training))

    def after(step: int) -> Translators:
        between: dict[tuple[int, int], Translate] = {}
        for group, training in trainings:
            # Called again, a finished training only reads the checkpoint of this step.
            between |= _translators(cache(partial(training, step)), group, settings)
        return Translators(between, fingerprint({"trained": fingerprints, "step": step}))

    found = {step: partial(after, step) for step in steps}
    return choose.best(directory / "choice", found, chooser)


def groups(models: Sequence[Item]) -> list[list[Item]]:
    """Which models (pairs of cameras, say) train together as one program, split over the devices.

    Batched over models a convolution becomes a grouped one, which accelerators run well and the
    CPU an order of magnitude too slowly: there each device takes one model at a time. The last
    group is filled up with repeated models, since groups split evenly over the devices.
    """
    share = 1 if jax.default_backend() == "cpu" else -(-len(models) // jax.device_count())
    size = share * jax.device_count()
    filled = [models[i % len(models)] for i in range(-(-len(models) // size) * size)]
    return [filled[i : i + size] for i in range(0, len(filled), size)]


def _styles(real: Split, pairs: Sequence[tuple[int, int]]) -> dict[int, Split]:
    return {c: real.take(np.flatnonzero(real.cameras == c)) for c in sorted({*sum(pairs, ())})}


def _draws(styles, settings, pairs, seed) -> dict[tuple[int, int], Plan]:
    return {
        (a, b): unpaired(len(styles[a]), len(styles[b]), settings.batch, seed=(seed, a, b))
        for a, b in pairs
    }


def _epoch(draws: Mapping[tuple[int, int], Plan]) -> int:
    """Steps of an epoch: one number for all pairs, so that they can share a program."""
    return max(1, round(float(np.mean([draw.steps_per_epoch for draw in draws.values()]))))


def _candidates(settings: Settings, epoch: int) -> list[int]:
    steps = epoch * (settings.epochs + settings.decay_epochs)
    return choose.candidates(steps, settings.candidates)


def _train_group(directory, styles, pairs, draws, settings, seed, every, keep, steps) -> State:
    size = styles[pairs[0][0]].size
    init, step = program(settings, size, _epoch(draws))
    key = jax.random.key(seed)
    keys = jnp.stack([jax.random.fold_in(jax.random.fold_in(key, a), b) for a, b in pairs])
    loaded = {c: s.resized(augment.larger(size, settings.margin)) for c, s in styles.items()}

    def batch(index: int) -> dict[str, np.ndarray]:
        rows = [draws[pair](index) for pair in pairs]
        picked = list(zip(pairs, rows, strict=True))
        return {
            side: np.stack([loaded[pair[i]].images(drawn[i]) for pair, drawn in picked])
            for i, side in enumerate("ab")
        }

    return fit(
        lambda: init(keys),
        step,
        lambda start, stop: prefetch(batch, start, stop),
        steps=steps,
        directory=directory,
        every=every,
        keep=keep,
        sample=lambda state, step: _sample(directory, state, step, styles, pairs, settings),
        models=len(pairs),
    )


@cache
def program(settings: Settings, size: tuple[int, int], epoch: int):
    """``init(keys)`` and ``step(state, batch)`` over a leading axis of models, made once."""
    generator, judge = _networks(settings)
    rate = schedule(settings, epoch)
    tx = {name: optax.adam(rate, b1=0.5, b2=0.999) for name in ("G", "F", "DA", "DB")}

    def init(key: jax.Array) -> State:
        keys = dict(zip(tx, jax.random.split(key, len(tx)), strict=True))
        blank = jnp.zeros((1, *size, 3))
        nets = {n: (judge if n[0] == "D" else generator).init(keys[n], blank) for n in tx}
        pools = {f"pool_{s}": empty_pool(settings.pool, (*size, 3)) for s in "ab"}
        return create(jax.random.fold_in(key, 0), nets, tx, pools)

    return jax.jit(jax.vmap(init)), alternate(phases(settings, size), tx).map(jax.vmap)


def _translators(
    state: Callable[[], State], pairs: Sequence[tuple[int, int]], settings: Settings
) -> dict[tuple[int, int], Translate]:
    generator, _ = _networks(settings)

    def translator(name: str, model: int) -> Translate:
        def translate(split: Split, rows: np.ndarray) -> np.ndarray:
            params = jax.tree.map(lambda x: x[model], state().nets[name].params)
            return np.asarray(_apply(generator, params, split.images(rows)))

        return translate

    forward = {(a, b): translator("G", i) for i, (a, b) in enumerate(pairs)}
    return forward | {(b, a): translator("F", i) for i, (a, b) in enumerate(pairs)}


@partial(jax.jit, static_argnums=0)
def _apply(generator: ResnetGenerator, params, images: jax.Array) -> jax.Array:
    translated: Any = generator.apply({"params": params}, augment.to_float(images))
    return augment.to_uint8(translated)


def _networks(settings: Settings) -> tuple[ResnetGenerator, PatchGAN]:
    generator = ResnetGenerator(
        settings.width, settings.blocks, settings.halvings, dropout=settings.dropout
    )
    return generator, PatchGAN(settings.width, settings.patch_layers)


def _sample(directory, state, step, styles, pairs, settings) -> None:
    rows = np.arange(2)
    translators = _translators(lambda: state, pairs, settings)
    real = {camera: styles[camera].images(rows) for camera in sorted({*sum(pairs, ())})}
    fake = {(a, b): make(styles[a], rows) for (a, b), make in translators.items()}
    figures.write_sample(directory, step, figures.translation_grid(real, fake, scale=2))
