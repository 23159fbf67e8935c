"""The same command elsewhere: lines and files that start it on Cloud TPU, Slurm or Kubernetes.

All of them are text, made from the arguments of ``launch.py``; none of it was run on such a place
here. The command is idempotent: after a preemption the same text starts it once more, and it goes
on from its last checkpoint.
"""

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

VERSIONS = {  # runtime of a TPU machine by the beginning of its type
    "v5litepod": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
}
OLDER = "tpu-ubuntu2204-base"  # v4 and before
GRACE = 120  # seconds between the notice and the end: a step, and writing a checkpoint
_FORMS: dict[type, tuple[str, Callable[[str], Any]]] = {
    int: (r"\d{1,6}", int),
    bool: ("True|False", lambda value: value == "True"),
    str: (r"[\w./:@-]+", str),  # as it stands in scripts and manifests, unquoted
}


@dataclass(frozen=True)
class Place:
    """Where a run goes.

    Attributes:
        name: of the machine or job, small letters, digits and hyphens.
        nodes: machines of a Slurm job, pods of a JobSet; a TPU slice knows its own.
        devices: GPUs of each machine, chips of each TPU pod.
        cores: of a CPU for each process of a Slurm job, which load its images.
        type: of the TPU (``v5litepod-8``), for ``tpu`` and ``jobset``; empty for GPUs.
        topology: of the TPU slice of a JobSet, such as ``2x4``.
        zone: of the TPU machine.
        spot: whether the TPU machine may be taken away at any time, for less money.
        image: container of a JobSet, with jaxreid installed.
        claim: persistent volume claim of a JobSet that holds the work directory, at ``/runs``.
    """

    name: str
    nodes: int = 1
    devices: int = 8
    cores: int = 8
    type: str = ""
    topology: str = ""
    zone: str = ""
    spot: bool = False
    image: str = ""
    claim: str = ""

    def require(self, kind: str) -> None:
        """Raises ValueError where a name is no name or something is missing for ``kind``."""
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?", self.name):
            raise ValueError(
                f"--job: name is {self.name!r}; small letters, digits and hyphens, at most 52, a "
                "letter first"
            )
        needed = {"tpu": ("type", "zone"), "slurm": (), "jobset": ("image", "claim")}[kind]
        needed += ("topology",) if kind == "jobset" and self.type else ()
        if missing := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f"--job={kind} also needs {', '.join(f'{n}=...' for n in missing)}")
        if min(self.nodes, self.devices, self.cores) < 1:
            raise ValueError("--job: nodes, devices and cores are 1 or more")


def text(job: str, name: str, arguments: Sequence[str]) -> str:
    """What starts ``launch.py`` with ``arguments`` elsewhere.

    Args:
        job: a kind and fields of ``Place``: ``slurm nodes=2 devices=4``.
        name: of the place, where ``job`` gives none.
        arguments: of ``launch.py``, those about the job left out.

    Raises:
        ValueError: an unknown kind or field, see also ``Place.require``.
    """
    kind, *given = job.split() or [""]
    makers = {"tpu": tpu, "slurm": slurm, "jobset": jobset}
    if kind not in makers:
        raise ValueError(f"--job begins with {kind!r}; choose one of {', '.join(makers)}")
    known = asdict(Place(name))
    for key, _, value in (word.partition("=") for word in given):
        if key not in known:
            raise ValueError(f"--job has no field {key!r}; its fields are {', '.join(known)}")
        form, read = _FORMS[type(known[key])]
        if not re.fullmatch(form, value, re.ASCII):
            raise ValueError(f"--job: {key} is {value!r}; it must be of the form {form}")
        known[key] = read(value)
    place = Place(**known)
    place.require(kind)
    return makers[kind](place, arguments)


