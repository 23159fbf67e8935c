"""One system at scale ``tiny``: its uninterrupted run, and copies that go on from any stage."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.faults_judge import contents, differences, verdict

PATIENCE = 1800  # seconds after which a run counts as hanging
QUICK = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # most of the time would go into compiling


class Stage(NamedTuple):
    """A part of a run by its folder ('' for all of it), and its times in seconds."""

    name: str
    begin: float
    end: float


class Bench:
    """One system: its uninterrupted run, and trials beside it."""

    def __init__(self, system: str, root: Path, seed: int):
        self.system, self.root, self.rng = system, root / system, random.Random(f"{system} {seed}")
        self.whole, self.trial = self.root / "whole", self.root / "trial"
        self.root.mkdir(parents=True, exist_ok=True)
        if not (self.whole / "report.html").exists() and self.end(self.start(self.whole))[0]:
            sys.exit(f"the uninterrupted run of {system} fails; see {self.root / 'log.txt'}")
        self.expected = contents(self.whole)
        self.stages = list(self._stages())

    def _stages(self) -> Iterator[Stage]:
        begin, end = ((self.whole / f).stat().st_mtime for f in (".lock", "report.html"))
        yield Stage("", begin, end)
        for settings in self.whole.rglob("settings.json"):
            done = settings.with_name("done.json")
            if not any(path.is_symlink() for path in settings.parents) and done.exists():
                name = settings.parent.relative_to(self.whole).as_posix()
                yield Stage(name, settings.stat().st_mtime, done.stat().st_mtime)

    def prepare(self, stage: Stage, to: Path | None = None) -> Path:
        """A copy of the uninterrupted run as it was when ``stage`` began."""
        to = to or self.trial
        shutil.rmtree(to, ignore_errors=True)
        if stage.name:
            shutil.copytree(self.whole, to, symlinks=True, dirs_exist_ok=True)
            for later in (each for each in self.stages if each.begin >= stage.begin and each.name):
                shutil.rmtree(to / later.name, ignore_errors=True)
            for name in ("results.json", "report.html"):
                (to / name).unlink(missing_ok=True)
        return to

    def start(self, workdir: Path, *inject: str, log: str = "log.txt") -> subprocess.Popen:
        """The command, its words going to ``log``; with a fault of ``faulty`` inside."""
        program = ["-m", "benchmarks.faulty", *inject] if inject else ["launch.py"]
        given = [f"--config=configs/{self.system}.py:tiny", f"--workdir={workdir}"]
        command, words = [sys.executable, *program, *given], (self.root / log).open("w")
        return subprocess.Popen(command, stdout=words, stderr=words, env=os.environ | QUICK)

    def end(self, process: subprocess.Popen, log: str = "log.txt") -> tuple[int, str]:
        """Exit status and words of a run; one that hangs is ended, with status -9."""
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return process.returncode, (self.root / log).read_text(errors="replace")

    def until(self, stage: Stage, process: subprocess.Popen, workdir: Path) -> None:
        """Waits for a random moment of ``stage``, or the end of the process."""
        begun = workdir / stage.name / "settings.json"
        while stage.name and process.poll() is None and not begun.exists():
            time.sleep(0.02)
        time.sleep(self.rng.uniform(0, stage.end - stage.begin))

    def finish(self, workdir: Path, *damaged: Path) -> tuple[str, str]:
        """Runs to the end; how that went, and why."""
        code, said = self.end(self.start(workdir))
        other = differences(self.expected, contents(workdir), damaged) if code == 0 else []
        return verdict(code, said, other, workdir, damaged)

    def stop(self, stage: Stage, how: signal.Signals) -> tuple[Path, str, bool]:
        """Begins at ``stage`` and is sent a signal; where, and whether that came in time."""
        workdir = self.prepare(stage)
        process = self.start(workdir)
        self.until(stage, process, workdir)
        hit = process.poll() is None
        process.send_signal(how)
        self.end(process)
        return workdir, f"{stage.name or 'any time'}" + ("" if hit else ", but it had ended"), hit
