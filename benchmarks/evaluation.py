"""Time and memory of ranking at the sizes of Market-1501 and MSMT17.

    python benchmarks/evaluation.py

Every row of the table is a process of its own. "Above" is the highest memory it reached above what
it held with the features loaded (VmHWM of Linux). Beside jaxreid: NumPy with one full sort per query, and
torchreid's rank function (its Python path) where it can be imported; both hold the whole distance
matrix, and are skipped where that matrix and its order would not fit in 4 GiB.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SIZES = {  # queries, gallery, identities, cameras
    "Market-1501": (3368, 15913, 750, 6),
    "MSMT17": (11659, 82161, 3060, 15),
}
DIMENSIONS = 512
"""Numbers per embedding."""

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def features(size: str) -> tuple[Arrays, Arrays]:
    """Makes random identities under random camera offsets: (embeddings, pids, cameras) twice."""
    queries, gallery, people, cameras = SIZES[size]
    rng = np.random.default_rng(0)
    person = rng.standard_normal((people, DIMENSIONS), np.float32)
    style = 0.3 * rng.standard_normal((cameras, DIMENSIONS), np.float32)

    def pictures(n: int) -> Arrays:
        pids, cams = rng.integers(0, people, n), rng.integers(0, cameras, n)
        noise = 3 * rng.standard_normal((n, DIMENSIONS), np.float32)
        return person[pids] + style[cams] + noise, pids, cams

    return pictures(queries), pictures(gallery)


def rank_jaxreid(query: Arrays, gallery: Arrays) -> tuple[float, float]:
    """Counting form; the first call compiles."""
    from jaxreid.evaluation import Embedded, evaluate

    scores = evaluate(Embedded(*query), Embedded(*gallery))
    return scores.rank(1), scores.mean_ap


def rank_numpy(query: Arrays, gallery: Arrays) -> tuple[float, float]:
    """Whole distance matrix, one argsort per query."""
    firsts, precisions = [], []
    for d, pid, camera in zip(_distance_matrix(query, gallery), *query[1:], strict=True):
        order = np.argsort(d)
        own = gallery[1][order] == pid
        hits = own[~(own & (gallery[2][order] == camera))]
        if hits.any():
            ranks = np.flatnonzero(hits) + 1
            firsts.append(ranks[0] == 1)
            precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return float(np.mean(firsts)), float(np.mean(precisions))


def rank_torchreid(query: Arrays, gallery: Arrays) -> tuple[float, float]:
    """torchreid's Python path on the same distance matrix."""
    from torchreid.reid.metrics.rank import evaluate_rank  # pyright: ignore[reportMissingImports]

    d = _distance_matrix(query, gallery)
    people = query[1], gallery[1], query[2], gallery[2]
    curve, mean_ap = evaluate_rank(d, *people, use_cython=False)
    return float(curve[0]), float(mean_ap)


METHODS: dict[str, Callable[[Arrays, Arrays], tuple[float, float]]] = {
    "jaxreid": rank_jaxreid,
    "numpy": rank_numpy,
    "torchreid": rank_torchreid,
}


def measure(method: str, size: str) -> dict[str, Any]:
    """Runs one method; call it in a fresh process, for memory is only ever counted upwards."""
    query, gallery = features(size)
    loaded = _memory("VmRSS")
    seconds = []
    for _ in range(3 if method == "jaxreid" else 1):
        start = time.perf_counter()
        rank1, mean_ap = METHODS[method](query, gallery)
        seconds.append(time.perf_counter() - start)
    return {
        "first": seconds[0],
        "best": min(seconds),
        "above": _memory("VmHWM") - loaded,
        "rank-1": rank1,
        "mAP": mean_ap,
    }


def _distance_matrix(query: Arrays, gallery: Arrays) -> np.ndarray:
    q, g = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query[0], gallery[0]))
    return 2 - 2 * q @ g.T


def _memory(field: str) -> float:
    """GiB of this process, from Linux."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(field))
    return int(line.split()[1]) / 2**20


def _row(method: str, size: str) -> str:
    queries, gallery = SIZES[size][:2]
    title = f"{size:12} {method:10}"
    if method != "jaxreid" and queries * gallery * 12 > 4 * 2**30:
        return f"{title} skipped: distance matrix and order would not fit in 4 GiB"
    command = [sys.executable, __file__, "--method", method, "--size", size]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        return f"{title} not run: {run.stderr.strip().splitlines()[-1]}"
    r = json.loads(run.stdout.splitlines()[-1])
    return (
        f"{title} {r['first']:9.2f} {r['best']:9.2f} {r['above']:9.2f}"
        f" {r['rank-1']:9.4f} {r['mAP']:9.6f}"
    )


def main() -> None:
    """Prints the table, or with ``--method`` one measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=METHODS)
    parser.add_argument("--size", choices=SIZES, default="Market-1501")
    args = parser.parse_args()
    if args.method:
        print(json.dumps(measure(args.method, args.size)))
        return
    columns = "first (s)", "best (s)", "above GiB", "rank-1", "mAP"
    print(f"{'':23} {' '.join(f'{name:>9}' for name in columns)}")
    for size in SIZES:
        for method in METHODS:
            print(_row(method, size), flush=True)


if __name__ == "__main__":
    main()
