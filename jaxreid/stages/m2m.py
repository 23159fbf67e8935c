"""M2M-GAN, lite: from every camera of the source to every camera of the target, and back."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.data import Split, augment, prefetch, unpaired
from jaxreid.report import figures
from jaxreid.stages import star
from jaxreid.stages.cycle_turns import CYCLEGAN, Settings, optimisers
from jaxreid.stages.domains import NAMES, Domains
from jaxreid.stages.m2m_turns import OUT, SIDES, Cameras, networks, pair, phases
from jaxreid.stages.sets import SOURCE, TARGET, Translators, require_batch
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
from jaxreid.training.pool import empty_pool


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


@cached
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

    return initialiser(init), alternate(phases(settings, size, cameras, class_weight), tx)


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
    training = remembered(partial(_train, directory, data, settings, class_weight, seed, every))
    trained = run_once(directory, made_by, training, trains=True)
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
    seen = (divided(split.images(rows)), divided(np.asarray(label)))
    return np.asarray(star.render(generator, params, *seen))


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
