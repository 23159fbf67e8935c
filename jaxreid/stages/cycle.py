"""Two-way translators: one per pair of styles, all pairs trained as one program."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data import Plan, Split, augment, prefetch, unpaired
from jaxreid.nets.cyclegan import ResnetGenerator
from jaxreid.report import figures
from jaxreid.stages import choose
from jaxreid.stages.cycle_turns import (
    CYCLEGAN,
    Method,
    Seen,
    Settings,
    modules,
    networks,
    optimisers,
    phases,
)
from jaxreid.stages.sets import Sets, Translate, Translators
from jaxreid.training import (
    Every,
    State,
    alternate,
    cached,
    create,
    divided,
    fit,
    initialiser,
    remembered,
    run_once,
)
from jaxreid.training.grouping import Task, grouped
from jaxreid.training.pool import empty_pool
from jaxreid.training.workdir import fingerprint

__all__ = [
    "CYCLEGAN",
    "Method",
    "Seen",
    "Settings",
    "length",
    "phases",
    "program",
    "require",
    "train",
]


def require(
    settings: Settings,
    data: Sets,
    pairs: Sequence[tuple[int, int]],
    method: Method = CYCLEGAN,
    chosen: bool = False,
) -> None:
    """Finds out before any training whether ``data`` can be trained on.

    ``chosen``: whether ``train`` will be given a chooser.

    Raises:
        ValueError: candidates that nothing chooses among, one camera only, a camera with fewer
            images than a batch, images that the networks do not take, more candidates than
            steps.
    """
    if settings.candidates > 1 and not chosen:
        raise ValueError(
            f"gan.candidates is {settings.candidates}, but nothing here chooses among checkpoints: "
            "say --config.gan.candidates=1 for the last"
        )
    if not pairs:
        raise ValueError(
            "all training images carry one camera number, so there is no other camera's style to "
            "learn; look at the _cN part of the file names"
        )
    counts = {camera: int(np.sum(data.train.cameras == camera)) for camera in sum(pairs, ())}
    few = {f"camera {c + 1}": n for c, n in counts.items() if n < settings.batch}
    if few:
        raise ValueError(f"gan.batch is {settings.batch}, but there are images: {few}; lower it")
    try:
        jax.eval_shape(partial(_initial, settings, method, data.train.size), jax.random.key(0))
    except ValueError as error:
        raise ValueError(
            f"the images do not fit the CycleGAN. {error} The settings are data.height, "
            "data.width, gan.halvings and gan.patch_layers."
        ) from error
    styles = _styles(data.train, pairs)
    try:
        _candidates(settings, _epoch(_draws(styles, settings, pairs, 0, method.epoch)))
    except ValueError as error:
        raise ValueError(f"gan.{error}") from error


def train(
    directory: Path,
    data: Sets,
    pairs: Sequence[tuple[int, int]],
    settings: Settings,
    *,
    seed: int,
    every: Every,
    chooser: choose.Chooser | None = None,
    method: Method = CYCLEGAN,
    names: Sequence[str] = (),
) -> Translators:
    """Trains one translator per pair of cameras, or of whatever else ``cameras`` tell apart.

    Args:
        directory: for checkpoints, metrics and sample grids, one folder per group of pairs.
        data: its training images are used, without their identities.
        pairs: cameras ``(a, b)``.
        settings: see ``Settings``.
        seed: of initialisation, batches and augmentation.
        every: how often to log, save and sample.
        chooser: picks among ``settings.candidates`` checkpoints, the same step for all pairs; None
            takes the last.
        method: what the translators do beyond CycleGAN.
        names: of the styles 0, 1, ... in pictures, where these are no cameras.

    Returns:
        Translators for every ordered pair.
    """
    styles = _styles(data.train, pairs)
    draws = _draws(styles, settings, pairs, seed, method.epoch)
    steps = _candidates(settings, _epoch(draws))
    trainings, fingerprints = [], []

    def task(group: Sequence[tuple[int, int]]) -> Task:
        init, step, batch = _task(styles, group, draws, settings, method, seed)
        return init, step, batch(0)

    for group in grouped(directory, pairs, task):
        name = f"pair_{group[0][0] + 1}_{group[0][1] + 1}"
        name += f"_and_{len(group) - 1}_more" if len(group) > 1 else ""
        training = partial(
            _train_group,
            *(directory / name, styles, group, draws, settings, method, names, seed, every, steps),
        )
        made_by = {"gan": asdict(settings), "pairs": group, "seed": seed}
        made_by |= {"data": data.made_by, "size": data.train.size, **dict(method.made_by)}
        whole = partial(training, steps[-1])
        fingerprints.append(run_once(directory / name, made_by, whole, trains=True))
        trainings.append((group, training))

    def after(step: int) -> Translators:
        between: dict[tuple[int, int], Translate] = {}
        for group, training in trainings:
            # Called again, a finished training only reads the checkpoint of this step.
            between |= _translators(remembered(partial(training, step)), group, settings)
        return Translators(between, fingerprint({"trained": fingerprints, "step": step}))

    found = {step: partial(after, step) for step in steps}
    return choose.best(directory / "choice", found, chooser)


def _styles(real: Split, pairs: Sequence[tuple[int, int]]) -> dict[int, Split]:
    return {c: real.take(np.flatnonzero(real.cameras == c)) for c in sorted({*sum(pairs, ())})}


def length(
    settings: Settings, data: Sets, pairs: Sequence[tuple[int, int]], epoch: Callable[..., int]
) -> int:
    """Steps of a whole training, by ``Method.epoch``."""
    draws = _draws(_styles(data.train, pairs), settings, pairs, 0, epoch)
    return _epoch(draws) * (settings.epochs + settings.decay_epochs)


def _draws(styles, settings, pairs, seed, epoch) -> dict[tuple[int, int], Plan]:
    return {
        (a, b): unpaired(len(styles[a]), len(styles[b]), settings.batch, (seed, a, b), epoch)
        for a, b in pairs
    }


def _epoch(draws: Mapping[tuple[int, int], Plan]) -> int:
    """Steps of an epoch: one number for all pairs, so that they can share a program."""
    return max(1, round(float(np.mean([draw.steps_per_epoch for draw in draws.values()]))))


def _candidates(settings: Settings, epoch: int) -> list[int]:
    steps = epoch * (settings.epochs + settings.decay_epochs)
    return choose.candidates(steps, settings.candidates)


def _train_group(
    directory, styles, pairs, draws, settings, method, names, seed, every, keep, steps
) -> State:
    init, step, batch = _task(styles, pairs, draws, settings, method, seed)
    return fit(
        init,
        step,
        lambda start, stop: prefetch(batch, start, stop),
        steps=steps,
        directory=directory,
        every=every,
        keep=keep,
        sample=lambda state, step: _sample(directory, state, step, styles, pairs, settings, names),
        models=len(pairs),
    )


def _task(styles, pairs, draws, settings, method, seed):
    """``init()``, the step and ``batch(step)`` of the translators of ``pairs``."""
    size = styles[pairs[0][0]].size
    init, step = program(settings, size, _epoch(draws), method)
    key = jax.random.key(seed)
    keys = jnp.stack([jax.random.fold_in(jax.random.fold_in(key, a), b) for a, b in pairs])
    loaded = {c: s.resized(augment.larger(size, settings.margin)) for c, s in styles.items()}

    def shown(split: Split, rows: np.ndarray) -> np.ndarray:
        return split.masked(rows) if method.masks else split.images(rows)

    def batch(index: int) -> dict[str, np.ndarray]:
        rows = [draws[pair](index) for pair in pairs]
        picked = list(zip(pairs, rows, strict=True))
        return {
            side: np.stack([shown(loaded[pair[i]], drawn[i]) for pair, drawn in picked])
            for i, side in enumerate("ab")
        }

    return partial(init, keys), step, batch


@cached
def program(settings: Settings, size: tuple[int, int], epoch: int, method: Method = CYCLEGAN):
    """``init(keys)`` and ``step(state, batch)`` over a leading axis of models, made once."""
    tx = optimisers(settings, method, epoch)

    def init(key: jax.Array) -> State:
        pools = {f"pool_{s}": empty_pool(settings.pool, (*size, 3)) for s in "ab"}
        nets = _initial(settings, method, size, key)
        return create(jax.random.fold_in(key, 0), nets, tx, pools)

    return initialiser(jax.vmap(init)), alternate(phases(settings, size, method), tx).map(jax.vmap)


def _initial(
    settings: Settings, method: Method, size: tuple[int, int], key: jax.Array
) -> dict[str, Any]:
    """Fresh variables of every network."""
    nets, blank = modules(settings, method), jnp.zeros((1, *size, 3))
    keys = dict(zip(nets, jax.random.split(key, len(nets)), strict=True))
    return {
        name: net.init({"params": keys[name], "dropout": keys[name]}, blank)
        for name, net in nets.items()
    }


def _translators(
    state: Callable[[], State], pairs: Sequence[tuple[int, int]], settings: Settings
) -> dict[tuple[int, int], Translate]:
    generator, _ = networks(settings)

    def translator(name: str, model: int) -> Translate:
        def translate(split: Split, rows: np.ndarray) -> np.ndarray:
            params = jax.tree.map(lambda x: x[model], state().nets[name].params)
            return np.asarray(_apply(generator, params, divided(split.images(rows))))

        return translate

    forward = {(a, b): translator("G", i) for i, (a, b) in enumerate(pairs)}
    return forward | {(b, a): translator("F", i) for i, (a, b) in enumerate(pairs)}


@partial(jax.jit, static_argnums=0)
def _apply(generator: ResnetGenerator, params, images: jax.Array) -> jax.Array:
    translated: Any = generator.apply({"params": params}, augment.to_float(images))
    return augment.to_uint8(translated)


def _sample(directory, state, step, styles, pairs, settings, names) -> None:
    rows = np.arange(2)
    translators = _translators(lambda: state, pairs, settings)
    named = dict(enumerate(names))
    real = {
        named.get(style, style): styles[style].images(rows) for style in sorted({*sum(pairs, ())})
    }
    fake = {
        (named.get(a, a), named.get(b, b)): make(styles[a], rows)
        for (a, b), make in translators.items()
    }
    figures.write_sample(directory, step, figures.translation_grid(real, fake, scale=2))
