"""DCGAN: people drawn from noise, learned from training images without their identities."""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreid import losses
from jaxreid.data import augment, prefetch, shuffled
from jaxreid.nets.dcgan import Discriminator, Generator
from jaxreid.report import figures
from jaxreid.stages.sets import Sampler, Sets, require_batch
from jaxreid.training import (
    Aux,
    Every,
    Phase,
    State,
    alternate,
    cached,
    create,
    fit,
    in_dtype,
    initialiser,
    remembered,
    run_once,
)


@dataclass(frozen=True)
class Settings:
    """One DCGAN and its training.

    Attributes:
        image_height: rows of the pictures it learns and draws, a multiple of 2^depth.
        image_width: columns, likewise.
        width: channels of the first layer of the discriminator (64 in LSRO).
        depth: halvings of the discriminator, doublings of the generator (4).
        noise: numbers that a picture is drawn from, each U(-1, 1) (100).
        batch: real images per step, and as many generated.
        epochs: passes over the images.
        rate: Adam's, of both networks; betas 0.5 and 0.999.
    """

    image_height: int
    image_width: int
    width: int
    depth: int
    noise: int
    batch: int
    epochs: int
    rate: float


def require(settings: Settings, data: Sets) -> None:
    """Finds out before any training whether ``data`` can be trained on.

    Raises:
        ValueError: fewer images than a batch, a batch that the devices cannot split, or a size
            that the networks do not take.
    """
    require_batch("dcgan.batch", settings.batch, len(data.train))
    try:
        jax.eval_shape(program(settings)[0], jax.random.key(0))
    except ValueError as error:
        raise ValueError(
            f"dcgan.image_height, image_width and depth do not fit. {error}"
        ) from error


def phases(settings: Settings) -> list[Phase]:
    """DCGAN's three turns: the discriminator, then the generator twice on the same noise.

    ``batch['image']``: uint8 ``[B, H, W, 3]``. Real and generated images pass the discriminator
    apart, so that batch norm sees each kind by itself. Only the generator's running statistics are
    kept: the discriminator never runs on any.

    References:
        Zheng, Zheng, Yang, ICCV 2017 (LSRO), in the order of the code that drew its images.
    """
    generator, judge = _networks(settings)

    def apply(net, view, name, inputs) -> Any:
        variables = {"params": view[name].params, "batch_stats": view[name].stats}
        outputs, updated = net.apply(variables, inputs, train=True, mutable=["batch_stats"])
        return outputs, updated["batch_stats"]

    def discriminator_turn(nets, batch, memo, key):
        k_flip, k_noise = jax.random.split(key)
        real = augment.flip(k_flip, augment.to_float(batch["image"]))
        noise = jax.random.uniform(k_noise, (len(real), settings.noise), minval=-1.0)
        fake, _ = apply(generator, nets, "G", noise)
        (real_score, _), (fake_score, _) = (apply(judge, nets, "D", x) for x in (real, fake))
        loss = losses.minimax_discriminator(real_score, fake_score).mean()
        return loss, Aux({"d": loss}, {"noise": noise})

    def generator_turn(nets, batch, memo, key):
        fake, stats = apply(generator, nets, "G", memo["noise"])
        score, _ = apply(judge, nets, "D", fake)
        loss = losses.nonsaturating_generator(score).mean()
        return loss, Aux({"g": loss}, stats={"G": stats})

    return [Phase(("D",), discriminator_turn)] + [Phase(("G",), generator_turn)] * 2


def train(directory: Path, data: Sets, settings: Settings, *, seed: int, every: Every) -> Sampler:
    """Trains one DCGAN on all training images.

    Args:
        directory: for checkpoints, metrics and sample grids.
        data: its training images are used, without identities and cameras.
        settings: see ``Settings``.
        seed: of initialisation, batches and noise.
        every: how often to log, save and sample.
    """
    made_by = {"dcgan": asdict(settings), "seed": seed, "data": data.made_by}
    # Called again, a finished training only reads its last checkpoint.
    state = remembered(partial(_train, directory, data, settings, seed, every))
    fingerprint = run_once(directory, made_by, state, trains=True)

    def draw(number: int, count: int) -> np.ndarray:
        return _draw(settings, state(), jax.random.fold_in(jax.random.key(seed), number), count)

    return Sampler(draw, fingerprint)


def _train(directory: Path, data: Sets, settings: Settings, seed: int, every: Every) -> State:
    init, step = program(settings)
    real = data.train.resized((settings.image_height, settings.image_width))
    plan = shuffled(len(real), settings.batch, seed)
    return fit(
        lambda: init(jax.random.key(seed)),
        step,
        lambda start, stop: prefetch(lambda s: {"image": real.images(plan(s))}, start, stop),
        steps=plan.steps_per_epoch * settings.epochs,
        directory=directory,
        every=every,
        sample=lambda state, step: _sample(directory, settings, state, step),
    )


@cached
def program(settings: Settings):
    """``init(key)`` and ``step(state, batch)``, made once."""
    generator, judge = _networks(settings)
    tx = {name: optax.adam(settings.rate, b1=0.5, b2=0.999) for name in "DG"}

    def init(key: jax.Array) -> State:
        k_g, k_d = jax.random.split(key)
        noise = jnp.zeros((2, settings.noise))
        images = jnp.zeros((2, settings.image_height, settings.image_width, 3))
        nets = {"G": generator.init(k_g, noise), "D": judge.init(k_d, images)}
        return create(jax.random.fold_in(key, 0), nets, tx)

    return initialiser(init), alternate(phases(settings), tx)


def _networks(settings: Settings) -> tuple[Generator, Discriminator]:
    size = settings.image_height, settings.image_width
    generator = Generator(size, settings.width, settings.depth)
    return in_dtype(generator), in_dtype(Discriminator(settings.width, settings.depth))


def _draw(settings: Settings, state: State, key: jax.Array, count: int) -> np.ndarray:
    net = state.nets["G"]
    noise = jax.random.uniform(key, (count, settings.noise), minval=-1.0)
    variables = {"params": net.params, "batch_stats": net.stats}
    return np.asarray(_apply(_networks(settings)[0], variables, noise))


@partial(jax.jit, static_argnums=0)
def _apply(generator: Generator, variables, noise: jax.Array) -> jax.Array:
    images: Any = generator.apply(variables, noise)
    return augment.to_uint8(images)


def _sample(directory: Path, settings: Settings, state: State, step: int) -> None:
    drawn = _draw(settings, state, jax.random.key(0), 32)
    figures.write_sample(
        directory, step, figures.grid(drawn.reshape(4, 8, *drawn.shape[1:]), scale=2)
    )
