"""Events (facts/pyacl.md §6.3)."""

from __future__ import annotations

from ascend_emulator.client import streams
from ascend_emulator.client.calling import function, ret, value_ret

__all__ = [
    "create_event",
    "create_event_ex_with_flag",
    "create_event_with_flag",
    "destroy_event",
    "event_elapsed_time",
    "event_get_timestamp",
    "query_event",
    "query_event_status",
    "record_event",
    "reset_event",
    "stream_wait_event",
    "synchronize_event",
    "synchronize_event_with_timeout",
]


@function("", value_ret)
def create_event() -> tuple[int, int]:
    """`(event, ret)`."""
    return streams.create_event(), 0


@function("I", value_ret)
def create_event_with_flag(flag: int) -> tuple[int, int]:
    """`(event, ret)`; flag 8 is needed for times."""
    return streams.create_event(flag), 0


@function("I", value_ret)
def create_event_ex_with_flag(flag: int) -> tuple[int, int]:
    """`(event, ret)`; an event whose waits and queries count one never recorded as complete."""
    return streams.create_event(flag, capturing=True), 0


@function("k", ret)
def destroy_event(event: int) -> int:
    """Destroy an event."""
    streams.destroy_event(event)
    return 0


@function("kk", ret)
def record_event(event: int, stream: int) -> int:
    """Let the event mark this point of the stream; event first."""
    streams.record_event(event, stream)
    return 0


@function("kk", ret)
def stream_wait_event(stream: int, event: int) -> int:
    """Hold the stream until the event; stream first."""
    streams.wait_event(stream, event)
    return 0


@function("kk", ret)
def reset_event(event: int, stream: int) -> int:
    """Forget the event's recording."""
    streams.reset_event(event, stream)
    return 0


@function("k", value_ret)
def query_event(event: int) -> tuple[int, int]:
    """`(status, ret)`: 0 complete, 1 not ready (deprecated)."""
    return int(not streams.is_not_pending(event)), 0


@function("k", value_ret)
def query_event_status(event: int) -> tuple[int, int]:
    """`(status, ret)`: 0 not ready, 1 complete."""
    return int(streams.is_reached(event)), 0


@function("k", ret)
def synchronize_event(event: int) -> int:
    """Wait for an event; releases the GIL."""
    streams.synchronize_event(event)
    return 0


@function("ki", ret)
def synchronize_event_with_timeout(event: int, timeout_ms: int) -> int:
    """Wait for an event for a time; releases the GIL."""
    streams.synchronize_event_within(event, timeout_ms)
    return 0


@function("kk", value_ret)
def event_elapsed_time(start: int, end: int) -> tuple[float, int]:
    """`(milliseconds, ret)`."""
    return streams.elapsed_ms(start, end), 0


@function("k", value_ret)
def event_get_timestamp(event: int) -> tuple[int, int]:
    """`(microseconds, ret)`."""
    return streams.timestamp_ns(event) // 1000, 0
