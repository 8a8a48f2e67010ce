"""Events: recordings, waits of streams and of threads, times (facts/pyacl.md §6.3)."""

from __future__ import annotations

import os

from ascend_emulator.client import handles, process, timeouts
from ascend_emulator.client.process import Context, Stream
from ascend_emulator.client.streams import FOREVER, check_timeout, stream_of
from ascend_emulator.codes import (
    RT_EVENT_SYNC_TIMEOUT,
    RT_EVENT_TIMESTAMP_INVALID,
    RT_EVENT_TIMESTAMP_REVERSAL,
    RT_FEATURE_NOT_SUPPORTED,
    RT_INTERNAL_ERROR,
    RT_PARAM_INVALID,
    Failure,
)
from ascend_emulator.wire import HEADER, LEVEL, ONE, RECORD, TWO, WAIT, Op, moment_now

SYNC, STREAM_PROGRESS, DDSYNC, TIME_LINE = 0x1, 0x2, 0x4, 0x8
_DEVICE_USE_ONLY, _EXTERNAL, _IPC = 0x10, 0x20, 0x40
_ORDINARY = STREAM_PROGRESS | DDSYNC | TIME_LINE
_WAITABLE = SYNC | DDSYNC

_RECORD, _WAIT = int(Op.RECORD), int(Op.WAIT)

_NONE, _PENDING, _REACHED = range(3)
"""What the card says of an event's latest recording."""


class Event:
    """An event of this process.

    Attributes:
        context: where it was made.
        name: the card's name for it.
        timed: whether it keeps a time stamp.
        waitable: whether streams can wait for it.
        capturing: made by `create_event_ex_with_flag`: one never recorded counts as complete, not as pending.
        keeps_level: made by `create_event_with_flag` with SYNC: set by a recording until it is reset.
        recorded: whether it was ever recorded.
    """

    def __init__(self, context: Context, flag: int, *, capturing: bool) -> None:
        self.context = context
        self.name = 0
        self.timed = bool(flag & TIME_LINE)
        self.waitable = bool(flag & _WAITABLE)
        self.capturing = capturing
        self.keeps_level = bool(flag & SYNC) and not capturing
        self.recorded = False


def create_event() -> int:
    """A new event for times and for waits.

    Raises:
        Failure: 107002.
    """
    return _create(_ORDINARY, capturing=False)


def create_event_with_flag(flag: int) -> int:
    """A new event that does what the bits of `flag` say: SYNC 1, stream progress 2, time line 8.

    One with SYNC takes one of the SoC's events at once and stays set, once recorded, until it is reset.

    Raises:
        Failure: 107002; 107000, no flag or an unknown one; 207000, one for captures or for the device alone;
            207007, all events of the device are in use.
    """
    most = SYNC | _ORDINARY | _DEVICE_USE_ONLY | _EXTERNAL
    if not flag or flag > most or (flag & (_DEVICE_USE_ONLY | _EXTERNAL) and flag & (flag - 1)):
        raise _wrong_flag(flag)
    if flag & (_DEVICE_USE_ONLY | _EXTERNAL):
        raise Failure(RT_FEATURE_NOT_SUPPORTED, f"EE1006: events of flag {flag:#x} are not emulated.")
    handle = _create(flag, capturing=False)
    event = handles.get(handle, Event)
    if event.keeps_level:
        try:
            event.context.device.link.call(Op.NAME_EVENT, TWO.pack(event.name, 1))
        except Failure:
            handles.remove(handle, Event)
            raise
    return handle


def create_event_ex_with_flag(flag: int) -> int:
    """As `create_event_with_flag`, but the event may be recorded again and again and is never reset.

    Raises:
        Failure: 107002; 107000, no flag or an unknown one; 207000, one between processes.
    """
    if flag == _IPC:
        raise Failure(
            RT_FEATURE_NOT_SUPPORTED, "EE1005: events between processes (flag 0x40) are not emulated."
        )
    if not flag or flag & ~(SYNC | _ORDINARY):
        raise _wrong_flag(flag)
    return _create(flag, capturing=True)


