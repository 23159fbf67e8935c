"""The same command elsewhere: lines and files that start it on Cloud TPU, Slurm or Kubernetes.

All of them are text, made from the arguments of ``launch.py``; none of it was run on such a place
here. The command is idempotent: after a preemption the same text starts it once more, and it goes
on from its last checkpoint.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from jaxreid.jobs.jobset import jobset
from jaxreid.jobs.place import FORMS, READ, Place
from jaxreid.jobs.slurm import slurm
from jaxreid.jobs.tpu import tpu

__all__ = ["Place", "jobset", "slurm", "text", "tpu"]


def text(job: str, name: str, arguments: Sequence[str]) -> str:
    """What starts ``launch.py`` with ``arguments`` elsewhere.

    Args:
        job: a kind and fields of ``Place``: ``slurm nodes=2 devices=4``.
        name: of the place, where ``job`` gives none.
        arguments: of ``launch.py``, those about the job left out.

    Raises:
        ValueError: an unknown kind, a field that it does not read, or a run that could not keep
            its work there, see also ``Place.require``.
    """
    kind, *given = job.split() or [""]
    makers = {"tpu": tpu, "slurm": slurm, "jobset": jobset}
    if kind not in makers:
        raise ValueError(f"--job begins with {kind!r}; choose one of {', '.join(makers)}")
    forms: dict[str, Any] = asdict(Place(name))
    fields: dict[str, Any] = {}
    for key, _, value in (word.partition("=") for word in given):
        if key not in READ[kind]:
            raise ValueError(
                f"--job={kind} has no field {key!r}; its fields are {', '.join(READ[kind])}"
            )
        if key in fields:
            raise ValueError(f"--job: {key} is given twice")
        form, read = FORMS[type(forms[key])]
        if not re.fullmatch(form, value, re.ASCII):
            raise ValueError(f"--job: {key} is {value!r}; it must be of the form {form}")
        fields[key] = read(value)
    place = Place(**{"name": name, **fields})
    place.require(kind)
    return makers[kind](place, arguments)
