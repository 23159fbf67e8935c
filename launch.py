"""The one entry point: ``python launch.py --config=configs/NAME.py[:SCALE] [--config.KEY=VALUE]``.

SCALE is ``demo`` (default: the embedded world, minutes on two CPU cores), ``tiny`` (seconds, for
tests) or ``paper`` (the published settings; needs ``--config.data.name`` and
``--config.data.root``). The same command continues an interrupted run. ``--sweep=NAME`` runs all
rows of a sweep that the config file names (``jaxreid/sweep.py``). On several machines, or with
several processes on one, give each the same command: with ``--distributed`` where JAX finds the
others by itself (Cloud TPU, Slurm, MPI), or else with ``--coordinator=HOST:PORT --processes=N
--process=K``.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL, getLogger
from pathlib import Path

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from jaxreid import jobs, sweep, systems
from jaxreid.training import WorkdirError, files, mirror, processes, workdir

_CONFIG = config_flags.DEFINE_config_file("config", None, "configs/SYSTEM.py[:SCALE]")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the run (runs/SYSTEM by default), or gs://BUCKET/FOLDER."
)
_SWEEP = flags.DEFINE_string("sweep", None, "Runs every row of this sweep of the config file.")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Joins the processes that JAX can find.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of the first process.")
_PROCESSES = flags.DEFINE_integer("processes", None, "Number of processes, with --coordinator.")
_PROCESS = flags.DEFINE_integer("process", None, "Number of this one, from 0.")
_JOB = flags.DEFINE_string(
    "job", None, "Prints what starts this command elsewhere: 'tpu|slurm|jobset KEY=VALUE ...'."
)
SMALLER = (
    "A device has not enough memory: take a smaller batch (reid.batch, gan.batch, ...) in another "
    "--workdir, or have it in shards (--config.parallel=accumulate --config.shards=4); where models"
    " were grouped for larger devices, delete that groups.json: finished groups stay."
)
_TRACEBACK = flags.DEFINE_bool("traceback", False, "Show where in the code an error came from.")


def main(_: list[str]) -> None:
    """Runs ``jaxreid.systems.<config.system>.run(config, workdir)``, or a sweep of such runs."""
    quieten()
    if _CONFIG.value is None:
        sys.exit("error: --config is missing; try --config=configs/camstyle.py")
    try:
        name = "_".join(filter(None, (_CONFIG.value.system, _SWEEP.value)))
        if _JOB.value:
            # Elsewhere the processes find one another, and --distributed allows no second way.
            arguments = without(sys.argv[1:], "job", "coordinator", "processes", "process")
            return print(jobs.text(_JOB.value, f"jaxreid-{name.replace('_', '-')}", arguments))
        connect()
        with working(_WORKDIR.value or str(Path("runs") / name)) as directory:
            if _SWEEP.value:
                run_sweep(_CONFIG.value, _SWEEP.value, directory)
            else:
                run(_CONFIG.value.to_dict(), directory)
    except (ValueError, OSError, FloatingPointError, WorkdirError) as error:
        if _TRACEBACK.value:
            raise
        sys.exit(f"error: {error}")
    except jax.errors.JaxRuntimeError as error:
        if _TRACEBACK.value or "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sys.exit(f"error: {str(error).splitlines()[0].rstrip('.')}. {SMALLER}")


def quieten() -> None:
    """No library says in its own way what is raised here, too, as of a full disk.

    Then a checkpoint's other files fail after the first one did, and report to nobody.
    """
    logging.set_verbosity(logging.ERROR)
    getLogger("asyncio").setLevel(CRITICAL)
    said = sys.unraisablehook

    def hook(raised: "sys.UnraisableHookArgs") -> None:
        if str(raised.exc_value) != "Event loop is closed":
            said(raised)

    sys.unraisablehook = hook


def without(arguments: list[str], *flags: str) -> list[str]:
    """Command line arguments but for some flags, each given as ``--FLAG=VALUE`` or with a space.

    One dash does as well as two.
    """
    names = {f"{dashes}{flag}" for flag in flags for dashes in ("-", "--")}
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument.partition("=")[0] not in names:
            kept.append(argument)
        skip = not skip and argument in names
    return kept


def connect() -> None:
    """Joins other processes, if asked to; all but the first are silent from then on."""
    address, number, this = _COORDINATOR.value, _PROCESSES.value, _PROCESS.value
    if address is not None and number is not None and this is not None and not _DISTRIBUTED.value:
        if not 0 <= this < number:
            raise ValueError(
                f"--process is {this}: of {number} processes (--processes) the numbers are 0 to "
                f"{number - 1}"
            )
        jax.distributed.initialize(address, number, this)
    elif (address, number, this) != (None, None, None):
        raise ValueError(
            "processes are joined by --coordinator, --processes and --process together, or by "
            "--distributed alone"
        )
    elif _DISTRIBUTED.value:
        jax.distributed.initialize()
    if not processes.leads():
        sys.stdout = Path(os.devnull).open("w")


@contextmanager
def working(directory: str) -> Iterator[Path]:
    """The directory to work in; for one on object storage, a copy of it below ``runs``."""
    if not mirror.remote(directory):
        yield Path(directory)
        return
    if jax.process_count() > 1:
        raise ValueError(
            f"--workdir={directory}: several processes need one directory that all of them see; "
            "mount the bucket, or let one process run"
        )
    here = Path("runs") / mirror.local_name(directory)
    print(f"works in {here}, kept in {directory}")
    with mirror.kept(here, directory):
        yield here


def run(config: dict, directory: Path) -> None:
    """Checks that there is room, says where it works and on what, then runs the system."""
    workdir.probe(directory)
    jax.config.update("jax_compilation_cache_dir", str(files.cache()))
    devices = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    several = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    print(f"{config['system']} in {directory}, on {devices}{several}")
    with workdir.occupied(directory):
        systems.run(config, directory)


def run_sweep(config: ConfigDict, name: str, directory: Path) -> None:
    """Runs every row of a sweep; a mistake in any row is found before the first runs."""
    rows = sweep.overrides(config_flags.get_config_filename(flags.FLAGS["config"]), name)
    settings = config.to_dict() | {"sweep": {name: rows}}
    sweep.run(directory, sweep.configs(config, rows), run, settings)


def parse(argv: list[str]) -> list[str]:
    """Flags; an unknown config key is an error with a hint, not a traceback."""
    try:
        rest = flags.FLAGS(argv)[1:]
    except Exception as error:  # a config file is code, and may raise whatever it likes
        # What went wrong inside a config file comes wrapped in its traceback.
        if "Error whilst parsing config file" in str(error):
            sys.exit(str(error).strip().splitlines()[-1])
        said = str(error.args[0] if isinstance(error, KeyError) else error)
        given = " ".join(argument for argument in argv if argument.startswith("--config"))
        sys.exit(f"error: {said[:500]}" + (f" (in {given[:500]})" if given else ""))
    if rest:
        sys.exit(f"error: {rest[0]!r} is no flag: write --config.KEY=VALUE, --workdir=DIR, ...")
    return argv[:1]


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
