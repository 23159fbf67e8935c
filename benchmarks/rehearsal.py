"""A run of a system in which nothing is trained, computed or read, to collect its trainings.

The system's own code runs, stage by stage, with its settings. ``fit`` only notes what it was asked
to train; data are blank, and so is what networks would generate or embed; nothing is scored.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np
from jax.sharding import Mesh

from benchmarks import blank
from jaxreid import data, systems
from jaxreid.data.pictures import Pictures
from jaxreid.evaluation import Embedded
from jaxreid.stages import (
    choose,
    clustering,
    dcgan,
    distances,
    domain_judge,
    embedding,
    fusion,
    generate,
    handcrafted,
    judge,
    modalities,
    pose_sheets,
    sets,
)
from jaxreid.stages import publish as reports
from jaxreid.stages.arms import score
from jaxreid.training import State, Step, fit, grouping, make_mesh
from jaxreid.training.loop import jitted


class Training(NamedTuple):
    """What ``fit`` was asked to do.

    Attributes:
        names: directories of all trainings that are this one, below that of the run, in order.
        programs: of the step, jitted as ``fit`` does.
        state: shapes of the state, with shardings.
        batch: those of a batch.
    """

    names: dict[str, None]
    programs: tuple[Any, ...]
    state: State
    batch: Mapping[str, jax.ShapeDtypeStruct]


@dataclass
class Recorder:
    """In the place of ``fit``.

    Attributes:
        root: directory of the run.
        mesh: devices that programs are made for.
        found: the trainings, equal ones once.
    """

    root: Path
    mesh: Mesh
    found: dict[Any, Training] = field(default_factory=dict)

    def fit(
        self,
        init: Callable[[], State],
        step: Step,
        batches: Callable[[int, int], Iterator],
        *,
        directory: Path,
        models: int | None = None,
        **_: Any,
    ) -> State:
        """Notes the training and gives a state of zeros."""
        state, first = jax.eval_shape(init), next(iter(batches(0, 1)))[1]
        shapes = jax.tree.map(lambda x: (x.shape, x.dtype), (state, dict(first)))
        key = (step, models, str(shapes))
        if key not in self.found:
            programs, *shardings = jitted(step, first, models, self.mesh)
            trees = map(_abstract, (state, dict(first)), shardings)
            self.found[key] = Training({}, programs, *trees)
        self.found[key].names[str(directory.relative_to(self.root))] = None
        return jax.tree.map(zeros, state)


def trainings(config: Mapping[str, Any], mesh: Mesh | None = None) -> list[Training]:
    """All that a system trains under ``config``, for a TPU, in the order of the run."""
    import_module(f"jaxreid.systems.{config['system']}")
    with tempfile.TemporaryDirectory() as root, ExitStack() as stack:
        recorder = Recorder(Path(root), mesh or make_mesh())
        stack.enter_context(_replaced(_stand_ins(recorder)))
        stack.enter_context(mock.patch.object(Pictures, "__call__", blank.pictures))
        stack.enter_context(traced_for_tpu())
        stack.enter_context(redirect_stdout(StringIO()))
        systems.run(config, Path(root))
    return list(recorder.found.values())


@contextmanager
def traced_for_tpu() -> Iterator[None]:
    """Inside, networks choose the forms of convolutions that suit a TPU."""
    jax.clear_caches()  # what was traced for this machine chose others
    try:
        with mock.patch.object(jax, "default_backend", lambda: "tpu"):
            yield
    finally:
        jax.clear_caches()


def zeros(shape: jax.ShapeDtypeStruct) -> Any:
    """An array of that shape; its memory is claimed when it is written, that is, never."""
    if jax.dtypes.issubdtype(shape.dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(0), shape.shape)
    return np.zeros(shape.shape, shape.dtype)


def _abstract(tree: Any, sharding: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _stand_ins(recorder: Recorder) -> dict[Any, Any]:
    """What to put in the place of what."""
    disk = blank.Disk()
    nothing = (score, fusion.score, fusion.originals, fusion.embed, modalities.score)
    nothing += (handcrafted.arm, handcrafted.learned, distances.measure, pose_sheets.write)
    nothing += (pose_sheets.report, reports.publish, judge.quality, domain_judge.quality)
    found: dict[Any, Any] = dict.fromkeys(nothing, lambda *_, **__: [])
    found |= {fit: recorder.fit, sets.prepare: blank.prepare, data.load: disk.load}
    found |= {grouping.bytes_needed: lambda *_: 0, grouping._room: lambda: 1 << 40}
    found |= {data.generated: disk.generated, data.write_generated: disk.write}
    found |= {clustering.kmeans: _in_turn, clustering.merge: _first_united}
    found |= {choose.best: lambda directory, steps, chooser: steps[max(steps)]()}
    found |= {clustering.reliable: lambda points, *_, **__: np.ones(len(points), bool)}
    found |= {embedding.embed: _embedded, dcgan._draw: lambda *given: _black(*given[2:])}
    return found | {generate._records: partial(_unmade, generate._records)}


def _unmade(records: Callable[..., Any], real: data.Split, rows: np.ndarray, _: Any, *given: Any):
    """In the place of generated records: theirs, of pictures that no translator was asked for."""
    return records(real, rows, lambda split, rows: _black(split, len(rows)), *given)


def _black(_: Any, count: int) -> np.ndarray:
    """Pictures that nobody looks at, of one pixel."""
    return np.zeros((count, 1, 1, 3), np.uint8)


def _embedded(model: Any, split: data.Split, *_: Any) -> Embedded:
    """In the place of embedding."""
    del model
    return Embedded(np.zeros((len(split), 1)), split.pids, split.cameras)


def _in_turn(points: np.ndarray, clusters: int, *_: Any) -> clustering.Clusters:
    """In the place of k-means."""
    return clustering.Clusters(np.arange(len(points)) % clusters, points[:clusters])


def _first_united(points: np.ndarray, labels: np.ndarray, merges: int, **_: Any) -> np.ndarray:
    """In the place of merging clusters."""
    return np.maximum(labels - merges, 0)


@contextmanager
def _replaced(stand_ins: Mapping[Any, Any]) -> Iterator[None]:
    """Functions of the library are others, under every name that a module has for them."""
    by_id = {id(old): new for old, new in stand_ins.items()}
    with ExitStack() as stack:
        for module in _modules("jaxreid"):
            for name, value in list(vars(module).items()):
                if id(value) in by_id:
                    stack.enter_context(mock.patch.object(module, name, by_id[id(value)]))
        yield


def _modules(prefix: str) -> list[Any]:
    return [m for name, m in sorted(sys.modules.items()) if name.startswith(prefix)]
