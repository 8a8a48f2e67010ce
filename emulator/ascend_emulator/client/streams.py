"""Streams, events and the calls that wait (facts/pyacl.md §6)."""

from __future__ import annotations

from ascend_emulator.client import handles, process
from ascend_emulator.client.process import Context, Stream
from ascend_emulator.codes import (
    RT_EVENT_SYNC_TIMEOUT,
    RT_EVENT_TIMESTAMP_INVALID,
    RT_EVENT_TIMESTAMP_REVERSAL,
    RT_FEATURE_NOT_SUPPORTED,
    RT_PARAM_INVALID,
    RT_STREAM_CONTEXT,
    RT_STREAM_SYNC_TIMEOUT,
    Failure,
)
from ascend_emulator.wire import HEADER, ONE, TWO, Op

FOREVER = -1
TIME_LINE = 0x8
_ALL_EVENT_FLAGS = 0x7F
_ALL_STREAM_FLAGS = 0x3F


class Event:
    """An event of this process.

    Attributes:
        context: where it was made.
        timed: whether it keeps a time stamp.
        capturing: made by `create_event_ex_with_flag`: one never recorded counts as complete, not as pending.
        recorded: whether it was recorded and not reset since.
    """

    def __init__(self, context: Context, *, timed: bool, capturing: bool) -> None:
        self.context = context
        self.timed = timed
        self.capturing = capturing
        self.recorded = False


def stream_of(handle: int) -> Stream:
    """The stream that work is queued on; 0 is the current context's default stream.

    Raises:
        Failure: 107002, no context; 100000, no stream; 107003, a stream of another context.
    """
    context = process.current()
    if not handle:
        return context.default_stream
    stream = handles.get(handle, Stream)
    if stream.context is not context:
        raise Failure(RT_STREAM_CONTEXT, f"EE1011: stream {handle:#x} is not in the current context.")
    return stream


def create_stream(flag: int = 0) -> int:
    """A new stream in the current context.

    Raises:
        Failure: 107002; 107000, an unknown flag; 207008, all streams of the device are in use.
    """
    context = process.current()
    if flag & ~_ALL_STREAM_FLAGS:
        raise Failure(RT_PARAM_INVALID, f"EE1003: stream flag {flag:#x} is invalid.")
    return handles.add(Stream(context))


def destroy_stream(handle: int, *, force: bool = False) -> None:
    """Destroy a stream, after its queued work or (force) dropping it.

    Raises:
        Failure: 100000, no stream; 107000, a default stream; 107002, the thread has no context.
    """
    stream = handles.get(handle, Stream)
    if stream.context.default_stream is stream:
        raise Failure(RT_PARAM_INVALID, "EE1001: a default stream ends with its context.")
    if stream.context.alive:
        process.current()
    handles.remove(handle, Stream)
    # After reset_device the card has forgotten the stream; programs destroy it all the same.
    if stream.context.alive:
        stream.context.streams.discard(stream.number)
        stream.context.device.link.call(Op.DESTROY_STREAM, TWO.pack(stream.number, force))


def synchronize_stream(handle: int) -> None:
    """Wait without the GIL until all queued work has ended; raise its first failure."""
    stream = _any_stream(handle)
    stream.context.device.link.call(Op.SYNC_STREAM, ONE.pack(stream.number), keep_gil=False)


def synchronize_stream_within(handle: int, timeout_ms: int) -> None:
    """As `synchronize_stream` for at most `timeout_ms`.

    Raises:
        Failure: 107000, a time of 0 or below -1; 507046, the time is up.
    """
    _check_timeout(timeout_ms)
    if timeout_ms == FOREVER:
        synchronize_stream(handle)
        return
    stream = _any_stream(handle)
    link = stream.context.device.link
    if link.call_within(Op.SYNC_STREAM, ONE.pack(stream.number), timeout_ms, keep_gil=False) is None:
        raise Failure(
            RT_STREAM_SYNC_TIMEOUT, f"EE9999: the stream did not end its work within {timeout_ms} ms."
        )


def synchronize_device() -> None:
    """Wait without the GIL for all streams of this process on the current device."""
    process.current().device.link.call(Op.SYNC_CARD, b"", keep_gil=False)


def synchronize_device_within(timeout_ms: int) -> None:
    """As `synchronize_device` for at most `timeout_ms`, but with the GIL (facts/pyacl.md §6.2)."""
    _check_timeout(timeout_ms)
    link = process.current().device.link
    if timeout_ms == FOREVER:
        link.call(Op.SYNC_CARD, b"")
    elif link.call_within(Op.SYNC_CARD, b"", timeout_ms, keep_gil=True) is None:
        raise Failure(
            RT_STREAM_SYNC_TIMEOUT, f"EE9999: the device did not end its work within {timeout_ms} ms."
        )


def query_stream(handle: int) -> int:
    """0 when the stream has ended its work, else 1."""
    stream = _any_stream(handle)
    return stream.context.device.link.call(Op.QUERY_STREAM, ONE.pack(stream.number)).first


def abort_stream(handle: int) -> None:
    """Drop the work that is queued and has not started."""
    stream = _any_stream(handle)
    stream.context.device.link.call(Op.ABORT_STREAM, ONE.pack(stream.number))


