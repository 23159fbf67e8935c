"""Unity style: one UnityGAN per camera maps its images to a style between those of all cameras."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreid import losses
from jaxreid.data import Split, augment, prefetch, stream
from jaxreid.nets.unitygan import UnityGenerator
from jaxreid.report import figures
from jaxreid.stages.sets import Restylers, Sets, Translate, require_cameras
from jaxreid.stages.unity_turns import TERMS, Settings, networks, phases
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
from jaxreid.training.workdir import fingerprint

__all__ = ["Settings", "phases", "program", "require", "schedule", "train"]


def require(settings: Settings, data: Sets) -> None:
    """Finds out before any training whether ``data`` can be trained on.

    Any number of devices will do, as they share the models, and any size that the networks take
    has room for MS-SSIM.

    Raises:
        ValueError: images without camera, one camera only, a camera with fewer images than a batch,
            images that the networks do not take.
    """
    require_cameras("train", data.train)
    cameras, counts = np.unique(data.train.cameras, return_counts=True)
    if len(cameras) < 2:
        raise ValueError(
            "all training images carry one camera number, so there is no style between cameras to "
            "learn; look at the _cN part of the file names"
        )
    few = {f"camera {c + 1}": int(n) for c, n in zip(cameras, counts, strict=True)}
    few = {name: n for name, n in few.items() if n < settings.batch}
    if few:
        raise ValueError(
            f"unitygan.batch is {settings.batch}, but there are images: {few}; lower it"
        )
    blank = jax.ShapeDtypeStruct((1, *data.train.size, 3), jnp.float32)
    try:
        for net in networks(settings):
            jax.eval_shape(net.init, jax.random.key(0), blank)
    except ValueError as error:
        raise ValueError(f"data.height and data.width do not fit the UnityGAN. {error}") from error


def schedule(settings: Settings, steps_per_epoch: int) -> Callable[[Any], jax.Array]:
    """The rate in a step: constant for ``epochs``, then linear to 0 over ``decay_epochs``."""
    end = steps_per_epoch * (settings.epochs + settings.decay_epochs)
    falling = max(1, steps_per_epoch * settings.decay_epochs)
    return lambda step: settings.rate * jnp.minimum(1.0, (end - step) / falling)


def train(directory: Path, data: Sets, settings: Settings, *, seed: int, every: Every) -> Restylers:
    """Trains one UnityGAN per camera.

    Args:
        directory: for checkpoints, metrics and sample grids, one folder per group of cameras.
        data: its training images are used, without their identities.
        settings: see ``Settings``.
        seed: of initialisation, batches and augmentation.
        every: how often to log, save and sample.

    Returns:
        A restyler for every camera.
    """
    restylers: dict[int, Translate] = {}
    fingerprints = []

    def task(group: Sequence[int]) -> Task:
        init, step, batch = _task(data.train, group, settings, seed)
        return init, step, batch(0)

    for group in grouped(directory, np.unique(data.train.cameras).tolist(), task):
        name = f"camera_{group[0] + 1}"
        name += f"_and_{len(group) - 1}_more" if len(group) > 1 else ""
        # Called again, a finished training only reads its last checkpoint.
        given = (directory / name, data.train, group, settings, seed, every)
        state = remembered(partial(_train_group, *given))
        made_by = {"unitygan": asdict(settings), "cameras": group, "seed": seed}
        made_by |= {"data": data.made_by, "size": data.train.size}
        fingerprints.append(run_once(directory / name, made_by, state, trains=True))
        restylers |= {c: partial(_restyle, state, settings, "G", i) for i, c in enumerate(group)}
    return Restylers(restylers, fingerprint({"trained": fingerprints}))


def _train_group(
    directory: Path, real: Split, group: Sequence[int], settings: Settings, seed: int, every: Every
) -> State:
    init, step, batch = _task(real, group, settings, seed)
    return fit(
        init,
        step,
        lambda start, stop: prefetch(batch, start, stop),
        steps=_epoch(real, settings) * (settings.epochs + settings.decay_epochs),
        directory=directory,
        every=every,
        sample=lambda state, step: _sample(directory, state, step, real, group, settings),
        models=len(group),
    )


def _epoch(real: Split, settings: Settings) -> int:
    return max(1, len(real) // settings.batch)


def _task(real: Split, group: Sequence[int], settings: Settings, seed: int):
    """``init()``, the step and ``batch(step)`` of the UnityGANs of ``group``."""
    cameras = np.unique(real.cameras).tolist()
    init, step = program(settings, real.size, len(cameras), _epoch(real, settings))
    key = jax.random.key(seed)
    keys = jnp.stack([jax.random.fold_in(key, camera) for camera in group])
    larger = real.resized(augment.larger(real.size, settings.margin))
    return partial(init, keys), step, _batches(larger, group, settings, seed)


def _batches(
    real: Split, group: Sequence[int], settings: Settings, seed: int
) -> Callable[[int], dict[str, np.ndarray]]:
    """``batch(step)``: of every model's own camera and of all cameras, anew for each turn."""
    rows = {camera: np.flatnonzero(real.cameras == camera) for camera in np.unique(real.cameras)}

    def plan(*key: int, camera: int):
        draw = stream(len(rows[camera]), settings.batch, (seed, *key))
        return lambda turn: real.images(rows[camera][draw(turn)])

    own = [plan(model, 0, camera=model) for model in group]
    others = [[plan(model, 1 + camera, camera=camera) for camera in rows] for model in group]

    def batch(step: int) -> dict[str, np.ndarray]:
        made = {}
        for turn, number in (("d", 2 * step), ("g", 2 * step + 1)):
            made[f"{turn}_x"] = np.stack([draw(number) for draw in own])
            drawn = [np.stack([draw(number) for draw in draws], 1) for draws in others]
            made[f"{turn}_y"] = np.stack(drawn)
        return made

    return batch


