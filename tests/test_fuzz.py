"""Damaged command lines: a config, or one clear line; scripts for clusters that are well-formed."""

import subprocess
import sys
from collections.abc import Mapping

import pytest
import yaml
from absl import flags
from fuzzing import damaged_text, fuzz, orderly
from hypothesis import assume, given
from hypothesis import strategies as st

import launch
from jaxreid import jobs, sweep
from jaxreid.training import workdir

SPGAN = "--config=configs/spgan.py:tiny"
OVERRIDES = [
    *("--config.seed=3", "--config.reid.rate=0.5", "--config.reid.head=bnneck", "--config.reid=1"),
    *("--config.crossing.judge=True", "--config.crossing.size=(64, 32)", "--config.a[0].b=2"),
    *("--config.data.source.world.city=1", "--config.crossing.size[1]=8"),
]


@pytest.fixture
def parsed(monkeypatch):
    """Parses a command line as a new process would: without the flags of the config before."""

    def parse(*arguments):
        for name in [name for name in flags.FLAGS if name.startswith("config.")]:
            delattr(flags.FLAGS, name)
        monkeypatch.setattr(sys, "argv", ["launch.py", *arguments])
        try:
            launch.parse(sys.argv)
        except SystemExit as refused:
            raise ValueError(str(refused)) from None
        return flags.FLAGS["config"].value

    return parse


def test_overrides(parsed):
    plain = workdir.flat(parsed(SPGAN).to_dict())

    @fuzz(60)
    @given(st.sampled_from(OVERRIDES).flatmap(damaged_text))
    def run(override):
        assume(override.startswith("--config.") and "\0" not in override)
        with orderly(override[:400], "Missing value", "is no flag"):
            changed = workdir.flat(parsed(SPGAN, override).to_dict())
            differing = [key for key in plain if changed[key] != plain[key]]
            assert changed.keys() == plain.keys() and len(differing) <= 1
            assert all(type(changed[key]) is type(plain[key]) for key in plain)
            assert all(override.startswith(f"--config.{key}") for key in differing)

    assert parsed(SPGAN, "--config.seed=3").seed == 3
    run()


@pytest.mark.parametrize("stray", ["config.seed=1", "True", "out"])
def test_what_is_no_flag_is_refused(parsed, stray):
    with pytest.raises(ValueError, match=f"error: '{stray}' is no flag"):
        parsed(SPGAN, stray)


def test_a_file_that_is_no_python_is_one_line(parsed, tmp_path):
    (tmp_path / "Makefile").write_text("PYTHON ?= python3")
    with pytest.raises(ValueError, match=r"error: invalid syntax \(Makefile, line 1\)"):
        parsed(f"--config={tmp_path / 'Makefile'}")


def test_names_of_sweeps():
    @fuzz(40)
    @given(damaged_text("recipes"))
    def run(name):
        with orderly(repr(name)):
            rows = sweep.overrides("configs/spgan.py:tiny", name)
            assert isinstance(rows, Mapping)

    run()


JOBS = [
    "tpu type=v5litepod-16 zone=us-west4-a spot=True name=a",
    "slurm nodes=2 devices=4",
    "jobset image=registry.example/jaxreid:1 claim=runs type=tpu-v5 topology=2x4",
]


def test_jobs():
    @fuzz(60)
    @given(st.sampled_from(JOBS).flatmap(damaged_text))
    def run(job):
        with orderly("--job"):
            text = jobs.text(job, "a", [SPGAN, "--workdir=/runs/a"])
            if job.split()[0] == "jobset":
                *_, made = yaml.safe_load_all(text)
                spec = made["spec"]["replicatedJobs"][0]["template"]["spec"]
                (container,) = spec["template"]["spec"]["containers"]
                assert f"image={container['image']}" in job.split()
            else:
                assert not set("$`;&|<>()") & set(job)
                done = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True)
                assert done.returncode == 0

    run()
