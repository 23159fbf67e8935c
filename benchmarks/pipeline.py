"""Pictures per second that the host hands to a training, as threads load ahead.

    python -m benchmarks.pipeline [--pictures=600] [--batch=64]

JPEG files of the synthetic world, from records: decoded at every use, as in a set too large for
memory, and from memory, as in all later epochs of one that fits. What a device trains on in a
second must be less, or it waits: trainings print the share of their time that they wait for data.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import jax

from jaxreid import data
from jaxreid.data import Split, world
from jaxreid.data.splits import CACHE_BYTES

SIZES = ((128, 64), (256, 128), (256, 256))
CALLS = 5


def main() -> None:
    """Prints one line per size, kind of loading and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    cores = os.cpu_count() or 1
    print(f"{'height x width':14} {'pictures':16} {'threads':>7} {'median/s':>9} {'spread':>12}")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            records = _records(Path(folder), size, options.pictures)
            for kind, memory in (("decoded", 0), ("from memory", CACHE_BYTES)):
                split = data.load(records, size, memory)["train"]
                for threads in sorted({1, cores}):
                    rates = [_rate(split, options.batch, threads) for _ in range(CALLS + 1)][1:]
                    print(
                        f"{size[0]:5} x {size[1]:<6} {kind:16} {threads:7}"
                        f" {statistics.median(rates):9.0f} {min(rates):5.0f}-{max(rates):<6.0f}",
                        flush=True,
                    )


def _records(folder: Path, size: tuple[int, int], pictures: int) -> Path:
    spec = world.Spec(
        train_identities=max(pictures // 24, 2),
        test_identities=2,
        distractors=0,
        junk=0,
        height=size[0],
        width=size[1],
    )
    world.write(spec, folder / "world")
    data.prepare("world", folder / "world", folder / "records", notice=False)
    return folder / "records"


def _rate(split: Split, batch: int, threads: int) -> float:
    """Pictures per second, put upon the device, over an epoch or ten batches."""
    plan = data.shuffled(len(split), batch, seed=0)
    steps = max(plan.steps_per_epoch, 10)
    begun = time.perf_counter()
    for _, found in data.prefetch(
        lambda step: {"image": split.images(plan(step))}, 0, steps, threads
    ):
        jax.block_until_ready(jax.device_put(found))
    return steps * batch / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
