"""What starts a run elsewhere: parsed as the tools that will read it parse it."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from jaxreid import jobs

ROOT = Path(__file__).parents[1]
GIVEN = ["--config=configs/ide.py", "--config.data.root=/data/it's 1501", "--workdir=/runs/a b"]
TPU = "tpu type=v5litepod-16 zone=us-west4-a"
JOBSET = "jobset image=registry.example/jaxreid:1 claim=runs"
SLICE = JOBSET + " type=tpu-v5-lite-podslice"


def lines(job, name="jaxreid-ide"):
    text = jobs.text(job, name, GIVEN)
    return [line for line in text.splitlines() if line and not line.startswith("# ")]


def parsed_by_shell(text):
    done = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def programs(folder, **bodies):
    """Programs of a place that only do what is said here, before those of this machine."""
    for name, body in bodies.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_a_tpu_script_runs_this_very_command_on_every_worker():
    text = jobs.text(TPU + " spot=True", "jaxreid-ide", GIVEN)
    parsed_by_shell(text)
    first, fail, pack, *_, copy, install, run = lines(TPU + " spot=True")
    assert (first, fail) == ("#!/bin/sh", "set -e") and pack.endswith("jaxreid.tar.gz HEAD")
    assert shlex.split(copy)[4:7] == ["scp", "jaxreid.tar.gz", "jaxreid-ide:"]
    for line in (copy, install, run):
        assert "--worker=all" in shlex.split(line)
    there = shlex.split(shlex.split(run)[-1].removeprefix("--command="))
    begin = there.index("nohup") + 1
    ours = [".venv/bin/python", "launch.py", *GIVEN, "--distributed"]
    assert there[:2] == ["cd", "jaxreid"] and there[begin : begin + len(ours)] == ours
    assert "-e '.[tpu]'" in shlex.split(install)[-1]
    kept = jobs.text("tpu type=v5litepod-8 zone=us-west4-a", "run", ["--workdir=gs://bucket/run"])
    assert "-e '.[tpu,gcs]'" in kept.replace("'\"'\"'", "'")


@pytest.mark.parametrize(
    ("state", "first"),
    [
        ("READY", []),
        ("", ["create"]),
        ("STOPPED", ["start"]),
        ("PREEMPTED", ["delete", "create"]),
        ("TERMINATED", ["delete", "create"]),
    ],
)
def test_a_slice_is_made_unless_it_is_there_and_of_use(tmp_path, state, first):
    """The script itself, with a ``gcloud`` that knows one slice's state and notes what it hears."""
    describe = f"echo {state}" if state else "exit 1"
    gcloud = f'[ "$4" = describe ] && {{ {describe}; exit; }}\necho "$@" >> calls'
    env = programs(tmp_path, gcloud=gcloud, git="")
    text = jobs.text(TPU + " spot=True", "jaxreid-ide", GIVEN)
    subprocess.run(["sh"], input=text, text=True, env=env, cwd=tmp_path, check=True)
    calls = [call.split() for call in (tmp_path / "calls").read_text().splitlines()]
    assert [call[3] for call in calls] == [*first, "scp", "ssh", "ssh"]
    for call in calls:
        assert call[:3] == ["compute", "tpus", "tpu-vm"] and "--zone=us-west4-a" in call
        if call[3] == "create":
            assert call[4] == "jaxreid-ide" and call[6:] == [
                *("--accelerator-type=v5litepod-16", "--version=v2-alpha-tpuv5-lite", "--spot"),
            ]


def test_a_slice_that_is_just_changing_is_left_alone(tmp_path):
    gcloud = '[ "$4" = describe ] && { echo DELETING; exit; }\necho "$@" >> calls'
    env = programs(tmp_path, gcloud=gcloud, git="")
    text = jobs.text(TPU, "run", GIVEN)
    done = subprocess.run(["sh"], input=text, text=True, env=env, cwd=tmp_path, capture_output=True)
    assert done.returncode == 1 and "error: run is DELETING; try again later" in done.stderr
    assert not (tmp_path / "calls").exists()


