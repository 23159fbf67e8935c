"""Kernel distance: hand-made values, a slow oracle, subsets, errors."""

import numpy as np
import pytest

from jaxreid.evaluation import kernel_distance, kernel_distance_over_subsets

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(60, 5)), rng.normal(size=(40, 5)) * 1.5 + 0.5


def slow(x, y):
    def mean(first, second, same):
        pairs = [(i, j) for i in range(len(first)) for j in range(len(second))]
        kept = [(i, j) for i, j in pairs if not same or i != j]
        return sum((first[i] @ second[j] / len(first[i]) + 1) ** 3 for i, j in kept) / len(kept)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([[0, 0], [1, 0]], [[0, 1], [2, 0]], -3.5),
        ([[0, 0], [1, 0], [0, 2]], [[1, 1], [2, 0], [1, 3]], -4.8333333333),
    ],
)
def test_golden_values(x, y, expected, proof):
    for found in (kernel_distance(x, y), kernel_distance(y, x)):
        proof("kernel distance", "golden values of the specification", abs(found - expected), 5e-11)


def test_sets_of_unequal_size_equal_the_slow_oracle(proof):
    expected = slow(X, Y)
    proof("kernel distance", "NumPy, double loop", abs(kernel_distance(X, Y) - expected), 1e-12)


def test_it_tells_sets_apart_and_is_unbiased():
    assert kernel_distance(X, Y) > 1
    draws = np.random.default_rng(1).normal(size=(4000, 2, 8, 5))
    found = np.array([kernel_distance(x, y) for x, y in draws])
    assert abs(found.mean()) < 3.5 * found.std() / 4000**0.5 and (found < 0).mean() > 0.3


def test_subsets():
    whole = kernel_distance_over_subsets(X[:40], Y, subsets=3)
    assert whole.mean == pytest.approx(kernel_distance(X[:40], Y)) and whole.deviation < 1e-12
    found = kernel_distance_over_subsets(X, Y, subsets=200, size=20)
    assert abs(found.mean - kernel_distance(X, Y)) < 4 * found.deviation / 200**0.5
    assert found == kernel_distance_over_subsets(X, Y, subsets=200, size=20, seed=0)
    assert found != kernel_distance_over_subsets(X, Y, subsets=200, size=20, seed=1)
    assert 0.1 < found.deviation < found.mean


def test_the_default_size_is_the_smaller_set_up_to_a_thousand(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        "jaxreid.evaluation.kernel._distance", lambda x, y: sizes.append((len(x), len(y))) or 0.0
    )
    kernel_distance_over_subsets(X, Y, subsets=1)
    kernel_distance_over_subsets(np.ones((1500, 1)), np.ones((1200, 1)), subsets=1)
    assert sizes == [(40, 40), (1000, 1000)]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:1], Y, "x has 1 rows; 2 or more"),
        (X, Y[0], r"y must have shape \[n, d\]"),
        (X, Y[:, :3], "x has 5 features and y 3"),
        (X, Y * np.nan, "40 of 40 rows of y are not finite"),
    ],
)
def test_bad_sets_are_refused(x, y, message):
    for distance in (kernel_distance, kernel_distance_over_subsets):
        with pytest.raises(ValueError, match=message):
            distance(x, y)


@pytest.mark.parametrize("options", [{"size": 41}, {"size": 1}, {"subsets": 0}])
def test_bad_subsets_are_refused(options):
    with pytest.raises(ValueError, match="2 to 40 rows can be drawn"):
        kernel_distance_over_subsets(X, Y, **options)
