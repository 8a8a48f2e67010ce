"""Device memory that processes share by a key (facts/pyacl.md §8.1, `ipc_mem_*`).

A key names the process that made it, the number the card knows it by, and the physical device, in the driver's
form. Every client maps all of a card's memory, so an imported range is an address like any other.
"""

from __future__ import annotations

import os
import re
from struct import Struct
from typing import NamedTuple

from ascend_emulator import wire
from ascend_emulator.client import addresses, process
from ascend_emulator.client.addresses import Block
from ascend_emulator.client.process import Device
from ascend_emulator.codes import (
    INVALID_PARAM,
    RT_DRIVER,
    RT_FEATURE_NOT_SUPPORTED,
    RT_PARAM_INVALID,
    Failure,
)
from ascend_emulator.settings import MAX_DEVICES
from ascend_emulator.wire import ONE, Op

KEY_ROOM = 65
"""Bytes that a key has, the zero byte at its end included."""

_OPEN_TO_ALL = 1
_PEER_ACCESS = 1
_ARCH_WITHOUT = 3002
_KEY = re.compile(r"([0-9a-f]{8})([0-9a-f]{16})([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{8})")


class _Import(NamedTuple):
    device: Device
    address: int
    added: bool  # whether the range was not this process's own anyway


_imports: dict[str, _Import] = {}


def export_key(address: int, size: int, room: int, flags: int) -> str:
    """A key by which other processes may use device memory.

    Args:
        address: where it begins.
        size: its bytes.
        room: bytes for the key, at least 65.
        flags: 0: only processes that `allow` names; 1: any.

    Raises:
        Failure: 100000 (null), 107000 (size 0, no room, flags), 107002, 207000 (the SoC cannot), 507899 (not in one
            live block of this process).
    """
    if not address:
        raise Failure(INVALID_PARAM, "EH0002: the address is null.")
    if not size or room < KEY_ROOM or flags not in (0, _OPEN_TO_ALL):
        raise Failure(
            RT_PARAM_INVALID,
            f"EE1003: size must not be 0, the key needs {KEY_ROOM} bytes and flags must be 0 or 1.",
        )
    process.current()
    _check_soc()
    found = addresses.live.holding(address, size)
    device = None if found is None or found.value.gone else found.value.device
    if device is None or not device.link.memory.covers(address):
        raise Failure(
            RT_DRIVER, f"EE9999: {size} bytes at {address:#x} are not in one live block of device memory."
        )
    link = device.link
    body = wire.EXPORT.pack(address - link.memory.base, size, flags)
    number = link.call(Op.EXPORT, body).first
    return f"{os.getpid():08x}{number:016x}{process.ordinals()[device.ordinal]:02x}{0:02x}{0:08x}"


def allow(key: str, pids: list[int]) -> None:
    """Name processes that may import a key of this process.

    Raises:
        Failure: 107000 (no processes, more than 31, no key), 107002, 207000 (the SoC cannot), 207006 (the key is open
            to all), 507899 (no such key of this process).
    """
    if not pids:
        raise Failure(RT_PARAM_INVALID, "EE1003: the list of processes is empty.")
    device, number = _find(key)
    body = wire.ALLOW.pack(number) + Struct(f"<{len(pids)}i").pack(*pids)
    device.link.call(Op.ALLOW, body)


def import_key(key: str, flags: int) -> int:
    """The address at which this process may use the memory behind a key.

    Args:
        key: what `export_key` gave, there or in another process.
        flags: 0, or 1 to enable access between devices.

    Raises:
        Failure: 107000 (flags, no key), 107002, 207000 (the SoC cannot), 507899 (no such key, its memory was freed, or
            it does not name this process).
    """
    if flags not in (0, _PEER_ACCESS):
        raise Failure(RT_PARAM_INVALID, f"EE1003: flags {flags} are invalid, the valid range is [0, 1].")
    device, number = _find(key)
    known = _imports.get(key)
    if known is not None and not known.device.link.closed:
        return known.address
    answer = device.link.call(Op.IMPORT, ONE.pack(number))
    address = device.link.memory.base + answer.first
    mine = addresses.live.holding(address, answer.second)
    added = mine is None or mine.value.gone
    if added:
        addresses.live.add(address, answer.second, Block(device, 2 << 20))
    _imports[key] = _Import(device, address, added)
    return address


def close(key: str) -> None:
    """End an import of this process or, where it has none by that key, its export.

    Raises:
        Failure: 107000 (no key), 107002, 207000 (the SoC cannot), 507899 (another process's export).
    """
    device, number = _find(key)
    known = _imports.pop(key, None)
    if known is None:
        device.link.call(Op.WITHDRAW, ONE.pack(number))
        return
    if known.added and not known.device.link.closed:
        addresses.live.take(known.address)
    device.link.call(Op.CLOSE_IMPORT, ONE.pack(number))


def _find(key: str) -> tuple[Device, int]:
    """The device behind a key, and the card's number of the export."""
    if not 0 < len(key.encode()) < KEY_ROOM:
        raise Failure(RT_PARAM_INVALID, f"EE1003: a key has 1 to {KEY_ROOM - 1} bytes.")
    process.current()
    _check_soc()
    parts = _KEY.fullmatch(key)
    if parts is None:
        raise Failure(RT_DRIVER, f"EE9999: no memory is exported by the key {key!r}.")
    number, physical = int(parts[2], 16), int(parts[3], 16)
    for ordinal, card in enumerate(process.ordinals()[:MAX_DEVICES]):
        device = process.open_device(ordinal)
        if card == physical and device is not None:
            return device, number
    raise Failure(RT_DRIVER, f"EE9999: the key is of card {physical}, which this process has not opened.")


def _check_soc() -> None:
    soc = process.settings().soc
    if soc.arch == _ARCH_WITHOUT:
        raise Failure(
            RT_FEATURE_NOT_SUPPORTED, f"EE1005: {soc.name} does not share memory between processes."
        )


os.register_at_fork(after_in_child=_imports.clear)
