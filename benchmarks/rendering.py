"""What rendering inside the re-ID step costs: memory and seconds, with and without the generator.

    python -m benchmarks.rendering [--scale=demo]

Memory is what the compiler reserves for a step beyond its arguments (``temp``) and what its
arguments take: parameters, optimiser and batch. The last line is the generator by itself. At scale
``paper`` nothing is executed unless ``--run`` says so; a CPU would take minutes.
"""

import argparse
import statistics
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs.crgan import get_config
from jaxreid.data import augment
from jaxreid.stages import reid
from jaxreid.stages.rendering_turns import Settings, generator_net
from jaxreid.systems.crgan import render
from jaxreid.training import create

IDENTITIES = 751


def programs(scale: str) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Jitted programs by name, each with the shapes of its arguments."""
    config = get_config(scale).to_dict()
    settings = reid.Settings(**config["reid"])
    size, generator = _size(config), generator_net(Settings(**config["renderer"]))
    images = _bytes(settings.batch, *size, 3)
    label = jax.ShapeDtypeStruct((settings.batch,), np.int32)
    plain = {"image": images, "label": label}
    beside = plain | {"context": _bytes(settings.batch, *size, 4)}
    rendering = partial(render, net=generator, real_ratio=0.0)
    blank = jnp.zeros((1, *size, 3))
    params = jax.eval_shape(generator.init, jax.random.key(0), blank, blank, blank[..., :1])

    def step(batch, frozen, *, joined):
        net, tx, taken = reid.program(settings, IDENTITIES, 100, reid.identity_loss, joined)

        def init(key):
            variables = reid.initial(net, key, size)
            kept = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), frozen)
            return create(key, {"reid": variables, **kept}, tx)

        state = jax.eval_shape(init, jax.random.key(0))
        return jax.jit(taken, donate_argnums=0), (state, batch)

    def alone(params, batch):
        target, person = augment.split_mask(augment.to_float(batch["context"]))
        made: Any = generator.apply(params, augment.to_float(batch["image"]), target, 1 - person)
        return made.image

    return {
        "re-ID step": step(plain, {}, joined=None),
        "re-ID step that renders": step(beside, {"G": params}, joined=rendering),
        "generator alone": (jax.jit(alone), (params, beside)),
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=("demo", "paper"), default="demo")
    parser.add_argument("--run", action="store_true", help="execute at scale paper, too")
    args = parser.parse_args()
    print(f"{'':26} {'arguments':>12} {'temp':>12} {'median step':>12}")
    for name, (program, shapes) in programs(args.scale).items():
        compiled = program.lower(*shapes).compile()
        memory = compiled.memory_analysis()
        sizes = (memory.argument_size_in_bytes, memory.temp_size_in_bytes)
        took = f"{_seconds(compiled, shapes):10.4f} s" if args.scale == "demo" or args.run else "-"
        print(f"{name:26} " + " ".join(f"{x / 2**20:8.1f} MiB" for x in sizes) + f" {took:>12}")


def _seconds(compiled, shapes, steps: int = 10) -> float:
    taken = []
    for _ in range(steps):
        arguments = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _size(config: dict[str, Any]) -> tuple[int, int]:
    return config["data"]["height"], config["data"]["width"]


def _bytes(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.uint8)


if __name__ == "__main__":
    main()
