"""The page of what ``benchmarks.lowering`` found."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxreid.report.markdown import table

HEAD = """# Training steps, lowered for a TPU

`make lowering` (`python -m benchmarks.lowering`) wrote this page with JAX {jax}, on a CPU.
The code of every system runs at scale `{scale}` without training anything: where a stage would
train, its step is exported for TPUs by `jax.export`, from shapes alone. That shows that every
operation of the step exists on a TPU, and counts; it takes no time of a step, and no number here
was measured on a TPU.

* Data are blank, with the published numbers of people, cameras and images. On a real set a person
  does not meet every camera, so that TAUDL has fewer tracklets (its classes) than here. Weights are
  not read; judges, which are options, are left out.
* Steps are those of one device. Translators of camera pairs (CycleGAN) or of cameras (UnityGAN)
  are stacked on a leading axis, as they train on accelerators.
* Parameters are those of all networks of the state, frozen ones, too. The state is parameters,
  statistics, optimisers and image pools.
* GFLOP per step is XLA's count of the lowered program, before compilation; where phases rest in
  some steps, the mean.
* Memory is the most that one TPU of the kind v5e, which has 16 GiB, holds at a time (state, batch
  and what is computed between them), by libtpu's compiler at its least effort, so rather too much:
  `--system=NAME --compile`, which needs libtpu but no TPU, and minutes per program. Empty: not
  compiled, so whether it fits is not known.
* Trainings with one program are one row. A baseline that several systems share is in each of them.

"""
SPLIT = """
## Eight devices

The step for eight devices, in the modes of [devices.md](devices.md). `split` says how many
arguments of the lowered program are split over the devices: image and label, while all of them
have the state. Under `accumulate`, with two shards per device, XLA counts the loop over a device's
shards as one turn of it.

"""
COLUMNS = ["system", "training", "images of a batch", "parameters, M", "state, MiB", "batch, MiB"]
COLUMNS += ["GFLOP per step", "lowers", "v5e memory, GiB"]


def page(store: Path) -> str:
    """All that is kept in ``store``, as Markdown."""
    found = [json.loads(path.read_text()) for path in sorted(store.glob("*.json"))]
    alone = [each for each in found if each["devices"] == 1]
    shared = [each for each in found if each["devices"] > 1]
    body = [[each["system"], *_cells(row)] for each in alone for row in each["rows"]]
    text = HEAD.format(**found[0]) + table([COLUMNS, *body]) + "\n"
    if shared:
        text += SPLIT + table([["mode", "split", *COLUMNS[1:]], *map(_shared, shared)]) + "\n"
    return text


def _shared(case: Mapping[str, Any]) -> list[str]:
    row = case["rows"][0]
    return [case["parallel"], str(row.get("split", "")), *_cells(row)]


def _cells(row: Mapping[str, Any]) -> list[str]:
    mib = [f"{row['state_bytes'] / 2**20:,.0f}", f"{row['batch_bytes'] / 2**20:,.1f}"]
    count = f"{row['flops'] / 1e9:,.0f}" if "flops" in row else ""
    several = f", {row['programs']} programs" if row["programs"] > 1 else ""
    sizes = [_names(row["trainings"]), _images(row["batch"]), f"{row['parameters'] / 1e6:,.1f}"]
    return [*sizes, *mib, count, row["tpu"] + several, _memory(row.get("memory", []))]


def _names(trainings: list[str]) -> str:
    """The first of equal trainings, and how many others there are."""
    return trainings[0] + (f" and {len(trainings) - 1} more" if len(trainings) > 1 else "")


def _images(batch: Mapping[str, list[int]]) -> str:
    """Names by shape, without labels."""
    names: dict[str, list[str]] = {}
    for name, shape in batch.items():
        if len(shape) > 2:
            names.setdefault(" x ".join(map(str, shape)), []).append(name)
    return "; ".join(f"{', '.join(each)}: {shape}" for shape, each in names.items())


def _memory(found: list[int | str]) -> str:
    """The most of all programs, or what the compiler said of one that does not fit."""
    refused = [text for text in found if isinstance(text, str)]
    if refused:
        return refused[0]
    return f"{max(map(int, found)) / 2**30:.1f}" if found else ""
