"""Events: recordings in one stream, waits for them in others, and the SoC's stock of hardware events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from heapq import heappop, heappush

from ascend_emulator.card.streams import Item, Stream
from ascend_emulator.codes import RT_NO_EVENT, RT_TASK_TIMEOUT, Failure

_LIMIT_BY_ARCH = {1001: 65535, 2002: 1023}
_LIMIT_ELSEWHERE = 65536


class Gate:
    """What opens once. Call everything here under the card's lock.

    Attributes:
        done: whether it is open, or lost.
        time_ns: `time.monotonic_ns` moment at which it opened; 0 before.
        failure: why it will never open; None otherwise.
    """

    __slots__ = ("_callbacks", "done", "failure", "time_ns")

    def __init__(self) -> None:
        self.done = False
        self.time_ns = 0
        self.failure: Failure | None = None
        self._callbacks: list[Callable[[], object]] = []

    def then(self, callback: Callable[[], object]) -> None:
        """Call `callback` when it opens or is lost; at once if it did."""
        if self.done:
            callback()
        else:
            self._callbacks.append(callback)

    def open(self, time_ns: int) -> None:
        """Let everybody through."""
        self.time_ns = time_ns
        self._end()

    def lose(self, failure: Failure) -> None:
        """Let everybody through, with a failure: what they wait for was dropped."""
        self.failure = failure
        self._end()

    def _end(self) -> None:
        if not self.done:
            self.done = True
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback()


class Record(Gate, Item):
    """One recording of an event: open when the stream gets here.

    Args:
        stream: the stream it is recorded on.
        arrival_ns: when the command was given.

    Attributes:
        stream: the stream it was recorded on.
    """

    __slots__ = ("_arrival_ns", "stream")

    def __init__(self, stream: Stream, arrival_ns: int) -> None:
        super().__init__()
        self.stream = stream
        self._arrival_ns = arrival_ns

    def run(self, stream: Stream) -> None:
        """Open it."""
        stream.clock_ns = max(stream.clock_ns, self._arrival_ns)
        self.open(stream.clock_ns)

    def drop(self, failure: Failure) -> None:
        """Lose it."""
        self.lose(failure)


class Wait(Item):
    """Holds a stream at a gate.

    Args:
        find: the gate, asked when the stream gets here.
        lock: the card's lock.
        timeout_s: when to give up, counted from there; 0 for never.
        over: called when the stream no longer waits, or never will.
    """

    __slots__ = ("_expired", "_find", "_gate", "_lock", "_over", "_timeout_s", "_timer")

    def __init__(
        self,
        find: Callable[[], Gate],
        lock: threading.RLock,
        timeout_s: int = 0,
        over: Callable[[], object] | None = None,
    ) -> None:
        self._find = find
        self._lock = lock
        self._timeout_s = timeout_s
        self._over = over
        self._gate: Gate | None = None
        self._timer: threading.Timer | None = None
        self._expired = False

    def holds(self, stream: Stream) -> bool:
        """Whether the gate is shut and there is time left."""
        if self._gate is None:
            self._gate = self._find()
            if not self._gate.done:
                self._gate.then(stream.advance)
                if self._timeout_s:
                    self._timer = threading.Timer(self._timeout_s, self._expire, (stream,))
                    self._timer.daemon = True
                    self._timer.start()
        return not (self._gate.done or self._expired)

    def run(self, stream: Stream) -> None:
        """Go on, with a failure if the gate was lost or the time is up."""
        gate = self._gate
        self._end()
        if gate is not None and gate.done:
            stream.clock_ns = max(stream.clock_ns, gate.time_ns)
            if gate.failure is not None:
                stream.fail(Failure(gate.failure.code, gate.failure.text))
        else:
            text = f"EE9999: the wait for an event took longer than the {self._timeout_s} s of set_op_wait_timeout."
            stream.clock_ns = time.monotonic_ns()
            stream.fail(Failure(RT_TASK_TIMEOUT, text))

    def drop(self, failure: Failure) -> None:
        """Wait no longer."""
        self._end()

    def _expire(self, stream: Stream) -> None:
        with self._lock:
            if self._timer is not None:
                self._expired = True
                stream.advance()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._over is not None:
            self._over()


class EventIds:
    """The SoC's hardware events, of which each event that streams can wait for takes one.

    Args:
        arch: NpuArch of the SoC, which decides how many there are (documented at `aclrtCreateEvent`).
    """

    def __init__(self, arch: int) -> None:
        self._limit = _LIMIT_BY_ARCH.get(arch, _LIMIT_ELSEWHERE)
        self._next = 0
        self._given_back: list[int] = []

    @property
    def left(self) -> int:
        """How many are free."""
        return self._limit - self._next + len(self._given_back)

    def take(self) -> int:
        """The lowest free one.

        Raises:
            Failure: 207007, none is left.
        """
        if self._given_back:
            return heappop(self._given_back)
        if self._next == self._limit:
            raise Failure(RT_NO_EVENT, f"EE1010: all {self._limit} events of the device are in use.")
        self._next += 1
        return self._next - 1

    def give_back(self, identity: int) -> None:
        """Make one free again."""
        heappush(self._given_back, identity)


class Event:
    """An event of a client: who waits for it waits for the recording that was the latest at the call.

    Args:
        ids: the SoC's hardware events.

    Attributes:
        latest: the latest recording; None when there was none or it was reset.
        waits: waits of streams for it that are queued or under way.
    """

    __slots__ = ("_identity", "_ids", "latest", "waits")

    def __init__(self, ids: EventIds) -> None:
        self._ids = ids
        self._identity: int | None = None
        self.latest: Record | None = None
        self.waits = 0

    def identity(self) -> int:
        """The hardware event it has; taken now if it has none.

        Raises:
            Failure: 207007, none is left.
        """
        if self._identity is None:
            self._identity = self._ids.take()
        return self._identity

    def has_identity(self) -> bool:
        """Whether it has a hardware event."""
        return self._identity is not None

    def release(self) -> None:
        """Give its hardware event back."""
        if self._identity is not None:
            self._ids.give_back(self._identity)
            self._identity = None

    def record(self, stream: Stream, arrival_ns: int) -> None:
        """Record it on a stream.

        Args:
            stream: the stream.
            arrival_ns: when the command was given.

        Raises:
            Failure: 207007, no hardware event is left.
        """
        self.identity()
        self.latest = Record(stream, arrival_ns)
        stream.add(self.latest)

    def reset(self, stream: Stream) -> None:
        """Forget, when the stream gets here, the recording that is the latest now."""
        stream.add(_Reset(self, self.latest))

    def forget(self, record: Record | None) -> None:
        """Forget a recording, unless there is a newer one."""
        if self.latest is record:
            self.latest = None

    def gate(self) -> Gate:
        """What one who waits from now on waits for."""
        return self.latest if self.latest is not None else _open_gate()

    def wait(self, stream: Stream, lock: threading.RLock, timeout_s: int) -> None:
        """Let a stream wait for it.

        Args:
            stream: who waits.
            lock: the card's lock.
            timeout_s: when it gives up; 0 for never.
        """
        self.waits += 1
        stream.add(Wait(self._finder(), lock, timeout_s, self._waited))

    def _finder(self) -> Callable[[], Gate]:
        gate = self.gate()
        return lambda: gate

    def _waited(self) -> None:
        self.waits -= 1


class LevelEvent(Event):
    """An event with a flag: set by any recording, cleared by a reset.

    Who waits for it waits until it is set, also before it was ever recorded.
    """

    __slots__ = ("_level",)

    def __init__(self, ids: EventIds) -> None:
        super().__init__(ids)
        self._level = Gate()

    def record(self, stream: Stream, arrival_ns: int) -> None:
        """Record it on a stream, which sets it."""
        super().record(stream, arrival_ns)
        record = self.latest
        if record is not None:
            record.then(lambda: self._raise(record))

    def forget(self, record: Record | None) -> None:
        """Clear it."""
        super().forget(record)
        if self._level.done:
            self._level = Gate()

    def gate(self) -> Gate:
        """What is open while it is set."""
        return self._level

    def _finder(self) -> Callable[[], Gate]:
        return self.gate

    def _raise(self, record: Record) -> None:
        if record.failure is None:
            self._level.open(record.time_ns)
        elif not self._level.done:
            lost, self._level = self._level, Gate()
            lost.lose(record.failure)


class _Reset(Item):
    """A reset in stream order."""

    __slots__ = ("_event", "_record")

    def __init__(self, event: Event, record: Record | None) -> None:
        self._event = event
        self._record = record

    def run(self, stream: Stream) -> None:
        """Forget the recording."""
        self._event.forget(self._record)


def _open_gate() -> Gate:
    gate = Gate()
    gate.open(0)
    return gate
