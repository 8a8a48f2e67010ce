"""An engine's schedule: when each task starts and ends, and how far the emulator fell behind.

A task starts at the latest of its arrival, the end of its stream's last task and the end of the engine's last task, and
ends its duration later. These moments are computed, not observed: that a thread woke up late moves what a program sees
of one task and nothing after it. Only when computing the values takes longer than the modelled duration does the
schedule itself slip; both are counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

LATE_NS = 500_000
"""A task whose end was told later than this counts as late."""

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Counters:
    """What an engine has done since the card started; all times in nanoseconds.

    Attributes:
        tasks: tasks ended.
        busy_ns: time the schedule was occupied.
        slipped: tasks whose computing took longer than their modelled duration.
        slipped_ns: by how much, summed up: the schedule is that much behind the model.
        late: tasks whose end was told more than `LATE_NS` after the schedule's.
        latest_ns: the longest such delay.
    """

    tasks: int = 0
    busy_ns: int = 0
    slipped: int = 0
    slipped_ns: int = 0
    late: int = 0
    latest_ns: int = 0


class Schedule:
    """One engine's schedule. It reads no clock: every moment is an argument, in monotonic nanoseconds."""

    def __init__(self) -> None:
        self._free_at_ns = 0
        self._tasks = self._busy_ns = self._slipped = self._slipped_ns = self._late = self._latest_ns = 0
        self._recent: deque[tuple[int, int]] = deque()

    def place(self, ready_ns: int, duration_ns: int, real_ns: int) -> tuple[int, int]:
        """Where a task lies.

        Args:
            ready_ns: the latest of its arrival and its stream's clock.
            duration_ns: modelled duration.
            real_ns: how long computing its values took.

        Returns:
            (start, end); the end is later than start + `duration_ns` when the computing took longer.
        """
        start_ns = max(ready_ns, self._free_at_ns)
        if real_ns > duration_ns:
            self._slipped += 1
            self._slipped_ns += real_ns - duration_ns
        end_ns = start_ns + max(duration_ns, real_ns)
        self._free_at_ns = end_ns
        return start_ns, end_ns

    def ended(self, start_ns: int, end_ns: int, told_ns: int) -> None:
        """Note a task that has ended.

        Args:
            start_ns: its start.
            end_ns: its end by the schedule; as observed where nothing is modelled.
            told_ns: the moment at which its end was told.
        """
        self._tasks += 1
        self._busy_ns += end_ns - start_ns
        delay_ns = told_ns - end_ns
        if delay_ns > LATE_NS:
            self._late += 1
            self._latest_ns = max(self._latest_ns, delay_ns)
        self._recent.append((start_ns, end_ns))
        while self._recent and self._recent[0][1] < told_ns - _SECOND_NS:
            self._recent.popleft()

    def counters(self) -> Counters:
        """What was done so far."""
        return Counters(
            self._tasks, self._busy_ns, self._slipped, self._slipped_ns, self._late, self._latest_ns
        )

    def busy_share(self, now_ns: int) -> float:
        """Share of the second before `now_ns` in which the engine worked, 0 to 1."""
        begin_ns = now_ns - _SECOND_NS
        busy_ns = sum(max(0, min(end, now_ns) - max(start, begin_ns)) for start, end in tuple(self._recent))
        return min(1.0, busy_ns / _SECOND_NS)
