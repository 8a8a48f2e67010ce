"""Ordinary host memory that a device may reach, as if it were pinned (facts/pyacl.md §8.1, `host_register`).

The client hands the card a descriptor of its own memory (`/proc/self/mem`), so the card's engines copy from and to
the program's own pages, with no right to trace processes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ascend_emulator import wire
from ascend_emulator.client import addresses, process
from ascend_emulator.client.memory import PAGE
from ascend_emulator.client.process import Device
from ascend_emulator.codes import (
    INVALID_PARAM,
    RT_DRIVER,
    RT_FEATURE_NOT_SUPPORTED,
    RT_HOST_ALREADY_REGISTERED,
    RT_HOST_NOT_REGISTERED,
    RT_PARAM_INVALID,
    Failure,
)
from ascend_emulator.wire import ONE, TWO, Op

_ARCHS = frozenset((2201, 3510))
_TYPES = 0x4 | 0x8  # IOMEMORY | READONLY, of the first form
_MAPPED = 0x2
_PINNED = 0x10000000
_FLAGS = _MAPPED | _TYPES | _PINNED


@dataclass(frozen=True)
class _Registration:
    device: Device
    size: int
    mapped: bool


_registrations: dict[int, _Registration] = {}


def register(address: int, size: int, kind: int) -> int:
    """Let the current device reach a range of host memory, pinned or not.

    Args:
        address: where it begins, a multiple of 4096.
        size: its bytes.
        kind: `aclrtHostRegisterType`: 0, 4, 8 or 12.

    Returns:
        The device's address of it; for kernels, not for copies. Here it is the host's.

    Raises:
        Failure: 100000 (null, size 0), 107000 (not aligned, or device memory), 107002, 207000 (another kind, or the
            SoC cannot), 507899 (not all of it can be written), 507910 (registered already).
    """
    _check_range(address, size)
    if kind & ~_TYPES:
        raise Failure(RT_FEATURE_NOT_SUPPORTED, f"EE1006: host memory cannot be registered as {kind:#x}.")
    _register(address, size, mapped=True)
    return address


def register_flagged(address: int, size: int, flags: int) -> None:
    """As `register`, by flags: 0x2 mapped, 0x4 and 0x8 reserved, 0x10000000 pinned.

    Raises:
        Failure: as `register`; 107000, other flags, or pinned memory to be pinned.
    """
    _check_range(address, size)
    if not flags & _FLAGS or flags & ~_FLAGS:
        raise Failure(
            RT_PARAM_INVALID, f"EE1011: flags {flags:#x} are no combination of 0x2, 0x4, 0x8, 0x10000000."
        )
    if flags & _PINNED and addresses.is_pinned_memory(address) and address not in _registrations:
        raise Failure(RT_PARAM_INVALID, "EE1011: the memory is pinned already.")
    _register(address, size, mapped=bool(flags & ~_PINNED))


def device_pointer(address: int, flags: int) -> int:
    """The device's address of registered memory.

    Raises:
        Failure: 100000 (null, flags), 107000 (no mapped registration holds it).
    """
    if not address or flags:
        raise Failure(INVALID_PARAM, "EH0001: the address must not be null and the flag must be 0.")
    for start, found in _registrations.items():
        if start <= address < start + found.size and found.mapped and not found.device.link.closed:
            return address
    raise Failure(RT_PARAM_INVALID, f"EE1001: {address:#x} is not in registered memory that is mapped.")


def unregister(address: int) -> None:
    """Undo `register` for the range that starts there.

    Raises:
        Failure: 100000 (null), 107002, 207000 (the SoC cannot), 507911 (not registered).
    """
    if not address:
        raise Failure(INVALID_PARAM, "EH0002: the address is null.")
    found = _registrations.pop(address, None)
    if found is not None and found.device.link.closed:
        return  # gone with its device, and programs undo it all the same
    process.current()
    _check_soc()
    if found is None:
        raise Failure(RT_HOST_NOT_REGISTERED, f"EE1018: no registered memory begins at {address:#x}.")
    if addresses.registered.take(address) is not None:
        found.device.link.elsewhere.take(address)
        found.device.link.call(Op.UNREGISTER, ONE.pack(address))


def _register(address: int, size: int, *, mapped: bool) -> None:
    device = process.current().device
    _check_soc()
    if address % PAGE:
        raise Failure(RT_PARAM_INVALID, f"EE1001: {address:#x} is not a multiple of {PAGE}.")
    if addresses.is_device_memory(address):
        raise Failure(RT_PARAM_INVALID, f"EE1001: {address:#x} is device memory.")
    for start, found in _registrations.items():
        if start < address + size and address < start + found.size and not found.device.link.closed:
            raise Failure(RT_HOST_ALREADY_REGISTERED, f"EE1018: memory at {start:#x} is registered already.")
    if not addresses.writable(address, size):
        raise Failure(RT_DRIVER, f"EE9999: {size} bytes at {address:#x} are not memory that can be written.")
    if not addresses.is_pinned_memory(address):
        memory_of_process = os.open("/proc/self/mem", os.O_RDWR)
        try:
            device.link.call(Op.REGISTER, TWO.pack(address, size), fd=memory_of_process)
        finally:
            os.close(memory_of_process)
        device.link.elsewhere.add(address, size, wire.HOST)
        addresses.registered.add(address, size, device)
    _registrations[address] = _Registration(device, size, mapped)


def _check_range(address: int, size: int) -> None:
    if not address or not size:
        raise Failure(INVALID_PARAM, "EH0002: neither the address nor the size may be 0.")


def _check_soc() -> None:
    soc = process.settings().soc
    if soc.arch not in _ARCHS:
        raise Failure(RT_FEATURE_NOT_SUPPORTED, f"EE1005: {soc.name} cannot reach registered host memory.")


def _after_fork() -> None:
    _registrations.clear()


os.register_at_fork(after_in_child=_after_fork)
