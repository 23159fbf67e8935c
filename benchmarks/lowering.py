"""Lowers every training step of every system for a TPU, without one and without computing it.

    python -m benchmarks.lowering [--system=NAME] [--scale=paper] [--devices=1] [--parallel=jit]

The system's own code decides what is trained; see ``benchmarks.rehearsal``. Every program of a step
is exported for TPUs by ``jax.export``, from shapes alone. FLOPs are XLA's count over the program as
it is lowered, before any compiler has touched it; where phases rest in some steps, they are the
mean over a period. ``--compile`` has libtpu compile every program for a TPU v5e, which needs
``pip install 'jaxreid[tpu]'`` but no TPU, and says how much memory one device needs. Without
``--system`` every config is lowered in a process of its own, and docs/lowering.md is written.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from benchmarks import lowering_page
from benchmarks.rehearsal import Training, traced_for_tpu, trainings
from jaxreid.training import make_mesh

ROOT = Path(__file__).parents[1]
TOPOLOGIES = {1: "v5e:1x1", 4: "v5e:2x2", 8: "v5e:2x4"}  # devices: slices that libtpu knows


def measure(training: Training, compiled: bool) -> dict[str, Any]:
    """One row: sizes, FLOPs per step, whether it lowers and, if ``compiled``, device memory."""
    nets, state = training.state.nets, training.state
    given = state, training.batch
    row = {
        "trainings": list(training.names),
        "batch": {name: list(x.shape) for name, x in training.batch.items()},
        "parameters": sum(x.size for net in nets.values() for x in jax.tree.leaves(net.params)),
        "state": size(state),
        "input": size(training.batch),
        "tpu": "yes",
    }
    try:
        with traced_for_tpu():
            for program in training.programs:
                export.export(program, platforms=["tpu"])(*given)
            row["flops"] = statistics.mean(flops(p, *given) for p in training.programs)
            if compiled:
                row["peak"] = max(peak(program, *given) for program in training.programs)
    except Exception as error:  # whatever an operation that does not lower raises is the finding
        row["tpu"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return row


def size(tree: Any) -> int:
    """Bytes of all arrays."""
    leaves = jax.tree.leaves(tree)
    return sum(x.size * x.dtype.itemsize for x in leaves)


def flops(program: Any, *given: Any) -> float:
    """XLA's count for one call, before compilation."""
    return program.trace(*given).lower().cost_analysis()["flops"]


def peak(program: Any, *given: Any) -> int:
    """Bytes that one device holds at once: state and batch, and what is computed between."""
    found = program.trace(*given).lower().compile().memory_analysis()
    return found.peak_memory_in_bytes
