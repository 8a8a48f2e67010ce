"""Devices (facts/pyacl.md §5)."""

from __future__ import annotations

from ascend_emulator.client import devices, process, streams
from ascend_emulator.client.calling import dict_ret, function, ret, two_values_ret, value_ret

__all__ = [
    "device_can_access_peer",
    "device_disable_peer_access",
    "device_enable_peer_access",
    "device_get_stream_priority_range",
    "get_device",
    "get_device_count",
    "get_device_info",
    "get_device_sat_mode",
    "get_device_utilization_rate",
    "get_primary_ctx_state",
    "get_run_mode",
    "query_device_status",
    "reset_device",
    "reset_device_force",
    "set_device",
    "set_device_sat_mode",
]

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
    """`(status, ret)`: 0 normal, 1 when the device is lost."""
    return _DEVICE_ABNORMAL if process.is_abnormal(device_id) else _DEVICE_NORMAL, 0


@function("i", dict_ret)
def get_device_utilization_rate(device_id: int) -> tuple[dict[str, int], int]:
    """`(dict, 0)` in percent; -1 for what cannot be told, which is all of it for a device that is not there."""
    return devices.utilization(device_id), 0


@function("II", value_ret)
def get_device_info(device_id: int, attribute: int) -> tuple[int, int]:
    """`(value, ret)`; the value is cut to 32 bits, as the binding does."""
    value = devices.information(device_id, attribute) & 0xFFFF_FFFF
    return value - (value >> 31 << 32), 0


@function("i", ret)
def set_device_sat_mode(mode: int) -> int:
    """Choose what becomes of overflows: 0 saturation, 1 infinity and NaN; makes no difference here."""
    devices.set_saturation_mode(mode)
    return 0


@function("", value_ret)
def get_device_sat_mode() -> tuple[int, int]:
    """`(mode, ret)`."""
    return devices.saturation_mode(), 0


@function("ii", value_ret)
def device_can_access_peer(device_id: int, peer_id: int) -> tuple[int, int]:
    """`(0 or 1, ret)`."""
    devices.check_peers(device_id, peer_id)
    return 1, 0


@function("iI", ret)
def device_enable_peer_access(peer_id: int, flags: int) -> int:
    """Allow copies to another device, which the emulator always does."""
    devices.check_peer_of_current(peer_id, flags)
    return 0


@function("i", ret)
def device_disable_peer_access(peer_id: int) -> int:
    """Undo `device_enable_peer_access`."""
    devices.check_peer_of_current(peer_id)
    return 0


@function("", two_values_ret)
def device_get_stream_priority_range() -> tuple[int, int, int]:
    """`(least, greatest, ret)`."""
    process.current()
    return streams.LEAST_PRIORITY, streams.GREATEST_PRIORITY, 0


@function("i", two_values_ret)
def get_primary_ctx_state(device_id: int) -> tuple[int, int, int]:
    """`(active, flags, ret)`."""
    process.check_ordinal(device_id)
    device = process.open_device(device_id)
    return int(device is not None and device.primary is not None), 0, 0
