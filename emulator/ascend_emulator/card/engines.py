"""The engines: threads that do streams' tasks one at a time, as fast as the CPU gives or as long as the SoC takes.

Handing a task to a thread costs two wake-ups, which is longer than a small copy takes. So the thread that finds an
engine free for a small task does it itself, and ends it, when its modelled end comes soon, after it has let the
card's lock go (`end_what_is_due`). The threads that can are those that say `can_end_tasks`.
"""

from __future__ import annotations

import threading
import time
from operator import attrgetter
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from ascend_emulator import libc
from ascend_emulator.card.faults import Hang
from ascend_emulator.clock.schedule import Counters, Schedule
from ascend_emulator.codes import Failure

if TYPE_CHECKING:
    from ascend_emulator.card.streams import Stream, Task

_SPIN_NS = 50_000
_END = attrgetter("end_ns")

_MOST_IN_PLACE = 4
"""A thread has work of its own: what follows more than so many small tasks is left to their engine's thread."""


class _Done(NamedTuple):
    """A task whose work is done and whose end has still to come."""

    engine: Engine
    stream: Stream
    task: Task
    start_ns: int
    end_ns: int
    duration_ns: int
    real_ns: int
    failure: Failure | None


class _Thread(threading.local):
    due: list[_Done] | None = None


_thread = _Thread()


def can_end_tasks() -> None:
    """Say that the calling thread calls `end_what_is_due` whenever it has let the card's lock go."""
    _thread.due = []


def end_what_is_due() -> None:
    """End what the calling thread has done in place of an engine's thread. Without the card's lock."""
    due = _thread.due
    left = _MOST_IN_PLACE
    while due:
        done = min(due, key=_END)
        due.remove(done)
        if left:
            left -= 1
            done.engine.end(done)
        else:
            done.engine.hand_over(done)


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
        self._tasks: SimpleQueue[tuple[Stream, Task] | _Done] = SimpleQueue()
        self._schedule = Schedule()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, stream: Stream, task: Task) -> None:
        """Do a task or queue it; first come, first served among streams. Under the card's lock."""
        idle = self.idle
        self._pending += 1
        due = _thread.due
        if due is None or not (idle and task.small):
            self._tasks.put((stream, task))
            return
        done = self._do(stream, task)
        if done is None:
            self._pending -= 1
            stream.hang()
        elif done.end_ns - time.monotonic_ns() <= _SPIN_NS:
            due.append(done)
        else:
            self.hand_over(done)

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

    def hand_over(self, done: _Done) -> None:
        """Let the engine's thread tell a task's end."""
        self._tasks.put(done)

    def end(self, done: _Done) -> None:
        """Wait for a task's end and tell its stream. Without the card's lock."""
        _sleep_until(done.end_ns)
        _, stream, task, start_ns, end_ns, duration_ns, real_ns, failure = done
        with self._lock:
            self._pending -= 1
            self._schedule.ended(start_ns, end_ns, time.monotonic_ns())
            stream.note(task, start_ns, end_ns)
            if task.duration_ns is not None:
                stream.port.modelled_ns += duration_ns
                stream.port.behind_ns += max(0, real_ns - duration_ns)
            stream.finish(end_ns, failure)

    def _run(self) -> None:
        libc.sharpen_timers()
        can_end_tasks()
        while True:
            item = self._tasks.get()
            if isinstance(item, _Done):
                self.end(item)
            else:
                stream, task = item
                done = self._do(stream, task)
                if done is not None:
                    self.end(done)
                else:
                    with self._lock:
                        self._pending -= 1
                        stream.hang()
            end_what_is_due()

    def _do(self, stream: Stream, task: Task) -> _Done | None:
        """Do a task's work and find its end; None when it never ends."""
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
            return None
        end_ns = time.monotonic_ns()
        real_ns = end_ns - start_ns
        if task.duration_ns is not None:
            ready_ns = max(task.arrival_ns, stream.clock_ns)
            start_ns, end_ns = self._schedule.place(ready_ns, duration_ns, real_ns)
        elif self.slowdown > 1:
            end_ns = start_ns + int(real_ns * self.slowdown)
        return _Done(self, stream, task, start_ns, end_ns, duration_ns, real_ns, failure)


def _sleep_until(moment_ns: int) -> None:
    rest_ns = moment_ns - time.monotonic_ns() - _SPIN_NS
    if rest_ns > 0:
        time.sleep(rest_ns / 1e9)
    while time.monotonic_ns() < moment_ns:
        pass