@pytest.fixture
def slice_of_one(tmp_path):
    """Starts a TPU script with this machine as the slice: commands run in the folder ``home``.

    The run works until SIGTERM, or where there is a file ``quick``, says so and leaves with 3.
    """
    begun = []
    (tmp_path / "home").mkdir()
    (tmp_path / "sent/.venv/bin").mkdir(parents=True)
    run = """[ -e ../quick ] && { echo quick "$@"; exit 3; }
    trap 'echo saved > ../saved; exit 143' TERM
    echo works; for _ in $(seq 300); do sleep 0.1; done"""
    programs(tmp_path / "sent/.venv/bin", python=run)
    gcloud = """case "$4" in
    describe) echo READY ;;
    scp) cp "$5" home ;;
    ssh) for last; do :; done; cd home; exec bash -c "${last#--command=}" ;;
    esac"""
    git = f"tar -czf jaxreid.tar.gz -C {tmp_path}/sent ."
    env = programs(tmp_path, gcloud=gcloud, git=git, python3="")
    text = jobs.text("tpu type=v5litepod-8 zone=z", "a", ["--workdir=/work/it's"])

    def start():
        script = subprocess.Popen(
            ["sh", "-c", text], env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        begun.append(script)
        return script

    yield start
    for script in begun:
        script.kill()
        script.stdout.close()
        script.wait()


def test_a_run_that_outlived_its_connection_saves_before_the_next_begins(slice_of_one, tmp_path):
    first = slice_of_one()
    assert first.stdout.readline() == "works\n"
    first.kill()  # the script, not the run
    assert not (tmp_path / "home/saved").exists()
    os.kill(int((tmp_path / "home/jaxreid.pid").read_text()), 0)
    (tmp_path / "home/quick").touch()
    second = slice_of_one()
    said, _ = second.communicate(timeout=60)
    assert (tmp_path / "home/saved").read_text() == "saved\n"
    assert said.startswith("stops process ")
    assert said.endswith("quick launch.py --workdir=/work/it's --distributed\n")
    assert second.returncode == 3


def test_a_number_that_is_another_program_by_now_is_left_alone(slice_of_one, tmp_path):
    other = subprocess.Popen(["sleep", "60"])
    (tmp_path / "home/jaxreid.pid").write_text(f"{other.pid}\n")
    (tmp_path / "home/quick").touch()
    script = slice_of_one()
    said, _ = script.communicate(timeout=60)
    assert said.startswith("quick") and other.poll() is None
    other.kill()
    other.wait()


@pytest.mark.parametrize("size", ["v5litepod-16", "v6e-16", "v4-16", "v5p-16"])
def test_a_slice_of_several_machines_needs_one_directory(size):
    for arguments in (["--workdir=gs://b/run"], ["-workdir", "gs://b/run"]):
        with pytest.raises(ValueError, match=f"{size} has several machines.*gs://b/run is for one"):
            jobs.text(f"tpu type={size} zone=z", "a", arguments)
    for arguments in ([], ["--workdir=runs/a"], ["--workdir=/mnt/a", "--workdir=a"]):
        with pytest.raises(ValueError, match="--workdir must be a folder"):
            jobs.text(f"tpu type={size} zone=z", "a", arguments)
    assert jobs.text(f"tpu type={size} zone=z", "a", ["--workdir=/mnt/a"])
    one = size.replace("16", "8")
    assert jobs.text(f"tpu type={one} zone=z", "a", ["--workdir=gs://b/run"])


def test_a_machine_for_a_while_keeps_its_work_elsewhere():
    spot = "tpu type=v5litepod-8 zone=z spot=True"
    for arguments in ([], ["--workdir=/data/a"]):
        with pytest.raises(ValueError, match="taken away with its disk.*use --workdir=gs://"):
            jobs.text(spot, "a", arguments)
        assert jobs.text(spot.replace("True", "False"), "a", arguments)
    assert "--spot" in jobs.text(spot, "a", ["--workdir=gs://b/run"])


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
    assert shlex.split(run) == ["srun", "--kill-on-bad-exit=0", "--cpus-per-task=8", *ours]
    assert given["cpus-per-task"] == "8" and not {"time", "partition", "account"} & set(given)


def test_a_slurm_script_asks_for_what_a_cluster_wants_to_know():
    said = lines("slurm time=1-12:00:00 partition=gpu account=me@lab")
    wanted = ["#SBATCH --time=1-12:00:00", "#SBATCH --partition=gpu", "#SBATCH --account=me@lab"]
    assert [line for line in said if line in wanted] == wanted
    # Slurm reads no such line after the first command
    assert said.index(wanted[-1]) < next(i for i, line in enumerate(said) if line[0] != "#")


def test_several_processes_have_no_bucket():
    with pytest.raises(ValueError, match=r"nodes x devices is 8 processes.*gs://b/run is for one"):
        jobs.text("slurm", "a", ["--workdir=gs://b/run"])
    assert "srun" in jobs.text("slurm devices=1", "a", ["--workdir=gs://b/run"])


@pytest.mark.parametrize("status", [0, 1, 143])
def test_only_a_stopped_run_is_queued_again(tmp_path, status):
    """The script itself, with programs of the cluster that only say what they were asked."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    programs(tmp_path / ".venv/bin", python="exit 0")
    env = programs(tmp_path, srun=f"exit {status}", scontrol='echo "$@"')
    text = jobs.text("slurm", "a", GIVEN)
    done = subprocess.run(
        ["bash"],
        input=text,
        text=True,
        capture_output=True,
        env=env | {"SLURM_JOB_ID": "7"},
        cwd=tmp_path,
    )
    assert done.returncode == status
    assert done.stdout == ("requeue 7\n" if status == 143 else "")


@pytest.mark.parametrize("installed", [True, False])
def test_a_job_of_gpus_does_not_go_on_upon_cpus(tmp_path, installed):
    """With the JAX of this environment, from which every GPU is hidden, or without any."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    if installed:
        programs(tmp_path / ".venv/bin", python=f'exec {sys.executable} "$@"')
    env = programs(tmp_path, srun="touch ran") | {"CUDA_VISIBLE_DEVICES": ""}
    text = jobs.text("slurm", "a", GIVEN)
    done = subprocess.run(
        ["bash"], input=text, text=True, capture_output=True, env=env, cwd=tmp_path
    )
    assert done.returncode == 1 and not (tmp_path / "ran").exists()
    assert "error: JAX in .venv sees no GPU" in done.stderr
    assert "-m pip install -c constraints.txt -e '.[cuda]'" in done.stderr


def manifests(job, arguments=GIVEN):
    """By their kinds, and the pod of the JobSet."""
    made = {doc["kind"]: doc for doc in yaml.safe_load_all(jobs.text(job, "ide", arguments))}
    job = made["JobSet"]["spec"]["replicatedJobs"][0]["template"]["spec"]
    return made, job, job["template"]["spec"]


def as_read(command):
    """A command as Kubernetes hands it on, which has a meaning for dollars."""
    return [re.sub(r"\$(\$|\(\w+\))", lambda m: m[1][:1].strip("("), word) for word in command]


def test_a_jobset_has_a_pod_per_node():
    made, job, pod = manifests(JOBSET + " nodes=3 devices=2", [*GIVEN, "--config.a=$(HOME)$$b"])
    assert made["JobSet"]["metadata"] == {"name": "ide"}
    assert (job["parallelism"], job["completions"]) == (3, 3)
    (box,) = pod["containers"]
    ours = ["python", "launch.py", *GIVEN, "--config.a=$(HOME)$$b", "--distributed"]
    assert as_read(box["command"])[-len(ours) :] == ours
    assert box["resources"] == {"limits": {"nvidia.com/gpu": 2}} and "nodeSelector" not in pod
    assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "runs"}
    assert pod["volumes"][0]["name"] == box["volumeMounts"][0]["name"]
    assert box["volumeMounts"][0]["mountPath"] == "/runs"


