"""How time and memory grow: with images, identities, cameras, the gallery, devices.

    python -m benchmarks.growth [--axes NAME ...]

Every point is a process of its own: the work is done once to compile, then the fastest counts of
those that fit into five seconds. Memory is the most that the process held meanwhile, inputs and
all, above what it held when it had started (Linux with glibc only). An exponent is the slope of a
straight line through the logarithms: 1 where twice as much takes twice as long.

Points are kept in ``--store``, and the page and its pictures are written from all that are there.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, count
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.evaluation import features, memory
from benchmarks.growth_page import write
from configs import camstyle, common
from jaxreid.data import world
from jaxreid.evaluation import MARKET, Embedded, Reranking, evaluate
from jaxreid.report.files import write_atomically
from jaxreid.stages import cycle, embedding, reid, sets
from jaxreid.training import Every, create, make_mesh
from jaxreid.training.loop import jitted
from jaxreid.training.processes import spread

Work = Callable[[], object]
SIZE = (64, 32)  # of the demos' images
QUERIES = 1000
FEW = {"test_identities": 2, "distractors": 0, "junk": 0}
MACHINE = {"jax": jax.__version__, "cores": os.cpu_count()}


class Axis(NamedTuple):
    """What grows, what it is done to, and which numbers of it are tried."""

    work: Callable[[int], Work]
    numbers: tuple[int, ...]
    said: str


def drawing(images: int) -> Work:
    """A world with about so many pictures, written as files."""
    spec = world.Spec(train_identities=images // 8, height=SIZE[0], width=SIZE[1], **FEW)
    folders = (Path(tempfile.mkdtemp()) / str(number) for number in count())
    return lambda: world.write(spec, next(folders))


def looks(images: int) -> Work:
    """The demo's re-ID network, and about so many images, decoded before."""
    settings = reid.Settings(**common.reid("demo").to_dict())
    data = _world(train_identities=images // 16, images_per_camera=8.0)[1]
    net = reid.build(settings, 240)
    model = embedding.Model(net, reid.initial(net, jax.random.key(0), SIZE))
    return lambda: embedding.embed(model, data.train, settings.batch)


def ranking(gallery: int) -> Work:
    """Rank-1 and mAP of a thousand queries."""
    query, others = _people(gallery)
    return lambda: evaluate(query, others)


def reranking(gallery: int) -> Work:
    """The same by k-reciprocal re-ranked distances."""
    query, others = _people(gallery)
    return lambda: evaluate(query, others, replace(MARKET, reranking=Reranking()))


def _people(gallery: int) -> tuple[Embedded, Embedded]:
    query, others = features(QUERIES, gallery, gallery // 20, 6, 0)
    return Embedded(*query), Embedded(*others)


def identities(people: int) -> Work:
    """Ten IDE steps of the demo with so many classes."""
    return _ide(people)


def devices(number: int) -> Work:
    """Ten IDE steps of the demo, the batch shared by so many simulated devices."""
    if jax.device_count() != number:
        raise ValueError(f"{number} devices are to be simulated, {jax.device_count()} are there")
    return _ide(240)


def _ide(classes: int) -> Work:
    settings = reid.Settings(**common.reid("demo").to_dict())
    net, tx, step = reid.program(settings, classes, 22, reid.identity_loss)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (settings.batch, *SIZE, 3)).astype(np.uint8)
    batch = {"image": images, "label": rng.integers(0, classes, settings.batch).astype(np.int32)}
    (program,), state_sharding, batch_sharding = jitted(step, batch, None, make_mesh())
    key = jax.random.key(0)
    state = spread(create(key, {"reid": reid.initial(net, key, SIZE)}, tx), state_sharding)
    batch = spread(batch, batch_sharding)

    def work() -> None:
        nonlocal state
        for _ in range(10):
            state, _ = program(state, batch)
        jax.block_until_ready(state)

    return work


def cameras(number: int) -> Work:
    """The demo's translators of all pairs of so many cameras, three epochs of some 20 images."""
    folder, data = _world(train_identities=6, cameras=number, cameras_per_identity=float(number))
    settings = cycle.Settings(
        **common.cyclegan("demo").to_dict() | {"epochs": 1, "decay_epochs": 2}
    )
    pairs, runs = list(combinations(range(number), 2)), count()
    rarely = Every(**dict.fromkeys(("log", "save", "sample"), 10**6))
    return lambda: cycle.train(
        folder / f"run_{next(runs)}", data, pairs, settings, seed=0, every=rarely
    )


def _world(**fields: Any) -> tuple[Path, sets.Sets]:
    config = camstyle.get_config("demo").data.to_dict()
    config["world"] |= FEW | {"test_cameras_per_identity": None} | fields
    folder = Path(tempfile.mkdtemp())
    return folder, sets.prepare(folder, sets.Settings(**config))


AXES = {
    "drawing": Axis(drawing, (500, 1000, 2000, 4000), "pictures of the world, written"),
    "embedding": Axis(looks, (1000, 2000, 4000, 8000), "images, embedded"),
    "ranking": Axis(ranking, (16000, 32000, 64000, 128000), "gallery, 20 of a person, ranked"),
    "reranking": Axis(reranking, (4000, 8000, 16000, 32000), "gallery, 20 of a person, re-ranked"),
    "identities": Axis(identities, (1000, 4000, 16000, 64000), "identities, ten IDE steps"),
    "cameras": Axis(cameras, (2, 3, 4, 6), "cameras, translators of all pairs"),
    "devices": Axis(devices, (1, 2, 4, 8), "simulated devices, ten IDE steps"),
}


def measure(axis: str, number: int) -> dict[str, float]:
    """Seconds and MiB of one point; call it in a fresh process."""
    jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp())
    jax.devices()
    idle = memory("VmRSS")
    work = AXES[axis].work(number)
    work()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what set-up and compilation have left
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    seconds, begin = [], time.perf_counter()
    while not seconds or time.perf_counter() - begin < 5:
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "mib": 1024 * (memory("VmHWM") - idle)}


def _point(axis: str, number: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.growth", "--axes", axis, "--number", str(number)]
    simulated = number if axis == "devices" else 1
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={simulated}"
    with tempfile.TemporaryDirectory() as scratch:
        given = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "TMPDIR": scratch}
        run = subprocess.run(command, capture_output=True, text=True, env=given)
    if run.returncode:
        sys.exit(f"{axis} at {number} did not finish:\n{run.stderr}")
    return {"number": number} | json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    """Measures what is asked for and writes the page; with ``--number`` prints one point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--number", type=int, help="one point, in this process")
    parser.add_argument("--store", type=Path, default=Path("runs/growth"))
    args = parser.parse_args()
    if args.number:
        print(json.dumps(measure(args.axes[0], args.number)))
        return
    for name in args.axes:
        points = []
        for number in AXES[name].numbers:
            points.append(_point(name, number))
            print("{:12} {number:8} {seconds:9.3f} s {mib:9.1f} MiB".format(name, **points[-1]))
        found = {"said": AXES[name].said, "points": points} | MACHINE
        args.store.mkdir(parents=True, exist_ok=True)
        write_atomically(args.store / f"{name}.json", json.dumps(found, indent=1).encode())
    write(args.store, Path("docs"))


if __name__ == "__main__":
    main()
