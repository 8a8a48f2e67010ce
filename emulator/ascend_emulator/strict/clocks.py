"""What a program may know of the work it has queued: vector clocks.

Every piece of queued work is (stream, number). A stream's clock names, for each stream, the last number that lies
before whatever is queued on it next: its own work, and what it waits for by events. The host's clock names the work
that the program has waited for. Work that happens to have ended, unknown to the program, is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Clock = dict[int, int]
"""Stream -> number of the last work on it that is covered."""


class Clocks:
    """The clocks of one process."""

    def __init__(self) -> None:
        self._host: Clock = {}
        self._streams: dict[int, Clock] = {}
        self._events: dict[int, Clock] = {}

    def queue(self, stream: int) -> int:
        """Note work queued on a stream; its number."""
        clock = self._streams.setdefault(stream, {})
        number = clock[stream] = clock.get(stream, 0) + 1
        return number

    def last(self, stream: int) -> int:
        """Number of the last work queued on a stream, 0 when there is none."""
        return self._streams.get(stream, {}).get(stream, 0)

    def at(self, streams: Iterable[int]) -> Clock:
        """What lies before the present end of these streams, less what the host knows anyway."""
        merged: Clock = {}
        for stream in streams:
            _join(merged, self._unknown(self._streams.get(stream, {})))
        return merged

    def record(self, event: int, stream: int) -> None:
        """Let an event stand for the present end of a stream."""
        self._events[event] = self._unknown(self._streams.get(stream, {}))

    def wait(self, stream: int, event: int) -> None:
        """Put what an event stands for before the next work of a stream."""
        _join(self._streams.setdefault(stream, {}), self._events.get(event, {}))

    def at_events(self, events: Iterable[int]) -> Clock:
        """What these events stand for; nothing for one that was never recorded."""
        merged: Clock = {}
        for event in events:
            _join(merged, self._events.get(event, {}))
        return merged

    def forget(self, event: int) -> None:
        """Let an event stand for nothing."""
        self._events.pop(event, None)

    def learn(self, clock: Mapping[int, int]) -> None:
        """Note that the program has waited for this work."""
        _join(self._host, clock)

    def drop(self, stream: int) -> None:
        """Forget a stream that was destroyed; what it did has ended, and what it waited for with it."""
        clock = self._streams.pop(stream, None)
        if clock is not None:
            self.learn(clock)

    def is_known(self, stream: int, number: int) -> bool:
        """Whether the program knows that this work has ended."""
        return self._host.get(stream, 0) >= number

    def is_before(self, stream: int, number: int, on: int) -> bool:
        """Whether this work ends before anything that is queued on stream `on` from now on starts."""
        if stream == on or self.is_known(stream, number):
            return True
        return self._streams.get(on, {}).get(stream, 0) >= number

    def _unknown(self, clock: Clock) -> Clock:
        host = self._host
        return {stream: number for stream, number in clock.items() if number > host.get(stream, 0)}


def _join(clock: Clock, other: Mapping[int, int]) -> None:
    for stream, number in other.items():
        if number > clock.get(stream, 0):
            clock[stream] = number
