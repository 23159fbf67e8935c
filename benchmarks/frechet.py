"""Seconds for a Frechet distance of saved features, and beside it in PyTorch and SciPy.

    python -m benchmarks.frechet [--rows=10000] [--features=2048]

Every method takes the moments of both sets and their distance in float64. PyTorch sums the roots of
the eigenvalues of the covariances' product, as torchmetrics does; SciPy takes its matrix root, as
pytorch-fid does. The last column is the relative difference from jaxreid's value.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from jaxreid.evaluation import frechet_distance, moments


def jaxreid(x: np.ndarray, y: np.ndarray) -> float:
    """By symmetric eigenvalues."""
    return frechet_distance(moments(x), moments(y))


def torch(x: np.ndarray, y: np.ndarray) -> float:
    """By the eigenvalues of a product that is not symmetric."""
    import torch

    a, b = (torch.from_numpy(each).double() for each in (x, y))
    first, second = a.T.cov(), b.T.cov()
    roots = torch.linalg.eigvals(first @ second).sqrt().real.sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return float(apart + first.trace() + second.trace() - 2 * roots)


def scipy(x: np.ndarray, y: np.ndarray) -> float:
    """By the root of that product."""
    from scipy.linalg import sqrtm

    first, second = (np.cov(each.astype(np.float64), rowvar=False) for each in (x, y))
    root = np.real(np.asarray(sqrtm(first @ second)))
    apart = np.square(x.mean(0, np.float64) - y.mean(0, np.float64)).sum()
    return float(apart + np.trace(first) + np.trace(second) - 2 * np.trace(root))


METHODS: tuple[Callable[[np.ndarray, np.ndarray], float], ...] = (jaxreid, torch, scipy)


def main() -> None:
    """Prints the table: medians of three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10000)
    parser.add_argument("--features", type=int, default=2048)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((args.rows, args.features), np.float32) for _ in "xy")
    y = np.maximum(y, 0)
    expected = jaxreid(x, y)
    for method in METHODS:
        try:
            seconds, value = timed(method, x, y)
        except ModuleNotFoundError as error:
            print(f"{method.__name__:10} not run: {error}")
            continue
        apart = abs(value / expected - 1)
        print(f"{method.__name__:10} {seconds:8.2f} s   {apart:.1e}", flush=True)


def timed(method: Callable, *given: np.ndarray) -> tuple[float, float]:
    """Median seconds of three calls, and the value."""
    seconds, value = [], 0.0
    for _ in range(3):
        start = time.perf_counter()
        value = method(*given)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), value


if __name__ == "__main__":
    main()
