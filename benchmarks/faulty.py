"""``launch.py`` with a fault put in from outside: ``python -m benchmarks.faulty FAULT AT ...``.

FAULT is ``nan`` (the images of a batch are no numbers), ``worker`` (a thread that decodes pictures
cannot read) or ``clock`` (it is a day earlier from then on); AT counts batches, requests for
pictures, or questions for the time.
"""

import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import app

import launch
from jaxreid.data.pictures import Pictures
from jaxreid.training import processes

SAID = "fault injected"
DAY = 24 * 3600.0


def changed(act: Callable, at: int, otherwise: Callable, onwards: bool = False) -> Callable:
    """``act``, but ``otherwise`` in call number ``at``, or from that one on."""
    calls = itertools.count()

    def call(*args: Any, **kwargs: Any) -> Any:
        number = next(calls)
        if number == at:
            print(SAID, flush=True)
        hit = number >= at if onwards else number == at
        return (otherwise if hit else act)(*args, **kwargs)

    return call


def nan(at: int) -> None:
    """Images of batch ``at`` are NaN; other trees that are spread over devices do not count."""
    spread = processes.spread

    def spoilt(tree: Any, sharding: Any) -> Any:
        wrong = {k: np.full(x.shape, np.nan, np.float32) for k, x in tree.items() if x.ndim > 3}
        return spread({**tree, **wrong}, sharding)

    batches = changed(spread, at, spoilt)
    processes.spread = lambda tree, sharding: (batches if type(tree) is dict else spread)(
        tree, sharding
    )


def worker(at: int) -> None:
    """Request ``at`` for pictures fails as a broken disk does."""

    def broken(*_: Any) -> Any:
        raise OSError("[Errno 5] Input/output error: injected")

    Pictures.__call__ = changed(Pictures.__call__, at, broken)


def clock(at: int) -> None:
    """From question ``at`` on it is a day earlier."""
    now, nanoseconds = time.time, time.time_ns
    time.time = changed(now, at, lambda: now() - DAY, onwards=True)
    time.time_ns = lambda: nanoseconds() - int((now() - time.time()) * 1e9)


if __name__ == "__main__":
    fault, moment, *rest = sys.argv[1:]
    {"nan": nan, "worker": worker, "clock": clock}[fault](int(moment))
    sys.argv = ["launch.py", *rest]
    app.run(launch.main, flags_parser=launch.parse)
