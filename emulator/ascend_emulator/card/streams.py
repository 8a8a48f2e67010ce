"""Streams, events and engines: what runs when.

A stream is a queue in order; engines (copy-in, copy-out, local copies, compute) run side by side, each one
task at a time. All state here changes under one lock; only an engine's work itself runs outside it. Time
flows with the tasks: a stream's clock is the moment its last task ended, and in `modelled` timing a task
starts at the latest of its arrival, its stream's clock and its engine's clock. So the jitter of waking up
does not add up along a chain of tasks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ascend_emulator.codes import Failure

if TYPE_CHECKING:
    from ascend_emulator.card.engines import Engine
    from ascend_emulator.card.port import Port


class Record:
    """One recording of an event: done when the stream reaches it.

    Attributes:
        time_ns: `time.monotonic_ns` moment at which it was reached; 0 before.
        stream: the stream it was recorded on.
        arrival_ns: when the card got the command.
        callbacks: called, under the lock, when it is reached.
    """

    __slots__ = ("arrival_ns", "callbacks", "done", "stream", "time_ns")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.arrival_ns = time.monotonic_ns()
        self.done = False
        self.time_ns = 0
        self.callbacks: list[Callable[[], None]] = []

    def reach(self, time_ns: int) -> None:
        """Mark it done and tell whoever waits."""
        self.done = True
        self.time_ns = time_ns
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()


class Wait:
    """A task that holds its stream until a recording is done."""

    __slots__ = ("record",)

    def __init__(self, record: Record) -> None:
        self.record = record


class Notice:
    """A task that only tells somebody that the stream got here; it also runs when the stream is aborted."""

    __slots__ = ("tell",)

    def __init__(self, tell: Callable[[], object]) -> None:
        self.tell = tell


class Task:
    """Work for an engine.

    Attributes:
        engine: who does it.
        work: does it, without the lock; a `Failure` it raises sticks to the stream.
        duration_ns: modelled duration, asked when the task starts; None in functional timing.
        small: whether handing it to the engine's thread would take longer than doing it; never in modelled
            timing.
        arrival_ns: when the card got the command.
    """

    __slots__ = ("arrival_ns", "duration_ns", "engine", "small", "work")

    def __init__(
        self,
        engine: Engine,
        work: Callable[[], None],
        duration_ns: Callable[[], int] | None,
        *,
        small: bool = False,
    ) -> None:
        self.small = small and duration_ns is None
        self.engine = engine
        self.work = work
        self.duration_ns = duration_ns
        self.arrival_ns = time.monotonic_ns()


class Group:
    """The streams of one context, which fail together once one of them is told to stop on failure.

    Attributes:
        streams: its streams.
        stops: whether a failure stops all of them for good (`set_stream_failure_mode` 1).
        failure: the failure that stopped them, or None.
    """

    __slots__ = ("failure", "stops", "streams")

    def __init__(self) -> None:
        self.streams: set[Stream] = set()
        self.stops = False
        self.failure: Failure | None = None

    def stop(self, failure: Failure) -> None:
        """Drop what is queued on every stream."""
        self.failure = self.failure or failure
        for stream in self.streams:
            stream.abort()


class Stream:
    """One in-order queue. Call everything here under the card's lock.

    Attributes:
        port: the client it belongs to.
        group: the context it belongs to.
        clock_ns: when its last task ended.
        failure: the first failure since the last synchronise, or None.
    """

    __slots__ = ("_busy", "_queue", "_waiting", "clock_ns", "failure", "group", "port")

    def __init__(self, port: Port, group: Group) -> None:
        self.port = port
        self.group = group
        group.streams.add(self)
        self.clock_ns = 0
        self.failure: Failure | None = None
        self._queue: deque[Record | Wait | Notice | Task] = deque()
        self._busy = False
        self._waiting: Record | None = None

    @property
    def idle(self) -> bool:
        """Whether everything queued so far has ended."""
        return not self._busy and not self._queue

    def add(self, item: Record | Wait | Notice | Task) -> None:
        """Queue an item and start what can start."""
        self._queue.append(item)
        if self.group.failure is not None:
            self.abort()
        else:
            self.advance()

    def advance(self) -> None:
        """Run what needs no engine, up to the first task that does or that waits."""
        while self._queue and not self._busy:
            item = self._queue[0]
            if isinstance(item, Wait):
                if not item.record.done:
                    if self._waiting is not item.record:
                        self._waiting = item.record
                        item.record.callbacks.append(self.advance)
                    return
                self.clock_ns = max(self.clock_ns, item.record.time_ns)
            self._queue.popleft()
            if isinstance(item, Task):
                if item.small:
                    self._do_at_once(item)
                    continue
                self._busy = True
                self.port.in_flight += 1
                item.engine.submit(self, item)
                return
            if isinstance(item, Record):
                self.clock_ns = max(self.clock_ns, item.arrival_ns)
                item.reach(self.clock_ns)
            elif isinstance(item, Notice):
                item.tell()

    def _do_at_once(self, task: Task) -> None:
        try:
            task.work()
        except Failure as failure:
            self.fail(failure)
        self.clock_ns = time.monotonic_ns()

    def finish(self, end_ns: int, failure: Failure | None) -> None:
        """The engine ended the task that was running."""
        self._busy = False
        self.clock_ns = end_ns
        if failure is not None:
            self.fail(failure)
        self.advance()
        self.port.task_ended()

    def fail(self, failure: Failure) -> None:
        """Let a failure stick until the next synchronise, or stop the context for good."""
        self.failure = self.failure or failure
        if self.group.stops:
            self.group.stop(failure)

    def take_failure(self) -> Failure | None:
        """The failure a synchronise reports; told once, unless it stopped the context."""
        failure, self.failure = self.failure or self.group.failure, None
        return failure

    def abort(self) -> None:
        """Drop what is queued. Recordings and notices among it are reached, so that nobody waits for ever."""
        dropped, self._queue = self._queue, deque()
        for item in dropped:
            if isinstance(item, Record):
                item.reach(time.monotonic_ns())
            elif isinstance(item, Notice):
                item.tell()
