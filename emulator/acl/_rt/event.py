"""Events (facts/pyacl.md §6.3)."""

from __future__ import annotations

from ascend_emulator.client import events
from ascend_emulator.client.calling import function, ret, value_ret

__all__ = [
    "create_event",
    "create_event_ex_with_flag",
    "create_event_with_flag",
    "destroy_event",
    "event_elapsed_time",
    "event_get_timestamp",
    "get_event_avail_num",
    "get_event_id",
    "query_event",
    "query_event_status",
    "query_event_wait_status",
    "record_event",
    "reset_event",
    "stream_wait_event",
    "synchronize_event",
    "synchronize_event_with_timeout",
]


@function("", value_ret)
def create_event() -> tuple[int, int]:
    """`(event, ret)`."""
    return events.create_event(), 0


@function("I", value_ret)
def create_event_with_flag(flag: int) -> tuple[int, int]:
    """`(event, ret)`; flag 8 is needed for times."""
    return events.create_event_with_flag(flag), 0


@function("I", value_ret)
def create_event_ex_with_flag(flag: int) -> tuple[int, int]:
    """`(event, ret)`; an event whose waits and queries count one never recorded as complete."""
    return events.create_event_ex_with_flag(flag), 0


@function("k", ret)
def destroy_event(event: int) -> int:
    """Destroy an event."""
    events.destroy_event(event)
    return 0


@function("kk", ret)
def record_event(event: int, stream: int) -> int:
    """Let the event mark this point of the stream; event first."""
    events.record_event(event, stream)
    return 0


@function("kk", ret)
def stream_wait_event(stream: int, event: int) -> int:
    """Hold the stream until the event; stream first."""
    events.wait_event(stream, event)
    return 0


@function("kk", ret)
def reset_event(event: int, stream: int) -> int:
    """Forget the event's recording, in stream order."""
    events.reset_event(event, stream)
    return 0


@function("k", value_ret)
def query_event(event: int) -> tuple[int, int]:
    """`(status, ret)`: 0 complete, 1 not ready (deprecated)."""
    return int(not events.is_not_pending(event)), 0


@function("k", value_ret)
def query_event_status(event: int) -> tuple[int, int]:
    """`(status, ret)`: 0 not ready, 1 complete."""
    return int(events.is_reached(event)), 0


@function("k", value_ret)
def query_event_wait_status(event: int) -> tuple[int, int]:
    """`(status, ret)`: 0 every stream that was to wait for the event has got past that, 1 not ready."""
    return int(events.is_waited_for(event)), 0


@function("k", ret)
def synchronize_event(event: int) -> int:
    """Wait for an event; releases the GIL."""
    events.synchronize_event(event)
    return 0


@function("ki", ret)
def synchronize_event_with_timeout(event: int, timeout_ms: int) -> int:
    """Wait for an event for a time; releases the GIL."""
    events.synchronize_event_within(event, timeout_ms)
    return 0


@function("kk", value_ret)
def event_elapsed_time(start: int, end: int) -> tuple[float, int]:
    """`(milliseconds, ret)`."""
    return events.elapsed_ms(start, end), 0


@function("k", value_ret)
def event_get_timestamp(event: int) -> tuple[int, int]:
    """`(microseconds, ret)`."""
    return events.timestamp_ns(event) // 1000, 0


@function("k", value_ret)
def get_event_id(event: int) -> tuple[int, int]:
    """`(id, ret)` of the hardware event."""
    return events.event_id(event), 0


@function("", value_ret)
def get_event_avail_num() -> tuple[int, int]:
    """`(hardware events left on the device, ret)`."""
    return events.events_left(), 0
