"""Two processes, one run: the same numbers as one process, stopped together, continued by one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny

from benchmarks.faults_judge import contents
from jaxreid.training import processes

ROOT = Path(__file__).parents[2]
SYSTEMS = (
    *("camstyle", "faketriplet", "unitystyle", "ptgan", "spgan", "crgan", "m2m", "mmd"),
    *("hhl", "taudl", "pul", "buc", "pngan", "ce2l"),
)

CALM = {name: ["--config.reid.rate=0.001"] for name in ("lsro", "mmd")}
"""At the rate of `tiny` its few steps magnify rounding until scores differ."""
MAGNIFIED = {"spgan": "reid_spgan"}
"""Trained on pictures of which a byte in seven is another, so that its first two steps count."""
LOOSE = {"spgan": 1e-3}
"""How far a translator's values may be apart, where rounding reaches further than 1e-4."""


def start(system, workdir, devices, *options):
    command = [sys.executable, "launch.py", f"--config=configs/{system}.py:tiny"]
    return subprocess.Popen(
        [*command, f"--workdir={workdir}", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)},
    )


def joined(system, workdir, *options):
    """Two processes with a device each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    given = [f"--coordinator={address}", "--processes=2", *options]
    return [start(system, workdir, 1, *given, f"--process={k}") for k in range(2)]


def check_equal_to_one_process(system, tmp_path):
    options = tiny.EVEN.get(system, []) + CALM.get(system, [])
    said, err = start(system, tmp_path / "one", 2, *options).communicate()
    assert not err and (tmp_path / "one/results.json").exists(), said[-2000:]
    both = joined(system, tmp_path / "two", *options)
    texts = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts[0][-2000:] + texts[1][-2000:]
    assert "on 2 x cpu of 2 processes" in texts[0] and "steps/s" not in texts[1]
    one, two = (json.loads((tmp_path / d / "results.json").read_text()) for d in ("one", "two"))
    apart = MAGNIFIED.get(system, "-")
    alike = {a: s for a, s in one["arms"].items() if not f"reid_{a}".startswith(apart)}
    for arm, scores in alike.items():  # devices that share a batch round otherwise
        assert two["arms"][arm]["mAP"] == pytest.approx(scores["mAP"], abs=0.01), arm
    assert two["environment"].pop("processes") == 2 and one["environment"].pop("processes") == 1
    assert two["environment"] == one["environment"]
    logs = [path.relative_to(tmp_path / "one") for path in tmp_path.glob("one/**/metrics.jsonl")]
    for log in logs:
        one, two = ((tmp_path / d / log).read_text().splitlines() for d in ("one", "two"))
        for a, b in zip(map(json.loads, one), map(json.loads, two), strict=True):
            # Where a byte of a generated image rounds otherwise, what trains on it moves.
            rel = 0.1 if log.parts[0].startswith("reid") else LOOSE.get(system, 1e-4)
            if log.parts[0] == apart:
                rel = 0.01 if a["step"] <= 2 else np.inf
            assert b == pytest.approx(a, rel=rel)
    assert logs
    vectors = [path.relative_to(tmp_path / "one") for path in tmp_path.glob("one/**/query.npy")]
    for path in vectors:
        one, two = (np.load(tmp_path / d / path) for d in ("one", "two"))
        if path.parts[0] != apart:
            np.testing.assert_allclose(two, one, atol=0.1)
    assert vectors


def test_two_processes_train_a_gan_and_networks_as_one_does(tmp_path):
    check_equal_to_one_process("lsro", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_two_processes_do_what_one_does(system, tmp_path):
    check_equal_to_one_process(system, tmp_path)


JOINT = """if True:
    import os, pathlib, signal, sys, time
    sys.path[:0] = ["tests/training"]
    import jax
    this, address, root = int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    jax.distributed.initialize(address, 2, this)
    import test_training_loop as t
    from jaxreid.training import Every, fit, remembered
    from jaxreid.training.processes import tell

    def train(name, steps):
        given = {"steps": steps, "directory": root / name, "every": Every(9, 9, 9)}
        return fit(t.init, t.STEP, t.batches, **given)

    # What the first process has read alone it reads once more with all others.
    first = remembered(lambda: float(train("first", 20).nets["w"].params["w"].sum()))
    found = [first(), tell(first), first()]
    again = remembered(lambda: float(train("first", 20).nets["w"].params["w"].sum()))
    assert found + [tell(again), again(), again()] == found[:1] * 6
    if this:
        os.kill(os.getpid(), signal.SIGTERM)  # between two trainings, the second one shorter
    time.sleep(2)
    train("second", 10)
    raise AssertionError("nobody was stopped")
