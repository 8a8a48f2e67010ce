"""Keeps the costs of the gears true while the device works: temperature, neighbours and drivers move them.

Each stage of each gear has a *robust mean* that follows the live batches: an exponential mean in which no sample counts
for more than a bounded step, as in Huber's estimate of location. A hiccup of the host or the card therefore hardly
moves it, while a lasting change does within a few batches:

- `WEIGHT` 1/16: the mean rests on about the last 30 runs, so that its noise is a sixth of that of one run.
- `REACH` 0.5: a sample counts as at most half of the mean above or below it, so that one of 100 times the mean moves it
  by 3.2 %, and a lasting change to twice the time or more is told after 4 runs, one of 15 % after 17.

The host's part of a batch is what was enough for `HOST_SHARE` of the last `HOST_RUNS`, for it swings; at most
`HOST_REACH` times the usual, so that hiccups do not count. In simulation, at 50 and 80 % of the limit and with a host
of 1.2 ms that swings, reckoning with twice the host that there is costs nothing, with half of it a tenth of the mean
latency, and not knowing of it a third to a half: so it is reckoned rather too long than too short, and from the first
few batches on.

Costs that were never measured stay neutral: live batches alone would price some gears and leave others at a guess.

Rests on facts: batching policy §5 (solve again when a gear moved by more than 10 %).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import median

from ascend_serve.batching.costs import TIMER_STEP_MS, CostTable
from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import GearTimes, Stages, Timing

WEIGHT = 1 / 16
"""Share of a new run in the mean."""

REACH = 0.5
"""Distance from the mean, as a share of it, at which a run stops counting for more."""

DRIFT = 0.10
"""Move of a stage, as a share of the gear's longest stage, past which decisions are out of date."""

HOST_RUNS = 32
"""Batches by which the host's part is reckoned; it is reckoned anew after each half of them."""

HOST_FIRST_RUNS = (4, 8)
"""Numbers of batches after which it is reckoned, too: a replica under load finds its device idle seldom."""

HOST_SHARE = 0.9
"""Share of these batches for which the host's part is enough: a device that waits costs all who come after more than a
batch that is chosen too early costs those who came too late for it."""

HOST_REACH = 2.0
"""The most of the host's part, in medians of these batches."""

HOST_STEP_MS = 0.05
"""What the host's part is rounded to, so that policies solved for it are found again."""

HOST_DRIFT_MS = 0.1
"""Move of the host's part past which decisions are out of date, if it is also more than a fifth of it."""


