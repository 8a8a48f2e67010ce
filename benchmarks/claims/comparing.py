"""Ours beside a rival, pass by pass, where either may not have kept up. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple, TypeVar

from benchmarks.figures import Spread, pairwise
from benchmarks.quiet import Kept
from benchmarks.rounds import Round
from benchmarks.verdicts import Grounds

R = TypeVar("R")


class Compared(NamedTuple):
    """A ratio, and what it rests on."""

    figure: Spread
    grounds: Grounds


def ratio(ours: Kept[R], theirs: Kept[R], value: Callable[[R], float]) -> Compared:
    """Ours over theirs, of rounds of one pass.

    Infinite is what was never reached. Ours over anything is infinite then, also over what is infinite itself. Where
    theirs alone is, the ratio is below any number: it is 0, and the note tells why.
    """
    pairs, trusted = ours.beside(theirs)
    values = [(value(mine), value(other)) for mine, other in pairs]
    figure = pairwise(
        [mine if math.isinf(mine) or math.isfinite(other) else 0.0 for mine, other in values],
        [other if math.isfinite(other) else 1.0 for _, other in values],
    )
    told = [f"{len(pairs)} pairs of quiet rounds" if trusted else "no pair of quiet rounds"]
    if trusted and (dropped := ours.dropped + theirs.dropped):
        told.append(f"{dropped} dropped")
    told += _behind("ours", [mine for mine, _ in values])
    told += _behind("the rival", [other for _, other in values])
    return Compared(figure, Grounds(", ".join(told), trusted))


def _behind(who: str, values: Sequence[float]) -> list[str]:
    count = sum(math.isinf(each) for each in values)
    if not count:
        return []
    return [f"{who} never kept up" if count == len(values) else f"{who} kept up in all but {count}"]


def tail(kept: Kept[Round]) -> tuple[float, float]:
    """Sorts the best first: by p99, and by the share that was answered where p99 is infinite."""
    return median_of(kept, lambda one: one.p99_ms), -median_of(kept, lambda one: one.answered_share)


def median_of(kept: Kept[Round], value: Callable[[Round], float]) -> float:
    """The median over the rounds that count."""
    return median(value(one) for one in kept.rounds)