def tpu(place: Place, arguments: Sequence[str]) -> str:
    """A shell script around ``gcloud``: creates the slice, installs, runs on every worker.

    A slice that was preempted stays on the list, of no use; it is deleted and made anew.
    """
    prefix = place.type.rpartition("-")[0]
    version = VERSIONS.get(prefix, OLDER)
    at = f"{place.name} --zone={place.zone}"
    vm = "gcloud compute tpus tpu-vm"
    create = f"{vm} create {at} --accelerator-type={place.type}"
    create += f" --version={version}" + (" --spot" if place.spot else "")
    install = (
        "mkdir -p jaxreid && tar -xzf jaxreid.tar.gz -C jaxreid && cd jaxreid"
        " && python3 -m pip install --quiet --user uv"
        " && python3 -m uv venv --quiet --allow-existing --python 3.12 .venv"
        " && python3 -m uv pip install --quiet --python .venv/bin/python"
        f" -c constraints.txt -e '.[{_extras(arguments)}]'"
    )
    command = shlex.join([".venv/bin/python", "launch.py", *arguments, "--distributed"])

    def everywhere(line: str) -> str:
        return f"{vm} ssh {at} --worker=all --command={shlex.quote(line)}"

    return "\n".join(
        [
            "#!/bin/sh",
            "# Say the same again after a preemption. A slice of one machine keeps its work with",
            "# --workdir=gs://BUCKET/FOLDER; one of several needs a disk that all of them mount.",
            "set -e",
            "git archive --format=tar.gz --output=jaxreid.tar.gz HEAD",
            f"state=$({vm} describe {at} --format='value(state)' 2> /dev/null || true)",
            'case "$state" in',
            f"  PREEMPTED|TERMINATED) {vm} delete {at} --quiet; {create} ;;",
            f"  '') {create} ;;",
            "esac",
            f"{vm} scp jaxreid.tar.gz {place.name}: --zone={place.zone} --worker=all",
            everywhere(install),
            everywhere(f"cd jaxreid && {command}"),
            f"# afterwards: {vm} delete {at} --quiet",
            "",
        ]
    )


def _extras(arguments: Sequence[str]) -> str:
    """What a TPU machine installs of jaxreid."""
    stores = {"gs://": "gcs", "s3://": "s3"}
    return ",".join(["tpu", *(name for at, name in stores.items() if at in " ".join(arguments))])


def slurm(place: Place, arguments: Sequence[str]) -> str:
    """A script for ``sbatch``: one process per GPU, as JAX expects of Slurm; queued anew if cut."""
    command = shlex.join([".venv/bin/python", "launch.py", *arguments, "--distributed"])
    return "\n".join(
        [
            "#!/bin/bash",
            f"#SBATCH --job-name={place.name}",
            f"#SBATCH --nodes={place.nodes}",
            f"#SBATCH --ntasks-per-node={place.devices}",
            f"#SBATCH --gpus-per-node={place.devices}",
            f"#SBATCH --cpus-per-task={place.cores}",
            f"#SBATCH --signal=TERM@{GRACE}",
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            "#SBATCH --output=%x.log",
            f"srun --cpus-per-task={place.cores} {command}",  # srun does not ask the job for it
            "status=$?",
            "# 143: stopped and saved, as before the end of the time that the job was given",
            'if [ "$status" -eq 143 ]; then scontrol requeue "$SLURM_JOB_ID"; fi',
            'exit "$status"',
            "",
        ]
    )


def jobset(place: Place, arguments: Sequence[str]) -> str:
    """A manifest for ``kubectl apply``: as many pods as nodes, started anew when one is lost.

    The image needs ``pip install jax[k8s]``, by which the pods of GPUs find one another, and the
    service account ``jax-job`` the right to read pods.
    """
    command = ["python", "launch.py", *arguments, "--distributed"]
    limit = "google.com/tpu" if place.type else "nvidia.com/gpu"
    selector = [
        "            nodeSelector:",
        f"              cloud.google.com/gke-tpu-accelerator: {place.type}",
        f'              cloud.google.com/gke-tpu-topology: "{place.topology}"',
    ]
    return "\n".join(
        [
            "apiVersion: jobset.x-k8s.io/v1alpha2",
            "kind: JobSet",
            "metadata:",
            f"  name: {place.name}",
            "spec:",
            "  failurePolicy:",
            "    maxRestarts: 100",
            "  replicatedJobs:",
            "  - name: workers",
            "    replicas: 1",
            "    template:",
            "      spec:",
            f"        parallelism: {place.nodes}",
            f"        completions: {place.nodes}",
            "        backoffLimit: 0",
            "        template:",
            "          spec:",
            "            restartPolicy: Never",
            "            serviceAccountName: jax-job",
            f"            terminationGracePeriodSeconds: {GRACE}",
            *(selector if place.type else []),
            "            containers:",
            "            - name: jaxreid",
            f"              image: {place.image}",
            "              command:",
            *(f"              - {_quoted(word)}" for word in command),
            "              resources:",
            "                limits:",
            f"                  {limit}: {place.devices}",
            "              volumeMounts:",
            "              - {name: runs, mountPath: /runs}",
            "            volumes:",
            "            - name: runs",
            f"              persistentVolumeClaim: {{claimName: {place.claim}}}",
            "",
        ]
    )


def _quoted(word: str) -> str:
    """A YAML string, whatever is in it."""
    return "'" + word.replace("'", "''") + "'"
