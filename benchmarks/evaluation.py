"""Time and memory of ranking at the sizes of Market-1501 and MSMT17.

    python -m benchmarks.evaluation
    python -m benchmarks.evaluation --methods jaxreid --sizes Market-1501+500k
    python -m benchmarks.evaluation --methods reranked --sizes Market-1501 MSMT17

Every row of the table is a process of its own. "peak" is the most memory it held, "above" the most
above what it held with the features loaded (Linux only). `reranked` is jaxreid with k-reciprocal
re-ranking. Beside jaxreid: NumPy and PyTorch with one argsort per query; re-ranking in its
published form (`dense`), picture by picture over the whole distance matrix, which PyTorch computes;
and, where torchreid can be imported, its rank function without Cython. These two are left out at
the size of MSMT17 and beyond: each matrix there has 26 GiB or more, torchreid's order 10 GiB.
Unless asked for, the largest gallery and re-ranking at the size of MSMT17, which takes minutes, are
left out, too.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import numpy as np

SIZES = {  # queries, gallery, identities, cameras, distractors in the gallery
    "Market-1501": (3368, 15913, 750, 6, 0),
    "MSMT17": (11659, 82161, 3060, 15, 0),
    "Market-1501+500k": (3368, 515913, 750, 6, 500000),
}
DIMENSIONS = 512
"""Numbers per embedding."""

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def features(
    queries: int, gallery: int, people: int, cameras: int, distractors: int
) -> tuple[Arrays, Arrays]:
    """Makes random identities under random camera offsets: (embeddings, pids, cameras) twice.

    Distractors are pictures of one more person, each as far from the others as from anybody.
    """
    rng = np.random.default_rng(0)
    person = rng.standard_normal((people, DIMENSIONS), np.float32)
    style = 0.3 * rng.standard_normal((cameras, DIMENSIONS), np.float32)

    def pictures(n: int, strangers: int = 0) -> Arrays:
        pids, cams = rng.integers(0, people, n), rng.integers(0, cameras, n)
        embeddings = rng.standard_normal((n, DIMENSIONS), np.float32)  # a second would count
        embeddings *= 3
        for row in range(n - strangers):
            embeddings[row] += person[pids[row]] + style[cams[row]]
        pids[n - strangers :] = people
        return embeddings, pids, cams

    return pictures(queries), pictures(gallery, distractors)


def rank_jaxreid(query: Arrays, gallery: Arrays) -> tuple[float, float]:
    """Counting form; the first call compiles."""
    from jaxreid.evaluation import Embedded, evaluate

    scores = evaluate(Embedded(*query), Embedded(*gallery))
    return scores.rank(1), scores.mean_ap


def rank_reranked(query: Arrays, gallery: Arrays) -> tuple[float, float]:
    """Counting form of re-ranked distances."""
    from jaxreid.evaluation import Embedded, Protocol, Reranking, evaluate

    scores = evaluate(Embedded(*query), Embedded(*gallery), Protocol(reranking=Reranking()))
    return scores.rank(1), scores.mean_ap


def rank_numpy(query: Arrays, gallery: Arrays) -> tuple[float, float]:
    """Brute force: one argsort of the gallery per query, distances in blocks of 64 queries."""
    q, g = _normalized(query[0]), _normalized(gallery[0])
    blocks = (-q[start : start + 64] @ g.T for start in range(0, len(q), 64))
    return _scored(chain.from_iterable(blocks), query, gallery)


def _scored(distances: Iterable[np.ndarray], query: Arrays, gallery: Arrays) -> tuple[float, float]:
    firsts, precisions = [], []
    for d, pid, camera in zip(distances, *query[1:], strict=True):
        order = np.argsort(d)
        own = gallery[1][order] == pid
        hits = own[~(own & (gallery[2][order] == camera))]
        if hits.any():
            ranks = np.flatnonzero(hits) + 1
            firsts.append(ranks[0] == 1)
            precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return float(np.mean(firsts)), float(np.mean(precisions))


def rank_torch(query: Arrays, gallery: Arrays) -> tuple[float, float]:
    """The same in PyTorch, a block of queries at a time."""
    import torch
    from torch.nn.functional import normalize

    q, g = (normalize(torch.from_numpy(each[0])) for each in (query, gallery))
    pids, cameras = (torch.from_numpy(each) for each in gallery[1:])
    firsts, precisions = [], []
    for start in range(0, len(q), 64):
        order = (-q[start : start + 64] @ g.T).argsort(1)
        for row, pid, camera in zip(
            order, *(a[start : start + 64] for a in query[1:]), strict=True
        ):
            own = pids[row] == int(pid)
            hits = own[~(own & (cameras[row] == int(camera)))]
            if hits.any():
                ranks = hits.nonzero()[:, 0] + 1
                firsts.append(float(ranks[0] == 1))
                precisions.append(float((torch.arange(1, len(ranks) + 1) / ranks).mean()))
    return float(np.mean(firsts)), float(np.mean(precisions))


def rank_dense(query: Arrays, gallery: Arrays) -> tuple[float, float]:
    """Re-ranking as published, k1 20, k2 6, weight 0.3, then one argsort per query."""
    import torch
    from torch.nn.functional import normalize

    both = normalize(torch.from_numpy(np.concatenate([query[0], gallery[0]])))
    d = (2 - 2 * both @ both.T).clamp_(min=0)
    d /= d.amax(1, keepdim=True)
    order = d.topk(21, largest=False).indices.numpy()
    d, queries = d.numpy(), len(query[0])

    def reciprocal(row: int, k: int) -> np.ndarray:
        near = order[row, : k + 1]
        return near[(order[near, : k + 1] == row).any(1)]

    codes = np.zeros_like(d)
    for row in range(len(d)):
        whole = members = reciprocal(row, 20)
        for other in whole:
            half = reciprocal(other, 10)
            if 3 * np.isin(half, whole).sum() > 2 * len(half):
                members = np.append(members, half)
        members = np.unique(members)
        weights = np.exp(-d[row, members])
        codes[row, members] = weights / weights.sum()
    codes = np.stack([codes[near].mean(0) for near in order[:, :6]])
    holders = [np.flatnonzero(column) for column in codes.T]
    distances = np.empty((queries, len(gallery[0])), np.float32)
    for row in range(queries):
        shared = np.zeros(len(d), np.float32)
        for column in np.flatnonzero(codes[row]):
            who = holders[column]
            shared[who] += np.minimum(codes[row, column], codes[who, column])
        distances[row] = 0.7 * (1 - shared / (2 - shared))[queries:] + 0.3 * d[row, queries:]
    return _scored(distances, query, gallery)


def rank_torchreid(query: Arrays, gallery: Arrays) -> tuple[float, float]:
    """Calls torchreid's rank function, its Python path."""
    from torchreid.reid.metrics.rank import evaluate_rank  # pyright: ignore[reportMissingImports]

    d = -_normalized(query[0]) @ _normalized(gallery[0]).T
    people = query[1], gallery[1], query[2], gallery[2]
    curve, mean_ap = evaluate_rank(d, *people, use_cython=False)
    return float(curve[0]), float(mean_ap)


