"""Which thread runs the callbacks of which stream, and the functions that were handed in (facts/pyacl.md §7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from ascend_emulator.client.process import Device, Stream
from ascend_emulator.codes import (
    RT_INTERNAL_ERROR,
    RT_STREAM_NO_CALLBACK,
    RT_STREAM_SUBSCRIBE,
    RT_THREAD_SUBSCRIBE,
    Failure,
)

MOST_THREADS = 1024
"""Threads of one process that can serve callbacks (documented at `aclrtSubscribeReport`)."""

_numbers = count(1)


@dataclass
class _Subscription:
    thread: int
    functions: dict[int, tuple[Callable[[object], object], object]] = field(default_factory=dict)


_by_stream: dict[Stream, _Subscription] = {}


def add(thread: int, stream: Stream) -> None:
    """Let a thread run a stream's callbacks.

    Raises:
        Failure: 107011, a thread does already; 107012, this one serves another device; 507000, too many threads.
    """
    _forget_the_dead()
    if stream in _by_stream:
        raise Failure(RT_STREAM_SUBSCRIBE, f"EE9999: stream {stream.number} has a thread for its callbacks.")
    device = device_of(thread)
    if device is None:
        if len({subscription.thread for subscription in _by_stream.values()}) >= MOST_THREADS:
            text = f"EE9999: {MOST_THREADS} threads serve callbacks, which is the most."
            raise Failure(RT_INTERNAL_ERROR, text)
    elif device is not stream.context.device:
        text = f"EE9999: thread {thread} serves device {device.ordinal}; it cannot serve another."
        raise Failure(RT_THREAD_SUBSCRIBE, text)
    _by_stream[stream] = _Subscription(thread)


def remove(thread: int, stream: Stream) -> None:
    """Undo `add`.

    Raises:
        Failure: 107011, no thread serves the stream; 107012, another one does.
    """
    _forget_the_dead()
    subscription = _by_stream.get(stream)
    if subscription is None:
        raise Failure(RT_STREAM_SUBSCRIBE, f"EE9999: stream {stream.number} has no thread for its callbacks.")
    if subscription.thread != thread:
        text = f"EE9999: the callbacks of stream {stream.number} are not run by thread {thread}."
        raise Failure(RT_THREAD_SUBSCRIBE, text)
    del _by_stream[stream]


def drop(stream: Stream) -> None:
    """Forget a stream that is destroyed, whether subscribed or not."""
    _by_stream.pop(stream, None)


def device_of(thread: int) -> Device | None:
    """The device whose streams a thread serves; None when it serves none."""
    for stream, subscription in tuple(_by_stream.items()):
        if subscription.thread == thread and stream.context.alive:
            return stream.context.device
    return None


def hand_in(stream: Stream, function: Callable[[object], object], argument: object) -> int:
    """A number for a function that a stream's thread is to call with one argument.

    Raises:
        Failure: 107015, no thread serves the stream.
    """
    subscription = _by_stream.get(stream)
    if subscription is None:
        text = f"EE1018: stream {stream.number} is bound to no thread; call subscribe_report first."
        raise Failure(RT_STREAM_NO_CALLBACK, text)
    number = next(_numbers)
    subscription.functions[number] = (function, argument)
    return number


def hand_out(number: int) -> tuple[Callable[[object], object], object] | None:
    """The function and its argument, once; None when its stream was unsubscribed meanwhile."""
    for subscription in tuple(_by_stream.values()):
        found = subscription.functions.pop(number, None)
        if found is not None:
            return found
    return None


def _forget_the_dead() -> None:
    for stream in [stream for stream in _by_stream if not stream.context.alive]:
        del _by_stream[stream]
