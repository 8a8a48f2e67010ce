"""What a replica tells of itself, for whoever decides how many there are to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

CAME = "rows_came"
WAITING = "rows_waiting"
BEARS = "bears_rows_per_s"
CLEARS = "clears_rows_per_s"
AGE = "age_s"
_NAMES = (CAME, WAITING, BEARS, CLEARS, AGE)
"""In the order of the fields of `Told`."""


class Told(NamedTuple):
    """One report of a replica.

    Attributes:
        at: when, in seconds of the wall clock.
        came: rows that were offered since it started, those it refused too.
        waiting: rows that wait there.
        bears_per_s: rows a second that it answers within the SLO, above 0.
        clears_per_s: rows a second that it answers at the most.
        age_s: seconds since it started.
    """

    at: float
    came: float
    waiting: float
    bears_per_s: float
    clears_per_s: float
    age_s: float = 0.0

    def stats(self) -> dict[str, float]:
        """It as numbers by name, without the time."""
        return dict(zip(_NAMES, self[1:], strict=True))


def told_by(series: Mapping[str, Mapping[Any, Sequence[Any]]]) -> dict[str, list[Told]]:
    """The reports of each replica, oldest first, out of series of points by name and replica.

    Points have a `timestamp` and a `value`. Those of one moment are one report; a moment at which not every name has a
    point is none. Replicas are named by what `str` says of their keys.
    """
    return {
        str(replica): list(_reports({name: series.get(name, {}).get(replica, ()) for name in _NAMES}))
        for replica in series.get(CAME, {})
    }


def _reports(points: Mapping[str, Sequence[Any]]) -> Iterator[Told]:
    values = {name: {point.timestamp: point.value for point in some} for name, some in points.items()}
    for at in sorted(set.intersection(*(set(some) for some in values.values()))):
        yield Told(at, *(values[name][at] for name in _NAMES))
