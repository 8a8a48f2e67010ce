"""What the runtime says of an address (facts/pyacl.md §8.1, `pointer_get_attributes`)."""

from __future__ import annotations

from typing import NamedTuple

from ascend_emulator.arena import arena_at
from ascend_emulator.client import addresses, process
from ascend_emulator.client.memory import PAGE
from ascend_emulator.codes import INVALID_PARAM, RT_DRIVER, RT_INVALID_HANDLE, Failure
from ascend_emulator.settings import MAX_DEVICES

HOST, DEVICE, UNREGISTERED = range(3)


class Attributes(NamedTuple):
    """`aclrtPtrAttributes`.

    Attributes:
        location_type: 0 pinned or registered host memory, 1 a device, 2 other host memory.
        location_id: the device; 0 for host memory.
        page_bytes: bytes of the pages it lies in.
    """

    location_type: int
    location_id: int
    page_bytes: int


def attributes(address: int) -> Attributes:
    """Where an address lies; for host memory that is no question of whether it is mapped.

    Raises:
        Failure: 100000 (null), 107017 (no device is open), 507899 (device memory that is in no live block).
    """
    if not address:
        raise Failure(INVALID_PARAM, "EH0002: the address is null.")
    if all(process.open_device(ordinal) is None for ordinal in range(MAX_DEVICES)):
        raise Failure(RT_INVALID_HANDLE, "EE9999: no device is open in this process.")
    found = addresses.live.at(address)
    if found is not None and not found.value.gone:
        block = found.value
        if block.device is None:
            return Attributes(HOST, 0, block.page_bytes)
        return Attributes(DEVICE, block.device.ordinal, block.page_bytes)
    if arena_at(address) is not None:
        raise Failure(RT_DRIVER, f"EE9999: {address:#x} is not allocated.")
    kind = HOST if addresses.is_pinned_memory(address) else UNREGISTERED
    return Attributes(kind, 0, PAGE)
