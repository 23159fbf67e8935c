"""What starts a run elsewhere: parsed as the tools that will read it parse it."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jaxreid import jobs

ROOT = Path(__file__).parents[1]
GIVEN = ["--config=configs/ide.py", "--config.data.root=/data/it's 1501", "--workdir=/runs/a b"]
TPU = "tpu type=v5litepod-16 zone=us-west4-a"
JOBSET = "jobset image=registry.example/jaxreid:1 claim=runs"


def lines(job, name="jaxreid-ide"):
    text = jobs.text(job, name, GIVEN)
    return [line for line in text.splitlines() if line and not line.startswith("# ")]


def parsed_by_shell(text):
    done = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_tpu_script_runs_this_very_command_on_every_worker():
    text = jobs.text(TPU + " spot=True", "jaxreid-ide", GIVEN)
    parsed_by_shell(text)
    first, fail, pack, *_, copy, install, run = lines(TPU + " spot=True")
    assert (first, fail) == ("#!/bin/sh", "set -e") and pack.endswith("jaxreid.tar.gz HEAD")
    assert shlex.split(copy)[4:7] == ["scp", "jaxreid.tar.gz", "jaxreid-ide:"]
    for line in (copy, install, run):
        assert "--worker=all" in shlex.split(line)
    there = shlex.split(run)[-1].removeprefix("--command=")
    assert shlex.split(there) == [
        *("cd", "jaxreid", "&&", ".venv/bin/python", "launch.py", *GIVEN, "--distributed"),
    ]
    assert "-e '.[tpu]'" in shlex.split(install)[-1]
    kept = jobs.text("tpu type=v5litepod-8 zone=us-west4-a", "run", ["--workdir=gs://bucket/run"])
    assert "-e '.[tpu,gcs]'" in kept.replace("'\"'\"'", "'")


@pytest.mark.parametrize(
    ("state", "first"),
    [
        ("READY", []),
        ("", ["create"]),
        ("PREEMPTED", ["delete", "create"]),
        ("TERMINATED", ["delete", "create"]),
    ],
)
def test_a_slice_is_made_unless_it_is_there_and_of_use(tmp_path, state, first):
    """The script itself, with a ``gcloud`` that knows one slice's state and notes what it hears."""
    describe = f"echo {state}" if state else "exit 1"
    gcloud = f'[ "$4" = describe ] && {{ {describe}; exit; }}\necho "$@" >> calls\n'
    for name, body in (("gcloud", gcloud), ("git", "")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}")
        (tmp_path / name).chmod(0o755)
    text = jobs.text(TPU + " spot=True", "jaxreid-ide", GIVEN)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["sh"], input=text, text=True, env=env, cwd=tmp_path, check=True)
    calls = [call.split() for call in (tmp_path / "calls").read_text().splitlines()]
    assert [call[3] for call in calls] == [*first, "scp", "ssh", "ssh"]
    for call in calls:
        assert call[:3] == ["compute", "tpus", "tpu-vm"] and "--zone=us-west4-a" in call
        if call[3] == "create":
            assert call[4] == "jaxreid-ide" and call[6:] == [
                *("--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite", "--spot"),
            ]


@pytest.mark.parametrize(
    ("kind", "version"),
    [
        ("v4-8", "tpu-ubuntu2204-base"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v6e-8", "v2-alpha-tpuv6e"),
    ],
)
def test_the_runtime_suits_the_tpu(kind, version):
    text = jobs.text(f"tpu type={kind} zone=z", "a", GIVEN)
    assert (
        f"--accelerator-type={kind} --version={version}\n" in text.replace(" ;;", "")
        and "--spot" not in text
    )


def test_a_slurm_script_has_a_process_per_gpu_and_queues_itself_again():
    text = jobs.text("slurm nodes=2 devices=4", "jaxreid-ide", GIVEN)
    parsed_by_shell(text)
    said = lines("slurm nodes=2 devices=4")
    given = dict(
        line.removeprefix("#SBATCH --").split("=")
        for line in said
        if "SBATCH" in line and "=" in line
    )
    assert (given["nodes"], given["ntasks-per-node"], given["gpus-per-node"]) == ("2", "4", "4")
    assert given["signal"] == "TERM@120" and "#SBATCH --requeue" in said
    run = next(line for line in said if line.startswith("srun"))
    ours = [".venv/bin/python", "launch.py", *GIVEN, "--distributed"]
    assert shlex.split(run) == ["srun", "--cpus-per-task=8", *ours]
    assert given["cpus-per-task"] == "8"


@pytest.mark.parametrize("status", [0, 1, 143])
def test_only_a_stopped_run_is_queued_again(tmp_path, status):
    """The script itself, with programs of the cluster that only say what they were asked."""
    for name, body in (("srun", f"exit {status}"), ("scontrol", 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    text = jobs.text("slurm", "a", GIVEN)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash"], input=text, text=True, capture_output=True, env=env)
    assert done.returncode == status
    assert done.stdout == ("requeue 7\n" if status == 143 else "")


def test_a_jobset_has_a_pod_per_node():
    made = yaml.safe_load(jobs.text(JOBSET + " nodes=3 devices=2", "jaxreid-ide", GIVEN))
    assert (made["kind"], made["metadata"]) == ("JobSet", {"name": "jaxreid-ide"})
    job = made["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (job["parallelism"], job["completions"]) == (3, 3)
    pod = job["template"]["spec"]
    (box,) = pod["containers"]
    assert box["command"] == ["python", "launch.py", *GIVEN, "--distributed"]
    assert box["resources"] == {"limits": {"nvidia.com/gpu": 2}} and "nodeSelector" not in pod
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "runs"}
    assert pod["volumes"][0]["name"] == box["volumeMounts"][0]["name"]


def test_a_jobset_of_tpus_names_their_slice():
    job = JOBSET + " nodes=4 devices=4 type=tpu-v5-lite-podslice topology=4x4"
    made = yaml.safe_load(jobs.text(job, "jaxreid-ide", GIVEN))
    pod = made["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"] == {"limits": {"google.com/tpu": 4}}
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("pbs", "--job begins with 'pbs'; choose one of tpu, slurm, jobset"),
        (" ", "--job begins with ''"),
        ("tpu", "also needs type=..., zone=..."),
        (JOBSET + " type=v5", "also needs topology=..."),
        ("slurm node=2", "--job has no field 'node'; its fields are name, nodes"),
        ("slurm nodes=two", "nodes is 'two'; it must be of the form"),
        ("slurm nodes=0", "nodes, devices and cores are 1 or more"),
        ("slurm spot", "spot is ''"),
        ("slurm name=A-rm", "name is 'A-rm'; small letters"),
        ("slurm name=a;rm", "name is 'a;rm'; it must be of the form"),
    ],
)
def test_what_a_place_lacks_is_named(job, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        jobs.text(job, "jaxreid-ide", GIVEN)


def test_launch_prints_the_command_that_it_was_given_without_the_job(tmp_path):
    given = ["--config=configs/ide.py:tiny", "--config.seed=3", f"--workdir={tmp_path}/run"]
    for job in (["--job=slurm nodes=2"], ["--job", "slurm nodes=2"]):
        command = [sys.executable, "launch.py", *given[:1], *job, *given[1:]]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        run = next(line for line in done.stdout.splitlines() if line.startswith("srun"))
        assert shlex.split(run)[3:] == ["launch.py", *given, "--distributed"]
    assert not (tmp_path / "run").exists()