def destroy_event(handle: int) -> None:
    """Destroy an event; work that already waits for it is not disturbed."""
    event = handles.remove(handle, Event)
    link = event.context.device.link
    if (event.recorded or event.keeps_level) and not link.closed:
        link.post(HEADER.pack(Op.FORGET, 0, 0) + ONE.pack(event.name))


def record_event(handle: int, stream: int) -> None:
    """Let the event mark this point of the stream.

    Raises:
        Failure: as `stream_of`; 207000, a stream of another device than the event's.
    """
    event = handles.get(handle, Event)
    queue = _queue_beside(event, stream_of(stream))
    event.context.device.link.post(RECORD.pack(_RECORD, 0, moment_now(), queue.number, event.name))
    event.recorded = True


def wait_event(stream: int, handle: int) -> None:
    """Hold the stream until the event's latest recording is reached, or until one with a level is set.

    Raises:
        Failure: as `stream_of`; 207000, an event without SYNC; 107000, the event was never recorded (one with a level
            waits for its first recording, one made by `create_event_ex_with_flag` is no wait).
    """
    event = handles.get(handle, Event)
    queue = stream_of(stream)
    if not event.waitable:
        raise Failure(
            RT_FEATURE_NOT_SUPPORTED, "EE1005: streams cannot wait for an event without the flag SYNC."
        )
    if not (event.recorded or event.keeps_level):
        if event.capturing:
            return
        raise Failure(
            RT_PARAM_INVALID, "EE1018: the event has not been recorded; record it on a stream first."
        )
    if queue.context.device is event.context.device:
        message = WAIT.pack(_WAIT, 0, 0, queue.number, event.name, timeouts.wait_s)
        event.context.device.link.post(message)
    else:
        _wait_elsewhere(queue, event)


def reset_event(handle: int, stream: int) -> None:
    """Forget, when the stream gets here, the recording that is the latest now.

    Raises:
        Failure: as `stream_of`; 207000, an event without SYNC or made by `create_event_ex_with_flag`, or a stream of
            another device.
    """
    event = handles.get(handle, Event)
    queue = stream_of(stream)
    if event.capturing or not event.waitable:
        raise Failure(RT_FEATURE_NOT_SUPPORTED, "EE1005: this event has nothing to reset.")
    _queue_beside(event, queue)
    if event.recorded or event.keeps_level:
        event.context.device.link.post(HEADER.pack(Op.RESET_EVENT, 0, 0) + TWO.pack(queue.number, event.name))


def synchronize_event(handle: int) -> None:
    """Wait without the GIL until the event is reached; one never recorded is no wait."""
    event = handles.get(handle, Event)
    if event.recorded:
        event.context.device.link.call(Op.SYNC_EVENT, ONE.pack(event.name), keep_gil=False)


def synchronize_event_within(handle: int, timeout_ms: int) -> None:
    """As `synchronize_event` for at most `timeout_ms`.

    Raises:
        Failure: 107000, a time of 0 or below -1; 507047, the time is up.
    """
    check_timeout(timeout_ms)
    if timeout_ms == FOREVER:
        synchronize_event(handle)
        return
    event = handles.get(handle, Event)
    link = event.context.device.link
    if (
        event.recorded
        and link.call_within(Op.SYNC_EVENT, ONE.pack(event.name), timeout_ms, keep_gil=False) is None
    ):
        raise Failure(RT_EVENT_SYNC_TIMEOUT, f"EE9999: the event was not reached within {timeout_ms} ms.")


def is_reached(handle: int) -> bool:
    """Whether the event's latest recording was reached; False for one never recorded unless it is capturing."""
    event = handles.get(handle, Event)
    return _state(event)[0] == _REACHED if event.recorded else event.capturing


