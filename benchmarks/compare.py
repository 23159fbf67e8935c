"""Any two arms of the stored runs, paired by world: differences of mAP and rank-1 in points.

python -m benchmarks.compare STORE ARM OTHER     # such as pngan_fusion "pngan (concat)" jitter
"""

import argparse
import json
from pathlib import Path

from benchmarks.cells import interval, verdict
from jaxreid.evaluation.statistics import paired_difference
from jaxreid.report.results import GAP_SCORES


def main() -> None:
    """Prints a line for each score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", help="a folder of evidence/")
    parser.add_argument("arm")
    parser.add_argument("other")
    given = parser.parse_args()
    try:
        print("\n".join(compare(Path("evidence") / given.store, given.arm, given.other)))
    except ValueError as error:
        parser.error(str(error))


def compare(folder: Path, arm: str, other: str) -> list[str]:
    """What ``arm`` has more than ``other``, over the runs of a folder.

    Raises:
        ValueError: fewer than two runs, or an arm that one of them has not.
    """
    runs = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("seed_*.json"))}
    if len(runs) < 2:
        raise ValueError(f"{folder} has {len(runs)} runs; an interval takes two or more")
    for name, run in runs.items():
        for each in (arm, other):
            if each not in run["arms"]:
                known = ", ".join(sorted(run["arms"]))
                raise ValueError(f"{folder / name}.json has no arm {each!r}; it has {known}")
    lines = []
    for key in reversed(GAP_SCORES):
        own, others = ([run["arms"][each][key] for run in runs.values()] for each in (arm, other))
        gain = paired_difference(own, others)
        ahead = sum(a > b for a, b in zip(own, others, strict=True))
        said = f"{interval(gain)}, {verdict(gain)}, ahead in {ahead} of {len(runs)} worlds"
        lines.append(f"{key}: {arm} less {other} {said}")
    return lines


if __name__ == "__main__":
    main()
