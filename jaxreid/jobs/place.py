"""Where a run goes, and what every kind of place has to know of its command line."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jaxreid.training import mirror

GRACE = 120  # seconds between the notice and the end: a step, and writing a checkpoint
SEES_GPU = "import jax; jax.devices('gpu')"  # fails where JAX would go on upon CPUs instead
FORMS: dict[type, tuple[str, Callable[[str], Any]]] = {
    int: (r"\d{1,6}", int),
    bool: ("True|False", lambda value: value == "True"),
    str: (r"[\w./:@-]+", str),  # as it stands in scripts and manifests, unquoted
}
READ = {  # the fields of each kind
    "tpu": ("name", "type", "zone", "spot"),
    "slurm": ("name", "nodes", "devices", "cores", "time", "partition", "account"),
    "jobset": ("name", "nodes", "devices", "type", "topology", "image", "claim"),
}
NEEDED = {"tpu": ("type", "zone"), "slurm": (), "jobset": ("image",)}


@dataclass(frozen=True)
class Place:
    """Where a run goes.

    Attributes:
        name: of the machine or job, small letters, digits and hyphens.
        nodes: machines of a Slurm job, pods of a JobSet; a TPU slice knows its own.
        devices: GPUs of each machine, chips of each TPU pod.
        cores: of a CPU for each process of a Slurm job, which load its images.
        time: that a Slurm job may take, such as ``1-12:00:00``; the cluster's default if empty.
        partition: of the Slurm cluster; its default if empty.
        account: that a Slurm job is charged to; the user's default if empty.
        type: of the TPU: ``v5litepod-8`` for ``tpu``; for ``jobset`` as GKE calls it,
            ``tpu-v5-lite-podslice``, or empty for GPUs.
        topology: of the TPU slice of a JobSet, such as ``2x4``: as many chips as its pods take.
        zone: of the TPU machine.
        spot: whether the TPU machine may be taken away at any time, for less money.
        image: container of a JobSet, with a checkout at ``/jaxreid`` (docs/devices.md).
        claim: persistent volume claim of a JobSet that holds the work directory, at ``/runs``.
    """

    name: str
    nodes: int = 1
    devices: int = 8
    cores: int = 8
    time: str = ""
    partition: str = ""
    account: str = ""
    type: str = ""
    topology: str = ""
    zone: str = ""
    spot: bool = False
    image: str = ""
    claim: str = ""

    def require(self, kind: str) -> None:
        """Raises ValueError where a name is no name or something is missing for ``kind``."""
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", self.name):
            raise ValueError(  # a JobSet adds up to 23 letters, and 63 are allowed
                f"--job: name is {self.name!r}; small letters, digits and hyphens, at most 40, a "
                "letter first"
            )
        needed = NEEDED[kind] + (("topology",) if kind == "jobset" and self.type else ())
        if missing := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f"--job={kind} also needs {', '.join(f'{n}=...' for n in missing)}")
        if min(self.nodes, self.devices, self.cores) < 1:
            raise ValueError("--job: nodes, devices and cores are 1 or more")


def require_one(several: str, directory: str) -> None:
    """Raises ValueError for object storage, which several processes cannot share."""
    if mirror.remote(directory):
        raise ValueError(
            f"--job: {several}, and --workdir={directory} is for one process: several need one "
            "directory that all of them see, such as a mounted bucket"
        )


def value(arguments: Sequence[str], flag: str) -> str:
    """What a flag is given on a command line, the last time; empty if it is not."""
    found = ""
    for argument, following in pairwise([*arguments, ""]):
        name, equals, value = argument.partition("=")
        if name in (f"-{flag}", f"--{flag}"):
            found = value if equals else following
    return found
