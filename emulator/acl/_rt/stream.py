"""Streams and the calls that wait for them (facts/pyacl.md §6.1, §6.2)."""

from __future__ import annotations

from ascend_emulator.client import process, streams
from ascend_emulator.client.calling import function, ret, value_ret
from ascend_emulator.wire import Op

__all__ = [
    "create_stream",
    "create_stream_with_config",
    "destroy_stream",
    "destroy_stream_force",
    "get_stream_available_num",
    "set_stream_failure_mode",
    "stream_abort",
    "stream_get_id",
    "stream_query",
    "synchronize_device",
    "synchronize_device_with_timeout",
    "synchronize_stream",
    "synchronize_stream_with_timeout",
]


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
