"""Streams and the calls that wait for them (facts/pyacl.md §6.1, §6.2)."""

from __future__ import annotations

from ascend_emulator.client import handles, process, subscriptions
from ascend_emulator.client.process import Stream
from ascend_emulator.codes import (
    RT_FEATURE_NOT_SUPPORTED,
    RT_PARAM_INVALID,
    RT_STREAM_CONTEXT,
    RT_STREAM_SYNC_TIMEOUT,
    Failure,
)
from ascend_emulator.wire import HEADER, ONE, TWO, Op

FOREVER = -1
LEAST_PRIORITY, GREATEST_PRIORITY = 7, 0

_PERSISTENT = 0x4
_ARCHS_WITH_ABORT = frozenset((2201, 3510))
_ARCHS_WITH_SWITCHES = frozenset((2201, 3510))
"""Those whose streams have an overflow switch and a tag (chip features of the runtime)."""
_ARCHS_OF_HWTS = frozenset((1001, 2002))
"""Those of the older task scheduler, for which the overflow switch reads as on."""

FAILURE_MODE, OVERFLOW_SWITCH, TAG, CACHE_OP_INFO, PRIORITY = range(1, 6)
"""Attributes of a stream, by their number in `aclrtStreamAttr`."""


def stream_of(handle: int) -> Stream:
    """The stream that work is queued on; 0 is the current context's default stream.

    Raises:
        Failure: 107002, no context; 100000, no stream; 107003, a stream of another context; what stopped the
            context, if a failure did.
    """
    context = process.current()
    stream = handles.find(handle)
    # What a program gives nearly always; all else is told apart below.
    if not (isinstance(stream, Stream) and stream.context is context):
        stream = own_stream(handle)
    failure = context.failure
    if failure is not None:
        raise Failure(failure.code, failure.text)
    return stream


def own_stream(handle: int) -> Stream:
    """As `stream_of`, whether the context was stopped or not."""
    context = process.current()
    if not handle:
        return context.default_stream
    stream = handles.get(handle, Stream)
    if stream.context is not context:
        raise Failure(RT_STREAM_CONTEXT, f"EE1011: stream {handle:#x} is not in the current context.")
    return stream


def create_stream(priority: int = 0, flag: int = 0) -> int:
    """A new stream in the current context.

    Args:
        priority: 0 (greatest) to 7; what is outside becomes the nearest. It makes no difference here.
        flag: bits of `ACL_STREAM_*`; unknown ones make no difference.

    Raises:
        Failure: 107002; 207000, a stream whose work waits for a model that it is bound to; 207008, all streams of
            the device are in use.
    """
    context = process.current()
    if flag & _PERSISTENT:
        raise Failure(RT_FEATURE_NOT_SUPPORTED, "EE1006: persistent streams (flag 0x4) are not emulated.")
    return handles.add(Stream(context, min(max(priority, GREATEST_PRIORITY), LEAST_PRIORITY)))


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
        stream.context.device.link.call(Op.DESTROY_STREAM, TWO.pack(stream.number, force))
        stream.context.streams.discard(stream.number)
    subscriptions.drop(stream)


def synchronize_stream(handle: int) -> None:
    """Wait without the GIL until all queued work has ended; raise its first failure."""
    stream = _any_stream(handle)
    stream.context.device.link.call(Op.SYNC_STREAM, ONE.pack(stream.number), keep_gil=False)


def synchronize_stream_within(handle: int, timeout_ms: int) -> None:
    """As `synchronize_stream` for at most `timeout_ms`.

    Raises:
        Failure: 107000, a time of 0 or below -1; 507046, the time is up.
    """
    check_timeout(timeout_ms)
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
    check_timeout(timeout_ms)
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
    """Give up the work that is queued and has not started; who waits for the stream gets 107023.

    Raises:
        Failure: as `own_stream`; 207000, a SoC that cannot.
    """
    stream = own_stream(handle)
    if process.settings().soc.arch not in _ARCHS_WITH_ABORT:
        raise Failure(RT_FEATURE_NOT_SUPPORTED, "EE1005: this SoC cannot abort a stream.")
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


def set_attribute(handle: int, attribute: int, value: int) -> None:
    """Set an attribute of a stream.

    Args:
        handle: the stream; 0 for the default stream.
        attribute: `FAILURE_MODE`, `OVERFLOW_SWITCH`, `TAG`, `CACHE_OP_INFO` or `PRIORITY`.
        value: what to set it to.

    Raises:
        Failure: 107000, another attribute or a value that it cannot have; as `set_failure_mode`; as `own_stream`.
    """
    if attribute == FAILURE_MODE:
        set_failure_mode(handle, value)
    elif attribute == OVERFLOW_SWITCH:
        set_overflow_switch(handle, value)
    elif attribute == TAG:
        if _has_switches():
            own_stream(handle).attributes[TAG] = value
    elif attribute == CACHE_OP_INFO:
        own_stream(handle).attributes[CACHE_OP_INFO] = value
    elif attribute == PRIORITY:
        own_stream(handle).priority = min(max(value, GREATEST_PRIORITY), LEAST_PRIORITY)
    else:
        raise _no_attribute(attribute)


def get_attribute(handle: int, attribute: int) -> int:
    """What `set_attribute` set.

    Raises:
        Failure: 107000, no such attribute; as `own_stream`.
    """
    if attribute not in range(FAILURE_MODE, PRIORITY + 1):
        raise _no_attribute(attribute)
    stream = own_stream(handle)
    if attribute == FAILURE_MODE:
        return int(stream.context.stops_on_failure)
    if attribute == PRIORITY:
        return stream.priority
    if attribute == OVERFLOW_SWITCH and process.settings().soc.arch in _ARCHS_OF_HWTS:
        return 1
    return stream.attributes.get(attribute, 0)


def set_overflow_switch(handle: int, flag: int) -> None:
    """Switch a stream's overflow detection, which makes no difference here.

    Raises:
        Failure: as `own_stream`.
    """
    if _has_switches():
        if flag not in (0, 1):
            raise Failure(RT_PARAM_INVALID, f"EE1003: overflow switch {flag} is invalid: 0 or 1.")
        own_stream(handle).attributes[OVERFLOW_SWITCH] = flag


def _has_switches() -> bool:
    return process.settings().soc.arch in _ARCHS_WITH_SWITCHES


def _no_attribute(attribute: int) -> Failure:
    return Failure(
        RT_PARAM_INVALID, f"EE1003: stream attribute {attribute} is invalid, the valid range is [1, 5]."
    )


def _any_stream(handle: int) -> Stream:
    # Waiting for a stream of another context is allowed: the runtime switches over and back.
    context = process.current()
    stream = handles.get(handle, Stream) if handle else context.default_stream
    if not stream.context.alive:
        raise Failure(RT_STREAM_CONTEXT, f"EE1011: the context of stream {handle:#x} was destroyed.")
    return stream


def check_timeout(timeout_ms: int) -> None:
    """Refuse a time-out of 0 or below -1 with 107000."""
    if timeout_ms == 0 or timeout_ms < FOREVER:
        raise Failure(
            RT_PARAM_INVALID, f"EE1003: a time-out of {timeout_ms} ms is invalid: -1 or more than 0."
        )
