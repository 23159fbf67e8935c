"""The README's table: every arm of a system over several seeds, mean and standard deviation.

Each seed is one whole run of ``launch.py`` (initialisation, batches, augmentation and translators
all draw from it) on the same pictures. Continues where it was stopped.

    python -m benchmarks.evidence --workdir=runs/evidence [--seeds=5] [--config=configs/camstyle.py]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from jaxreid.report import results

SCORES = ("rank-1", "rank-5", "rank-10", "mAP", "mAP_trapezoid", "mINP")


def main() -> None:
    """Runs the seeds one after the other, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--config", default="configs/camstyle.py")
    parser.add_argument("--seeds", type=int, default=5)
    options, overrides = parser.parse_known_args()
    found = []
    for seed in range(options.seeds):
        workdir = options.workdir / f"seed_{seed}"
        command = [sys.executable, "launch.py", f"--config={options.config}"]
        command += [f"--config.seed={seed}", f"--workdir={workdir}", *overrides]
        subprocess.run(command, check=True)
        found.append(json.loads((workdir / "results.json").read_text())["arms"])
    arms = sorted(found[0], key=lambda arm: found[0][arm]["mAP"])
    values = {a: {s: np.array([run[a][s] for run in found]) for s in SCORES} for a in arms}
    mean = {a: {s: float(v.mean()) for s, v in rows.items()} for a, rows in values.items()}
    spread = {a: {s: float(v.std(ddof=1)) for s, v in rows.items()} for a, rows in values.items()}
    print(f"\n{options.seeds} seeds, mean (standard deviation)\n{results.table(mean, spread)}")
    for arm in arms:
        gain = 100 * (values[arm]["mAP"] - values["baseline"]["mAP"])
        print(f"{arm:10} mAP - baseline, same seed: {gain.mean():+.1f} ({gain.std(ddof=1):.1f})")


if __name__ == "__main__":
    main()
