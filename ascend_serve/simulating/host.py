"""What the host takes around a batch: threads that wake up, rows that are packed, an event loop that is told.

It is measured, not assumed: `host_of` fits it to batches that had the device to themselves, of which a journal tells
when each was decided and when it was known to be back. What they took beyond the device is the host's part. It swings
from batch to batch by far more than the device does, so the spread of the measured ones is kept and drawn from. What
swings by more than `SWING` is no slower packing but a stall of the process or the machine, which does not grow with
the rows: it is kept as milliseconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from random import Random
from statistics import median
from typing import NamedTuple

from ascend_serve.batching.refining import reckoned_ms
from ascend_serve.errors import ConfigError

TIMER_MS = 1.0
"""The step of an event loop's timers: epoll takes whole milliseconds, and asyncio rounds up to them."""


SWING = 4.0
"""Times the usual that a batch may take for the reasons that hold for all batches; what lies above is a stall."""


class HostRun(NamedTuple):
    """What the host took around one batch that had the device to itself.

    Attributes:
        rows: real rows in it.
        ms: from the decision until its end was known, less its time on the device.
    """

    rows: int
    ms: float


@dataclass(frozen=True, slots=True)
class Host:
    """The host around a device. A batch of n rows costs a drawn factor times (`fixed_ms` + n x `row_ms`), and a stall.

    Half of the fixed part comes before the copy in, on the thread that launches one batch after the other: the thread
    wakes up, the device is called. So do all rows: they are packed there. The other half comes after the copy out: a
    thread wakes up, and the event loop is told. The half is a convention, for a journal sees the sum only. A stall
    comes before the one or after the other, each half of the time.

    Attributes:
        fixed_ms: of each batch.
        row_ms: of each row in it.
        spread: factors as they were measured, each as likely as the others.
        door_ms: from when a request comes until the planner has it, and from the known end until its caller has the
            answer; it adds to every latency, and holds up nobody else.
        timer_ms: the step of the event loop's timers: an alarm rings up to so much late; 0: it is punctual.
        stalls_ms: stalls as they were measured, each as likely as the others; most of them are 0.
        beside_ms: of each batch that is launched while another one is on its way, before its copy in: the threads and
            the event loop are in each other's way then, of which batches that run alone tell nothing.

    Raises:
        ConfigError: a time or a factor that is negative or infinite, or no factor or stall.
    """

    fixed_ms: float = 0.0
    row_ms: float = 0.0
    spread: tuple[float, ...] = (1.0,)
    door_ms: float = 0.0
    timer_ms: float = 0.0
    stalls_ms: tuple[float, ...] = (0.0,)
    beside_ms: float = 0.0

    def __post_init__(self) -> None:
        if not self.spread:
            raise ConfigError("the host's spread has no factor: give (1.0,) for none")
        if not self.stalls_ms:
            raise ConfigError("the host's stalls_ms has no time: give (0.0,) for none")
        for name in ("fixed_ms", "row_ms", "door_ms", "timer_ms", "beside_ms"):
            if not (isfinite(ms := getattr(self, name)) and ms >= 0):
                raise ConfigError(f"the host's {name} is {ms}; it must be finite and at least 0")
        if not all(isfinite(factor) and factor >= 0 for factor in self.spread):
            raise ConfigError(
                f"the host's spread is {list(self.spread)}; factors must be finite and at least 0"
            )
        if not all(isfinite(ms) and ms >= 0 for ms in self.stalls_ms):
            raise ConfigError(
                f"the host's stalls_ms is {list(self.stalls_ms)}; times must be finite and at least 0"
            )

    @property
    def learnt_ms(self) -> float:
        """What a replica learns of it from lone rows, and reckons with."""
        return reckoned_ms(self.spread) * (self.fixed_ms + self.row_ms)

    def draw_s(self, chance: Random, rows: int, *, beside: bool = False) -> tuple[float, float]:
        """Seconds before the copy in and after the copy out of a batch of `rows` rows.

        Args:
            chance: to draw with.
            rows: real rows.
            beside: whether another batch is on its way.
        """
        spread, stalls = self.spread, self.stalls_ms
        # `Random.choice` takes four times as long.
        factor = spread[0] if len(spread) == 1 else spread[int(chance.random() * len(spread))]
        stall_ms = stalls[0] if len(stalls) == 1 else stalls[int(chance.random() * len(stalls))]
        half_ms = factor * self.fixed_ms / 2
        before_ms, after_ms = half_ms + factor * rows * self.row_ms, half_ms
        if beside:
            before_ms += self.beside_ms
        if stall_ms:
            if chance.random() < 0.5:
                before_ms += stall_ms
            else:
                after_ms += stall_ms
        return before_ms / 1e3, after_ms / 1e3


NO_HOST = Host()
"""One that takes no time at all."""


def host_of(runs: Iterable[HostRun], *, door_ms: float = 0.0, timer_ms: float = TIMER_MS) -> Host:
    """The host that batches which ran alone tell of; of no runs, one that takes nothing.

    What a row adds is the median slope of all lines through two numbers of rows, each at the median of its runs, and
    weighed with how many these are and how far apart they lie; so hiccups move it little. It is 0 where batches of one
    size alone were seen, or larger ones took no longer; and rows are all that counts where the lines would leave less
    than nothing for the fixed part.

    Args:
        runs: what was measured; negative times count as 0.
        door_ms: see `Host`.
        timer_ms: see `Host`.
    """
    by_rows: defaultdict[int, list[float]] = defaultdict(list)
    for rows, ms in runs:
        by_rows[rows].append(max(0.0, ms))
    if not by_rows:
        return Host(door_ms=door_ms, timer_ms=timer_ms)
    row_ms = _slope({rows: (median(some), len(some)) for rows, some in by_rows.items()})
    fixed_ms = median(ms - row_ms * rows for rows, some in by_rows.items() for ms in some)
    if fixed_ms < 0:
        fixed_ms, row_ms = 0.0, median(ms / rows for rows, some in by_rows.items() for ms in some)
    timed = [
        (ms, usual_ms)
        for rows, some in by_rows.items()
        for ms in some
        if (usual_ms := fixed_ms + row_ms * rows)
    ]
    if not timed:
        return Host(fixed_ms, row_ms, door_ms=door_ms, timer_ms=timer_ms)
    spread = tuple(sorted(min(SWING, ms / usual_ms) for ms, usual_ms in timed))
    stalls_ms = tuple(sorted(max(0.0, ms - SWING * usual_ms) for ms, usual_ms in timed))
    return Host(fixed_ms, row_ms, spread, door_ms, timer_ms, stalls_ms if stalls_ms[-1] else (0.0,))


def _slope(seen: dict[int, tuple[float, int]]) -> float:
    """The weighed median of the slopes between any two (median, how many) by rows (Theil and Sen); at least 0."""
    slopes = sorted(
        ((far_ms - near_ms) / (far - near), (far - near) * near_runs * far_runs)
        for (near, (near_ms, near_runs)), (far, (far_ms, far_runs)) in combinations(sorted(seen.items()), 2)
    )
    half = sum(weight for _, weight in slopes) / 2
    for slope, weight in slopes:
        half -= weight
        if half <= 0:
            return max(0.0, slope)
    return 0.0
