"""A run of a system in which nothing is trained, computed or read, to collect its trainings.

The system's own code runs, stage by stage, with its settings. ``fit`` only notes what it was asked
to train; networks outside of training give zeros of the right shapes; data are blank.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field
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
from jaxreid.stages import (
    choose,
    clustering,
    distances,
    domain_judge,
    fusion,
    handcrafted,
    judge,
    modalities,
    pose_sheets,
    sets,
)
from jaxreid.stages import publish as reports
from jaxreid.stages.arms import score
from jaxreid.training import State, Step, fit, make_mesh
from jaxreid.training.loop import jitted

_Jitted = type(jax.jit(lambda: None))


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


def traced_for_tpu():
    """Inside, networks choose the forms of convolutions, and stages the groups, of a TPU."""
    return mock.patch.object(jax, "default_backend", lambda: "tpu")


def zeros(shape: jax.ShapeDtypeStruct) -> Any:
    """An array of that shape; its memory is claimed when it is written, that is, never."""
    if jax.dtypes.issubdtype(shape.dtype, jax.dtypes.prng_key):
        return jax.random.split(jax.random.key(0), shape.shape)
    return np.zeros(shape.shape, shape.dtype)


def _abstract(tree: Any, sharding: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _dry(function: Any) -> Callable[..., Any]:
    """A jitted function that gives zeros, but inside a training step what it always gives."""
    known: dict[Any, Any] = {}  # tracing a network takes a second, and sets have many batches

    def call(*args: Any) -> Any:
        leaves, form = jax.tree.flatten(args)
        if any(isinstance(x, jax.core.Tracer) for x in leaves):
            return function(*args)
        key = form, *((x.shape, x.dtype) if hasattr(x, "shape") else x for x in leaves)
        if key not in known:
            known[key] = function.eval_shape(*args)
        return jax.tree.map(zeros, known[key])

    return call


def _stand_ins(recorder: Recorder) -> dict[Any, Any]:
    """What to put in the place of what."""
    disk = blank.Disk()
    nothing = (score, fusion.score, fusion.originals, fusion.embed, modalities.score)
    nothing += (handcrafted.arm, handcrafted.learned, distances.measure, pose_sheets.write)
    nothing += (pose_sheets.report, reports.publish, judge.quality, domain_judge.quality)
    found: dict[Any, Any] = dict.fromkeys(nothing, lambda *_, **__: [])
    found |= {fit: recorder.fit, sets.prepare: blank.prepare, data.load: disk.load}
    found |= {data.generated: disk.generated, data.write_generated: disk.write}
    found |= {clustering.kmeans: _in_turn, clustering.merge: _first_united}
    found |= {choose.best: lambda directory, steps, chooser: steps[max(steps)]()}
    found |= {clustering.reliable: lambda points, *_, **__: np.ones(len(points), bool)}
    jits = (f for m in _modules("jaxreid.stages") for f in vars(m).values())
    return found | {f: _dry(f) for f in jits if isinstance(f, _Jitted)}


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
