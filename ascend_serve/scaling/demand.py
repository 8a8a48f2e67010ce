"""How many rows come a second by now, and how many will in a moment.

Rows are counted in bins of half a second. The rate is read off the longest stretch of the last half minute in which it
went straight, up, down or level, but for the noise that it shows anyway: so a steady load is known well, a ramp by its
slope, and a step within a second, without the slope that a line through a step would have.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from math import floor, sqrt
from statistics import median

BIN_S = 0.5
KEEP_S = 32.0
LINES_S = (32.0, 16.0, 8.0)
"""Stretches through which a line is laid, the longest first. A shorter one would make trends out of noise."""

LEVELS_S = (4.0, 2.0, 1.0, 0.5)
"""Stretches that are taken to be level, when no line fits."""

_FITS = 3.0
"""A stretch fits when what is left of it exceeds the noise by less than so many standard deviations."""

_MEDIAN_OF_SQUARES = 0.4549
"""The median of a squared normal deviate of variance 1."""


class Demand:
    """Counts rows and looks ahead; times only go forward."""

    def __init__(self) -> None:
        self._bins: deque[float] = deque(maxlen=round(KEEP_S / BIN_S))
        self._first: int | None = None
        self._known_until = 0.0

    def came(self, begin: float, end: float, rows: float) -> None:
        """Note that `rows` rows came between `begin` and `end`, in seconds; evenly, as far as is known.

        Fewer than 0 take back what was counted twice.
        """
        span = end - begin
        if span <= 0:
            self._add(end, rows)
            return
        at = begin
        while at < end:
            until = min(end, (floor(at / BIN_S) + 1) * BIN_S)
            self._add(at, rows * (until - at) / span)
            at = until

    def told_until(self, at: float) -> None:
        """Note that all that came before `at` has been told of."""
        self._known_until = max(self._known_until, at)
        self._add(at, 0.0)

    def expect(self, ahead_s: float, *, sure: float = 0.0) -> float:
        """Rows a second to expect `ahead_s` seconds after what is known; a falling rate is not foreseen to fall on.

        Args:
            ahead_s: how far to look.
            sure: standard errors of the estimate that are added, to err on the busy side.
        """
        rates = [max(0.0, rows) / BIN_S for rows in self._whole()]
        if not rates:
            return 0.0
        noise = self._noise(rates)
        for span_s in LINES_S:
            part = rates[-round(span_s / BIN_S) :]
            if len(part) * BIN_S < LINES_S[-1]:
                break
            if (line := _line(part, noise)) is not None:
                mean, slope, slope_error = line
                # A slope counts as far as it is more than its own error.
                slope = max(0.0, slope - slope_error) + min(0.0, slope + slope_error)
                here = mean + slope * len(part) * BIN_S / 2 + sure * sqrt(noise / len(part))
                return max(0.0, here + max(0.0, slope) * ahead_s)
        for span_s in LEVELS_S:
            part = rates[-round(span_s / BIN_S) :]
            mean = sum(part) / len(part)
            if span_s == LEVELS_S[-1] or _is_left(
                sum((rate - mean) ** 2 for rate in part), noise, len(part) - 1
            ):
                break
        return mean + sure * sqrt(noise / len(part))

    def _whole(self) -> list[float]:
        """The bins that are over and fully told of."""
        if self._first is None:
            return []
        whole = floor(self._known_until / BIN_S) - self._first
        return list(self._bins)[: max(0, whole)]

    def _add(self, at: float, rows: float) -> None:
        place = floor(at / BIN_S)
        if self._first is None:
            self._first = place
        while place >= self._first + len(self._bins):
            if len(self._bins) == self._bins.maxlen:
                self._first += 1
            self._bins.append(0.0)
        if place >= self._first:  # what is told of so late is forgotten
            self._bins[place - self._first] += rows

    def _noise(self, rates: list[float]) -> float:
        """Variance of the rate of one bin: that of single rows that come by chance, or what neighbours differ by."""
        chance = max(1.0, sum(rates) / len(rates)) / BIN_S
        steps = [(after - before) ** 2 for before, after in pairwise(rates)]
        return max(chance, median(steps) / (2 * _MEDIAN_OF_SQUARES)) if steps else chance


def _line(rates: list[float], noise: float) -> tuple[float, float, float] | None:
    """Mean, slope a second, and its standard error, of the line through the rates of bins; None if it does not fit."""
    count = len(rates)
    middle = (count - 1) / 2
    spread = count * (count * count - 1) / 12
    mean = sum(rates) / count
    slope = sum((place - middle) * rate for place, rate in enumerate(rates)) / spread
    left = sum((rate - mean - slope * (place - middle)) ** 2 for place, rate in enumerate(rates))
    if not _is_left(left, noise, count - 2):
        return None
    # The newest quarter alone must agree as well: where a step has just begun, most of a long line still fits.
    newest = count // 4
    off = sum(rates[-newest:]) / newest - mean - slope * (middle - (newest - 1) / 2)
    if abs(off) > _FITS * sqrt(noise / newest):
        return None
    return mean, slope / BIN_S, sqrt(noise / spread) / BIN_S


def _is_left(squares: float, noise: float, freedom: int) -> bool:
    """Whether a sum of squares is what noise of this variance leaves."""
    return squares <= noise * (freedom + _FITS * sqrt(2 * freedom))
