"""Seconds per training step, and beside it the same step in PyTorch where that is installed.

    python -m benchmarks.nets        (pip install 'jaxreid[bench]' brings PyTorch)

Each cell is a process of its own: compilation and two warm-up steps, then the median of the steps
that fit into ten seconds (at least three). jaxreid's steps include augmentation and image pools,
which PyTorch's leave out. PyTorch runs eagerly, in channels-last order.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "CycleGAN demo, 64x32, batch 1": (
        "cyclegan",
        {"width": 16, "blocks": 2, "halvings": 1, "layers": 1, "batch": 1, "size": (64, 32)},
    ),
    "CycleGAN 6 blocks, 128x64, batch 1": (
        "cyclegan",
        {"width": 64, "blocks": 6, "halvings": 2, "layers": 3, "batch": 1, "size": (128, 64)},
    ),
    "CycleGAN paper, 256x128, batch 1": (
        "cyclegan",
        {"width": 64, "blocks": 9, "halvings": 2, "layers": 3, "batch": 1, "size": (256, 128)},
    ),
    "IDE demo, ResNet-18/4, 64x32, batch 64": (
        "reid",
        {"depth": 18, "width": 16, "stem": "small", "last_stride": 2, "batch": 64}
        | {"size": (64, 32)},
    ),
    "IDE ResNet-50, 256x128, batch 16": (
        "reid",
        {"depth": 50, "width": 64, "stem": "imagenet", "last_stride": 2, "batch": 16}
        | {"size": (256, 128)},
    ),
}


def cyclegan_step(
    width: int, blocks: int, halvings: int, layers: int, batch: int, size: tuple[int, int]
) -> Callable[[], float]:
    """CamStyle's CycleGAN step on random images, as ``stages.cycle`` trains it."""
    import jax

    from configs import camstyle
    from jaxreid.stages import cycle

    settings = cycle.Settings(
        **camstyle.get_config("paper").gan.to_dict()
        | {"width": width, "blocks": blocks, "halvings": halvings, "patch_layers": layers}
        | {"batch": batch, "margin": 0.0}
    )
    init, step = cycle.program(settings, size, 1000)
    state = init(jax.random.split(jax.random.key(0), 1))
    return _stepper(state, step, {"a": (1, batch, *size, 3), "b": (1, batch, *size, 3)})


def reid_step(
    depth: int, width: int, stem: str, last_stride: int, batch: int, size: tuple[int, int]
) -> Callable[[], float]:
    """The IDE step on random images, as ``stages.reid`` trains it."""
    import jax

    from configs import common
    from jaxreid.stages import reid
    from jaxreid.training import create

    settings = reid.Settings(
        **common.reid("paper").to_dict()
        | {"depth": depth, "width": width, "stem": stem, "last_stride": last_stride}
        | {"batch": batch, "crop": "pad"}
    )
    net, tx, step = reid.program(settings, 751, 100, reid.identity_loss)
    variables = reid.initial(net, jax.random.key(0), size)
    state = create(jax.random.key(0), {"reid": variables}, tx)
    return _stepper(state, step, {"image": (batch, *size, 3), "label": (batch,)})


def _stepper(state: Any, step: Callable, shapes: dict[str, tuple[int, ...]]) -> Callable[[], float]:
    import jax
    import numpy as np

    rng = np.random.default_rng(0)
    batch = {
        n: rng.integers(0, 256, s).astype(np.int32 if n == "label" else np.uint8)
        for n, s in shapes.items()
    }
    compiled = jax.jit(step, donate_argnums=0)

    def run() -> float:
        nonlocal state
        state, metrics = compiled(state, batch)
        return float(sum(value.sum() for value in metrics.values()))

    return run


def measure(case: str, library: str) -> dict[str, float]:
    """Median seconds of a step."""
    if library == "torch":
        from benchmarks import torch_nets as steps
    else:
        steps = sys.modules[__name__]
    kind, sizes = CASES[case]
    step = getattr(steps, f"{kind}_step")(**sizes)
    start = time.perf_counter()
    step()
    first = time.perf_counter() - start
    step()
    seconds, begin = [], time.perf_counter()
    while time.perf_counter() - begin < 10 or len(seconds) < 3:
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return {"first": first, "step": statistics.median(seconds)}


def main() -> None:
    """Prints the table, or with ``--case`` one measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=CASES)
    parser.add_argument("--library", choices=("jaxreid", "torch"), default="jaxreid")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.case, args.library)))
        return
    print(f"{'':40} {'first':>8} {'jaxreid':>9} {'PyTorch':>9}   ratio")
    for case in CASES:
        ours, theirs = (_run(case, library) for library in ("jaxreid", "torch"))
        if ours is None:
            continue
        beside = f"{theirs['step']:8.4f}s   {theirs['step'] / ours['step']:.2f}" if theirs else "-"
        print(f"{case:40} {ours['first']:7.1f}s {ours['step']:8.4f}s {beside}", flush=True)


def _run(case: str, library: str) -> dict[str, float] | None:
    command = [sys.executable, "-m", "benchmarks.nets", "--case", case, "--library", library]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        print(f"{case}, {library}: not run: {run.stderr.strip().splitlines()[-1]}")
        return None
    return json.loads(run.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
