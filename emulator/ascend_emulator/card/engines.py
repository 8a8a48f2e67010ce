"""The engines: threads that do streams' tasks one at a time, as fast as the CPU gives or as long as the SoC takes."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ascend_emulator import libc
from ascend_emulator.codes import Failure

if TYPE_CHECKING:
    from ascend_emulator.card.streams import Stream, Task

_SPIN_NS = 50_000


class Engine:
    """A thread that does one task at a time.

    Args:
        name: for the thread.
        lock: the card's lock.
    """

    def __init__(self, name: str, lock: threading.RLock) -> None:
        self._lock = lock
        self._tasks: SimpleQueue[tuple[Stream, Task]] = SimpleQueue()
        self._free_at_ns = 0
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, stream: Stream, task: Task) -> None:
        """Queue a task; first come, first served among streams."""
        self._tasks.put((stream, task))

    def _run(self) -> None:
        libc.sharpen_timers()
        while True:
            stream, task = self._tasks.get()
            began_ns = time.monotonic_ns()
            failure = None
            duration_ns = 0
            try:
                if task.duration_ns is not None:
                    duration_ns = task.duration_ns()
                task.work()
            except Failure as caught:
                failure = caught
            end_ns = time.monotonic_ns()
            if task.duration_ns is not None:
                start_ns = max(task.arrival_ns, stream.clock_ns, self._free_at_ns)
                end_ns = start_ns + max(duration_ns, end_ns - began_ns)
                _sleep_until(end_ns)
            self._free_at_ns = end_ns
            with self._lock:
                stream.finish(end_ns, failure)


def _sleep_until(moment_ns: int) -> None:
    rest_ns = moment_ns - time.monotonic_ns() - _SPIN_NS
    if rest_ns > 0:
        time.sleep(rest_ns / 1e9)
    while time.monotonic_ns() < moment_ns:
        pass
