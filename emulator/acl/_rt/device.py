"""Devices (facts/pyacl.md §5)."""

from __future__ import annotations

from ascend_emulator.client import process
from ascend_emulator.client.calling import function, ret, two_values_ret, value_ret
from ascend_emulator.codes import INVALID_PARAM, Failure

__all__ = [
    "device_can_access_peer",
    "device_disable_peer_access",
    "device_enable_peer_access",
    "device_get_stream_priority_range",
    "get_device",
    "get_device_count",
    "get_primary_ctx_state",
    "get_run_mode",
    "query_device_status",
    "reset_device",
    "reset_device_force",
    "set_device",
]

_LEAST_PRIORITY, _GREATEST_PRIORITY = 7, 0
_DEVICE_NORMAL, _DEVICE_ABNORMAL = 0, 1


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


def _check_peer(peer_id: int) -> int:
    process.check_ordinal(peer_id)
    if process.current().device.ordinal == peer_id:
        raise Failure(INVALID_PARAM, f"EH0001: device {peer_id} is the current one, no peer.")
    return 0
