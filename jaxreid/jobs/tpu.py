"""A shell script that runs a command on a Cloud TPU slice."""

import shlex
from collections.abc import Sequence

from jaxreid.jobs.place import Place, require_one, value
from jaxreid.training import mirror

VERSIONS = {  # runtime of a TPU machine by the beginning of its type
    "v5litepod": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
}
OLDER = "tpu-ubuntu2204-base"  # v4 and before


def tpu(place: Place, arguments: Sequence[str]) -> str:
    """A shell script around ``gcloud``: creates the slice, installs, runs on every worker.

    A slice that was preempted stays on the list, of no use; it is deleted and made anew. What an
    earlier call left running there holds the chips: it is told to save and stop. A connection that
    is lost leaves the run going; the script given again stops it and goes on from what it saved.

    Raises:
        ValueError: where the work directory would be lost, or every machine have its own.
    """
    _require_kept(place, value(arguments, "workdir"))
    version = VERSIONS.get(place.type.rpartition("-")[0], OLDER)
    at = f"{place.name} --zone={place.zone}"
    vm = "gcloud compute tpus tpu-vm"
    create = f"{vm} create {at} --accelerator-type={place.type}"
    create += f" --version={version}" + (" --spot" if place.spot else "")

    def everywhere(line: str) -> str:
        return f"{vm} ssh {at} --worker=all --command={shlex.quote(line)}"

    return "\n".join(
        [
            "#!/bin/sh",
            "# Say the same again after a preemption, or when the connection was lost. A slice of",
            "# one machine keeps its work with --workdir=gs://BUCKET/FOLDER, else only as long as",
            "# it is there; one of several needs a disk that all of them mount.",
            "set -e",
            "git archive --format=tar.gz --output=jaxreid.tar.gz HEAD",
            f"state=$({vm} describe {at} --format='value(state)' 2> /dev/null || true)",
            'case "$state" in',
            "  READY) ;;",
            f"  STOPPED) {vm} start {at} ;;",
            f"  PREEMPTED|TERMINATED) {vm} delete {at} --quiet; {create} ;;",
            f"  '') {create} ;;",
            f'  *) echo "error: {place.name} is $state; try again later" >&2; exit 1 ;;',
            "esac",
            f"{vm} scp jaxreid.tar.gz {place.name}: --zone={place.zone} --worker=all",
            everywhere(f"{_STOP}; {_install(arguments)}"),
            everywhere(_followed([".venv/bin/python", "launch.py", *arguments, "--distributed"])),
            f"# afterwards: {vm} delete {at} --quiet",
            "",
        ]
    )


# By the number noted when it began: by its name, the shell that looks for it would be found, too.
_STOP = (
    "pid=$(cat jaxreid.pid 2> /dev/null || true);"
    ' if [ -n "$pid" ] && grep -qs launch.py "/proc/$pid/cmdline"; then'
    ' echo "stops process $pid of an earlier call";'
    ' kill -TERM "$pid"; timeout 600 tail --pid="$pid" -f /dev/null || kill -KILL "$pid"; fi'
)


def _install(arguments: Sequence[str]) -> str:
    stores = {"gs://": "gcs", "s3://": "s3"}
    extras = ["tpu", *(name for at, name in stores.items() if at in " ".join(arguments))]
    return (
        "mkdir -p jaxreid && tar -xzf jaxreid.tar.gz -C jaxreid && cd jaxreid"
        " && python3 -m pip install --quiet --user uv"
        " && python3 -m uv venv --quiet --allow-existing --python 3.12 .venv"
        " && python3 -m uv pip install --quiet --python .venv/bin/python"
        f" -c constraints.txt -e '.[{','.join(extras)}]'"
    )


def _followed(command: Sequence[str]) -> str:
    """Runs a command that a lost connection does not end, shows what it says, exits as it does."""
    return (
        "cd jaxreid && : > ../jaxreid.log || exit 1;"
        f" PYTHONUNBUFFERED=1 nohup {shlex.join(command)} < /dev/null >> ../jaxreid.log 2>&1 &"
        ' echo "$!" > ../jaxreid.pid; tail --pid="$!" -n +1 -f ../jaxreid.log; wait "$!"'
    )


def _require_kept(place: Place, directory: str) -> None:
    """Raises ValueError for a TPU slice where this work directory is of no use.

    Up to 8 chips (v5e, v6e) or cores (older, v5p) of a slice are those of one machine.
    """
    size = place.type.rpartition("-")[2]
    if not size.isdecimal():
        raise ValueError(f"--job: type is {place.type!r}; it must end in a number: v5litepod-8")
    if int(size) > 8:
        require_one(f"{place.type} has several machines", directory)
        if not directory.startswith("/"):
            raise ValueError(
                f"--job: {place.type} has several machines: --workdir must be a folder, such as "
                "/mnt/run, of a disk that all of them mount"
            )
    elif place.spot and not mirror.remote(directory):
        raise ValueError(
            "--job: with spot=True the machine is taken away with its disk and all work on it; "
            "use --workdir=gs://BUCKET/FOLDER"
        )