"""


def test_sigterm_between_two_trainings_stops_the_second(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", JOINT, str(k), address, str(tmp_path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        )
        for k in range(2)
    ]
    texts = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [143, 143], texts[0] + texts[1]
    assert all("second: stopped and saved at step" in text for text in texts)


def test_sigterm_to_one_process_stops_both_and_one_alone_continues(tmp_path):
    options = ["--config.reid.epochs=60"]
    both = joined("ide", tmp_path / "run", *options)
    log = tmp_path / "run/reid_baseline/metrics.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < 4:
        assert all(process.poll() is None for process in both)
        time.sleep(0.2)
    both[1].send_signal(signal.SIGTERM)
    texts = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [143, 143], texts
    assert "reid_baseline: stopped and saved at step" in texts[0]
    step = int(texts[0].split("saved at step ")[1].split(";")[0])
    assert 4 < step < 240 and (tmp_path / f"run/reid_baseline/checkpoints/{step}").exists()
    alone = start("ide", tmp_path / "run", 1, *options)
    said, _ = alone.communicate()
    assert alone.returncode == 0 and f"continues from step {step}" in said, said[-2000:]
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == sorted(steps) and steps[-1] == 240


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_kill_of_one_process_ends_both_and_loses_nothing(tmp_path, killed):
    """The other one notices: at once if the first is gone, else when its heartbeat is missed."""
    for process in joined("ide", tmp_path / "whole"):
        process.communicate()
    both = joined("ide", tmp_path / "cut")
    log = tmp_path / "cut/reid_baseline/metrics.jsonl"
    while not log.exists() or len(log.read_text().splitlines()) < 4:
        assert all(process.poll() is None for process in both)
        time.sleep(0.05)
    both[killed].kill()
    texts = [process.communicate(timeout=300)[0] for process in both]
    assert all(process.returncode for process in both), texts
    assert not (tmp_path / "cut/results.json").exists()
    both = joined("ide", tmp_path / "cut")
    texts = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    whole, cut = (contents(tmp_path / d) for d in ("whole", "cut"))
    assert whole and cut == whole


def test_what_stops_the_first_process_is_told_to_the_other(tmp_path):
    (tmp_path / "world").mkdir()
    (tmp_path / "world/settings.json").write_text('{"world": "another"}')
    both = joined("ide", tmp_path)
    texts = [process.communicate()[0] for process in both]
    assert "was made with other settings" in texts[0]
    assert "process 1: the first process stopped: WorkdirError" in texts[1]
    assert all(process.returncode for process in both)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--processes=2"], "--coordinator, --processes and --process together"),
        (["--distributed", "--process=1"], "or by --distributed alone"),
        (
            ["--coordinator=127.0.0.1:1", "--processes=2", "--process=2"],
            "--process is 2: of 2 processes",
        ),
    ],
)
def test_processes_are_named_completely(tmp_path, options, message):
    process = start("ide", tmp_path, 1, *options)
    said, _ = process.communicate()
    assert process.returncode == 1 and message in said


def test_one_process_is_the_first_and_asks_nobody():
    assert processes.leads() and not processes.joint()
    assert processes.tell(lambda: {"a": (1, 2)}) == {"a": (1, 2)}  # not through JSON