@cached
def program(settings: Settings, size: tuple[int, int], cameras: int, epoch: int):
    """``init(keys)`` and ``step(state, batch)`` over a leading axis of models, made once."""
    generator, judge = networks(settings)
    tx = optimisers(settings, epoch)

    def init(key: jax.Array) -> State:
        keys = dict(zip(tx, jax.random.split(key, len(tx)), strict=True))
        blank = jnp.zeros((1, *size, 3))
        nets = {n: (judge if n[0] == "D" else generator).init(keys[n], blank) for n in tx}
        extra = {"scales": losses.loss_scale((len(TERMS),))}
        return create(jax.random.fold_in(key, 0), nets, tx, extra)

    return initialiser(jax.vmap(init)), alternate(phases(settings, size, cameras), tx).map(jax.vmap)


def optimisers(settings: Settings, epoch: int) -> dict[str, optax.GradientTransformation]:
    """Adam for every network; an optimiser counts its own turns, the schedule counts steps."""
    rate = schedule(settings, epoch)
    generators = optax.adam(rate, b1=0.5, b2=0.999)
    judges = optax.adam(lambda turn: rate(2 * turn), b1=0.5, b2=0.999)
    return {"G": generators, "F": generators, "DX": judges, "DY": judges}


def _restyle(
    state: Callable[[], State],
    settings: Settings,
    name: str,
    model: int,
    split: Split,
    rows: np.ndarray,
) -> np.ndarray:
    net = state().nets[name]
    variables = {"params": net.params, "batch_stats": net.stats}
    one = jax.tree.map(lambda x: x[model], variables)
    return np.asarray(_apply(networks(settings)[0], one, divided(split.images(rows))))


@partial(jax.jit, static_argnums=0)
def _apply(generator: UnityGenerator, variables, images: jax.Array) -> jax.Array:
    restyled: Any = generator.apply(variables, augment.to_float(images))
    return augment.to_uint8(restyled)


def _sample(
    directory: Path,
    state: State,
    step: int,
    real: Split,
    group: Sequence[int],
    settings: Settings,
    images: int = 4,
) -> None:
    """Every camera's images and their unity style; beside them, any image and the way back."""
    columns = []
    anything = np.linspace(0, len(real) - 1, images).astype(int)
    for model, camera in enumerate(group):
        own = np.flatnonzero(real.cameras == camera)[:images]
        turn = partial(_restyle, lambda: state, settings)
        there, back = turn("G", model, real, own), turn("F", model, real, anything)
        columns.append([real.images(own), there, real.images(anything), back])
    labels = [f"camera {camera + 1}" if i == 0 else "" for camera in group for i in range(images)]
    cells = np.concatenate([np.stack(column, 1) for column in columns])
    titles = ["real", "unity style", "any camera", "this camera"]
    figures.write_sample(directory, step, figures.grid(cells, labels, titles, scale=2))
