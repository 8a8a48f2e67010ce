"""Calls that make and end handles, that order work, and that wait for it (facts/pyacl.md §4-§7)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from ascend_emulator.codes import RT_EVENT_SYNC_TIMEOUT, RT_STREAM_SYNC_TIMEOUT
from ascend_emulator.strict.meaning import Meaning, Releases, check_end
from ascend_emulator.strict.queueing import Queues
from ascend_emulator.strict.state import Call, State, leaks

_TIMEOUTS = (RT_STREAM_SYNC_TIMEOUT, RT_EVENT_SYNC_TIMEOUT)
_DEVICE_ERRORS = range(500_000, 600_000)
_CALLBACK_IS_WAITED_FOR = 1


@dataclass(frozen=True)
class Creates(Meaning):
    """A call that gives a handle, bare or with a ret."""

    what: str

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Enter the handle."""
        handle = result[0] if isinstance(result, tuple) else result
        if not code and handle:
            state.things.add(self.what, handle, call.stack)


@dataclass(frozen=True)
class Destroys(Meaning):
    """A call that ends the handle that is its first argument."""

    what: str

    def check(self, state: State, call: Call) -> None:
        """Judge the handle."""
        check_end(state, call, self.what, call.arguments[0])

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Cross it off."""
        if not code:
            handle = call.arguments[0]
            state.things.end(self.what, handle, call.stack)
            if self.what == "stream":
                state.drop_stream(handle)
            elif self.what == "event":
                state.clocks.forget(handle)
            elif self.what == "context":
                state.devices_closed()


class Records(Meaning):
    """`record_event(event, stream)`."""

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Let the event stand for the stream's end."""
        if not code:
            event, stream = call.arguments
            state.clocks.record(event, state.stream(stream))


class WaitsForEvent(Meaning):
    """`stream_wait_event(stream, event)`."""

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Put the event before the stream's next work."""
        if not code:
            stream, event = call.arguments
            state.clocks.wait(state.stream(stream), event)


class ForgetsEvent(Meaning):
    """`reset_event(event, stream)`."""

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Let the event stand for nothing."""
        if not code:
            state.clocks.forget(call.arguments[0])


class Launches(Queues):
    """`launch_callback(function, user data, block type, stream)`: when it runs, what was queued before has ended."""

    stream = 3

    def check(self, state: State, call: Call) -> None:
        """Let the callback tell the books when it runs."""
        stream = self.on(state, call)
        assert stream is not None
        body, *rest = call.arguments
        clock, number = state.clocks.at([stream]), state.clocks.last(stream)
        waited_for = call.arguments[2] == _CALLBACK_IS_WAITED_FOR

        def callback(*arguments: Any) -> Any:
            state.clocks.learn(clock)
            return state.run_callback(stream, number, waited_for, partial(body, *arguments))

        if callable(body):
            call.arguments = (callback, *rest)


@dataclass(frozen=True)
class Waits(Meaning):
    """A call after which queued work has ended.

    Attributes:
        what: `stream`, `event` or `events` for what the first arguments are, `device` for the current one.
        done: the status in `(status, ret)` that says so; None when a ret of 0 does.
    """

    what: str
    done: int | None = None

    def check(self, state: State, call: Call) -> None:
        """Take the clock now: work that other threads queue meanwhile is not waited for."""
        super().check(state, call)
        if self.what == "stream":
            call.clock = state.clocks.at([state.stream(call.arguments[0])])
        elif self.what == "device":
            call.clock = state.clocks.at(state.streams_of(state.insight.device()))
        else:
            call.clock = state.clocks.at_events(call.arguments[: 2 if self.what == "events" else 1])

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Note what has ended; failed work has ended too."""
        failed = code in _DEVICE_ERRORS and code not in _TIMEOUTS
        if (failed and self.done is None) or (not code and self.done in (None, _status(result))):
            state.clocks.learn(call.clock)


class Resets(Releases):
    """A call that may close a device."""

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Cross off what went with it."""
        state.devices_closed()


class Finalizes(Releases):
    """`finalize()` and `finalize_reference()`, of which the last one finalises."""

    def apply(self, state: State, call: Call, result: Any, code: int) -> None:
        """Report what is alive."""
        if not code and result in (0, (0, 0)):
            leaks(state, call)


def _status(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else None