class CostBook:
    """Robust live costs of every gear of every bucket.

    Args:
        buckets: compiled gears of each bucket.
        times: what was measured before; empty when nothing was, and then nothing is refined.
        overlap: whether the next batch is chosen while one runs; without times to go by it never is.

    Raises:
        ConfigError: times for some of the gears alone, or for what is not compiled, or that cannot be.
    """

    def __init__(self, buckets: Sequence[Gears], times: GearTimes, *, overlap: bool = True) -> None:
        measured = {bucket for bucket, _ in times}
        for bucket in sorted(measured.symmetric_difference(range(len(buckets))) if times else ()):
            fault = "times are given for" if bucket in measured else "no times are given for"
            raise ConfigError(
                f"{fault} bucket {bucket} of a model with {len(buckets)}: give those of all its buckets, or none at all"
            )
        self._buckets = tuple(buckets)
        self._times = dict(times)
        self._means = {key: list(timing.stages) for key, timing in times.items()}
        self._runs = {key: timing.runs for key, timing in times.items()}
        self._told: dict[tuple[int, int], Stages] = {}
        self._drifted: set[tuple[int, int]] = set()
        self._overlap = overlap and bool(times)
        self._host: deque[float] = deque(maxlen=HOST_RUNS)
        self._host_runs = 0
        self._host_ms = self._told_host_ms = 0.0
        self.tables()

    def update(self, bucket: int, gear: int, stages: Stages) -> None:
        """Take one timed run into the means of its gear; nothing happens where nothing was measured before."""
        key = (bucket, gear)
        means = self._means.get(key)
        if means is None:
            return
        self._runs[key] += 1
        told = self._told[key]
        most = DRIFT * max(*told, TIMER_STEP_MS)
        moved = False
        for at, ms in enumerate(stages):
            mean = means[at]
            # The timer's step lets a mean leave 0, where a share of it would hold it for ever.
            reach = REACH * mean + TIMER_STEP_MS
            mean += WEIGHT * max(-reach, min(reach, ms - mean))
            means[at] = mean
            moved = moved or abs(mean - told[at]) > most
        if moved:
            self._drifted.add(key)
        elif self._drifted:
            self._drifted.discard(key)

    def update_host(self, bucket: int, gear: int, took_ms: float, stages: Stages | None) -> None:
        """Take what one batch took that found the device idle, from the decision until its end was known.

        Args:
            bucket: of the batch.
            gear: of the batch.
            took_ms: milliseconds.
            stages: what it took on the device, if that was measured; else it is taken to be the usual.
        """
        means = self._means.get((bucket, gear))
        if means is None:
            return
        self._host.append(max(0.0, took_ms - sum(means if stages is None else stages)))
        self._host_runs += 1
        if self._host_runs in HOST_FIRST_RUNS or self._host_runs % (HOST_RUNS // 2) == 0:
            self._host_ms = round(reckoned_ms(self._host) / HOST_STEP_MS) * HOST_STEP_MS

    @property
    def drifted(self) -> bool:
        """Whether a gear, or the host, is now too far from the tables that were handed out last."""
        return bool(self._drifted) or self._host_drifted

    @property
    def paces_drifted(self) -> bool:
        """Whether that moves the time from one batch to the next, for which policies are solved.

        The host's part alone does so only where stages do not overlap (`CostTable.pace_ms_of`).
        """
        return bool(self._drifted) or (self._host_drifted and not self._overlap)

    @property
    def _host_drifted(self) -> bool:
        moved_ms = abs(self._host_ms - self._told_host_ms)
        return moved_ms > max(HOST_DRIFT_MS, self._told_host_ms / 5)

    def tables(self) -> tuple[CostTable, ...]:
        """Hand out cost tables as they are by now, one for each bucket; drift counts from these on."""
        times = self.times()
        tables = tuple(
            replace(
                CostTable.of(gears, {gear: timing for (at, gear), timing in times.items() if at == bucket}),
                host_ms=self._host_ms,
                overlap=self._overlap,
            )
            for bucket, gears in enumerate(self._buckets)
        )
        self._told_host_ms = self._host_ms
        self._told = {key: Stages(*means) for key, means in self._means.items()}
        self._drifted.clear()
        return tables

    def drift(self) -> dict[int, float]:
        """By gear: its time by now over what was measured first; of its buckets, the one that moved most."""
        moved: dict[int, float] = {}
        for (bucket, gear), means in self._means.items():
            ratio = sum(means) / max(sum(self._times[bucket, gear].stages), TIMER_STEP_MS)
            if abs(ratio - 1) >= abs(moved.get(gear, 1.0) - 1):
                moved[gear] = ratio
        return moved

    def times(self) -> dict[tuple[int, int], Timing]:
        """Times by (bucket, gear) as they are by now; empty when nothing was measured.

        The spread stays that of the first measurement, which had nothing beside it; runs counts the live ones too.
        """
        return {
            key: Timing(Stages(*self._means[key]), timing.spread_ms, self._runs[key])
            for key, timing in self._times.items()
        }


def reckoned_ms(host_ms: Iterable[float]) -> float:
    """The host's part that is reckoned with where it took these times, of which there is at least one."""
    ordered = sorted(host_ms)
    return min(ordered[int(HOST_SHARE * (len(ordered) - 1))], HOST_REACH * median(ordered))
