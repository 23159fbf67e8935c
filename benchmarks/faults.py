"""Faults: what becomes of runs that are killed, damaged, starved or doubled at random moments.

    python -m benchmarks.faults [--system=ide ...] [--kinds=kill ...] [--moments=30] [--seed=0]

An uninterrupted run at scale ``tiny`` tells how long each stage takes and what comes out. A trial
begins with a copy of it as it was when one stage began (every stage has ``--moments`` trials, and
the whole run as many), meets its fault there, and then runs the same command to the end. That must
give the same results, checkpoint arrays, generated images and features, bit for bit; after damage
to a file, an error may come instead that names the file or its folder. A fault that came too late
to hit anything is counted apart. Lines of ``metrics.jsonl``
are not compared: means over the steps since the last line depend on where a run began. All trials
are written to ``trials.jsonl`` below ``--workdir``; ``--page`` writes their table.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import faulty
from benchmarks.faults_judge import IDENTICAL, LATE, WRONG, in_time, last, named, table
from benchmarks.faults_runs import Bench, Stage

SYSTEMS = sorted(path.stem for path in Path("configs").glob("*.py") if path.stem != "common")
KINDS = ("kill", "term", "damage", "disk", "nan", "worker", "clock", "second")
MIB = 1 << 20
NEVER = 10**9


class Faults(Bench):
    """What can befall a run; each gives the outcome and why."""

    def kill(self, stage: Stage, how: signal.Signals = signal.SIGKILL) -> tuple[str, str]:
        """Kill -9, then the same command."""
        workdir, where, hit = self.stop(stage, how)
        outcome, why = self.finish(workdir)
        return in_time(outcome, hit), f"{where}: {why}"

    def term(self, stage: Stage) -> tuple[str, str]:
        """SIGTERM, as clusters send it, then the same command."""
        return self.kill(stage, signal.SIGTERM)

    def damage(self, stage: Stage) -> tuple[str, str]:
        """Kill -9, then a file is cut, changed, emptied or removed, then the same command."""
        workdir, where, _ = self.stop(stage, signal.SIGKILL)
        groups: dict[tuple[str, str], list[Path]] = {}
        for path in sorted(p for p in workdir.rglob("*") if p.is_file() and not p.is_symlink()):
            part = path.relative_to(workdir).parts[0]
            groups.setdefault((part, path.suffix or path.name[:4]), []).append(path)
        if not groups:
            return in_time(self.finish(workdir)[0], False), f"{where}: nothing to damage yet"
        path = self.rng.choice(groups[self.rng.choice(sorted(groups))])
        how = spoil(path, self.rng)
        outcome, why = self.finish(workdir, path)
        return outcome, f"{where}: {path.relative_to(workdir)} {how}: {why}"

    def disk(self, stage: Stage) -> tuple[str, str]:
        """The disk is full at some time; then there is room, and the same command."""
        place = self.root / "disk"
        place.mkdir(exist_ok=True)
        mounted = ["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", str(place)]
        subprocess.run(mounted, check=True)
        try:
            workdir = self.prepare(stage, place / "trial")
            used, most = shutil.disk_usage(place).used, size(self.whole)
            room = used + MIB + int(self.rng.random() * max(most - used, MIB // 4))
            subprocess.run(["mount", "-o", f"remount,size={room}", str(place)], check=True)
            code, said = self.end(self.start(workdir))
            subprocess.run(["mount", "-o", "remount,size=2g", str(place)], check=True)
            outcome, why = self.finish(workdir)
        finally:
            subprocess.run(["umount", str(place)], check=True)
        clear = code == 0 or named(said, [str(workdir), "No space left"])
        outcome = in_time(outcome, code != 0) if clear else WRONG
        return outcome, f"{stage.name or 'any time'}: {last(said)}; {why}"

    def inject(self, stage: Stage, fault: str, at: int) -> tuple[str, str]:
        """A fault inside the process; then the same command without it."""
        workdir = self.prepare(stage)
        code, said = self.end(self.start(workdir, fault, str(at)))
        outcome, why = self.finish(workdir)
        hit = faulty.SAID in said
        expected = {"nan": "stopped being finite", "worker": "Errno 5", "clock": ""}[fault]
        survived = code == 0 if fault == "clock" or not hit else named(said, [expected])
        where = f"{stage.name or 'any time'}, {fault} {at if hit else 'not reached'}"
        outcome = in_time(outcome, hit) if survived else WRONG
        return outcome, f"{where}: {last(said)}; {why}"

    def nan(self, stage: Stage) -> tuple[str, str]:
        """A batch is no numbers."""
        return self.inject(stage, "nan", self.rng.randrange(8))

    def worker(self, stage: Stage) -> tuple[str, str]:
        """A thread that decodes pictures cannot read."""
        return self.inject(stage, "worker", self.rng.randrange(12))

    def clock(self, stage: Stage) -> tuple[str, str]:
        """The clock is put back by a day."""
        return self.inject(stage, "clock", self.rng.randrange(300))

    def second(self, stage: Stage) -> tuple[str, str]:
        """Another run begins in the same folder, and is refused; the first goes on."""
        workdir = self.prepare(stage)
        first = self.start(workdir)
        self.until(stage, first, workdir)
        hit = first.poll() is None and (workdir / ".lock").exists()
        code, said = 1, "error: too late"
        if hit:
            code, said = self.end(self.start(workdir, log="second.txt"), "second.txt")
        self.end(first)
        outcome, why = self.finish(workdir)
        refused = not hit or named(said, [f"another run works in {workdir}"])
        outcome = in_time(outcome, hit) if refused and code else WRONG
        return outcome, f"{stage.name}: {last(said)}; {why}"


def spoil(path: Path, rng: random.Random) -> str:
    """Damages a file; says how."""
    data = bytearray(path.read_bytes())
    how = rng.choice(["cut", "changed", "emptied", "removed"] if data else ["removed"])
    if how == "removed":
        path.unlink()
        return how
    if how == "changed":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data if how == "changed" else data[: rng.randrange(len(data))])
    return how


def size(folder: Path) -> int:
    """Bytes of all files, in whole pages."""
    return sum(-(-p.stat().st_size // 4096) * 4096 for p in folder.rglob("*") if p.is_file())


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the trials and prints, or writes, their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", nargs="+", default=SYSTEMS, choices=SYSTEMS)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--moments", type=int, default=30, help="per stage and kind")
    parser.add_argument("--stages", type=int, help="so many of the stages, drawn; all if not given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workdir", type=Path, default=Path("runs/faults"))
    parser.add_argument("--page", type=Path)
    options = parser.parse_args(arguments)
    trials = options.workdir / "trials.jsonl"
    for system in options.system:
        bench = Faults(system, options.workdir.resolve(), options.seed)
        for kind in options.kinds:
            drawn = bench.rng.sample(bench.stages, min(options.stages or NEVER, len(bench.stages)))
            for stage in drawn * options.moments:
                outcome, why = getattr(bench, kind)(stage)
                row = {"system": system, "fault": kind, "outcome": outcome, "why": why}
                print(" | ".join(row.values()).replace(str(bench.root), ""), flush=True)
                with trials.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                if outcome not in (IDENTICAL, LATE):
                    shutil.copy(bench.root / "log.txt", bench.root / f"log_{time.time():.0f}.txt")
    text = table([json.loads(line) for line in trials.read_text().splitlines()])
    options.page.write_text(text) if options.page else print(text)


if __name__ == "__main__":
    main()
