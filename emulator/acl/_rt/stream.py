"""Streams and the calls that wait for them (facts/pyacl.md §6.1, §6.2)."""

from __future__ import annotations

from typing import Any

from ascend_emulator.client import process, streams
from ascend_emulator.client.calling import dict_ret, function, note, ret, value_ret
from ascend_emulator.codes import INVALID_PARAM, Failure
from ascend_emulator.wire import Op

__all__ = [
    "create_stream",
    "create_stream_with_config",
    "destroy_stream",
    "destroy_stream_force",
    "get_stream_attribute",
    "get_stream_available_num",
    "get_stream_overflow_switch",
    "set_stream_attribute",
    "set_stream_failure_mode",
    "set_stream_overflow_switch",
    "stream_abort",
    "stream_get_id",
    "stream_query",
    "synchronize_device",
    "synchronize_device_with_timeout",
    "synchronize_stream",
    "synchronize_stream_with_timeout",
]

_KEYS = {
    streams.FAILURE_MODE: "failureMode",
    streams.OVERFLOW_SWITCH: "overflowSwitch",
    streams.TAG: "userCustomTag",
}
_RESERVED = "reserved"
_REST = (0, 0, 0)
"""The unused numbers of the reserved form, whose first one is the value."""


@function("", value_ret)
def create_stream() -> tuple[int, int]:
    """`(stream, ret)`."""
    return streams.create_stream(), 0


@function("ii", value_ret)
def create_stream_with_config(priority: int, flag: int) -> tuple[int, int]:
    """`(stream, ret)`; priorities make no difference here."""
    return streams.create_stream(priority, flag), 0


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
    """Give up what is queued on a stream."""
    streams.abort_stream(stream)
    return 0


@function("k", value_ret)
def stream_get_id(stream: int) -> tuple[int, int]:
    """`(id, ret)`."""
    return streams.own_stream(stream).number, 0


@function("", value_ret)
def get_stream_available_num() -> tuple[int, int]:
    """`(streams left on the device, ret)`."""
    return process.current().device.link.call(Op.COUNT_STREAMS, b"").first, 0


@function("kI", ret)
def set_stream_failure_mode(stream: int, mode: int) -> int:
    """Choose what a failure does to the work behind it: 0 nothing, 1 drops it."""
    streams.set_failure_mode(stream, mode)
    return 0


@function("kI", ret)
def set_stream_overflow_switch(stream: int, flag: int) -> int:
    """Switch a stream's overflow detection on (1) or off (0)."""
    if flag not in (0, 1):
        raise Failure(INVALID_PARAM, f"EH0001: overflow switch {flag} is invalid: 0 or 1.")
    streams.set_overflow_switch(stream, flag)
    return 0


@function("k", value_ret)
def get_stream_overflow_switch(stream: int) -> tuple[int, int]:
    """`(flag, ret)`."""
    return streams.get_attribute(stream, streams.OVERFLOW_SWITCH), 0


@function("kiO", ret)
def set_stream_attribute(stream: int, attribute: int, value: Any) -> int:
    """Set an attribute to what the dict holds under `failureMode`, `overflowSwitch`, `userCustomTag` or `reserved`."""
    if not isinstance(value, dict):
        raise TypeError("the aclrtStreamAttrValue argument is not dict")
    streams.set_attribute(stream, attribute, _number_in(value, attribute))
    return 0


@function("ki", dict_ret)
def get_stream_attribute(stream: int, attribute: int) -> tuple[dict[str, Any], int]:
    """`(dict, ret)` with the key that `set_stream_attribute` takes."""
    try:
        number, code = streams.get_attribute(stream, attribute), 0
    except Failure as failure:
        note(failure)
        number, code = 0, failure.code
    key = _KEYS.get(attribute, _RESERVED)
    return {key: [number, *_REST] if key == _RESERVED else number}, code


def _number_in(value: dict[str, Any], attribute: int) -> int:
    key, bits = _KEYS.get(attribute, _RESERVED), 64 if attribute == streams.FAILURE_MODE else 32
    number = value.get(key, 0)
    if key == _RESERVED:
        if key in value and not (isinstance(number, list) and len(number) == 1 + len(_REST)):
            raise ValueError(f"The type of {key} is not a list of {1 + len(_REST)} numbers!")
        number = number[0] if number else 0
    if not isinstance(number, int):
        return 0
    if not 0 <= number < 1 << 64:
        raise ValueError("PyLong_AsUnsignedLong failed")
    return number & (1 << bits) - 1
