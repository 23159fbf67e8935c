"""CR-GAN's translator: any source person in the context of any target image."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxreid.data import Split, augment, prefetch
from jaxreid.nets.crgan import ContextGenerator, Rendering
from jaxreid.report import figures
from jaxreid.stages.arms import Trained
from jaxreid.stages.domains import Domains
from jaxreid.stages.rendering_turns import (
    Settings,
    deployed,
    extras,
    generator_net,
    modules,
    phases,
)
from jaxreid.stages.sets import SOURCE, TARGET, Translators, require_batch
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
from jaxreid.training.workdir import fingerprint


def require(settings: Settings, data: Domains) -> None:
    """Finds out before any training whether ``data`` can be trained on.

    Raises:
        ValueError: fewer images than a batch, a batch that the devices cannot split, images that
            the networks do not take.
    """
    source, target = data.source.train, data.target.train
    require_batch("renderer.batch", settings.batch, min(len(source), len(target)))
    nets = modules(settings, len(np.unique(target.cameras)))
    try:
        jax.eval_shape(partial(_fresh, nets, target.size), jax.random.key(0))
    except ValueError as error:
        raise ValueError(
            f"the images do not fit CR-GAN. {error} The settings are data.height, data.width and "
            "renderer.patch_layers."
        ) from error


class Renderer(NamedTuple):
    """A trained generator.

    Attributes:
        state: reads the trained networks.
        settings: of its training.
        target: images that give contexts, with masks.
        made_by: fingerprint of all that made it.
    """

    state: Callable[[], State]
    settings: Settings
    target: Split
    made_by: str

    def frozen(self) -> dict[str, Any]:
        """The generator's variables, as ``reid.Joined`` takes them."""
        return {"G": {"params": self._params()}}

    def translators(self, guides: Callable[[int], np.ndarray], named: Any) -> Translators:
        """One image of every source image: ``guides(n)`` are rows of ``target`` for n sources."""

        def translate(split: Split, rows: np.ndarray) -> np.ndarray:
            return self.images(split.images(rows), guides(len(split))[rows])

        made_by = fingerprint({"renderer": self.made_by, "guides": named})
        return Translators({(SOURCE, TARGET): translate}, made_by)

    def images(self, images: np.ndarray, guide: np.ndarray) -> np.ndarray:
        """Renderings as uint8 ``[n, H, W, 3]``; see ``render``."""
        return _bytes(self.render(images, guide).image)

    def render(self, images: np.ndarray, guide: np.ndarray) -> Rendering:
        """Source images, uint8 ``[n, H, W, 3]``, in the contexts of rows ``guide`` of target."""
        net, context = generator_net(self.settings), self.target.masked(guide)
        return rendered(net, self._params(), divided(images), divided(context))

    def _params(self) -> Any:
        return deployed(self.settings, self.state())


def train(
    directory: Path,
    data: Domains,
    identity: Trained,
    settings: Settings,
    *,
    seed: int,
    every: Every,
) -> Renderer:
    """Trains the generator, the domain discriminator and the camera classifier.

    Args:
        directory: for checkpoints, metrics and sample grids.
        data: its training images, with masks; identities of the source, cameras of the target.
        identity: C_id, a network trained to name the source's identities; it stays as it is.
        settings: see ``Settings``.
        seed: of initialisation, batches and augmentation.
        every: how often to log, save and sample.
    """
    training = remembered(partial(_train, directory, data, identity, settings, seed, every))
    made_by = {"renderer": asdict(settings), "seed": seed, "data": data.made_by}
    made_by |= {"size": data.source.train.size, "identity": identity.made_by}
    trained = run_once(directory, made_by, training, trains=True)
    return Renderer(training, settings, data.target.train, trained)


def _train(directory: Path, data: Domains, identity: Trained, settings, seed, every) -> State:
    source, target = data.source.train, data.target.train
    cameras = np.unique(target.cameras)
    judge, variables = identity.model()
    nets, size = modules(settings, len(cameras)), source.size
    tx = {name: optax.adam(settings.schedule(), b1=0.5, b2=0.999) for name in nets}

    def init() -> State:
        key = jax.random.key(seed)
        fresh = initialiser(partial(_fresh, nets, size))(key)
        extra = extras(settings, fresh["G"]["params"], size)
        return create(jax.random.fold_in(key, 0), fresh | {"Cid": variables}, tx, extra)

    return fit(
        init,
        alternate(phases(settings, nets, judge, size), tx),
        lambda start, stop: prefetch(_batches(source, target, settings, seed), start, stop),
        steps=settings.steps,
        directory=directory,
        every=every,
        sample=lambda state, step: _sample(directory, state, step, source, target, settings),
    )


def _batches(
    source: Split, target: Split, settings: Settings, seed: int
) -> Callable[[int], dict[str, np.ndarray]]:
    """``batch(step)``: source and target images, drawn independently and anew in every step."""
    larger = augment.larger(source.size, settings.margin)
    a, b = source.resized(larger), target.resized(larger)
    people, cameras = np.unique(source.pids), np.unique(target.cameras)
    of_camera = [np.flatnonzero(target.cameras == camera) for camera in cameras]

    def batch(step: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng((seed, step))
        rows = rng.integers(len(a), size=settings.batch)
        if settings.balanced:
            drawn = rng.integers(len(of_camera), size=settings.batch)
            others = np.array([rng.choice(of_camera[camera]) for camera in drawn])
        else:
            others = rng.integers(len(b), size=settings.batch)
        return {
            "source": a.masked(rows),
            "label": np.searchsorted(people, a.pids[rows]).astype(np.int32),
            "target": b.masked(others),
            "camera": np.searchsorted(cameras, b.cameras[others]).astype(np.int32),
        }

    return batch


def _fresh(nets: Mapping[str, Any], size: tuple[int, int], key: jax.Array) -> dict[str, Any]:
    image, mask = jnp.zeros((1, *size, 3)), jnp.zeros((1, *size, 1))
    keys = dict(zip(nets, jax.random.split(key, len(nets)), strict=True))
    return {
        name: net.init(keys[name], image, *((image, mask) if name == "G" else ()))
        for name, net in nets.items()
    }


@partial(jax.jit, static_argnums=0)
def rendered(net: ContextGenerator, params, images: jax.Array, guide: jax.Array) -> Rendering:
    """Images, uint8 ``[B, H, W, 3]``, in the contexts of ``guide``, ``[B, H, W, 4]`` with masks."""
    target, person = augment.split_mask(augment.to_float(guide))
    made: Any = net.apply({"params": params}, augment.to_float(images), target, 1 - person)
    return made


def _bytes(images: jax.Array) -> np.ndarray:
    return np.asarray(augment.to_uint8(images))


def _sample(
    directory: Path, state: State, step: int, source: Split, target: Split, settings: Settings
) -> None:
    """Source, context, rendering, and what it was composed of: painting and weights."""
    rows, guide = (np.linspace(0, len(each) - 1, 6).astype(int) for each in (source, target))
    images, context = source.images(rows), target.masked(guide)
    made = rendered(generator_net(settings), deployed(settings, state), images, context)
    weights = jnp.broadcast_to(2 * made.weight - 1, made.image.shape)
    shown = [_bytes(x) for x in (made.image, made.painted, weights)]
    cells = np.stack([images, context[..., :3], *shown], axis=1)
    titles = ["source", "context", "rendered", "painted", "share of source"]
    figures.write_sample(directory, step, figures.grid(cells, [""] * len(rows), titles, scale=2))
