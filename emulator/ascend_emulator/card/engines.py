"""The engines: threads that do streams' tasks one at a time, as fast as the CPU gives or as long as the SoC takes."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ascend_emulator import libc
from ascend_emulator.card.faults import Hang
from ascend_emulator.clock.schedule import Counters, Schedule
from ascend_emulator.codes import Failure

if TYPE_CHECKING:
    from ascend_emulator.card.streams import Stream, Task

_SPIN_NS = 50_000


class Engine:
    """A thread that does one task at a time.

    Args:
        name: for the thread.
        lock: the card's lock.

    Attributes:
        slowdown: factor on every duration, 1 or more; what a fault sets.
    """

    def __init__(self, name: str, lock: threading.RLock) -> None:
        self.slowdown = 1.0
        self._lock = lock
        self._pending = 0
        self._tasks: SimpleQueue[tuple[Stream, Task]] = SimpleQueue()
        self._schedule = Schedule()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, stream: Stream, task: Task) -> None:
        """Queue a task; first come, first served among streams. Under the card's lock."""
        self._pending += 1
        self._tasks.put((stream, task))

    @property
    def idle(self) -> bool:
        """Whether a small task may be done without the engine's thread. Under the card's lock."""
        return not self._pending and self.slowdown == 1

    def did(self, start_ns: int, end_ns: int) -> None:
        """Count a small task that was done in its place. Under the card's lock."""
        self._schedule.ended(start_ns, end_ns, end_ns)

    def counters(self) -> Counters:
        """What the engine has done so far. Under the card's lock."""
        return self._schedule.counters()

    def busy_share(self) -> float:
        """Share of the last second in which the engine worked, 0 to 1. Under the card's lock."""
        return self._schedule.busy_share(time.monotonic_ns())

    def _run(self) -> None:
        libc.sharpen_timers()
        while True:
            stream, task = self._tasks.get()
            start_ns = time.monotonic_ns()
            failure = None
            duration_ns = 0
            try:
                if task.duration_ns is not None:
                    duration_ns = int(task.duration_ns() * self.slowdown)
                task.work()
            except Failure as caught:
                failure = caught
            except Hang:
                with self._lock:
                    self._pending -= 1
                    stream.hang()
                continue
            end_ns = time.monotonic_ns()
            real_ns = end_ns - start_ns
            if task.duration_ns is not None:
                ready_ns = max(task.arrival_ns, stream.clock_ns)
                start_ns, end_ns = self._schedule.place(ready_ns, duration_ns, real_ns)
            elif self.slowdown > 1:
                end_ns = start_ns + int(real_ns * self.slowdown)
            _sleep_until(end_ns)
            with self._lock:
                self._pending -= 1
                self._schedule.ended(start_ns, end_ns, time.monotonic_ns())
                stream.note(task, start_ns, end_ns)
                if task.duration_ns is not None:
                    stream.port.modelled_ns += duration_ns
                    stream.port.behind_ns += max(0, real_ns - duration_ns)
                stream.finish(end_ns, failure)


def _sleep_until(moment_ns: int) -> None:
    rest_ns = moment_ns - time.monotonic_ns() - _SPIN_NS
    if rest_ns > 0:
        time.sleep(rest_ns / 1e9)
    while time.monotonic_ns() < moment_ns:
        pass