METHODS: dict[str, Callable[[Arrays, Arrays], tuple[float, float]]] = {
    "jaxreid": rank_jaxreid,
    "reranked": rank_reranked,
    "numpy": rank_numpy,
    "torch": rank_torch,
    "dense": rank_dense,
    "torchreid": rank_torchreid,
}


def measure(method: str, size: str) -> dict[str, Any]:
    """Runs one method; call it in a fresh process, for peak memory never falls."""
    query, gallery = features(*SIZES[size])
    loaded = memory("VmRSS")
    seconds, scores = [], (0.0, 0.0)
    for _ in range(3 if method == "jaxreid" else 1):
        start = time.perf_counter()
        scores = METHODS[method](query, gallery)
        seconds.append(time.perf_counter() - start)
    return {
        "first": seconds[0],
        "best": min(seconds),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "above": memory("VmHWM") - loaded,
        "rank-1": scores[0],
        "mAP": scores[1],
    }


def _normalized(embeddings: np.ndarray) -> np.ndarray:
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def memory(field: str) -> float:
    """GiB of this process, from Linux."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(field))
    return int(line.split()[1]) / 2**20


def _row(method: str, size: str) -> str:
    title = f"{size:16} {method:10}"
    command = [sys.executable, "-m", "benchmarks.evaluation", "--method", method, "--size", size]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        return f"{title} not run: {run.stderr.strip().splitlines()[-1]}"
    r = json.loads(run.stdout.splitlines()[-1])
    return (
        f"{title} {r['first']:9.2f} {r['best']:9.2f} {r['peak']:9.2f} {r['above']:9.2f}"
        f" {r['rank-1']:9.4f} {r['mAP']:9.6f}"
    )


def main() -> None:
    """Prints the table, or with ``--method`` one measurement as JSON."""
    parser = argparse.ArgumentParser(description="Time and memory of ranking.")
    parser.add_argument("--methods", nargs="+", choices=METHODS)
    parser.add_argument("--sizes", nargs="+", choices=SIZES)
    parser.add_argument("--method", choices=METHODS, help="one measurement, in this process")
    parser.add_argument("--size", choices=SIZES, default="Market-1501")
    args = parser.parse_args()
    if args.method:
        print(json.dumps(measure(args.method, args.size)))
        return
    columns = "first (s)", "best (s)", "peak GiB", "above GiB", "rank-1", "mAP"
    print(f"{'':27} {' '.join(f'{name:>9}' for name in columns)}")
    for size in args.sizes or ["Market-1501", "MSMT17"]:
        for method in args.methods or METHODS:
            asked = args.methods is not None or (method, size) != ("reranked", "MSMT17")
            if asked and (method not in ("torchreid", "dense") or size == "Market-1501"):
                print(_row(method, size), flush=True)


if __name__ == "__main__":
    main()
