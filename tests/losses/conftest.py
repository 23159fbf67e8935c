"""Fixtures: losses against oracles in both precisions, and against printed numbers."""

import jax
import numpy as np
import pytest
from losses_cases import batches, prove

PRECISIONS = {"float64": 1e-11, "float32": 1e-5}  # and what is allowed


@pytest.fixture(params=PRECISIONS)
def compare(proof, request):
    """Runs a comparison in both precisions; exact ties and duplicates belong to float64."""
    double, tolerance = request.param == "float64", PRECISIONS[request.param]
    default = batches() if double else batches(("normal", "unit"), always_masked=True)
    exact = np.float64 if double else np.float32

    def run(body, cases=160, strategy=default):
        def rounded(case):
            results = body({key: _round(value, exact) for key, value in case.items()})
            return ((f"{name}, {request.param}", a, b) for name, a, b in results)

        with jax.enable_x64(double):
            prove(proof, tolerance, cases if double else cases // 4, strategy, rounded)

    return run


def _round(value, dtype):
    """Both sides get the same numbers."""
    if isinstance(value, tuple):
        return tuple(_round(v, dtype) for v in value)
    floating = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return value.astype(dtype) if floating else value


@pytest.fixture
def golden(proof):
    """Compares with printed numbers, to the last digit printed."""

    def check(quantity, results, expected, digits=6):
        results, expected = np.asarray(results, np.float64), np.asarray(expected, np.float64)
        assert results.shape == expected.shape
        error = np.max(np.abs(results - expected))
        proof(quantity, "golden values of the specification", error, 0.501 * 10.0**-digits)

    return check
