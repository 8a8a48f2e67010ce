"""`acl.rt`: devices, contexts, streams, events and memory (facts/pyacl.md §5, §6, §8)."""

from __future__ import annotations

from ascend_emulator.client import memory, process, streams
from ascend_emulator.client.calling import function, last_code, ret, two_values_ret, value_ret
from ascend_emulator.codes import INVALID_PARAM, Failure
from ascend_emulator.wire import Op

__all__ = [
    "create_context",
    "create_event",
    "create_event_ex_with_flag",
    "create_event_with_flag",
    "create_stream",
    "create_stream_with_config",
    "ctx_get_current_default_stream",
    "destroy_context",
    "destroy_event",
    "destroy_stream",
    "destroy_stream_force",
    "device_can_access_peer",
    "device_disable_peer_access",
    "device_enable_peer_access",
    "device_get_stream_priority_range",
    "event_elapsed_time",
    "event_get_timestamp",
    "free",
    "free_host",
    "get_context",
    "get_device",
    "get_device_count",
    "get_last_error",
    "get_mem_info",
    "get_primary_ctx_state",
    "get_run_mode",
    "get_stream_available_num",
    "malloc",
    "malloc_align32",
    "malloc_host",
    "memcpy",
    "memcpy_async",
    "memcpy_async_with_condition",
    "memset",
    "memset_async",
    "peek_at_last_error",
    "query_device_status",
    "query_event",
    "query_event_status",
    "record_event",
    "reset_device",
    "reset_device_force",
    "reset_event",
    "set_context",
    "set_device",
    "set_stream_failure_mode",
    "stream_abort",
    "stream_get_id",
    "stream_query",
    "stream_wait_event",
    "synchronize_device",
    "synchronize_device_with_timeout",
    "synchronize_event",
    "synchronize_event_with_timeout",
    "synchronize_stream",
    "synchronize_stream_with_timeout",
]

_LEAST_PRIORITY, _GREATEST_PRIORITY = 7, 0
_DEVICE_NORMAL, _DEVICE_ABNORMAL = 0, 1

# --- devices and contexts --------------------------------------------------------------------------


@function("i", ret)
def set_device(device_id: int) -> int:
    """Bind the thread to the device's default context and count one user more."""
    process.set_device(device_id)
    return 0


@function("i", ret)
def reset_device(device_id: int) -> int:
    """Count one user less; the last one ends the default context."""
    process.reset_device(device_id)
    return 0


@function("i", ret)
def reset_device_force(device_id: int) -> int:
    """End the default context however many users it has."""
    process.reset_device(device_id, force=True)
    return 0


@function("", value_ret)
def get_device() -> tuple[int, int]:
    """`(device_id, ret)`; 107002 in a thread without a context."""
    return process.current().device.ordinal, 0


@function("", value_ret)
def get_device_count() -> tuple[int, int]:
    """`(count, ret)` of the devices this process sees."""
    return len(process.ordinals()), 0


@function("", value_ret)
def get_run_mode() -> tuple[int, int]:
    """`(mode, ret)`: 1 a card behind PCIe, 0 a board."""
    return process.settings().run_mode, 0


@function("i", value_ret)
def query_device_status(device_id: int) -> tuple[int, int]:
    """`(status, ret)`: 0 normal, 1 when the card of an open device has gone."""
    process.check_ordinal(device_id)
    device = process.open_device(device_id)
    return _DEVICE_NORMAL if device is None or device.link.alive() else _DEVICE_ABNORMAL, 0


@function("ii", value_ret)
def device_can_access_peer(device_id: int, peer_id: int) -> tuple[int, int]:
    """`(0 or 1, ret)`."""
    process.check_ordinal(device_id)
    process.check_ordinal(peer_id)
    return int(device_id != peer_id), 0


@function("iI", ret)
def device_enable_peer_access(peer_id: int, flags: int) -> int:
    """Allow copies to another device, which the emulator always does."""
    return _check_peer(peer_id)


@function("i", ret)
def device_disable_peer_access(peer_id: int) -> int:
    """Undo `device_enable_peer_access`."""
    return _check_peer(peer_id)


@function("", two_values_ret)
def device_get_stream_priority_range() -> tuple[int, int, int]:
    """`(least, greatest, ret)`."""
    process.current()
    return _LEAST_PRIORITY, _GREATEST_PRIORITY, 0


@function("i", two_values_ret)
def get_primary_ctx_state(device_id: int) -> tuple[int, int, int]:
    """`(active, flags, ret)`."""
    process.check_ordinal(device_id)
    device = process.open_device(device_id)
    return int(device is not None and device.primary is not None), 0, 0


@function("i", value_ret)
def create_context(device_id: int) -> tuple[int, int]:
    """`(context, ret)`; the thread is bound to the new context."""
    return process.create_context(device_id).handle, 0


@function("k", ret)
def set_context(context: int) -> int:
    """Bind the thread to a context."""
    process.set_context(context)
    return 0


@function("", value_ret)
def get_context() -> tuple[int, int]:
    """`(context, ret)` of the thread; 107002 if none."""
    return process.current().handle, 0


@function("k", ret)
def destroy_context(context: int) -> int:
    """End an explicit context."""
    process.destroy_context(context)
    return 0


@function("", value_ret)
def ctx_get_current_default_stream() -> tuple[int, int]:
    """`(stream, ret)`."""
    return process.current().default_handle, 0


