"""Frechet distance: values worked out by hand, closed forms, hard covariances, moments of parts."""

import json
import math
import subprocess
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxreid.evaluation import Moments, frechet_distance, merge, moments

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation_fid.json"
CASES = json.loads(GOLDEN.read_text())["cases"]
SPECIFICATION = "golden values of the specification"
SINGULAR = [[1, 1], [1, 1]]


def gaussian(mean, covariance, rows=1000):
    covariance = np.asarray(covariance, np.float64)
    return Moments(rows, np.asarray(mean, np.float64), covariance * (rows - 1))


def waves():
    i, j = np.meshgrid(np.arange(500), np.arange(64), indexing="ij")
    first = np.sin(0.37 * i * (j + 1)) + 0.1 * np.cos(0.11 * i + j)
    return first, 1.1 * np.sin(0.29 * i * (j + 1) + 0.5) + 0.05 * j / 64


def distance(x, y):
    return frechet_distance(moments(x), moments(y))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (gaussian([0, 0], np.diag([1, 4])), gaussian([1, 2], np.diag([9, 1])), 10),
        (gaussian([0, 0], [[2, 1], [1, 2]]), gaussian([0, 0], np.diag([1, 3])), 0.5166852265),
        (gaussian([0, 0], SINGULAR), gaussian([0, 0], np.diag([1, 3])), 2),
        (gaussian([0, 0], SINGULAR), gaussian([0, 0], SINGULAR), 0),
        (gaussian([0, 0], 0 * np.eye(2)), gaussian([0, 1], 0 * np.eye(2)), 1),
    ],
)
def test_gaussians_of_the_specification(a, b, expected, proof):
    whole = expected == int(expected)
    row, tolerance = ("whole numbers", 1e-12) if whole else ("ten digits", 5e-11)
    for found in (frechet_distance(a, b), frechet_distance(b, a)):
        error = abs(found - expected)
        proof(f"Frechet distance of Gaussians, {row}", SPECIFICATION, error, tolerance)


def test_a_square_and_its_stretched_copy(proof):
    x = np.array([[0, 0], [2, 0], [0, 2], [2, 2]])
    found = moments(x * (2, 0.5) + 1)
    np.testing.assert_allclose(moments(x).covariance, np.diag([4 / 3, 4 / 3]), atol=1e-15)
    np.testing.assert_allclose(found.covariance, np.diag([16 / 3, 1 / 3]), atol=1e-15)
    error = abs(frechet_distance(moments(x), found) - 71 / 12)
    proof("Frechet distance of four points", SPECIFICATION, error, 1e-12)


