"""Runs of the systems at scale ``tiny``, as a user starts them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxreid.stages import sets

ROOT = Path(__file__).parents[2]
EVEN = {  # by system: options for batches that two devices can share, where tiny has one of 3
    "camstyle": ["--config.reid.generated_batch=4"],
    "lsro": ["--config.reid.generated_batch=4"],
    "hhl": ["--config.hhl.batch=4"],
}


def launch(system, workdir, *options):
    """The finished ``launch.py`` of one system."""
    command = [sys.executable, "launch.py", f"--config=configs/{system}.py:tiny"]
    command += [f"--workdir={workdir}", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def check_refusal(system, workdir, option, message):
    """One wrong option stops even a run that has long been finished, and is named."""
    done = launch(system, workdir, f"--config.{option}")
    assert done.returncode == 1 and message in done.stderr, done.stderr


def check_idle(system, workdir, *options):
    """A finished run, started again, trains nothing and leaves the same results."""
    before = (workdir / "results.json").read_bytes()
    again = launch(system, workdir, *options)
    assert "steps/s" not in again.stdout, again.stdout
    assert (workdir / "results.json").read_bytes() == before


def shuffle_target(monkeypatch):
    """From now on the identities of the target's training images are shuffled when it is read."""
    honest = sets.prepare

    def shuffled(workdir, *args, **kwargs):
        found = honest(workdir, *args, **kwargs)
        if workdir.name != "target":
            return found
        pids = np.random.default_rng(0).permutation(found.train.pids)
        assert (pids != found.train.pids).any()
        return found._replace(train=replace(found.train, pids=pids))

    monkeypatch.setattr(sets, "prepare", shuffled)
