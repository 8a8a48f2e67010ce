"""Address space and device memory apart from each other (facts/pyacl.md §8.1, `reserve_mem_address` and so on)."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from ascend_emulator import wire
from ascend_emulator.client import addresses, handles, process
from ascend_emulator.client.addresses import Block
from ascend_emulator.client.memory import HUGE_PAGE
from ascend_emulator.client.process import Device
from ascend_emulator.codes import (
    INVALID_PARAM,
    RT_DRIVER,
    RT_FEATURE_NOT_SUPPORTED,
    RT_INVALID_DEVICE,
    RT_INVALID_HANDLE,
    RT_OUT_OF_MEMORY,
    RT_PARAM_INVALID,
    Failure,
)
from ascend_emulator.ranges import Ranges
from ascend_emulator.settings import MAX_DEVICES
from ascend_emulator.window import Window
from ascend_emulator.wire import ONE, TWO, Op

GRANULARITY = HUGE_PAGE
"""Bytes that address space and physical memory come in (driver: DEVMM_MEM_ALLOC_MINIMUN_GRANULARITY)."""

_BOARD_ARCH = 3002
_LARGEST = 1 << 46
_HOST, _DEVICE, _UNREGISTERED, _MANAGED, _HOST_NUMA = range(5)
_HOST_ONLY = frozenset((2, 3, 6, 7))
_GIANT_PAGES = frozenset((10, 11, 14, 17))
_ATTRIBUTES = _HOST_ONLY | _GIANT_PAGES | frozenset((4, 5, 12, 13, 15, 16))
_OPTIONS = range(2)


@dataclass(frozen=True)
class PhysicalProperties:
    """`aclrtPhysicalMemProp`.

    Attributes:
        handle_type: 0.
        allocation_type: 0, pinned.
        attribute: `aclrtMemAttr`.
        location_type: `aclrtMemLocationType`: 1 a device.
        location_id: the device.
    """

    handle_type: int
    allocation_type: int
    attribute: int
    location_type: int
    location_id: int


class Physical:
    """Device memory without an address.

    Attributes:
        device: where it is.
        offset: its place in the device's memory.
        size: its bytes.
        users: the handle while it is not freed, and every mapping; the last to go gives it back.
    """

    def __init__(self, device: Device, offset: int, size: int) -> None:
        self.device = device
        self.offset = offset
        self.size = size
        self.users = 1

    def drop(self) -> None:
        """One user less."""
        self.users -= 1
        if not self.users and not self.device.link.closed:
            self.device.link.call(Op.FREE, ONE.pack(self.offset))


class _Reservation:
    def __init__(self, window: Window) -> None:
        self.window = window
        self.device: Device | None = (
            None  # the one whose memory is mapped into it, and whose card has the twin
        )
        self.mapped: dict[int, Physical] = {}

    def overlaps(self, address: int, size: int) -> bool:
        """Whether memory is mapped anywhere in a range."""
        return any(
            start < address + size and address < start + held.size for start, held in self.mapped.items()
        )


_reservations: Ranges[_Reservation] = Ranges()
_lock = threading.RLock()


def reserve(size: int, alignment: int, wanted: int, flags: int) -> int:
    """Reserve address space.

    Args:
        size: bytes; at least 2 MiB are taken.
        alignment: 0.
        wanted: the address it must have, a multiple of 2 MiB; 0 for any.
        flags: 0 or 1, without a meaning.

    Returns:
        Its address.

    Raises:
        Failure: 100000 (size 0, flags), 107000 (alignment, an address that is not free), 107017 (no device is open),
            207000 (a board), 207001 (no room).
    """
    if not size or flags not in (0, 1):
        raise Failure(INVALID_PARAM, "EH0001: the size must not be 0, and the flags must be 0.")
    _check_product()
    if alignment or wanted % GRANULARITY:
        raise Failure(
            RT_PARAM_INVALID, f"EE1001: the alignment must be 0 and the address a multiple of {GRANULARITY}."
        )
    if all(process.open_device(ordinal) is None for ordinal in range(MAX_DEVICES)):
        raise Failure(RT_INVALID_HANDLE, "EE9999: no device is open in this process.")
    if size > _LARGEST:
        raise Failure(RT_OUT_OF_MEMORY, f"EL0004: there are no {size} bytes of address space.")
    taken = _rounded(size)
    try:
        window = Window(taken + (0 if wanted else GRANULARITY), wanted)
    except OSError as error:
        code = RT_PARAM_INVALID if wanted else RT_OUT_OF_MEMORY
        raise Failure(code, f"EL0004: {error}") from error
    address = -(-window.base // GRANULARITY) * GRANULARITY
    _reservations.add(address, taken, _Reservation(window))
    return address


def release(address: int) -> None:
    """Give address space back.

    Raises:
        Failure: 100000 (null), 107000 (nothing is reserved from there, or memory is mapped into it), 207000 (a board).
    """
    _check_address(address)
    _check_product()
    with _lock:
        found = _reservations.at(address)
        if found is None or found.start != address or found.value.mapped:
            raise Failure(
                RT_PARAM_INVALID, f"EE1001: no address space without memory is reserved at {address:#x}."
            )
        _reservations.take(address)
        _leave_device(address, found.value)
        found.value.window.close()


def malloc_physical(size: int, properties: PhysicalProperties, flags: int) -> int:
    """Take device memory without an address.

    Args:
        size: bytes; whole pieces of 2 MiB are taken.
        properties: of the memory.
        flags: 0.

    Returns:
        A handle.

    Raises:
        Failure: 100000 (size 0, flags, properties that do not exist), 107001 (no such device), 107017 (a device that
            is not open), 207000 (1 GiB pages, host memory), 207001 (no room).
    """
    if not size or flags:
        raise Failure(INVALID_PARAM, "EH0001: the size must not be 0, and the flags must be 0.")
    device = _device_of(properties)
    if size > _LARGEST:
        raise Failure(RT_OUT_OF_MEMORY, f"EL0004: no device has {size} bytes of memory.")
    taken = _rounded(size)
    offset = device.link.call(Op.MALLOC, TWO.pack(taken, GRANULARITY)).first
    return handles.add(Physical(device, offset, taken))


def free_physical(handle: int) -> None:
    """Give device memory back, as soon as it is mapped nowhere.

    Raises:
        Failure: 100000 (null), 107000 (no such handle).
    """
    with _lock:
        physical = _physical(handle)
        handles.remove(handle, Physical)
        physical.drop()


def map_memory(address: int, size: int, offset: int, handle: int, flags: int) -> None:
    """Let reserved address space hold device memory.

    Args:
        address: a multiple of 2 MiB inside a reservation.
        size: all of the memory's bytes.
        offset: 0.
        handle: of the memory.
        flags: 0.

    Raises:
        Failure: 100000 (null, size 0, flags), 107000 (what does not fit, is mapped already or is of two devices),
            207000 (a board), 207001 (too many mappings).
    """
    _check_address(address)
    if not handle or not size or flags:
        raise Failure(INVALID_PARAM, "EH0001: handle and size must not be 0, and the flags must be 0.")
    _check_product()
    with _lock:
        physical = _physical(handle)
        found = _reservations.holding(address, physical.size)
        distance = 0 if found is None else address - found.start
        fits = size in (physical.size, _rounded(size)) and _rounded(size) == physical.size and not offset
        if found is None or not fits or distance % GRANULARITY:
            raise Failure(
                RT_PARAM_INVALID, f"EE1001: the memory does not fit to {size} bytes at {address:#x}."
            )
        reservation = found.value
        if reservation.overlaps(address, physical.size):
            raise Failure(RT_PARAM_INVALID, f"EE1001: memory is mapped at {address:#x} already.")
        _join_device(found.start, found.end - found.start, reservation, physical.device)
        link = physical.device.link
        link.call(Op.MAP, wire.MAP.pack(found.start, distance, physical.offset, physical.size))
        place = address - reservation.window.base
        try:
            reservation.window.map(place, link.memory.fd, physical.offset, physical.size)
        except OSError as error:
            link.call(Op.UNMAP, TWO.pack(found.start, distance))
            raise Failure(RT_OUT_OF_MEMORY, f"EL0004: {error}") from error
        reservation.mapped[address] = physical
        physical.users += 1
        addresses.live.add(address, physical.size, Block(physical.device, HUGE_PAGE))


def unmap_memory(address: int) -> None:
    """Undo `map_memory` for the memory mapped there.

    Raises:
        Failure: 100000 (null), 207000 (a board), 507899 (none is mapped there).
    """
    _check_address(address)
    _check_product()
    with _lock:
        found = _reservations.at(address)
        physical = found.value.mapped.pop(address, None) if found is not None else None
        if found is None or physical is None:
            raise Failure(RT_DRIVER, f"EE9999: no memory is mapped at {address:#x}.")
        found.value.window.unmap(address - found.value.window.base)
        addresses.live.take(address)
        link = physical.device.link
        if not link.closed:
            link.call(Op.UNMAP, TWO.pack(found.start, address - found.start))
        physical.drop()


def granularity(properties: PhysicalProperties, option: int) -> int:
    """Bytes that physical memory comes in.

    Raises:
        Failure: 100000 (properties that do not exist), 207000 (an option other than 0 and 1, 1 GiB pages).
    """
    if properties.attribute not in _ATTRIBUTES or (
        properties.location_type == _DEVICE and properties.attribute in _HOST_ONLY
    ):
        raise _no_such_attribute(properties.attribute)
    if option not in _OPTIONS or properties.attribute in _GIANT_PAGES:
        raise Failure(RT_FEATURE_NOT_SUPPORTED, f"EE1006: option {option} is not supported.")
    return GRANULARITY


def _device_of(properties: PhysicalProperties) -> Device:
    if properties.handle_type or properties.allocation_type:
        raise Failure(INVALID_PARAM, "EH0001: handleType and allocationType must be 0.")
    if properties.location_type in (_UNREGISTERED, _MANAGED):
        raise Failure(
            INVALID_PARAM, f"EH0001: memory cannot be at a location of type {properties.location_type}."
        )
    on_device = properties.location_type == _DEVICE
    if properties.attribute not in _ATTRIBUTES or (on_device and properties.attribute in _HOST_ONLY):
        raise _no_such_attribute(properties.attribute)
    if not on_device or properties.attribute in _GIANT_PAGES:
        raise Failure(
            RT_FEATURE_NOT_SUPPORTED, "EE1006: only pages of 4 KiB and 2 MiB on a device are supported."
        )
    try:
        process.check_ordinal(properties.location_id)
    except Failure as failure:
        raise Failure(RT_INVALID_DEVICE, failure.text) from failure
    device = process.open_device(properties.location_id)
    if device is None:
        raise Failure(
            RT_INVALID_HANDLE, f"EE9999: device {properties.location_id} is not open in this process."
        )
    return device


def _physical(handle: int) -> Physical:
    if not handle:
        raise Failure(INVALID_PARAM, "EH0002: the handle is null.")
    physical = handles.find(handle)
    if not isinstance(physical, Physical):
        raise Failure(RT_PARAM_INVALID, f"EE1001: {handle:#x} is no handle of device memory.")
    return physical


def _join_device(address: int, size: int, reservation: _Reservation, device: Device) -> None:
    if reservation.device is not None and reservation.device.link.closed:
        _leave_device(address, reservation)
    if reservation.device is None:
        device.link.call(Op.RESERVE, TWO.pack(address, size))
        device.link.elsewhere.add(address, size, wire.WINDOW)
        reservation.device = device
    elif reservation.device is not device:
        raise Failure(
            RT_PARAM_INVALID, "EE1001: memory of two devices cannot be mapped into one reservation."
        )


def _leave_device(address: int, reservation: _Reservation) -> None:
    device, reservation.device = reservation.device, None
    if device is not None and not device.link.closed:
        device.link.elsewhere.take(address)
        device.link.call(Op.RELEASE, ONE.pack(address))


def _rounded(size: int) -> int:
    return -(-size // GRANULARITY) * GRANULARITY


def _check_address(address: int) -> None:
    if not address:
        raise Failure(INVALID_PARAM, "EH0002: the address is null.")


def _check_product() -> None:
    settings = process.settings()
    if settings.run_mode == 0 and settings.soc.arch == _BOARD_ARCH:
        raise Failure(RT_FEATURE_NOT_SUPPORTED, "EE1005: a board has no virtual memory of its own.")


def _after_fork() -> None:
    global _lock, _reservations
    _lock, _reservations = threading.RLock(), Ranges()


def _no_such_attribute(attribute: int) -> Failure:
    return Failure(
        INVALID_PARAM, f"EH0001: physical memory with attribute {attribute} is not supported there."
    )


os.register_at_fork(after_in_child=_after_fork)