def features(seed, rows, d):
    """Like those after a ReLU: positive, many zeros, correlated."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(d, d)) / np.sqrt(d)
    return np.maximum(rng.normal(size=(rows, d)) @ mix + 0.3, 0)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['inputs']['d']} features")
def test_the_distance_of_given_features_is_pytorch_fid_s(case, proof):
    seeds, rows, d = (case["inputs"][name] for name in ("seeds", "rows", "d"))
    x, y = (features(seed, n, d) for seed, n in zip(seeds, rows, strict=True))
    assert [x.sum(), y.sum()] == pytest.approx(case["sums"], rel=1e-12), "make the file anew"
    singular = min(rows) <= d  # there pytorch-fid's root of a matrix is inexact itself
    row = f"Frechet distance of given features, d = {d}{', singular' if singular else ''}, relative"
    warned = pytest.warns(RuntimeWarning, match="is singular") if singular else nullcontext()
    with warned:
        error = abs(distance(x, y) / case["value"] - 1)
    proof(row, "pytorch-fid 0.3.0, SciPy 1.17.1", error, 1e-7 if singular else 1e-11)


def test_five_hundred_rows_of_waves(proof):
    error = abs(distance(*waves()) - 2.9538303)
    proof("Frechet distance of 500 rows, d = 64", SPECIFICATION, error, 5e-8)


@given(st.lists(st.floats(-3, 3), min_size=10, max_size=10))
def test_two_dimensions_have_a_closed_form(numbers):
    parts = np.reshape(numbers, (2, 5))
    (a, first), (b, second) = ((p[0], p[1:].reshape(2, 2) @ p[1:].reshape(2, 2).T) for p in parts)
    determinants = [max(0, m[0, 0] * m[1, 1] - m[0, 1] ** 2) for m in (first, second)]
    inner = np.trace(first @ second) + 2 * math.sqrt(math.prod(determinants))
    expected = (a - b) ** 2 + np.trace(first) + np.trace(second) - 2 * math.sqrt(max(0, inner))
    found = frechet_distance(gaussian([a, 0], first), gaussian([b, 0], second))
    assert found == pytest.approx(expected, abs=5e-6)


def test_symmetric_zero_on_equal_sets_and_growing_with_noise():
    x, y = waves()
    assert distance(x, y) == pytest.approx(distance(y, x), rel=1e-12)
    assert distance(x, x) == pytest.approx(0, abs=1e-12)
    assert distance(x, x + 0.5) == pytest.approx(64 * 0.25, rel=1e-12)
    noise = np.random.default_rng(0).normal(size=x.shape)
    grown = [distance(x, x + strength * noise) for strength in (0, 0.1, 0.3, 1)]
    assert grown == sorted(grown) and grown[1] > 1e-3


def test_rotations_and_scales():
    x, y = waves()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(64, 64)))[0]
    assert distance(3 * x @ turn, 3 * y @ turn) == pytest.approx(9 * distance(x, y), rel=1e-11)


@pytest.mark.parametrize("rows", [2, 40, 64])
def test_few_rows_are_finite_and_warned_of(rows):
    x, y = waves()
    with pytest.warns(RuntimeWarning, match=f"a has {rows} rows of 64 features.*singular"):
        found = distance(x[:rows], y)
    # tr (A B)^(1/2) is the sum of singular values of the product of any two factors.
    centred = [(z - z.mean(0)) / math.sqrt(len(z) - 1) for z in (x[:rows], y)]
    cross = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    mean = np.sum((x[:rows].mean(0) - y.mean(0)) ** 2)
    expected = mean + sum(np.sum(z**2) for z in centred) - 2 * cross
    assert found == pytest.approx(expected, rel=1e-6)


def test_moments_of_parts_are_those_of_the_whole(proof):
    x = waves()[0] + 1e3  # a mean far from 0 spoils sums of squares
    whole = moments(x)
    np.testing.assert_allclose(whole.covariance, np.cov(x, rowvar=False), atol=1e-12)
    cuts = [[1], [499], [7, 8, 300], list(range(32, 500, 32))]
    for parts in (np.split(x, at) for at in cuts):
        batches = [moments(part) for part in parts]
        for found in (merge(*batches), merge(*batches[::-1])):
            assert found.rows == 500
            error = np.abs(found.mean - whole.mean).max()
            proof("moments of parts, mean", "moments at once", error, 1e-11)
            error = np.abs(found.covariance - whole.covariance).max()
            proof("moments of parts, covariance", "moments at once", error, 1e-11)


def test_half_precision_features_are_added_in_double():
    x = np.float16(waves()[0])
    assert moments(x).mean.dtype == moments(x).scatter.dtype == np.float64
    np.testing.assert_array_equal(moments(x).scatter, moments(x.astype(np.float64)).scatter)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros(3), r"features must have shape \[n, d\], d >= 1, but has \(3,\)"),
        (np.zeros((3, 0)), r"features must have shape \[n, d\]"),
        (np.zeros((0, 3)), "features has 0 rows; 1 or more"),
        ([[0.0], [np.nan], [np.inf]], r"2 of 3 rows of features .*not finite.*row 1"),
    ],
)
def test_bad_features_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        moments(features)


def test_bad_moments_are_refused():
    good, other = moments(np.eye(3)[:, :2]), moments(np.eye(3))
    with pytest.raises(ValueError, match="b has 1 row: a covariance needs two"):
        frechet_distance(good, moments([[1.0, 2.0]]))
    with pytest.raises(ValueError, match="a has 2 features and b 3"):
        frechet_distance(good, other)
    with pytest.raises(ValueError, match="a holds values that are not finite"):
        frechet_distance(good._replace(mean=np.array([np.nan, 0])), good)
    for parts in ((), (good, other)):
        with pytest.raises(ValueError, match="moments of one shape"):
            merge(*parts)


def test_enough_rows_are_not_warned_of():
    x = np.random.default_rng(0).normal(size=(3, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distance(x, x)


def test_importing_evaluation_stays_light():
    heavy = ("tensorflow", "tensorflow_datasets", "PIL", "matplotlib", "scipy.linalg", "flax")
    sparse = "import sys, scipy.sparse; sparse = set(sys.modules)"  # old ones bring scipy.linalg
    left = f"sorted(set({heavy}) & (set(sys.modules) - sparse))"
    code = f"{sparse}; import jaxreid.evaluation; print({left})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
