"""The training core: state, step builder, the one loop. It knows nothing of re-ID."""

from jaxreid.training.loop import Every, Preempted, fit
from jaxreid.training.mesh import divided, make_mesh, parallel, shards, sharers
from jaxreid.training.precision import cached, computing, in_dtype
from jaxreid.training.processes import remembered
from jaxreid.training.state import Net, State, create, initialiser
from jaxreid.training.step import Aux, Interlude, Phase, Step, alternate
from jaxreid.training.workdir import WorkdirError, run_once

__all__ = [
    "Aux",
    "Every",
    "Interlude",
    "Net",
    "Phase",
    "Preempted",
    "State",
    "Step",
    "WorkdirError",
    "alternate",
    "cached",
    "computing",
    "create",
    "divided",
    "fit",
    "in_dtype",
    "initialiser",
    "make_mesh",
    "parallel",
    "remembered",
    "run_once",
    "sharers",
    "shards",
]
