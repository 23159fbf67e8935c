"""The benchmarked steps of jaxreid, as its stages train, on random images."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from configs import camstyle, common
from jaxreid.data import augment
from jaxreid.stages import cycle, recipes, reid, star
from jaxreid.training import Step, create

CLASSES, CAMERAS = 751, 6


def cyclegan_step(
    width: int, blocks: int, halvings: int, layers: int, batch: int, size: tuple[int, int]
) -> Callable[[], float]:
    """CamStyle's CycleGAN step, as ``stages.cycle`` trains it."""
    settings = cycle.Settings(
        **camstyle.get_config("paper").gan.to_dict()
        | {"width": width, "blocks": blocks, "halvings": halvings, "patch_layers": layers}
        | {"batch": batch, "margin": 0.0}
    )
    init, step = cycle.program(settings, size, 1000)
    state = init(jax.random.split(jax.random.key(0), 1))
    a, b = _images(2, 1, batch, *size)
    return _stepper(state, step, {"a": a, "b": b})


def stargan_step(size: tuple[int, int], batch: int, **networks: int) -> Callable[[], float]:
    """Five turns of StarGAN's discriminator and one of its generator."""
    settings = star.Settings(
        **common.stargan("paper").to_dict() | networks | {"batch": batch, "margin": 0.0}
    )
    init, step = star.program(settings, size, CAMERAS)
    batches = {"image": _images(batch, *size), "domain": np.arange(batch, dtype=np.int32) % CAMERAS}
    one = _stepper(init(jax.random.key(0)), step, batches)
    return lambda: sum(one() for _ in range(settings.turns))


def reid_step(
    size: tuple[int, int], batch: int, each: int = 0, **trunk: int | str
) -> Callable[[], float]:
    """The IDE step; or with ``each`` images of every identity that of the strong recipe."""
    settings = _settings(batch, each, trunk)
    loss = recipes.LOSSES["strong" if each else "ide"]
    net, tx, step = reid.program(settings, CLASSES, 100, loss)
    variables = reid.initial(net, jax.random.key(0), size)
    state = create(jax.random.key(0), {"reid": variables}, tx)
    labels = np.arange(batch, dtype=np.int32) // max(each, 1)
    return _stepper(state, step, {"image": _images(batch, *size), "label": labels})


def embedding_step(size: tuple[int, int], batch: int, **trunk: int | str) -> Callable[[], float]:
    """Test embeddings of a batch, by the trained network's running statistics."""
    settings = _settings(batch, 0, trunk)
    net = reid.build(settings, CLASSES)
    variables = reid.initial(net, jax.random.key(0), size)
    images = _images(batch, *size)

    @jax.jit
    def embed(images: np.ndarray) -> Any:
        outputs: Any = net.apply(variables, augment.to_float(images))
        return outputs["test"]

    return lambda: float(np.asarray(embed(images))[0, 0])


def _settings(batch: int, each: int, trunk: dict[str, int | str]) -> reid.Settings:
    return reid.Settings(
        **common.reid("paper").to_dict()
        | trunk
        | {"batch": batch, "crop": "pad", "images_per_identity": each}
        | ({"head": "bnneck"} if each else {})
    )


def _images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)


def _stepper(state: Any, step: Step, batch: dict[str, np.ndarray]) -> Callable[[], float]:
    compiled = step.map(partial(jax.jit, donate_argnums=0))

    def run() -> float:
        nonlocal state
        state, metrics = compiled(state, batch)
        return float(sum(value.sum() for value in metrics.values()))

    return run
