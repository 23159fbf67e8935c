"""What a system gains over several seeds: runs that are stored in the tree, and their tables.

Every seed is one whole run of ``launch.py``. Seeds count from 1: the demos' worlds and settings
were chosen on seed 0. A run continues where it was stopped, takes over the
stages that another run of these has finished with equal settings, and is stored as
``evidence/SYSTEM/seed_K.json``; what is stored with the present settings is not run again.

    python -m benchmarks.evidence --system=camstyle [--seeds=5] [--sweep=NAME] [--override=KEY=TEXT]
    python -m benchmarks.evidence --table

Both end with ``EVIDENCE.md``, beside the store; the second runs nothing.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from ast import literal_eval
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import reduce
from importlib import import_module
from operator import getitem
from pathlib import Path
from typing import Any

from benchmarks.evidence_page import page, settings_of
from jaxreid import sweep
from jaxreid.report.files import write_atomically
from jaxreid.report.results import write_results
from jaxreid.training.workdir import share

CODE = ("jaxreid", "configs", "launch.py")  # what a run's numbers depend on
CODE_FILE = "code.txt"  # in a workdir: the commits that have worked in it


def main() -> None:
    """Runs what is missing, unless only the table is asked for; writes the page."""
    options = _options()
    if not options.table:
        share(options.workdir)
        for seed in range(1, options.seeds + 1):
            run(options, seed)
    if not any(options.store.glob("*/seed_*.json")):
        sys.exit(f"no runs are stored in {options.store}: say `make evidence` first")
    target = options.store.with_name("EVIDENCE.md")
    write_atomically(target, page(options.store).encode())
    print(f"written: {target}")


def run(options: argparse.Namespace, seed: int) -> None:
    """One seed, from launch to stored file, unless it is there already."""
    name = "_".join(filter(None, (options.system, options.sweep)))
    stored = options.store / name / f"seed_{seed}.json"
    if stored.exists() and settings_of(json.loads(stored.read_text())) == settings(options, seed):
        print(f"{stored}: there already")
        return
    workdir = options.workdir / name / f"seed_{seed}"
    given = ["launch.py", f"--config={_config_file(options)}"]
    given += [f"--config.{key}={value}" for key, value in overrides(options, seed).items()]
    given += [f"--sweep={options.sweep}"] if options.sweep else []
    given += [f"--workdir={workdir}"]
    fresh, start = not workdir.exists(), time.perf_counter()
    _remember_code(workdir)
    if subprocess.run([sys.executable, *given]).returncode:
        sys.exit(f"seed {seed} of {name} did not finish; the same command continues")
    shared = _shared(options.workdir, workdir)
    makers = {options.workdir.joinpath(*Path(made).parts[:2]) for made in shared.values()}
    code = sorted({line for each in (workdir, *makers) for line in _code(each)})
    found = {"command": " ".join(["python", *given]), "shared": shared, "code": code}
    if fresh:
        found["seconds"] = round(time.perf_counter() - start)
        found["peak_mib"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    found |= {"date": datetime.now(UTC).date().isoformat()}
    results = workdir / ("sweep.json" if options.sweep else "results.json")
    write_results(stored, found | _kept(json.loads(results.read_text())))


def settings(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """What a run made now would store as its settings."""
    config = import_module(f"configs.{options.system}").get_config(options.scale).to_dict()
    for key, value in overrides(options, seed).items():
        *blocks, name = key.split(".")
        reduce(getitem, blocks, config)[name] = value
    if options.sweep:
        rows = sweep.overrides(_config_file(options), options.sweep)
        config["sweep"] = {options.sweep: rows}
    return json.loads(json.dumps(config))


def overrides(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """What a run changes in its config: the seeds, judges wherever the system knows them, and more.

    That is what ``--override`` names: networks that need weights, say.
    """
    config = import_module(f"configs.{options.system}").get_config(options.scale)
    blocks = [] if options.sweep else [options.system, "crossing"]
    judged = {f"{name}.judge": True for name in blocks if "judge" in config.get(name, {})}
    given = {key: _value(text) for key, text in (each.split("=", 1) for each in options.override)}
    return {"seed": seed, **_world_seeds(config.data, seed)} | judged | given


def _value(text: str) -> Any:
    """A value as a config file would have it: a literal, or else the text itself."""
    try:
        return literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _world_seeds(data: Mapping[str, Any], seed: int) -> dict[str, int]:
    """Of two worlds the second has another seed, or its people would be drawn like the first's."""
    if "world" in data:
        return {"data.world.seed": seed}
    return {"data.source.world.seed": seed, "data.target.world.seed": 500 + seed}


def _remember_code(workdir: Path) -> None:
    """Adds the commit that runs now to those that have worked in ``workdir``."""
    commit = _git("rev-parse", "--short=12", "HEAD") or "unknown"
    changed = " with local changes" if _git("status", "--porcelain", "--", *CODE) else ""
    lines = {*_code(workdir), commit + changed}
    write_atomically(workdir / CODE_FILE, "".join(f"{x}\n" for x in sorted(lines)).encode())


def _code(workdir: Path) -> list[str]:
    file = workdir / CODE_FILE
    return file.read_text().splitlines() if file.exists() else []


def _kept(results: dict[str, Any]) -> dict[str, Any]:
    environment = results["environment"]
    names = ("settings", "arms", "quality", "distances", "notes")
    kept = {key: results[key] for key in names if key in results}
    return kept | {"device": environment["device"], "jax": environment["jax"]}


def _shared(root: Path, workdir: Path) -> dict[str, str]:
    """Stages that were taken over, and the runs that made them."""
    links = [path for path in sorted(workdir.rglob("*")) if path.is_symlink()]
    made = {str(p.relative_to(workdir)): p.resolve().relative_to(root.resolve()) for p in links}
    return {stage: path.as_posix() for stage, path in made.items()}


def _config_file(options: argparse.Namespace) -> str:
    scale = "" if options.scale == "demo" else f":{options.scale}"
    return f"configs/{options.system}.py{scale}"


def _git(*arguments: str) -> str:
    """What git says; nothing outside a repository."""
    if not shutil.which("git"):
        return ""
    return subprocess.run(["git", *arguments], capture_output=True, text=True).stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Runs a system over seeds and stores it.")
    parser.add_argument("--table", action="store_true", help="only write EVIDENCE.md")
    systems = sorted(path.stem for path in Path("jaxreid/systems").glob("[a-z]*.py"))
    parser.add_argument("--system", choices=systems, default="camstyle")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sweep", default="", help="of the system's config; default none")
    parser.add_argument("--override", action="append", default=[], help="KEY=TEXT of the config")
    parser.add_argument("--scale", default="demo")
    parser.add_argument("--workdir", type=Path, default=Path("runs/evidence"))
    parser.add_argument("--store", type=Path, default=Path("evidence"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
