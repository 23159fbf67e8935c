"""Milliseconds of processor time of single convolutions: XLA's form and the CPU's of jaxreid.

    python -m benchmarks.convolutions

The least of five calls, on random maps. The process keeps to one core (Linux), so that processor
time is also what the operation takes, and a busy machine disturbs it little.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax

from jaxreid.nets import convolution
from jaxreid.nets.layers import max_pool

Form = Callable[..., jax.Array]


def gradient(form: Form, output: tuple[int, ...], which: int) -> Form:
    """The gradient of ``form`` by its input (0) or kernel (1), under a random cotangent."""
    cotangent = jax.random.normal(jax.random.key(2), output)
    return lambda *given: jax.vjp(form, *given)[1](cotangent)[which]


def pooled(x: jax.Array) -> jax.Array:
    """``max_pool`` as the one XLA operation."""
    return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))


def rows() -> dict[str, tuple[Form, Form, tuple[tuple[int, ...], ...]]]:
    """What is measured: XLA's form, ours, shapes of maps and kernel."""
    plain, ours = (
        [partial(form, stride=1, padding=pad) for pad in (1, 0)]
        for form in (convolution.plain_conv, convolution.conv)
    )
    wide, narrow, maps = (2, 64, 32, 256), (16, 64, 32, 64), (16, 128, 64, 64)
    deconv = (4, 64, 32, 256), (4, 4, 256, 128)
    up = [
        partial(form, stride=2, padding=1, output_padding=0)
        for form in (convolution.plain_conv_transpose, convolution.conv_transpose)
    ]

    def both(forms: Any, output: tuple[int, ...], which: int) -> tuple[Form, Form]:
        first, second = (gradient(form, output, which) for form in forms)
        return first, second

    kernels, pools = (plain[0], ours[0]), (pooled, max_pool)
    return {
        "kernel's gradient, 3x3, 256 channels": (*both(kernels, wide, 1), (wide, (3, 3, 256, 256))),
        "kernel's gradient, 3x3, 64 channels": (
            *both(kernels, narrow, 1),
            (narrow, (3, 3, 64, 64)),
        ),
        "kernel's gradient, 1x1, 64 to 256": (
            *both((plain[1], ours[1]), (16, 64, 32, 256), 1),
            (narrow, (1, 1, 64, 256)),
        ),
        "3x3 without padding, 256 channels": (
            plain[1],
            ours[1],
            ((2, 66, 34, 256), (3, 3, 256, 256)),
        ),
        "transposed 4x4, 256 to 128": (*up, deconv),
        "its kernel's gradient": (*both(up, (4, 128, 64, 128), 1), deconv),
        "max pooling": (*pools, (maps,)),
        "its gradient": (*both(pools, (16, 64, 32, 64), 0), (maps,)),
    }


def milliseconds(form: Form, given: list[jax.Array]) -> float:
    """Processor time of the fastest of five calls, without compilation."""
    compiled = jax.jit(form)
    jax.block_until_ready(compiled(*given))
    taken = []
    for _ in range(5):
        start = time.process_time()
        jax.block_until_ready(compiled(*given))
        taken.append(time.process_time() - start)
    return 1000 * min(taken)


def main() -> None:
    """Prints the table."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"{'':40}{'XLA':>8}{'jaxreid':>10}")
    for name, (plain, ours, shapes) in rows().items():
        given = [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]
        times = (milliseconds(form, given) for form in (plain, ours))
        print(f"{name:40}{next(times):8.1f}{next(times):10.1f}", flush=True)


if __name__ == "__main__":
    main()
