"""Memory that others reach too: other processes, or the device that of the host (facts/pyacl.md §8.1)."""

from __future__ import annotations

import os

from ascend_emulator.client import registered, shared
from ascend_emulator.client.calling import function, ret, value_ret

__all__ = [
    "device_get_bare_tgid",
    "host_get_device_pointer",
    "host_register",
    "host_register_v2",
    "host_unregister",
    "ipc_mem_close",
    "ipc_mem_get_export_key",
    "ipc_mem_import_by_key",
    "ipc_mem_set_import_pid",
]

_KEY_LIMIT = 1024
_INT32 = 1 << 31


def _key_ret(code: int) -> tuple[str, int]:
    return "", code


@function("", value_ret)
def device_get_bare_tgid() -> tuple[int, int]:
    """`(pid, ret)` of this process, by which others let it import memory."""
    return os.getpid(), 0


@function("kkkk", _key_ret)
def ipc_mem_get_export_key(address: int, size: int, room: int, flags: int) -> tuple[str, int]:
    """`(key, ret)` by which other processes may use device memory; ValueError for room of 1024 bytes or more."""
    if room >= _KEY_LIMIT:
        raise ValueError(f"key len should be less than {_KEY_LIMIT}")
    return shared.export_key(address, size, room, flags), 0


@function("sO", ret)
def ipc_mem_set_import_pid(key: str, pids: object) -> int:
    """Name the processes that may import a key; ValueError for anything but a list of ints of 32 bits."""
    if not isinstance(pids, list):
        raise ValueError("argument 2 only support the format of list")
    if not all(isinstance(pid, int) and -_INT32 <= pid < _INT32 for pid in pids):
        raise ValueError("get values from PyList failed")
    shared.allow(key, pids)
    return 0


@function("sk", value_ret)
def ipc_mem_import_by_key(key: str, flags: int) -> tuple[int, int]:
    """`(address, ret)` of another process's device memory."""
    return shared.import_key(key, flags), 0


@function("s", ret)
def ipc_mem_close(key: str) -> int:
    """End an import or an export."""
    shared.close(key)
    return 0


@function("kki", value_ret)
def host_register(address: int, size: int, kind: int) -> tuple[int, int]:
    """`(device address, ret)` of host memory that the device may reach from now on."""
    return registered.register(address, size, kind), 0


@function("kkI", ret)
def host_register_v2(address: int, size: int, flags: int) -> int:
    """As `host_register`, by flags."""
    registered.register_flagged(address, size, flags)
    return 0


@function("kI", value_ret)
def host_get_device_pointer(address: int, flags: int) -> tuple[int, int]:
    """`(device address, ret)` of registered host memory."""
    return registered.device_pointer(address, flags), 0


@function("k", ret)
def host_unregister(address: int) -> int:
    """Undo `host_register`."""
    registered.unregister(address)
    return 0
