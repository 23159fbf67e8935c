"""Lowers every training step of every system for a TPU, without one and without computing it.

    python -m benchmarks.lowering [--system=NAME] [--scale=paper] [--devices=1] [--parallel=jit]

The system's own code decides what is trained (``benchmarks.rehearsal``). Every program of a step
is exported for TPUs by ``jax.export``, from shapes alone. FLOPs are XLA's count over the program as
it is lowered, before any compiler has touched it; where phases rest in some steps, they are the
mean over a period.

``--compile`` also has libtpu compile for TPUs of the kind v5e, which takes minutes per program and
the extra ``tpu``, but no TPU, and says how much memory a device needs.

What is found is kept in ``--workdir``, a file per system, and ``docs/lowering.md`` is written from
all that is there. Without ``--system`` every config is lowered, and IDE on eight devices.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import export
from jax.sharding import Mesh

from benchmarks.lowering_page import page
from benchmarks.rehearsal import Training, traced_for_tpu, trainings
from jaxreid.report.files import write_atomically
from jaxreid.training import make_mesh
from jaxreid.training.mesh import MODES

CONFIGS = sorted(p.stem for p in Path("configs").glob("[a-z]*.py") if p.stem != "common")
PAGE = Path("docs/lowering.md")
SLICE = {"platform": "tpu", "topology_name": "v5e:2x4"}  # eight devices of 16 GiB
WITHOUT_TPU = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


class Case(NamedTuple):
    """One system on so many devices."""

    system: str
    devices: int = 1
    parallel: str = "jit"

    @property
    def file(self) -> str:
        """Name of the file that keeps what is found."""
        return f"{self.system}_{self.parallel}_{self.devices}.json"

    def config(self, scale: str) -> dict[str, Any]:
        """Its whole configuration."""
        shards = {"accumulate": 2 * self.devices}.get(self.parallel, 0)
        config = import_module(f"configs.{self.system}").get_config(scale).to_dict()
        return config | {"parallel": self.parallel, "shards": shards}


ALL = [*map(Case, CONFIGS), *(Case("ide", 8, mode) for mode in MODES)]


def rows(case: Case, scale: str, compiled: bool = False) -> list[dict[str, Any]]:
    """What is found of every training of a system; ``compiled``, also the memory of a device."""
    config = case.config(scale)
    found = [measure(training) for training in trainings(config)]
    if compiled:
        for row, training in zip(found, trainings(config, slice_of(case.devices)), strict=True):
            given = training.state, training.batch
            with traced_for_tpu():
                row["memory"] = [memory(each, *given) for each in set(training.programs)]
    return found


def slice_of(devices: int) -> Mesh:
    """So many devices of a slice of v5e, that nobody needs to have."""
    from jax.experimental import topologies  # asks for libtpu

    return make_mesh(topologies.get_topology_desc(**SLICE).devices[:devices])


def measure(training: Training) -> dict[str, Any]:
    """Sizes, FLOPs per step, and whether it lowers."""
    given = training.state, training.batch
    params = {name: net.params for name, net in training.state.nets.items()}
    row = {"trainings": list(training.names), "programs": len(set(training.programs))}
    row |= {"batch": {name: list(x.shape) for name, x in training.batch.items()}}
    row |= {"parameters": sum(x.size for x in jax.tree.leaves(params))}
    row |= {"state_bytes": size(training.state), "batch_bytes": size(training.batch)}
    with traced_for_tpu():
        try:
            modules = [exported(program, *given) for program in set(training.programs)]
            row |= {"tpu": "yes", "split": max(map(split, modules))}
            row["flops"] = statistics.mean(flops(p, *given) for p in training.programs)
        except Exception as error:  # whatever is raised is what this was run to find
            row["tpu"] = first_line(error)
    return row


def size(tree: Any) -> int:
    """Bytes of all arrays."""
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def exported(program: Any, *given: Any) -> str:
    """The text of a program as ``jax.export`` makes it for TPUs."""
    return export.export(program, platforms=["tpu"])(*given).mlir_module()


def split(module: str) -> int:
    """How many arguments of the program are split over the devices."""
    arguments = re.search(r"func public @main\((.*?)\) -> ", module, re.DOTALL)
    return arguments.group(1).count('{"data"}') if arguments else 0


def flops(program: Any, *given: Any) -> float:
    """XLA's count for one call."""
    return program.trace(*given).lower(lowering_platforms=("cpu",)).cost_analysis()["flops"]


def memory(program: Any, *given: Any) -> int | str:
    """Bytes that a device holds at most while it runs the program, or why it cannot."""
    try:
        lowered = program.trace(*given).lower(lowering_platforms=("tpu",))
        return lowered.compile().memory_analysis().peak_memory_in_bytes
    except jax.errors.JaxRuntimeError as error:
        return first_line(error)


def first_line(error: Exception) -> str:
    """What went wrong, for a table."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def main() -> None:
    """Looks at one case and prints it, or has that done for all that are asked for."""
    options = _options()
    cases = [Case(options.system, options.devices, options.parallel)] if options.system else ALL
    if options.child:
        jax.config.update("jax_num_cpu_devices", cases[0].devices)
        # The compiler's least effort: minutes, not tens of them, and if anything more memory.
        jax.config.update("jax_exec_time_optimization_effort", -1.0)
        jax.config.update("jax_memory_fitting_effort", -1.0)
        print(json.dumps(rows(cases[0], options.scale, options.compile)))
        return
    options.workdir.mkdir(parents=True, exist_ok=True)
    for case in cases:
        look(case, options)
        write_atomically(PAGE, page(options.workdir).encode())
    print(f"written: {PAGE}")


def look(case: Case, options: argparse.Namespace) -> None:
    """One case in a process of its own, kept in its file."""
    command = [sys.executable, "-m", "benchmarks.lowering", "--child", f"--scale={options.scale}"]
    command += [f"--system={case.system}", f"--devices={case.devices}"]
    command += [f"--parallel={case.parallel}", *(["--compile"] if options.compile else [])]
    print(f"{case.system} on {case.devices}, {case.parallel}", flush=True)
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | WITHOUT_TPU)
    if run.returncode:
        sys.exit(f"{case.system} was not lowered; see above")
    found = {**case._asdict(), "scale": options.scale, "jax": jax.__version__}
    found["rows"] = json.loads(run.stdout.splitlines()[-1])
    write_atomically(options.workdir / case.file, json.dumps(found, indent=1).encode())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Lowers training steps for a TPU.")
    parser.add_argument("--system", choices=CONFIGS, help="this one alone")
    parser.add_argument("--scale", default="paper")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--parallel", choices=MODES, default="jit")
    parser.add_argument("--compile", action="store_true", help="for v5e; needs libtpu")
    parser.add_argument("--workdir", type=Path, default=Path("runs/lowering"))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
