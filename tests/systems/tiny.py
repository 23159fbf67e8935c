"""Runs of the systems at scale ``tiny``, as a user starts them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
