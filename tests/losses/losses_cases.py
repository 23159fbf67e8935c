"""Random cases for the losses, and the loop that compares two computations over them.

Sizes are fixed, so that each loss compiles once per option; masks make them vary. What a mask hides
is NaN or infinite, so that nothing can be read by mistake.
"""

from functools import cache, partial, wraps

import jax
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxreid import losses

N, M, D, PEOPLE = 7, 5, 3, 4
KINDS = ("normal", "unit", "grid", "equal", "far")
CHECKS = {"deadline": None, "derandomize": True, "database": None}


@cache
def jitted(name, **static):
    """The loss with the given options fixed; traced arguments by position and by name."""
    return jax.jit(partial(getattr(losses, name), **static))


class Compiled:
    """`losses` with every call compiled as one program: arrays are traced, other options fixed."""

    def __getattr__(self, name):
        def call(*args, **options):
            fixed = {k: v for k, v in options.items() if isinstance(v, str | int | float)}
            traced = {k: v for k, v in options.items() if k not in fixed}
            return jitted(name, **fixed)(*args, **traced)

        return call


def double(test):
    """A test that runs in float64."""

    @wraps(test)
    def run(*args, **kwargs):
        with jax.enable_x64(True):
            test(*args, **kwargs)

    return run


def prove(proof, tolerance, cases, strategy, compare):
    """Proof rows for what `compare(case)` yields: (name, result, expected)."""
    found = {}

    @settings(max_examples=cases, suppress_health_check=list(HealthCheck), **CHECKS)
    @given(strategy)
    def run(case):
        for name, result, expected in compare(case):
            result, expected = np.asarray(result), np.asarray(expected)
            assert result.shape == expected.shape, name
            error = float(np.max(np.abs(result - expected), initial=0.0))
            assert error <= tolerance, name  # also fails on NaN
            count, worst = found.get(name, (0, 0.0))
            found[name] = count + 1, max(worst, error)

    run()
    for name, (count, worst) in found.items():
        proof(name, f"NumPy oracle, {count} cases", worst, tolerance)


def masks(n):
    return st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)


def labels(n):
    return st.lists(st.integers(0, PEOPLE - 1), min_size=n, max_size=n).map(np.array)


def embeddings(rng, kind, n, d=D):
    x = rng.normal(size=(n, d))
    if kind == "unit":
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    elif kind == "grid":  # duplicates and ties
        x = rng.integers(-1, 2, (n, d)) / 2
    elif kind == "equal":
        x[:] = x[:1]
    elif kind == "far":
        x += 1000
    return x


def hide(x, where):
    """What a mask hides holds NaN and infinities."""
    if where is not None:
        x = np.array(x)
        x[~where] = np.resize([np.nan, np.inf, -np.inf], x[~where].shape)
    return x


@st.composite
def batches(draw, kinds=KINDS, always_masked=False):
    """Two sets of embeddings with labels and masks, a margin, and a generator for the rest."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    where, other_where = draw(masks(N)), draw(masks(M))
    if not always_masked and draw(st.sampled_from([True, False, False])):
        where = other_where = None
    rows = embeddings(rng, draw(st.sampled_from(kinds)), N + M)
    return {
        "rng": rng,
        "clean": (rows[:N], rows[N:]),
        "x": hide(rows[:N], where),
        "labels": draw(labels(N)),
        "where": where,
        "y": hide(rows[N:], other_where),
        "other_labels": draw(labels(M)),
        "other_where": other_where,
        "margins": (draw(st.sampled_from([0.0, 0.3, 1.0, 2.5])), "soft")[: 1 + (not always_masked)],
    }
