"""Axes of charts: values to pixels, round ticks, their labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxreid.report.charts.svg import MUTED, text


@dataclass(frozen=True)
class Axis:
    """A map from values to pixels, with round ticks.

    Attributes:
        low: The value at pixel `start`.
        high: The value at pixel `stop`.
        start: First pixel.
        stop: Last pixel.
        ticks: Round values between low and high.
        log: Whether the map is logarithmic.
    """

    low: float
    high: float
    start: float
    stop: float
    ticks: Sequence[float]
    log: bool = False

    @classmethod
    def fit(
        cls, values: np.ndarray, start: float, stop: float, *, log=False, tight=False
    ) -> "Axis":
        """The axis that shows all `values` (finite; positive for log).

        It ends on ticks, or at the outermost values if `tight`.
        """
        low, high = (float(values.min()), float(values.max())) if values.size else (1.0, 2.0)
        if math.isclose(low, high):
            margin = abs(low) / 2 or 0.5
            low, high = (low / 2, high * 2) if log else (low - margin, high + margin)
        ticks = _decades(low, high) if log else _round_steps(low, high)
        if not tight:
            low, high = min(low, ticks[0]), max(high, ticks[-1])
        inside = [tick for tick in ticks if low <= tick <= high]
        return cls(low, high, start, stop, inside, log)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Pixels of `values`."""
        low, high = np.log10((self.low, self.high)) if self.log else (self.low, self.high)
        part = ((np.log10(values) if self.log else np.asarray(values)) - low) / (high - low)
        return self.start + part * (self.stop - self.start)

    def labels(self) -> list[str]:
        """The ticks as text, with no more decimals than their distance needs."""
        largest = max(map(abs, self.ticks))
        if self.log or largest >= 1e7 or largest < 1e-3:
            return [f"{tick:g}" for tick in self.ticks]
        step = min(np.diff(self.ticks), default=1.0)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return [f"{tick:,.{decimals}f}" for tick in self.ticks]


def _round_steps(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` multiples of 1, 2 or 5 times a power of ten that enclose [low, high]."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = 2 - math.floor(math.log10(step))  # rounding undoes 3 * 0.1 = 0.30000000000000004
    return [round(index * step, digits) + 0.0 for index in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten that enclose [low, high], thinned to at most seven."""
    first = math.floor(math.log10(low) + 1e-9)
    last = max(first + 1, math.ceil(math.log10(high) - 1e-9))
    return [10.0**power for power in range(first, last + 1, 1 + (last - first) // 7)]


def ticks_below(axis: Axis, bottom: float, label: str) -> list[str]:
    """The labels of a horizontal axis under a plot that ends at `bottom`, and its quantity."""
    marks = [text(axis.stop, bottom + 35, label, text_anchor="end", fill_opacity=MUTED)]
    for x, tick in zip(axis(np.array(axis.ticks)), axis.labels(), strict=True):
        marks.append(text(x, bottom + 18, tick, text_anchor="middle", fill_opacity=MUTED))
    return marks
