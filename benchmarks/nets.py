"""Seconds per training step, and beside it the same step in PyTorch where that is installed.

    python -m benchmarks.nets                    (the extra bench brings PyTorch)
    python -m benchmarks.nets --cases ResNet-50  those whose name has this

Each cell is a process of its own: compilation and two warm-up steps, then the median of the steps
that fit into ten seconds (at least three). jaxreid's steps include augmentation and image pools,
which PyTorch's leave out. PyTorch runs in channels-last order, eagerly and by `torch.compile`; the
ratio is that of the faster. Batches are smaller than in the papers where the name says so.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from importlib import import_module
from typing import Any

DEMO, PAPER = {"size": (64, 32)}, {"size": (256, 128)}
CYCLEGAN = {"width": 64, "blocks": 9, "halvings": 2, "layers": 3, "batch": 1}
RESNET50 = {"depth": 50, "width": 64, "stem": "imagenet", "last_stride": 2, "batch": 16}
SMALL = {"depth": 18, "width": 16, "stem": "small", "last_stride": 2, "batch": 64}
STARGAN = {"width": 64, "blocks": 6, "halvings": 2, "judge_width": 64, "judge_layers": 6}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "CycleGAN demo, 64x32, batch 1": (
        "cyclegan",
        CYCLEGAN | {"width": 16, "blocks": 2, "halvings": 1, "layers": 1} | DEMO,
    ),
    "CycleGAN 6 blocks, 128x64, batch 1": (
        "cyclegan",
        CYCLEGAN | {"blocks": 6, "size": (128, 64)},
    ),
    "CycleGAN paper, 256x128, batch 1": ("cyclegan", CYCLEGAN | PAPER),
    "CycleGAN paper, 256x256, batch 1": ("cyclegan", CYCLEGAN | {"size": (256, 256)}),
    "CycleGAN paper, 256x128, batch 8": ("cyclegan", CYCLEGAN | PAPER | {"batch": 8}),
    "StarGAN, turns 5:1, 256x128, batch 4": ("stargan", STARGAN | PAPER | {"batch": 4}),
    "IDE demo, ResNet-18/4, 64x32, batch 64": ("reid", SMALL | DEMO),
    "IDE ResNet-50, 256x128, batch 16": ("reid", RESNET50 | PAPER),
    "triplet ResNet-50, 256x128, P4 x K4": ("reid", RESNET50 | PAPER | {"each": 4}),
    "triplet ResNet-50, 256x128, P16 x K4": ("reid", RESNET50 | PAPER | {"each": 4, "batch": 64}),
    "embedding ResNet-50, 256x128, batch 32": ("embedding", RESNET50 | PAPER | {"batch": 32}),
}
LIBRARIES = {"jaxreid": "steps", "torch": "torch_steps", "compiled": "torch_steps"}


def measure(case: str, library: str) -> dict[str, float]:
    """Median seconds of a step."""
    steps = import_module(f"benchmarks.{LIBRARIES[library]}")
    if library == "compiled":
        steps.compile_networks()
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
    parser.add_argument("--cases", default="", help="part of the names of the rows to measure")
    parser.add_argument("--library", choices=LIBRARIES, default="jaxreid")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.case, args.library)))
        return
    names = ("first", *LIBRARIES, "ratio")
    print(f"{'':40}" + "".join(f"{name:>10}" for name in names))
    for case in CASES:
        if args.cases in case:
            print(_row(case), flush=True)


def _row(case: str) -> str:
    ours, *theirs = (_run(case, library) for library in LIBRARIES)
    if ours is None:
        return f"{case:40}"
    cells = [f"{found['step']:10.4f}" if found else f"{'-':>10}" for found in (ours, *theirs)]
    fastest = min((found["step"] for found in theirs if found), default=None)
    cells += [f"{fastest / ours['step']:10.2f}"] if fastest else []
    return f"{case:40}{ours['first']:10.1f}" + "".join(cells)


def _run(case: str, library: str) -> dict[str, float] | None:
    command = [sys.executable, "-m", "benchmarks.nets", "--case", case, "--library", library]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        lines = run.stderr.strip().splitlines()
        reason = next((line for line in reversed(lines) if "Error" in line), lines[-1])
        print(f"{case}, {library}: not run: {reason}", file=sys.stderr)
        return None
    return json.loads(run.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