@pytest.mark.parametrize("gpu", [True, False])
def test_a_pod_of_gpus_does_not_go_on_upon_cpus(tmp_path, gpu):
    """The command of the container itself, with a ``python`` that finds a GPU or not."""
    _, _, pod = manifests(JOBSET)
    seen = f'[ "$1" = -c ] && {{ echo "$2" > asked; exit {0 if gpu else 1}; }}\necho "$@"'
    env = programs(tmp_path, python=seen)
    command = as_read(pod["containers"][0]["command"])
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert (tmp_path / "asked").read_text() == "import jax; jax.devices('gpu')\n"
    assert done.returncode == (0 if gpu else 1)
    assert done.stdout == (" ".join(["launch.py", *GIVEN, "--distributed\n"]) if gpu else "")


def test_a_jobset_is_repeated_unless_by_mistake():
    made, job, pod = manifests(JOBSET)
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and pod["restartPolicy"] == "Never"
    assert rule["onExitCodes"] == {"containerName": "jaxreid", "operator": "In", "values": [1, 2]}
    policy = made["JobSet"]["spec"]["failurePolicy"]
    (rule,) = policy["rules"]
    assert rule["action"] == "FailJobSet" and rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    assert policy["maxRestarts"] == 100 and job["backoffLimit"] == 0


