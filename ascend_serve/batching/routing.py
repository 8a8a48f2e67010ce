"""Which of several replicas finishes a request first, from their cost tables and what each has to do.

A router knows a replica's cost table, what it sent there itself and what of that has come back, and now and then how
many requests the replica has from everybody. Between two such looks it runs the device in its head: batches at the
best gear, one after the other, each as long as the table says. What it sent itself is never taken to be done before it
has come back, so a replica that is slower than its table is soon left alone; what others sent is taken to be done in
time, so a replica that looked busy once is not shunned for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import isfinite
from typing import Any

from ascend_serve.batching.costs import CostTable

ALIKE_S = 1e-4
"""Replicas that finish within so much of the first are alike, and any of them will do: closer than any forecast."""

MOST_GEAR = 65_536
"""The largest gear that a pace is worked out for, which takes time and memory in proportion."""


class Pace:
    """How long a device takes for any number of rows.

    Args:
        ms: milliseconds from one batch to the next, by gear.

    Raises:
        ValueError: no gear, one that is not within 1 and `MOST_GEAR`, or a time that is not above 0 and finite.
    """

    __slots__ = ("_best_s", "_rest_s", "best")

    def __init__(self, ms: Mapping[int, float]) -> None:
        if not ms:
            raise ValueError("a pace needs the time of at least one gear")
        for gear, one in ms.items():
            if not 1 <= gear <= MOST_GEAR or not (isfinite(one) and one > 0):
                raise ValueError(
                    f"gear {gear} takes {one} ms: a gear has 1 to {MOST_GEAR} rows, and takes some time"
                )
        self.best = max(ms, key=lambda gear: (gear / ms[gear], gear))
        """The gear with the most rows a second; the largest of equals."""
        self._best_s = ms[self.best] / 1e3
        self._rest_s = self._least_s({gear: one / 1e3 for gear, one in ms.items()})

    @property
    def row_s(self) -> float:
        """Seconds for a row at the best gear."""
        return self._best_s / self.best

    def _least_s(self, seconds: Mapping[int, float]) -> list[float]:
        """The least time for each number of rows below the best gear, which is where a gear may be half empty."""
        least = [0.0]
        for rows in range(1, self.best):
            least.append(min(one + least[max(rows - gear, 0)] for gear, one in seconds.items()))
        # A larger gear may be the quicker one; more rows never take less time.
        return list(accumulate(reversed(least), min))[::-1]

    def clear_s(self, rows: float) -> float:
        """Seconds for `rows` rows that are all there: full batches at the best gear, and the least for what is left."""
        full, left = divmod(rows, self.best)
        whole = int(left)
        lower = self._rest_s[whole]
        upper = self._rest_s[whole + 1] if whole + 1 < self.best else self._best_s
        return full * self._best_s + lower + (left - whole) * (upper - lower)


@lru_cache(maxsize=256)
def _pace_of(gear_ms: tuple[tuple[int, float], ...]) -> Pace:
    # Replicas on the same SoC tell the same, again and again.
    return Pace(dict(gear_ms))


@dataclass(frozen=True, slots=True)
class PaceReport:
    """What a replica tells routers of itself.

    Attributes:
        gear_ms: milliseconds from one batch to the next, by gear, ascending.
        mean_rows: rows of a request, on average.
        batched: whether axis 0 of the model's tensors counts rows; otherwise each request is one.
    """

    gear_ms: tuple[tuple[int, float], ...]
    mean_rows: float = 1.0
    batched: bool = True

    @classmethod
    def of(cls, tables: Iterable[CostTable], *, mean_rows: float, batched: bool) -> PaceReport:
        """The report of a replica with these cost tables, of all buckets and models: it goes by the slowest.

        Two digits are kept: each change is sent to every router, and measured times change all the time.
        """
        table = max(tables, key=lambda one: one.clear_ms(1))
        gear_ms = tuple((gear, _two_digits(table.pace_ms_of(gear))) for gear in table.gears)
        return cls(gear_ms, _two_digits(mean_rows), batched)

    @classmethod
    def parse(cls, stats: Mapping[str, Any]) -> PaceReport | None:
        """The report in what Serve passes on; None if there is none, as from another version of this package."""
        if not {"gear_ms", "mean_rows", "batched"} <= stats.keys():
            return None
        gear_ms = tuple(sorted((int(gear), float(ms)) for gear, ms in stats["gear_ms"].items()))
        return cls(gear_ms, float(stats["mean_rows"]), bool(stats["batched"]))

    @property
    def pace(self) -> Pace:
        """How long it takes for any number of rows."""
        return _pace_of(self.gear_ms)

    def stats(self) -> dict[str, Any]:
        """The report as Serve passes it on: JSON."""
        gear_ms = {str(gear): ms for gear, ms in self.gear_ms}
        return {"gear_ms": gear_ms, "mean_rows": self.mean_rows, "batched": self.batched}


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


class Standing:
    """What one replica is believed to have to do.

    All times are in seconds of one monotonic clock.

    Args:
        pace: of its device.
        mean_rows: rows of a request, on average; for those whose rows nobody has told.
    """

    __slots__ = ("_known", "_known_rows", "_others", "_ours", "_running", "_since", "mean_rows", "pace")

    def __init__(self, pace: Pace, mean_rows: float = 1.0) -> None:
        self.pace = pace
        self.mean_rows = mean_rows
        self._ours = 0  # requests that we sent and that are not back
        self._known: dict[str, int] = {}  # rows of those that we know
        self._known_rows = 0
        self._others = 0.0  # rows of others
        self._running = 0.0  # rows of all of them that are on the device
        self._since = 0.0

    @property
    def rows(self) -> float:
        """Rows that wait or run, as far as is known."""
        return self._own_rows() + self._others

    def sent(self, now: float) -> None:
        """Note that one of our requests was sent."""
        self._advance(now)
        self._ours += 1
        self._start(now)

    def measured(self, key: str, rows: int) -> None:
        """Note how many rows one of our requests has that was sent before."""
        # The news of its end may have come before this: what is known is never more than what is on its way.
        if len(self._known) < self._ours and key not in self._known:
            self._known[key] = rows
            self._known_rows += rows

    def ended(self, now: float, key: str) -> None:
        """Note that one of our requests came back, whatever became of it."""
        self._advance(now)
        self._known_rows -= self._known.pop(key, 0)
        self._ours = max(self._ours - 1, 0)
        if len(self._known) > self._ours:
            self._known.clear()
            self._known_rows = 0
        # A batch is done, and what is left begins with the next.
        self._running = 0.0
        self._start(now)

    def forwarded(self, now: float, rows: float) -> None:
        """Note rows sent to it of which no news will come."""
        self._advance(now)
        self._others += rows
        self._start(now)

    def seen(self, now: float, requests: int) -> None:
        """Note how many requests it has now, from everybody."""
        self._advance(now)
        self._others = max(requests - self._ours, 0) * self.mean_rows
        self._running = min(self._running, self.rows)
        self._start(now)

    def finish_s(self, now: float, rows: float) -> float:
        """Seconds from now until a request of `rows` rows would be done there."""
        self._advance(now)
        # What was taken for an average request may since have told fewer rows.
        running = min(self._running, self.rows)
        ahead = 0.0
        if running:
            ahead = max(self._since + self.pace.clear_s(running) - now, 0.0)
        return ahead + self.pace.clear_s(self.rows - running + rows)

    def _own_rows(self) -> float:
        return self._known_rows + (self._ours - len(self._known)) * self.mean_rows

    def _start(self, now: float) -> None:
        if not self._running and (rows := self.rows):
            self._running = min(rows, self.pace.best)
            self._since = now

    def _advance(self, now: float) -> None:
        """Let the batches of others that should be done by now be done."""
        while self._running and self._others:
            back_at = self._since + self.pace.clear_s(self._running)
            if back_at > now:
                return
            self._others = max(self._others - self._running, 0.0)
            self._running = 0.0
            self._start(back_at)


def ranked(finishes: Sequence[float], alike_s: float = ALIKE_S) -> list[list[int]]:
    """Places of `finishes` by what they hold, the least first; those within `alike_s` of the first of a rank share it.

    Args:
        finishes: seconds until a request would be done, one for each replica.
        alike_s: seconds that make no difference.
    """
    ranks: list[list[int]] = []
    for place in sorted(range(len(finishes)), key=finishes.__getitem__):
        if ranks and finishes[place] - finishes[ranks[-1][0]] <= alike_s:
            ranks[-1].append(place)
        else:
            ranks.append([place])
    return ranks
