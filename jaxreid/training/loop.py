"""The one loop: resume, step, log, sample, save, stop on preemption."""

import itertools
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxreid.training import processes
from jaxreid.training.checkpoints import Checkpoints
from jaxreid.training.mesh import placement, shards, sharing, turns
from jaxreid.training.metrics import MetricWriter, Progress
from jaxreid.training.state import State
from jaxreid.training.step import Program, Step

Batch = Mapping[str, np.ndarray]
_JOINT_STEPS = itertools.count(1)  # of all trainings of joint processes


@dataclass(frozen=True)
class Every:
    """Steps between two log lines, checkpoints, sample pictures. No result depends on them."""

    log: int
    save: int
    sample: int


class Preempted(SystemExit):
    """Asked to stop (SIGTERM, or the cluster's notice); everything is saved."""

    def __init__(self, label: str, step: int):
        """Leaves with 143, what a shell reports for SIGTERM."""
        super().__init__(143)
        print(f"{label}: stopped and saved at step {step}; the same command continues", flush=True)


def fit(
    init: Callable[[], State],
    step: Step,
    batches: Callable[[int, int], Iterator[tuple[int, Batch]]],
    *,
    steps: int,
    directory: Path,
    every: Every,
    sample: Callable[[State, int], None] | None = None,
    keep: Collection[int] = (),
    models: int | None = None,
    mesh: Mesh | None = None,
    label: str = "",
) -> State:
    """Trains to ``steps``, from the newest checkpoint not after it, else from ``init()``.

    The result does not depend on where a run was interrupted: a batch and the random key of a
    step are functions of the step alone. Nor does it depend on which checkpoints were there: asked
    for a step of ``keep`` once more, a finished run only reads it.

    Args:
        init: makes the state before step 0.
        step: of ``alternate``; jitted here with the state donated.
        batches: ``batches(start, stop)`` yields ``(index, host batch)`` for these steps.
        steps: number of steps.
        directory: holds ``checkpoints/``, ``metrics.jsonl`` and what ``sample`` writes.
        every: how often to log, save and sample; the last step does all three.
        sample: called as ``sample(state, step)``, by the first of joint processes.
        keep: steps whose checkpoints are written, whatever ``every`` says, and kept for good.
        models: number of stacked models, when state and batch carry a leading axis of models; then
            devices share models, and ``step`` is taken as it is: not in shards (``mesh.parallel``)
            unless it was built so.
        mesh: devices to use; all by default.
        label: what printed lines call the training; the name of ``directory`` by default.

    Returns:
        The state after the last step, all of it upon this process's devices.

    Raises:
        FloatingPointError: when a logged value stops being finite; names the values and the step.
            Nothing is saved from then on.
        Preempted: after SIGTERM, of joint processes to any of them, with the state saved.
    """
    first = next(iter(batches(0, 1)))[1]
    mesh = sharing(first, models) if mesh is None else mesh
    programs, state_sharding, batch_sharding = jitted(step, first, models, mesh)
    replicated = NamedSharding(mesh, PartitionSpec())
    label, leads = label or directory.name, processes.leads()

    with _stop_signal() as due, ExitStack() as opened:
        checkpoints = opened.enter_context(closing(Checkpoints(directory / "checkpoints", keep)))
        state = processes.spread(init(), state_sharding)
        restored = checkpoints.restore(_abstract(state), steps)
        state = state if restored is None else restored
        start = int(np.max(processes.gather(state.step, replicated)))
        if start >= steps:
            return processes.gather(state, replicated)
        if start:
            print(f"{label}: continues from step {start}", flush=True)
        progress = Progress(label, steps)
        writer = opened.enter_context(closing(MetricWriter(directory, start))) if leads else None
        window: list[dict[str, jax.Array]] = []
        for index, batch in progress.watched(batches(start, steps)):
            compiled = programs[index % len(programs)]
            state, metrics = compiled(state, processes.spread(dict(batch), batch_sharding))
            window.append(metrics)
            done, last = index + 1, index + 1 == steps
            stop = due()
            saving = last or stop or done in keep or done % every.save == 0
            logging = last or stop or done % every.log == 0 or index == start
            values = _summary(window, done) if saving or logging else {}
            if logging:
                window = []
                print(progress.line(done, values), flush=True)
                if writer:
                    writer.scalars(done, values)
            if sample is not None and (last or done % every.sample == 0):
                shown = processes.gather(state, replicated)
                if leads:
                    sample(shown, done)
            if saving:
                _require_finite(state, done)
                checkpoints.save(done, state)
            checkpoints.settle()
            if stop:
                checkpoints.finish()
                raise Preempted(label, done)
        return processes.gather(state, replicated)


def jitted(
    step: Step, batch: Mapping[str, Any], models: int | None, mesh: Mesh
) -> tuple[tuple[Program, ...], Any, Any]:
    """The programs of ``step`` as ``fit`` runs them, and where state and batch live."""
    state_sharding, batch_sharding = placement(mesh, batch, models)
    step = step.sharded(shards(), turns()) if models is None else step
    shardings = (state_sharding, NamedSharding(mesh, PartitionSpec()))
    programs = step.map(partial(jax.jit, donate_argnums=0, out_shardings=shardings)).programs
    return programs, state_sharding, batch_sharding


def _abstract(state: State) -> State:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )


def _summary(window: list[dict[str, jax.Array]], done: int) -> dict[str, float]:
    """Means over the window, after the check that every value of every step is finite."""
    rows = jax.device_get(window)
    for offset, row in enumerate(rows):
        bad = [name for name, value in row.items() if not np.all(np.isfinite(value))]
        if bad:
            raise FloatingPointError(
                f"step {done - len(rows) + offset + 1}: {', '.join(bad)} stopped being finite; "
                "lower the learning rate or look at the data (the last checkpoint is intact)"
            )
    names = dict.fromkeys(name for row in rows for name in row)  # a phase may rest in some steps
    return {n: float(np.mean([row[n] for row in rows if n in row])) for n in names}


def _require_finite(state: State, done: int) -> None:
    """A gradient may overflow where every logged value is finite; then nothing may be saved."""
    for name, net in state.nets.items():
        for leaf in jax.tree.leaves((net.params, net.stats)):
            if not all(np.all(np.isfinite(part.data)) for part in leaf.addressable_shards):
                raise FloatingPointError(
                    f"step {done}: weights of {name} stopped being finite; lower the learning rate "
                    "or look at the data (the last checkpoint is intact)"
                )


@contextmanager
def _stop_signal() -> Iterator[Callable[[], bool]]:
    """Tells after a step whether to stop: after SIGTERM, or where all processes agreed to.

    The handler before is put back afterwards, and hears of a signal that came too late. Joint
    processes leave the signal to JAX, which tells all of them the same step, counted over all
    trainings: a notice between two of them stops the second.
    """
    if processes.joint():
        yield lambda: multihost_utils.reached_preemption_sync_point(next(_JOINT_STEPS))
        return
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield event.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
    if event.is_set():
        signal.raise_signal(signal.SIGTERM)