def test_pods_of_gpus_may_ask_for_one_another():
    """JAX lists the pods that have this one's address, and reads the job that it belongs to."""
    made, _, pod = manifests(JOBSET + " name=run nodes=2")
    assert list(made) == ["ServiceAccount", "Role", "RoleBinding", "JobSet"]
    assert {doc["metadata"]["name"] for doc in made.values()} == {"run"}
    assert pod["serviceAccountName"] == "run"
    allowed = {
        (group, resource, verb)
        for rule in made["Role"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert {("", "pods", "list"), ("batch", "jobs", "get")} <= allowed
    binding = made["RoleBinding"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "run"}]
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("Role", "run")


def test_a_jobset_of_tpus_names_their_slice():
    made, _, pod = manifests(SLICE + " nodes=4 devices=4 topology=4x4")
    assert list(made) == ["JobSet"] and "serviceAccountName" not in pod
    (box,) = pod["containers"]
    assert box["resources"] == {"limits": {"google.com/tpu": 4}}
    assert box["command"] == ["python", "launch.py", *GIVEN, "--distributed"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }


@pytest.mark.parametrize("workdir", [None, "runs/a", "/data/a", "/runs", "/runs/../a", "/runsa/b"])
def test_a_jobset_that_would_lose_its_work_is_refused(workdir):
    given = [] if workdir is None else [f"--workdir={workdir}"]
    with pytest.raises(ValueError, match="--workdir is .*lost with the pod.*below /runs"):
        jobs.text(JOBSET, "a", given)


def test_a_jobset_of_one_pod_may_keep_its_work_in_a_bucket():
    _, _, pod = manifests("jobset image=i", ["--workdir", "gs://b/run"])
    assert "volumes" not in pod and "volumeMounts" not in pod["containers"][0]
    with pytest.raises(ValueError, match="nodes is 2, and --workdir=gs://b/run is for one process"):
        jobs.text("jobset image=i nodes=2", "a", ["--workdir=gs://b/run"])
    with pytest.raises(ValueError, match="also needs claim=..., for --workdir=/runs/a"):
        jobs.text("jobset image=i", "a", ["--workdir=/runs/a"])


def test_the_image_of_the_docs_holds_what_the_command_needs():
    page = (ROOT / "docs/devices.md").read_text()
    (block,) = re.findall(r"```dockerfile\n(.*?)```", page, re.DOTALL)
    said = [tuple(line.split(" ", 1)) for line in block.splitlines()]
    copied = [word for verb, rest in said if verb == "COPY" for word in rest.split()[:-1]]
    assert {"launch.py", "configs", "jaxreid", "pyproject.toml"} <= set(copied)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {settings["readme"], *settings["license-files"][:1]} <= set(copied)  # pip reads them
    assert all((ROOT / name).exists() for name in copied)
    _, _, pod = manifests(JOBSET)
    assert ("WORKDIR", pod["containers"][0]["workingDir"]) in said
    (run,) = [rest for verb, rest in said if verb == "RUN"]
    assert "-c constraints.txt -e '.[cuda]' 'jax[k8s]'" in run


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ("pbs", "--job begins with 'pbs'; choose one of tpu, slurm, jobset"),
        (" ", "--job begins with ''"),
        ("tpu", "also needs type=..., zone=..."),
        ("tpu type=v5litepod zone=z", "type is 'v5litepod'; it must end in a number"),
        ("jobset claim=runs", "also needs image=..."),
        (SLICE, "also needs topology=..."),
        (JOBSET + " type=v5litepod-8 topology=2x4", "GKE has tpu-v5-lite-podslice"),
        (SLICE + " topology=4x4 devices=4", "4x4 has 16 chips, but nodes=1 with devices=4 take 4"),
        (SLICE + " topology=2x2x4", "2x2x4 has 16 chips, but nodes=1 with devices=8 take 8"),
        (SLICE + " topology=8", "topology is '8'; it must be like 2x4"),
        (JOBSET + " topology=2x4", "topology is for type=..., a TPU slice"),
        ("slurm node=2", "--job=slurm has no field 'node'; its fields are name, nodes"),
        ("slurm nodes=2 nodes=3", "nodes is given twice"),
        ("slurm nodes=two", "nodes is 'two'; it must be of the form"),
        ("slurm nodes=0", "nodes, devices and cores are 1 or more"),
        (TPU + " spot", "spot is ''"),
        ("slurm name=" + 41 * "a", "at most 40"),
        ("slurm name=A-rm", "name is 'A-rm'; small letters"),
        ("slurm name=a;rm", "name is 'a;rm'; it must be of the form"),
    ],
)
def test_what_a_place_lacks_is_named(job, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        jobs.text(job, "jaxreid-ide", GIVEN)


@pytest.mark.parametrize(
    ("job", "fields"),
    [
        (
            TPU,
            "nodes=2 devices=4 cores=8 time=1 partition=p account=a topology=2x4 image=i claim=c",
        ),
        ("slurm", "type=v4-8 topology=2x4 zone=z spot=True image=i claim=c"),
        (JOBSET, "cores=8 time=1 partition=p account=a zone=z spot=True"),
    ],
)
def test_a_field_that_does_nothing_is_refused(job, fields):
    assert jobs.text(job, "a", GIVEN)
    for field in fields.split():
        name = field.partition("=")[0]
        with pytest.raises(ValueError, match=f"--job={job.split()[0]} has no field '{name}'; its"):
            jobs.text(f"{job} {field}", "a", GIVEN)


def test_launch_prints_the_command_that_it_was_given_without_the_job(tmp_path):
    given = ["--config=configs/ide.py:tiny", "--config.seed=3", f"--workdir={tmp_path}/run"]
    joined = ["--coordinator=h:1", "--processes", "2", "-process=0"]
    for job in (
        ["--job=slurm nodes=2"],
        ["--job", "slurm nodes=2"],
        ["-job=slurm nodes=2"],
        ["-job", "slurm nodes=2", *joined],
    ):
        command = [sys.executable, "launch.py", *given[:1], *job, *given[1:]]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        run = next(line for line in done.stdout.splitlines() if line.startswith("srun"))
        assert shlex.split(run)[4:] == ["launch.py", *given, "--distributed"]
    assert not (tmp_path / "run").exists()
