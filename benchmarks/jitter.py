"""Chooses the strength of colour jitter on held-out training identities; the test set is not read.

python -m benchmarks.jitter --workdir=runs/jitter [--seeds=3]
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs import common
from jaxreid.data import held_out
from jaxreid.stages import reid, sets
from jaxreid.stages.arms import run_arm
from jaxreid.training import Every

STRENGTHS = (0.0, 0.05, 0.1, 0.2)


def main() -> None:
    """Trains one arm per strength and seed on the demo's training split less a quarter of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    every = Every(**common.training("demo")["every"])
    settings = reid.Settings(**common.reid("demo").to_dict())
    data = sets.prepare(options.workdir, sets.Settings(**common.data("demo").to_dict()))
    identities = len(np.unique(data.train.pids)) // 4
    train, query, gallery = held_out(data.train, identities, seed=0)
    held = data._replace(train=train, query=query, gallery=gallery)
    scores = {}
    for strength in STRENGTHS:
        jittered = replace(settings, jitter=strength)
        arms = [
            run_arm(options.workdir, held, f"{strength}_{s}", jittered, seed=s, every=every)
            for s in range(options.seeds)
        ]
        scores[strength] = np.array([(a.scores.rank(1), a.scores.mean_ap) for a in arms]) * 100
    print(f"\n{identities} held-out identities, {options.seeds} seeds, mean (standard deviation)")
    print("strength   rank-1       mAP")
    for strength, values in scores.items():
        cells = (f"{v.mean():5.1f} ({v.std(ddof=1):.1f})" for v in values.T)
        print(f"{strength:<8}", *cells, sep="   ")


if __name__ == "__main__":
    main()