def is_not_pending(handle: int) -> bool:
    """Whether no recording is under way: what the deprecated `query_event` asks.

    Raises:
        Failure: 207000, an event made by `create_event_ex_with_flag`.
    """
    event = _reusable(handle, "query_event")
    return not event.recorded or _state(event)[0] != _PENDING


def is_waited_for(handle: int) -> bool:
    """Whether a stream that was told to wait for the event has not got past that yet.

    Raises:
        Failure: 207000, an event made by `create_event_ex_with_flag`.
    """
    event = _reusable(handle, "query_event_wait_status")
    if not (event.waitable and (event.recorded or event.keeps_level)):
        return False
    return event.context.device.link.call(Op.COUNT_WAITS, ONE.pack(event.name)).first > 0


def event_id(handle: int) -> int:
    """The hardware event behind an event, which one made by `create_event` has from its first recording on.

    Raises:
        Failure: 507000, it has none.
    """
    event = handles.get(handle, Event)
    if not event.waitable:
        raise Failure(RT_INTERNAL_ERROR, "EE9999: an event without the flag SYNC has no id.")
    return event.context.device.link.call(Op.NAME_EVENT, TWO.pack(event.name, 0)).first


def events_left() -> int:
    """Hardware events of the current device that are free.

    Raises:
        Failure: 107002.
    """
    return process.current().device.link.call(Op.COUNT_EVENTS, b"").first


def timestamp_ns(handle: int) -> int:
    """The moment the event was reached.

    Raises:
        Failure: 107006, it keeps no time, was never recorded, or is not reached yet.
    """
    event = handles.get(handle, Event)
    state, moment_ns = _state(event) if event.recorded and event.timed else (_NONE, 0)
    if state != _REACHED:
        raise Failure(
            RT_EVENT_TIMESTAMP_INVALID,
            "EE1001: the event has no time stamp: not recorded, not reached or not timed.",
        )
    return moment_ns


def elapsed_ms(start: int, end: int) -> float:
    """Milliseconds between two events.

    Raises:
        Failure: 107006, as `timestamp_ns`; 107007, the end came first.
    """
    from_ns, to_ns = timestamp_ns(start), timestamp_ns(end)
    if to_ns < from_ns:
        raise Failure(
            RT_EVENT_TIMESTAMP_REVERSAL, "EE1001: the end event was reached before the start event."
        )
    return (to_ns - from_ns) / 1e6


def _create(flag: int, *, capturing: bool) -> int:
    event = Event(process.current(), flag, capturing=capturing)
    handle = handles.add(event)
    event.name = handle | LEVEL if event.keeps_level else handle
    return handle


def _wrong_flag(flag: int) -> Failure:
    return Failure(RT_PARAM_INVALID, f"EE1003: event flag {flag:#x} is invalid.")


def _state(event: Event) -> tuple[int, int]:
    answer = event.context.device.link.call(Op.QUERY_EVENT, ONE.pack(event.name))
    return answer.first, answer.second


def _reusable(handle: int, function: str) -> Event:
    event = handles.get(handle, Event)
    if event.capturing:
        raise Failure(RT_FEATURE_NOT_SUPPORTED, f"EE1005: {function} does not support this event.")
    return event


def _queue_beside(event: Event, queue: Stream) -> Stream:
    if queue.context.device is not event.context.device:
        text = "EE1006: an event is recorded and reset on streams of the device that it was made on."
        raise Failure(RT_FEATURE_NOT_SUPPORTED, text)
    return queue


def _wait_elsewhere(queue: Stream, event: Event) -> None:
    # The card of the event tells the card of the stream, through a pipe that each of them gets one end of.
    hearing, telling = os.pipe()
    try:
        told = HEADER.pack(Op.TELL_ELSEWHERE, 0, 0) + ONE.pack(event.name)
        event.context.device.link.post_fd(told, telling)
        waits = HEADER.pack(Op.WAIT_ELSEWHERE, 0, 0) + TWO.pack(queue.number, timeouts.wait_s)
        queue.context.device.link.post_fd(waits, hearing)
    finally:
        os.close(hearing)
        os.close(telling)
