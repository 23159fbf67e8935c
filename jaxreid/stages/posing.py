"""PN-GAN's translator: any person in any pose."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxreid.data import Plan, Split, augment, poses, prefetch, require_keypoints, shuffled
from jaxreid.report import figures
from jaxreid.stages.posing_turns import Settings, networks, phases
from jaxreid.stages.sets import Sets, require_batch
from jaxreid.training import (
    Every,
    State,
    alternate,
    create,
    divided,
    fit,
    initialiser,
    remembered,
    run_once,
)

SAVE_NORMS = ("affine", "minmax")
SAMPLES = 6  # pairs on a sample sheet


class Poser(NamedTuple):
    """A trained generator.

    Attributes:
        state: reads the trained networks.
        settings: of its training.
        save_norm: see ``to_bytes``.
        made_by: fingerprint of all that made it.
    """

    state: Callable[[], State]
    settings: Settings
    save_norm: str
    made_by: str

    def images(self, images: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """uint8 images ``[n, H, W, 3]`` of the same people in one pose, ``[18, 3]`` in pixels."""
        params = self.state().nets["G"].params
        seen = (divided(images), divided(keypoints))
        show = (networks(self.settings)["G"], self.settings, self.save_norm)
        return np.asarray(posed(*show, params, *seen))


@partial(jax.jit, static_argnums=(0, 1, 2))
def posed(
    net: nn.Module,
    settings: Settings,
    save_norm: str,
    params: Any,
    images: jax.Array,
    keypoints: jax.Array,
) -> jax.Array:
    """Images, uint8 ``[n, H, W, 3]``, in one pose, ``[18, 3]`` in pixels, or each in its own."""
    pose = settings.show(keypoints, (images.shape[1], images.shape[2]))
    pose = jnp.broadcast_to(pose, (len(images), *pose.shape[-3:]))
    made: Any = net.apply({"params": params}, augment.to_float(images), pose)
    return to_bytes(made, save_norm)


def to_bytes(images: jax.Array, save_norm: str) -> jax.Array:
    """Images in [-1, 1] as bytes.

    ``affine`` is one map for all; ``minmax``, as the code of PN-GAN saves them, stretches each
    image from its darkest to its brightest value.
    """
    if save_norm == "minmax":
        axes = (-3, -2, -1)
        low, high = images.min(axes, keepdims=True), images.max(axes, keepdims=True)
        images = 2 * (images - low) / jnp.maximum(high - low, 1e-6) - 1
    return augment.to_uint8(images)


def require(settings: Settings, data: Sets, save_norm: str) -> None:
    """Finds out before any training whether ``data`` can be trained on.

    Raises:
        ValueError: no keypoints, fewer pairs than a batch, a batch that the devices cannot split,
            images that the networks do not take, no such ``save_norm``.
    """
    if save_norm not in SAVE_NORMS:
        raise ValueError(f"pngan.save_norm is {save_norm!r}; choose one of {SAVE_NORMS}")
    require_keypoints("training", data.train)
    found = len(pairs(data.train))
    if found < settings.batch:
        raise ValueError(
            f"posing.batch is {settings.batch}, but there are {found} ordered pairs of training "
            "images of one person that both show a pose: lower it, or detect more keypoints"
        )
    require_batch("posing.batch", settings.batch)
    try:
        jax.eval_shape(partial(_fresh, settings, data.train.size), jax.random.key(0))
    except ValueError as error:
        raise ValueError(
            f"the images do not fit PN-GAN. {error} The settings are data.height, data.width, "
            "posing.halvings and posing.patch_layers."
        ) from error


def pairs(split: Split) -> np.ndarray:
    """All ordered pairs of two images of one person that both show a pose: rows ``[n, 2]``."""
    shown = split.keypoints(np.arange(len(split)))[..., 2].max(1) > 0
    groups = (np.flatnonzero(shown & (split.pids == pid)) for pid in np.unique(split.pids))
    found = [np.stack(np.meshgrid(rows, rows, indexing="ij"), -1).reshape(-1, 2) for rows in groups]
    every = np.concatenate(found)
    return every[every[:, 0] != every[:, 1]]


def drawn(split: Split, settings: Settings, seed: int) -> Plan[np.ndarray]:
    """Rows ``[batch, 2]`` of every step: all pairs in a new order per epoch, or some of them."""
    every, batch = pairs(split), settings.batch
    if not settings.pairs_per_epoch:
        plan = shuffled(len(every), batch, seed)
        return Plan(lambda step: every[plan(step)], plan.steps_per_epoch)
    people, counts = np.unique(split.pids[every[:, 0]], return_counts=True)
    first = np.searchsorted(split.pids[every[:, 0]], people)

    def rows(step: int) -> np.ndarray:
        rng = np.random.default_rng((seed, step))
        person = rng.integers(len(people), size=batch)
        return every[first[person] + rng.integers(counts[person])]

    return Plan(rows, settings.pairs_per_epoch // batch)


def train(
    directory: Path, split: Split, settings: Settings, save_norm: str, made_by: str, **common: Any
) -> Poser:
    """Trains the generator on pairs of images of one person.

    Args:
        directory: for checkpoints, metrics and sample grids.
        split: training images, with identities and keypoints.
        settings: see ``Settings``.
        save_norm: how the generator's images become bytes, see ``to_bytes``.
        made_by: fingerprint of ``split``.
        common: ``seed`` of initialisation and pairs, ``every`` how often to log, save and sample.
    """
    training = remembered(partial(_train, directory, split, settings, **common))
    determined_by = {"posing": asdict(settings), "seed": common["seed"], "data": made_by}
    trained = run_once(directory, determined_by | {"size": split.size}, training, trains=True)
    return Poser(training, settings, save_norm, f"{trained} {save_norm}")


def _train(directory: Path, split: Split, settings: Settings, *, seed: int, every: Every) -> State:
    every_pair, plan = pairs(split), drawn(split, settings, seed)
    shown = every_pair[np.linspace(0, len(every_pair) - 1, SAMPLES).astype(int)]
    rate = settings.schedule(plan.steps_per_epoch)
    tx = {name: optax.adam(rate, b1=0.5, b2=0.999) for name in networks(settings)}

    def init() -> State:
        key = jax.random.key(seed)
        return create(jax.random.fold_in(key, 2), _fresh(settings, split.size, key), tx)

    def batch(step: int) -> dict[str, np.ndarray]:
        source, target = plan(step).T
        images = {"source": split.images(source), "target": split.images(target)}
        return images | {"pose": split.keypoints(target)}

    return fit(
        init,
        alternate(phases(settings, split.size), tx),
        lambda start, stop: prefetch(batch, start, stop),
        steps=plan.steps_per_epoch * (settings.epochs + settings.decay_epochs),
        directory=directory,
        every=every,
        sample=lambda state, step: _sample(directory, step, state, shown, split, settings),
    )


@partial(initialiser, static_argnums=(0, 1))
def _fresh(settings: Settings, size: tuple[int, int], key: jax.Array) -> dict[str, Any]:
    nets, blank = networks(settings), jnp.zeros((1, *size, 3))
    pose = settings.show(jnp.zeros((1, 18, 3)), size)
    for_generator, for_judge = jax.random.split(key)
    return {
        "G": nets["G"].init(for_generator, blank, pose),
        "D": nets["D"].init(for_judge, blank),
    }


def _sample(
    directory: Path, step: int, state: State, shown: np.ndarray, split: Split, settings: Settings
) -> None:
    """Source, pose of the target, what was made of them, and the target itself."""
    source, target = shown.T
    images, keypoints = split.images(source), split.keypoints(target)
    net = networks(settings)["G"]
    fake = posed(net, settings, "affine", state.nets["G"].params, images, keypoints)
    drawing = augment.to_uint8(poses.draw(jnp.asarray(keypoints), split.size))
    columns = [images, np.asarray(drawing), np.asarray(fake), split.images(target)]
    titles = ["source", "pose", "made", "target"]
    sheet = figures.grid(np.stack(columns, axis=1), col_labels=titles, scale=2)
    figures.write_sample(directory, step, sheet)