def set_failure_mode(handle: int, mode: int) -> None:
    """Let a failure on this stream stop every stream of its context for good (1), or not (0).

    Raises:
        Failure: 107000, another mode or the default stream; 207000, back from 1 to 0.
    """
    stream = _any_stream(handle)
    context = stream.context
    if mode not in (0, 1) or stream is context.default_stream:
        raise Failure(RT_PARAM_INVALID, f"EE1001: failure mode {mode} cannot be set on this stream.")
    if context.stops_on_failure and not mode:
        raise Failure(RT_FEATURE_NOT_SUPPORTED, "EE1016: a stream that stops on failure cannot go on again.")
    context.stops_on_failure = bool(mode)
    context.device.link.post(HEADER.pack(Op.FAILURE_MODE, 0, 0) + TWO.pack(stream.number, mode))


def create_event(flag: int = TIME_LINE, *, capturing: bool = False) -> int:
    """A new event.

    Raises:
        Failure: 107002; 107000, an unknown flag.
    """
    context = process.current()
    if flag & ~_ALL_EVENT_FLAGS:
        raise Failure(RT_PARAM_INVALID, f"EE1003: event flag {flag:#x} is invalid.")
    return handles.add(Event(context, timed=bool(flag & TIME_LINE), capturing=capturing))


def destroy_event(handle: int) -> None:
    """Destroy an event; work that already waits for it is not disturbed."""
    event = handles.remove(handle, Event)
    link = event.context.device.link
    if event.recorded and not link.closed:
        _post_event(event, Op.FORGET, ONE.pack(handle))


def record_event(handle: int, stream: int) -> None:
    """Let the event mark this point of the stream."""
    event = handles.get(handle, Event)
    queue = _queue_beside(event, stream)
    _post_event(event, Op.RECORD, TWO.pack(queue.number, handle))
    event.recorded = True


def wait_event(stream: int, handle: int) -> None:
    """Hold the stream until the event's latest recording is reached.

    Raises:
        Failure: 107000, the event was never recorded (one made by `create_event_ex_with_flag`: nothing to
            wait for).
    """
    event = handles.get(handle, Event)
    queue = _queue_beside(event, stream)
    if event.recorded:
        _post_event(event, Op.WAIT, TWO.pack(queue.number, handle))
    elif not event.capturing:
        raise Failure(
            RT_PARAM_INVALID, "EE1018: the event has not been recorded; record it on a stream first."
        )


def reset_event(handle: int, stream: int) -> None:
    """Forget the event's recording; work that already waits for it is not disturbed."""
    event = handles.get(handle, Event)
    stream_of(stream)
    if event.recorded:
        event.recorded = False
        _post_event(event, Op.FORGET, ONE.pack(handle))


def synchronize_event(handle: int) -> None:
    """Wait without the GIL until the event is reached; one never recorded is no wait."""
    event = handles.get(handle, Event)
    if event.recorded:
        event.context.device.link.call(Op.SYNC_EVENT, ONE.pack(handle), keep_gil=False)


def synchronize_event_within(handle: int, timeout_ms: int) -> None:
    """As `synchronize_event` for at most `timeout_ms`.

    Raises:
        Failure: 107000, a time of 0 or below -1; 507047, the time is up.
    """
    _check_timeout(timeout_ms)
    if timeout_ms == FOREVER:
        synchronize_event(handle)
        return
    event = handles.get(handle, Event)
    link = event.context.device.link
    if (
        event.recorded
        and link.call_within(Op.SYNC_EVENT, ONE.pack(handle), timeout_ms, keep_gil=False) is None
    ):
        raise Failure(RT_EVENT_SYNC_TIMEOUT, f"EE9999: the event was not reached within {timeout_ms} ms.")


def is_reached(handle: int) -> bool:
    """Whether the event's latest recording was reached; False for one never recorded unless it is capturing."""
    event = handles.get(handle, Event)
    return _state(event, handle)[0] if event.recorded else event.capturing


def is_not_pending(handle: int) -> bool:
    """Whether no recording is under way: what the deprecated `query_event` asks.

    Raises:
        Failure: 207000, an event made by `create_event_ex_with_flag`.
    """
    event = handles.get(handle, Event)
    if event.capturing:
        raise Failure(RT_FEATURE_NOT_SUPPORTED, "EE1005: query_event does not support this event.")
    return not event.recorded or _state(event, handle)[0]


def timestamp_ns(handle: int) -> int:
    """The moment the event was reached.

    Raises:
        Failure: 107006, it keeps no time, was never recorded, or is not reached yet.
    """
    event = handles.get(handle, Event)
    done, moment_ns = _state(event, handle) if event.recorded and event.timed else (False, 0)
    if not done:
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


def _state(event: Event, handle: int) -> tuple[bool, int]:
    answer = event.context.device.link.call(Op.QUERY_EVENT, ONE.pack(handle))
    return bool(answer.first), answer.second


def _post_event(event: Event, op: Op, body: bytes) -> None:
    event.context.device.link.post(HEADER.pack(op, 0, 0) + body)


def _queue_beside(event: Event, handle: int) -> Stream:
    queue = stream_of(handle)
    if queue.context.device is not event.context.device:
        raise Failure(RT_FEATURE_NOT_SUPPORTED, "EE1006: the emulator has no events between devices.")
    return queue


def _any_stream(handle: int) -> Stream:
    # Waiting for a stream of another context is allowed: the runtime switches over and back.
    context = process.current()
    stream = handles.get(handle, Stream) if handle else context.default_stream
    if not stream.context.alive:
        raise Failure(RT_STREAM_CONTEXT, f"EE1011: the context of stream {handle:#x} was destroyed.")
    return stream


def _check_timeout(timeout_ms: int) -> None:
    if timeout_ms == 0 or timeout_ms < FOREVER:
        raise Failure(
            RT_PARAM_INVALID, f"EE1003: a time-out of {timeout_ms} ms is invalid: -1 or more than 0."
        )
