"""Streams: what runs when.

A stream is a queue in order; engines (copy-in, copy-out, local copies, compute) run side by side, each one
task at a time. All state here changes under one lock; only an engine's work itself, unless it is small, runs
outside it. Time flows with the tasks: a stream's clock is the moment its last task ended, and in `modelled` timing
a task starts at the latest of the call that gave it, its stream's clock and its engine's clock. So the jitter of
waking up does not add up along a chain of tasks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ascend_emulator.card.faults import Hang
from ascend_emulator.codes import RT_STREAM_ABORT, Failure

if TYPE_CHECKING:
    from ascend_emulator.card.engines import Engine
    from ascend_emulator.card.journal import Label
    from ascend_emulator.card.port import Port


class Item:
    """What a stream queues. Everything is called under the card's lock."""

    __slots__ = ()

    counts = True
    """Whether it has a number on its stream, as what a program queues has."""

    def holds(self, stream: Stream) -> bool:
        """Whether the stream, which has got here, must wait. It calls `stream.advance` when that is over."""
        return False

    def run(self, stream: Stream) -> None:
        """Do it: the stream has got past it."""
        raise NotImplementedError

    def drop(self, failure: Failure) -> None:
        """Give it up: the stream never gets here, because of `failure`."""


class Notice(Item):
    """Tells somebody that the stream got here.

    Args:
        tell: called when it did, and when it never will unless there is `tell_dropped`.
        tell_dropped: called with the reason when it never will.
    """

    __slots__ = ("_tell", "_tell_dropped")

    counts = False

    def __init__(
        self, tell: Callable[[], object], tell_dropped: Callable[[Failure], object] | None = None
    ) -> None:
        self._tell = tell
        self._tell_dropped = tell_dropped

    def run(self, stream: Stream) -> None:
        """Tell."""
        self._tell()

    def drop(self, failure: Failure) -> None:
        """Tell why not, or as if."""
        if self._tell_dropped is None:
            self._tell()
        else:
            self._tell_dropped(failure)


class Task(Item):
    """Work for an engine.

    Attributes:
        engine: who does it.
        work: does it, without the lock; a `Failure` it raises sticks to the stream.
        duration_ns: modelled duration, asked when the task starts; None in functional timing.
        label: what it is, for the journal.
        arrival_ns: when the command was given.
        small: whether handing it to the engine's thread would take longer than doing it.
    """

    __slots__ = ("arrival_ns", "duration_ns", "engine", "label", "small", "work")

    def __init__(
        self,
        engine: Engine,
        work: Callable[[], None],
        duration_ns: Callable[[], int] | None,
        label: Label,
        arrival_ns: int,
        *,
        small: bool = False,
    ) -> None:
        self.small = small
        self.engine = engine
        self.work = work
        self.duration_ns = duration_ns
        self.label = label
        self.arrival_ns = arrival_ns

    def run(self, stream: Stream) -> None:
        """Do it at once if it is small, else hand it to the engine."""
        stream.start(self)


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
            stream.drop(self.failure)


class Stream:
    """One in-order queue. Call everything here under the card's lock.

    Attributes:
        port: the client it belongs to.
        group: the context it belongs to.
        number: the client's name for it; 0 for one that only an execution in the client's own thread has.
        clock_ns: when its last task ended.
        failure: the first failure since the last synchronise, or None.
    """

    __slots__ = (
        "_busy",
        "_dropped",
        "_item",
        "_queue",
        "clock_ns",
        "failure",
        "group",
        "number",
        "port",
    )

    def __init__(self, port: Port, group: Group, number: int = 0) -> None:
        self.port = port
        self.group = group
        self.number = number
        group.streams.add(self)
        self.clock_ns = 0
        self.failure: Failure | None = None
        self._queue: deque[Item] = deque()
        self._busy = False
        self._dropped = False  # whether it was aborted while its task ran
        self._item = 0  # number of the item that the stream got to last, counted from 1

    @property
    def idle(self) -> bool:
        """Whether everything queued so far has ended."""
        return not self._busy and not self._queue

    def add(self, item: Item) -> None:
        """Queue an item and start what can start."""
        if self.group.failure is not None:
            item.drop(self.group.failure)
            return
        self._queue.append(item)
        self.advance()

    def advance(self) -> None:
        """Run what needs no engine, up to the first task that does or that waits."""
        queue = self._queue
        while queue and not self._busy:
            if queue[0].holds(self):
                return
            item = queue.popleft()
            self._item += item.counts
            item.run(self)

    def start(self, task: Task) -> None:
        """Do a task, or hand it to its engine."""
        if task.duration_ns is not None or not (task.small and task.engine.idle):
            self._occupy()
            task.engine.submit(self, task)
            return
        start_ns = time.monotonic_ns()
        try:
            task.work()
        except Failure as failure:
            self.fail(failure)
        except Hang:
            self._occupy()
            self.hang()
            return
        self.clock_ns = time.monotonic_ns()
        task.engine.did(start_ns, self.clock_ns)
        self.note(task, start_ns, self.clock_ns)

    def note(self, task: Task, start_ns: int, end_ns: int) -> None:
        """Let the client's journal know of a task that ended, if it asked for that."""
        if self.port.journal.on:
            self.port.journal.note(task, self, start_ns, end_ns)

    def finish(self, end_ns: int, failure: Failure | None) -> None:
        """The engine ended the task that was running."""
        self._busy = self._dropped = False
        self.clock_ns = end_ns
        if failure is not None:
            self.fail(failure)
        self.advance()
        self.port.task_ended()

    def hang(self) -> None:
        """The task that is running never ends: the stream stands still until it is aborted."""
        if self._dropped or self.port.closed:
            self.finish(time.monotonic_ns(), None)
        else:
            self.port.hung.add(self)

    def fail(self, failure: Failure) -> None:
        """Let the failure of what the stream got to last stick until the next synchronise, or stop the context."""
        failure.stream, failure.task = self.number, self._item
        self.failure = self.failure or failure
        if self.group.stops:
            self.group.stop(failure)

    def take_failure(self) -> Failure | None:
        """The failure a synchronise reports; told once, unless it stopped the context."""
        failure, self.failure = self.failure or self.group.failure, None
        return failure

    def drop(self, failure: Failure) -> None:
        """Give up what is queued, because of `failure`; a task that runs goes on."""
        dropped = tuple(self._queue)
        self._queue.clear()
        for item in dropped:
            self._item += item.counts
            item.drop(failure)
        self._dropped = self._busy

    def abort(self) -> None:
        """Give up what is queued, and a task that hangs."""
        self.drop(Failure(RT_STREAM_ABORT, "EE9999: the stream was aborted before it got here."))
        if self in self.port.hung:
            self.port.hung.remove(self)
            self.finish(time.monotonic_ns(), None)

    def _occupy(self) -> None:
        self._busy = True
        self.port.in_flight += 1
