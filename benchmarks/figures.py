"""Medians, percentiles, ratios and plain tables. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over all repeats.

    Attributes:
        median: the middle of the repeats.
        least: the smallest of them.
        most: the largest of them.
    """

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, repeats: Sequence[float]) -> Spread:
        """The spread of at least one repeat.

        Raises:
            ValueError: no repeat.
        """
        if not repeats:
            raise ValueError("a spread of no repeats: measure at least once")
        return cls(statistics.median(repeats), min(repeats), max(repeats))

    def show(self, digits: int = 2) -> str:
        """`median (least-most)`, each with that many decimals; the median alone when there was one repeat."""
        if self.least == self.most:
            return f"{self.median:.{digits}f}"
        return f"{self.median:.{digits}f} ({self.least:.{digits}f}-{self.most:.{digits}f})"


def pairwise(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """The ratio ours / theirs of each repeat: neighbours in time saw the same machine.

    Raises:
        ValueError: another number of repeats on one side, or a zero among theirs.
    """
    if any(value == 0 for value in theirs):
        raise ValueError(f"ratios to {list(theirs)}: one of them is 0, so there is nothing to compare with")
    return Spread.of([mine / other for mine, other in zip(ours, theirs, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed, by the nearest-rank rule.

    Raises:
        ValueError: no values, or a share outside 0 to 1.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError(
            f"percentile {share} of {len(values)} values: it needs 0 to 1, of at least one value"
        )
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Offset and slope of the straight line with the least squared error through (x, y) points.

    Raises:
        statistics.StatisticsError: fewer than two points, or all at one x.
    """
    fit = statistics.linear_regression([x for x, _ in points], [y for _, y in points])
    return fit.intercept, fit.slope


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A text table: the first column to the left, the others to the right, a rule below the head."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def told(row: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return "\n".join([told(head), "  ".join("-" * width for width in widths), *map(told, rows)])