@function("i", ret)
def peek_at_last_error(level: int) -> int:
    """The thread's last error code."""
    return last_code(clear=False)


@function("i", ret)
def get_last_error(level: int) -> int:
    """The thread's last error code, which is cleared."""
    return last_code(clear=True)


# --- streams ---------------------------------------------------------------------------------------


@function("", value_ret)
def create_stream() -> tuple[int, int]:
    """`(stream, ret)`."""
    return streams.create_stream(), 0


@function("II", value_ret)
def create_stream_with_config(priority: int, flag: int) -> tuple[int, int]:
    """`(stream, ret)`; priorities make no difference here."""
    return streams.create_stream(flag), 0


@function("k", ret)
def destroy_stream(stream: int) -> int:
    """Destroy a stream after its queued work."""
    streams.destroy_stream(stream)
    return 0


@function("k", ret)
def destroy_stream_force(stream: int) -> int:
    """Destroy a stream, dropping its queued work."""
    streams.destroy_stream(stream, force=True)
    return 0


@function("k", ret)
def synchronize_stream(stream: int) -> int:
    """Wait for a stream; releases the GIL."""
    streams.synchronize_stream(stream)
    return 0


@function("ki", ret)
def synchronize_stream_with_timeout(stream: int, timeout_ms: int) -> int:
    """Wait for a stream for a time; releases the GIL."""
    streams.synchronize_stream_within(stream, timeout_ms)
    return 0


@function("", ret)
def synchronize_device() -> int:
    """Wait for every stream of the process on the device; releases the GIL."""
    streams.synchronize_device()
    return 0


@function("i", ret)
def synchronize_device_with_timeout(timeout_ms: int) -> int:
    """As `synchronize_device` for a time; keeps the GIL."""
    streams.synchronize_device_within(timeout_ms)
    return 0


@function("k", value_ret)
def stream_query(stream: int) -> tuple[int, int]:
    """`(status, ret)`: 0 complete, 1 not ready."""
    return streams.query_stream(stream), 0


@function("k", ret)
def stream_abort(stream: int) -> int:
    """Drop what is queued on a stream."""
    streams.abort_stream(stream)
    return 0


@function("k", value_ret)
def stream_get_id(stream: int) -> tuple[int, int]:
    """`(id, ret)`."""
    return streams.stream_of(stream).number, 0


@function("", value_ret)
def get_stream_available_num() -> tuple[int, int]:
    """`(streams left on the device, ret)`."""
    return process.current().device.link.call(Op.COUNT_STREAMS, b"").first, 0


@function("kk", ret)
def set_stream_failure_mode(stream: int, mode: int) -> int:
    """Choose what a failure does to the work behind it: 0 nothing, 1 drops it."""
    streams.set_failure_mode(stream, mode)
    return 0


# --- events ----------------------------------------------------------------------------------------


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


# --- memory ----------------------------------------------------------------------------------------


@function("ki", value_ret)
def malloc(size: int, policy: int) -> tuple[int, int]:
    """`(address, ret)` of device memory, padded by at least 32 bytes."""
    return memory.malloc(size, pad=True), 0


@function("ki", value_ret)
def malloc_align32(size: int, policy: int) -> tuple[int, int]:
    """`(address, ret)` of device memory, rounded up to 32 bytes only."""
    return memory.malloc(size, pad=False), 0


@function("k", ret)
def free(address: int) -> int:
    """Free device memory at once."""
    memory.free(address)
    return 0


@function("k", value_ret)
def malloc_host(size: int) -> tuple[int, int]:
    """`(address, ret)` of pinned host memory."""
    return memory.malloc_host(size), 0


@function("k", ret)
def free_host(address: int) -> int:
    """Free pinned host memory."""
    memory.free_host(address)
    return 0


@function("kkik", ret)
def memset(address: int, room: int, value: int, size: int) -> int:
    """Set bytes and wait for it."""
    memory.fill(address, room, value, size)
    return 0


@function("kkikk", ret)
def memset_async(address: int, room: int, value: int, size: int, stream: int) -> int:
    """Queue setting bytes."""
    memory.fill_async(address, room, value, size, stream)
    return 0


@function("kkkki", ret)
def memcpy(target: int, room: int, source: int, size: int, kind: int) -> int:
    """Copy and wait for it; does not wait for streams."""
    memory.copy(target, room, source, size, kind)
    return 0


@function("kkkkik", ret)
def memcpy_async(target: int, room: int, source: int, size: int, kind: int, stream: int) -> int:
    """Queue a copy; with memory that is not acl's, drain the stream and copy at once."""
    memory.copy_async(target, room, source, size, kind, stream)
    return 0


@function("kkkkik", ret)
def memcpy_async_with_condition(
    target: int, room: int, source: int, size: int, kind: int, stream: int
) -> int:
    """As `memcpy_async`."""
    memory.copy_async(target, room, source, size, kind, stream)
    return 0


@function("i", two_values_ret)
def get_mem_info(kind: int) -> tuple[int, int, int]:
    """`(free, total, ret)` bytes of a kind of memory, which is no device id."""
    return (*memory.memory_info(kind), 0)


def _check_peer(peer_id: int) -> int:
    process.check_ordinal(peer_id)
    if process.current().device.ordinal == peer_id:
        raise Failure(INVALID_PARAM, f"EH0001: device {peer_id} is the current one, no peer.")
    return 0
