"""What a user sees when something is wrong: one clear line, before any long work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def launch(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "launch.py", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


def refused(*arguments, **environment):
    done = launch(*arguments, **environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and done.stderr.lower().count("error:") == 1
    return done.stderr


IDE = "--config=configs/ide.py:tiny"


@pytest.mark.parametrize(
    "arguments,words",
    [
        ([], ["--config is missing", "configs/camstyle.py"]),
        (["--config=configs/idee.py"], ["configs/idee.py"]),
        (["--config=configs/ide.py:big"], ["no scale 'big'", "demo, tiny, paper"]),
        ([IDE, "--config.reid.wdith=3"], ["wdith", "Did you mean", "width"]),
        ([IDE, "--config.system=cmastyle"], ["'cmastyle'", "Did you mean 'camstyle'"]),
        ([IDE, "--config.reid.head=bneck"], ["reid.head", "'bneck'", "bnneck"]),
        (
            [IDE, "--config.data.name=martek1501", "--config.data.root=/"],
            ["martek1501", "market1501"],
        ),
        ([IDE, "--config.data.name=market1501", "--config.data.root=/nowhere"], ["/nowhere"]),
        ([IDE, "--config.data.name=market1501"], ["data.root"]),
        ([IDE, "--workdir=/proc/run"], ["/proc/run", "cannot be written", "--workdir"]),
    ],
)
def test_mistakes_are_one_clear_line(arguments, words, tmp_path):
    if not any("workdir" in a for a in arguments):
        arguments = [*arguments, f"--workdir={tmp_path}"]
    said = refused(*arguments)
    for word in words:
        assert word in said
