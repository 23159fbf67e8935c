"""Several independent models as one batched program, against one after the other.

    python -m benchmarks.stacked [--models=3]

Random images at the sizes of the demo. A row says how long one step of all models takes when they
take turns, when they are stacked on a leading axis (``vmap``), and the ratio: above 1, stacking
pays. ``training.grouping`` decides by it. Medians of the steps that fit into five seconds.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import jax
import numpy as np

from configs import common
from jaxreid.stages import cycle, dcgan, reid, star, unity
from jaxreid.training import Step, create

SIZE = (64, 32)


class Case(NamedTuple):
    """``init(keys)`` and ``step`` over a leading axis of models, and one model's batch."""

    init: Callable[[jax.Array], Any]
    step: Step
    batch: dict[str, tuple[int, ...]]


def cyclegan() -> Case:
    """One pair of cameras."""
    settings = cycle.Settings(**common.cyclegan("demo").to_dict())
    images = (settings.batch, *SIZE, 3)
    return Case(*cycle.program(settings, SIZE, 1000), {"a": images, "b": images})


def unitygan() -> Case:
    """One camera."""
    config = import_module("configs.unitystyle").get_config("demo")
    settings = unity.Settings(**config.unitygan.to_dict())
    own, others = (settings.batch, *SIZE, 3), (3, settings.batch, *SIZE, 3)
    shapes = {"d_x": own, "g_x": own, "d_y": others, "g_y": others}
    return Case(*unity.program(settings, SIZE, 3, 1000), shapes)


def stargan() -> Case:
    """One seed."""
    settings = star.Settings(**common.stargan("demo").to_dict())
    init, step = star.program(settings, SIZE, 3)
    batch = {"image": (settings.batch, *SIZE, 3), "domain": (settings.batch,)}
    return Case(jax.vmap(init), step.map(jax.vmap), batch)


def dcgan_() -> Case:
    """One seed."""
    config = import_module("configs.lsro").get_config("demo")
    settings = dcgan.Settings(**config.dcgan.to_dict())
    init, step = dcgan.program(settings)
    shape = (settings.batch, settings.image_height, settings.image_width, 3)
    return Case(jax.vmap(init), step.map(jax.vmap), {"image": shape})


def ide() -> Case:
    """One seed."""
    settings = reid.Settings(**common.reid("demo").to_dict())
    net, tx, step = reid.program(settings, 240, 22, reid.identity_loss)

    def init(key: jax.Array) -> Any:
        return create(key, {"reid": reid.initial(net, key, SIZE)}, tx)

    batch = {"image": (settings.batch, *SIZE, 3), "label": (settings.batch,)}
    return Case(jax.vmap(init), step.map(jax.vmap), batch)


CASES = {"CycleGAN": cyclegan, "UnityGAN": unitygan, "StarGAN": stargan}
CASES |= {"DCGAN": dcgan_, "IDE": ide}


def seconds(case: Case, models: int) -> float:
    """Median time of a step of so many stacked models, over whole periods of resting phases."""
    rng, period = np.random.default_rng(0), len(case.step.programs)
    batch: dict[str, Any] = {
        name: rng.integers(0, 3, (models, *shape)).astype(np.int32)
        if len(shape) == 1
        else rng.integers(0, 256, (models, *shape)).astype(np.uint8)
        for name, shape in case.batch.items()
    }
    programs = case.step.map(jax.jit).programs
    state, times, begin = case.init(jax.random.split(jax.random.key(0), models)), [], None
    while begin is None or time.perf_counter() - begin < 5 or len(times) < 3:
        start = time.perf_counter()
        for program in programs:
            state, _ = program(state, batch)
        jax.block_until_ready(state)
        times.append((time.perf_counter() - start) / period)
        if begin is None:  # that was compilation
            begin, times = time.perf_counter(), []
    return statistics.median(times)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Times stacked models.")
    parser.add_argument("--models", type=int, default=3)
    models = parser.parse_args().models
    print(f"{models} models on {jax.device_count()} x {jax.devices()[0].device_kind}")
    print(f"{'':10} {'in turn':>9} {'stacked':>9}   ratio")
    for name, make in CASES.items():
        case = make()
        alone, stacked = models * seconds(case, 1), seconds(case, models)
        print(f"{name:10} {alone:8.4f}s {stacked:8.4f}s   {alone / stacked:.2f}", flush=True)


if __name__ == "__main__":
    main()
