"""A script for ``sbatch``."""

import shlex
from collections.abc import Sequence

from jaxreid.jobs.place import GRACE, SEES_GPU, Place, require_one, value


def slurm(place: Place, arguments: Sequence[str]) -> str:
    """A script for ``sbatch``: one process per GPU, as JAX expects of Slurm; queued anew if cut.

    Raises:
        ValueError: several processes with a work directory on object storage.
    """
    processes = place.nodes * place.devices
    if processes > 1:
        require_one(f"nodes x devices is {processes} processes", value(arguments, "workdir"))
    command = shlex.join([".venv/bin/python", "launch.py", *arguments, "--distributed"])
    optional = {name: getattr(place, name) for name in ("time", "partition", "account")}
    return "\n".join(
        [
            "#!/bin/bash",
            f"#SBATCH --job-name={place.name}",
            f"#SBATCH --nodes={place.nodes}",
            f"#SBATCH --ntasks-per-node={place.devices}",
            f"#SBATCH --gpus-per-node={place.devices}",
            f"#SBATCH --cpus-per-task={place.cores}",
            *(f"#SBATCH --{name}={value}" for name, value in optional.items() if value),
            f"#SBATCH --signal=TERM@{GRACE}",
            "#SBATCH --requeue",
            "#SBATCH --open-mode=append",
            "#SBATCH --output=%x.log",
            "# JAX without its GPU packages, as make installs it, would go on upon CPUs",
            f'if ! .venv/bin/python -c "{SEES_GPU}"; then',
            '  echo "error: JAX in .venv sees no GPU; install it in this folder:" \\',
            '    "make .venv/ready && .venv/bin/python -m pip install -c constraints.txt'
            " -e '.[cuda]'\" >&2",
            "  exit 1",
            "fi",
            "# no kill: who has saved leaves with 143 while others may still save",
            f"srun --kill-on-bad-exit=0 --cpus-per-task={place.cores} {command}",
            "status=$?",
            "# 143: stopped and saved, as before the end of the time that the job was given",
            'if [ "$status" -eq 143 ]; then scontrol requeue "$SLURM_JOB_ID"; fi',
            'exit "$status"',
            "",
        ]
    )
