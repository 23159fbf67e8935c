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
