"""What a user sees when something is wrong: one clear line, before any long work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def launch(*arguments):
    return subprocess.run(
        [sys.executable, "launch.py", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def refused(*arguments):
    done = launch(*arguments)
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
        ([IDE, "--workdir=tape://reel/run"], ["tape://reel/run cannot be read", "gs:// or s3://"]),
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


def test_a_full_disk_is_said_once(tmp_path):
    """Not again by the libraries that write: in late callbacks, and of failures nobody awaits."""
    code = """if True:
        import asyncio, gc, launch
        class Late:
            def __init__(self, said):
                self.said = said
            def __del__(self):
                raise RuntimeError(self.said)
        launch.quieten()
        Late("Event loop is closed")
        Late("something else")
        loop = asyncio.new_event_loop()
        loop.create_future().set_exception(OSError(28, "No space left on device"))
        gc.collect()
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "RuntimeError: something else" in done.stderr
    assert "loop" not in done.stderr and "No space" not in done.stderr, done.stderr


def test_a_device_without_room_says_what_to_lower(tmp_path):
    code = """if True:
        import jax, launch
        from absl import app
        launch.systems.run = lambda *_: jax.numpy.zeros(1 << 45).block_until_ready()
        app.run(launch.main, flags_parser=launch.parse)
    """
    given = [sys.executable, "-c", code, IDE, f"--workdir={tmp_path}"]
    done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: RESOURCE_EXHAUSTED: Out of memory" in done.stderr
    assert "a smaller batch (reid.batch" in done.stderr and "groups.json" in done.stderr


SWEEPS = """
from configs.camstyle import get_config

SWEEPS = {
    "epsilon": {"low": {"camstyle.epsilon": 0.1}, "high": {"camstyle.epsilon": 0.3}},
    "wrong": {"low": {"camstyle.epsilon": 0.1}, "typo": {"camstyle.epsilno": 0.3}},
}
"""


def config_with_sweeps(tmp_path):
    (tmp_path / "config.py").write_text(SWEEPS)
    return f"--config={tmp_path / 'config.py'}:tiny"


@pytest.mark.parametrize(
    "name,words",
    [
        ("epsilom", ["'epsilom'", "epsilon, wrong", "Did you mean 'epsilon'"]),
        ("wrong", ["row 'typo'", "'camstyle.epsilno'", "Did you mean 'camstyle.epsilon'"]),
    ],
)
def test_mistakes_in_a_sweep_are_found_before_any_row_runs(name, words, tmp_path):
    workdir = tmp_path / "out"
    said = refused(config_with_sweeps(tmp_path), f"--sweep={name}", f"--workdir={workdir}")
    assert all(word in said for word in words) and not workdir.exists()


def test_a_sweep_trains_once_what_its_rows_share(tmp_path):
    arguments = [config_with_sweeps(tmp_path), "--sweep=epsilon", f"--workdir={tmp_path / 'out'}"]
    arguments += ["--config.reid.epochs=1", "--config.camstyle.epsilon=0.9"]
    arguments += [
        "--config.data.world.cameras=2",
        "--config.data.world.test_cameras_per_identity=2",
    ]
    done = launch(*arguments)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    low, high = tmp_path / "out/low", tmp_path / "out/high"
    links = {str(p.relative_to(high)) for p in high.rglob("*") if p.is_symlink()}
    assert {"world", "records", "reid_baseline", "reid_jitter", "cyclegan/pair_1_2"} <= links
    assert {f"{kind}/c1_to_c2" for kind in ("generated", "truth")} <= links
    assert not {"reid_camstyle", "reid_oracle"} & links
    assert not [p for p in low.rglob("*") if p.is_symlink()]

    table = json.loads((tmp_path / "out/sweep.json").read_text())["arms"]
    assert sorted(table) == [
        *("baseline", "camstyle (high)", "camstyle (low)"),
        *("jitter", "oracle (high)", "oracle (low)"),
    ]
    for row, epsilon in ((low, 0.1), (high, 0.3)):
        results = json.loads((row / "results.json").read_text())
        assert results["settings"]["camstyle"]["epsilon"] == epsilon
        assert results["settings"]["reid"]["epochs"] == 1
        assert results["arms"]["camstyle"] == table[f"camstyle ({row.name})"]
        assert "cyclegan/pair_1_2" in (row / "report.html").read_text()

    files = ("low/results.json", "high/report.html", "sweep.json", "sweep.md")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files}
    again = launch(*arguments)
    assert again.returncode == 0 and "steps/s" not in again.stdout
    assert "taken from" in done.stdout and "taken from" not in again.stdout
    assert before == {name: (tmp_path / "out" / name).read_bytes() for name in files}
