"""Pictures per second of the synthetic world's renderer, without and with files.

python -m benchmarks.world [--pictures=1000]
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxreid.data import world

SIZES = ((64, 32), (128, 64), (256, 128))


def main() -> None:
    """Draws pictures (as the oracle does, no files) and writes a world, per size, compiled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=1000)
    pictures = parser.parse_args().pictures
    print(f"{'height x width':16} {'first s':>9} {'drawn/s':>9} {'written/s':>10}")
    for height, width in SIZES:
        spec = world.Spec(
            train_identities=pictures // 8,
            test_identities=2,
            distractors=0,
            junk=0,
            height=height,
            width=width,
        )
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "world"
            first = _seconds(world.write, spec, Path(folder) / "first")
            written = _seconds(world.write, spec, root)
            names = sorted(p.name for p in (root / "bounding_box_train").iterdir())
            everything = len(list(root.rglob("*.jpg")))
            drawn = _seconds(world.restyle, root, names, np.zeros(len(names), np.int32))
        print(
            f"{height:5} x {width:<8} {first:9.1f} {len(names) / drawn:9.0f}"
            f" {everything / written:10.0f}"
        )


def _seconds(work: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
