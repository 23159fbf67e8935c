"""Cells of evidence tables: a mean and, of several seeds, the standard deviation beside it."""

import numpy as np


def percent(values: np.ndarray) -> str:
    """Of fractions, in percent."""
    spread = f" ({100 * values.std(ddof=1):.1f})" if len(values) > 1 else ""
    return f"{100 * values.mean():.1f}{spread}"


def plain(values: np.ndarray) -> str:
    """Of distances, which are no fractions."""
    spread = f" ({values.std(ddof=1):.2g})" if len(values) > 1 else ""
    return f"{values.mean():.3g}{spread}"
