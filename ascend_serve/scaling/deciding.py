"""How many replicas there are to be.

    what came ──> Demand: rows a second by when a replica that is asked for now would serve ──┐
                                                                                              ├─> needed ──> Hold ──┐
    what each replica bears within the SLO (`bearing`); new ones as little as the least ──────┘                     (+)
    what waits ──> replicas that will still be at it by then, and more of them while it is late ────────────────────┘

More are asked for at once. Fewer are asked for when the SLO would hold without the others at all that came lately, and
`Hold` says how long that is. Nobody asks for none while rows come.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf, isfinite

from ascend_serve.errors import ConfigError
from ascend_serve.scaling.demand import BIN_S, KEEP_S, Demand
from ascend_serve.scaling.holding import Hold
from ascend_serve.scaling.startups import Startups
from ascend_serve.scaling.told import Told

SILENT_S = 5.0
"""A replica that told nothing for so long is not waited for."""

HOLD_STARTS = 5.0
"""The shortest hold, in starts of a replica."""

MOST_HOLD_STARTS = 12.0
"""The longest hold: who holds longer pays more for the gap than its bridge is worth."""

SLACK_S = 1.0
"""More than replicas work off in so long does not wait where the SLO holds."""

RELIEF = 0.35
"""By which share more replicas are asked for than the load needs once it is late, until it is not: they start one after
the other, and the first that serve are swamped by what all of them are for."""

_LEAST_START_S = 2.0


@dataclass(frozen=True, slots=True)
class Aims:
    """What is wanted beside the SLO, which is in what replicas say they bear.

    Attributes:
        idle_s: seconds without a row after which there are to be no replicas, where there may be none.
        headroom: by which share more capacity is to be there than the load needs.
        hold_s: the least seconds for which what was needed is kept; longer where it was wanted back sooner.
        sure: standard errors by which the demand is taken to be higher than it looks.

    Raises:
        ConfigError: a value that is negative or infinite.
    """

    idle_s: float = 300.0
    headroom: float = 0.0
    hold_s: float = 0.0
    sure: float = 1.0

    def __post_init__(self) -> None:
        for name in ("idle_s", "headroom", "hold_s", "sure"):
            if not (isfinite(value := getattr(self, name)) and value >= 0):
                raise ConfigError(f"{name} is {value}; it must be finite and at least 0")


class Scaler:
    """Decides for one deployment; it remembers what it was told, and reads no clock.

    Args:
        aims: what is wanted.
    """

    def __init__(self, aims: Aims | None = None) -> None:
        self._aims = aims or Aims()
        self._demand = Demand()
        self._startups = Startups()
        self._hold = Hold()
        self._last: dict[str, Told] = {}
        self._bears: list[float] = []
        self._clears = 0.0
        self._queued = (-inf, 0.0)
        self._busy_at = -inf
        self._relief = 0
        self._kept = 0

    def decide(
        self,
        now: float,
        told: Mapping[str, Sequence[Told]],
        *,
        running: Collection[str],
        target: int,
        queued: float = 0.0,
        least: int,
        most: int,
    ) -> int:
        """How many replicas there are to be.

        Args:
            now: seconds of the clock that replicas report by.
            told: what each running replica told, oldest first; what was told before may be among it.
            running: the replicas that run, whether or not they told anything yet.
            target: how many there are to be by the last decision.
            queued: requests that wait outside of replicas.
            least: the fewest there may be.
            most: the most, for which there are NPUs.
        """
        self._startups.look(now, target, running)
        if not self._last:
            # What was needed before anything was told is not known: those that there were are kept for one hold.
            self._kept = target
        self._hear(now, told)
        self._hear_queued(now, queued)
        waiting = queued + sum(report.waiting for report in self._last.values())
        if waiting or not self._last:
            self._busy_at = now
        if not self._last:  # none runs, or none has told yet what it bears
            return min(max(target, least), most)
        if least == 0 and now - self._busy_at >= self._aims.idle_s:
            return 0
        start_s = max(_LEAST_START_S, self._startups.expected_s)
        rate = self._demand.expect(start_s + now - self._known_until(now), sure=self._aims.sure)
        rate *= 1.0 + self._aims.headroom
        kept = self._hold.keep(
            now,
            max(self._needed(rate), self._kept),
            least_s=max(HOLD_STARTS * start_s, self._aims.hold_s),
            most_s=max(MOST_HOLD_STARTS * start_s, self._aims.hold_s),
        )
        self._kept = 0
        lost, overloaded = self._lost(rate, now, waiting, queued, start_s)
        self._relief = max(self._relief, self._needed(rate * (1.0 + RELIEF))) if overloaded else 0
        return min(max(1, least, max(kept, self._relief) + lost), most)

    def _hear(self, now: float, told: Mapping[str, Sequence[Told]]) -> None:
        for name in [name for name in self._last if name not in told]:
            del self._last[name]
        for name, reports in told.items():
            before = self._last.get(name)
            for report in reports:
                if before is not None and report.at <= before.at:
                    continue
                if before is not None:
                    begin, rows = before.at, report.came - before.came
                else:
                    self._startups.began(name, report.at - report.age_s)
                    # Of one that is older than what is remembered, nobody here knows when its rows came.
                    begin = report.at - max(BIN_S, report.age_s)
                    rows = report.came if report.age_s < KEEP_S else 0.0
                if rows > 0:
                    self._demand.came(begin, report.at, rows)
                    self._busy_at = max(self._busy_at, report.at)
                self._last[name] = before = report
        if self._last:
            self._bears = sorted(report.bears_per_s for report in self._last.values())
            self._clears = sum(report.clears_per_s for report in self._last.values())
            self._demand.told_until(self._known_until(now))

    def _hear_queued(self, now: float, queued: float) -> None:
        """What comes to wait outside has come, too; when it gets to a replica, that tells of it, and once is enough."""
        before_at, before = self._queued
        if now - before_at >= BIN_S:
            if queued != before:
                self._demand.came(max(before_at, now - SILENT_S), now, queued - before)
            self._queued = (now, queued)

    def _known_until(self, now: float) -> float:
        heard = [report.at for report in self._last.values() if report.at > now - SILENT_S]
        return min(heard, default=now)

    def _needed(self, rate: float) -> int:
        """The fewest replicas that bear a rate: those that bear least first, and new ones as little as the least."""
        borne = 0.0
        for count, bears in enumerate(self._bears):
            if borne >= rate:
                return count
            borne += bears
        return len(self._bears) + max(0, ceil((rate - borne) / self._bears[0]))

    def _lost(
        self, rate: float, now: float, waiting: float, queued: float, start_s: float
    ) -> tuple[int, bool]:
        """How many running replicas are of no use when one serves that is asked for now; and whether it is late.

        Rows that wait in a replica are its own: while it works them off, others have to bear what comes. Lost are
        those that have more than they can work off until then. It is late if more waits, or will by then, than is
        worked off in `SLACK_S`.
        """
        lost = 0
        room = -queued
        for report in self._last.values():
            left = report.waiting - report.clears_per_s * start_s
            if left > 0:
                lost += 1
            else:
                room -= left
        for within_s in self._startups.serve_within_s(now):
            room += max(0.0, start_s - within_s) * self._bears[0]
        return lost, max(waiting, rate * start_s - room) > self._clears * SLACK_S
