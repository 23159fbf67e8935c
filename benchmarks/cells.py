"""Cells of evidence tables: a mean with its standard deviation, a difference with its interval."""

import numpy as np

from jaxreid.evaluation.statistics import Interval


def percent(values: np.ndarray) -> str:
    """Of fractions, in percent."""
    spread = f" ({100 * values.std(ddof=1):.1f})" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{spread}"


def plain(values: np.ndarray) -> str:
    """Of distances, which are no fractions, and of counts, which are the same in all runs."""
    if len({*values}) == 1 and float(values[0]).is_integer():
        return f"{values[0]:.0f}"
    spread = f" ({values.std(ddof=1):.2g})" if len(values) > 1 else ""
    return f"{values.mean():.3g}{spread}"


def interval(found: Interval, digits: int = 1) -> str:
    """Of a fraction, in percent or in points."""
    # Plus 0.0, so that what rounds to nothing is not written -0.0.
    middle, low, high = (f"{round(100 * value, digits) + 0.0:+.{digits}f}" for value in found)
    return f"{middle} [{low}, {high}]"


def verdict(gain: Interval) -> str:
    """What an interval says of the claim that the arm is better."""
    return "shown" if gain.low > 0 else "opposite" if gain.high < 0 else "not shown"
