"""Models trained beside one another: how many share a program, decided once per directory."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax

from jaxreid.training import processes, seals
from jaxreid.training.files import write_json
from jaxreid.training.step import Step

Item = TypeVar("Item")
Task = tuple[Callable[[], Any], Step, Mapping[str, Any]]  # init, step, a batch
_FREE = 0.9  # of a device's memory: what is left also holds what the run keeps beside a training


def grouped(
    directory: Path,
    models: Sequence[Item],
    task: Callable[[Sequence[Item]], Task],
    *,
    room: int | None = None,
) -> list[list[Item]]:
    """Which models (pairs of cameras, say) train together as one program, split over the devices.

    Batched over models a convolution becomes a grouped one, which accelerators run well and the CPU
    an order of magnitude too slowly: there each device takes one model at a time. On accelerators
    each takes as many as its memory has room for. The last group is filled up with repeated models,
    since groups split evenly over the devices. What was decided is printed and kept in
    ``groups.json``: whatever devices a run continues on, it continues the groups that it began.

    Args:
        directory: of all these trainings, created if needed.
        models: at least one.
        task: what a training of some of the models is made of, to find out what memory it needs.
        room: bytes that a device has for it; by default what the device says, none on the CPU.
    """

    def decide() -> list[list[int]]:
        file = directory / "groups.json"
        if file.exists() and covers(known := seals.read_json(file), len(models)):
            return known
        share, why = _share(models, task, _room() if room is None else room)
        size = share * jax.device_count()
        rows = range(-(-len(models) // size) * size)
        found = [[row % len(models) for row in rows[i : i + size]] for i in rows[::size]]
        print(f"{directory.name}: {len(models)} models, {share} at a time per device: {why}")
        directory.mkdir(parents=True, exist_ok=True)
        write_json(file, found)
        return found

    return [[models[i] for i in group] for group in processes.tell(decide)]


def covers(groups: list[list[int]], models: int) -> bool:
    """Whether every one of so many models is in a group, and nothing else."""
    return sorted({i for group in groups for i in group}) == list(range(models))


def bytes_needed(init: Callable[[], Any], step: Step, batch: Mapping[str, Any]) -> float:
    """Memory that one device needs to take any of the step's turns, its arguments included.

    Infinite, where the compiler refuses a program for what it needs, as that of TPUs does.
    """
    needed = 0.0
    for program in set(step.programs):
        lowered = jax.jit(program, donate_argnums=0).lower(jax.eval_shape(init), batch)
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return math.inf
        said = compiled.memory_analysis()
        assert said is not None
        arguments = said.argument_size_in_bytes + said.output_size_in_bytes
        needed = max(needed, arguments - said.alias_size_in_bytes + said.temp_size_in_bytes)
    return needed


def _room() -> int | None:
    """Bytes of a device; None where one model at a time is best."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return None
    return (device.memory_stats() or {}).get("bytes_limit")


def _share(models, task, room: int | None) -> tuple[int, str]:
    """Models that a device takes at a time, and why."""
    if room is None:
        return 1, "the fastest on a CPU, and safe where a device does not say what it holds"
    share = -(-len(models) // jax.device_count())
    while (needed := bytes_needed(*task(models[:share]))) > _FREE * room and share > 1:
        share = -(-share // 2)
    return share, f"they need {needed / 2**30:.2f} GiB of {room / 2**30:.2f}"
