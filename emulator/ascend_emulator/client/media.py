"""Device memory for media data: as other device memory, but aligned to 128 bytes (acldvppMalloc)."""

from __future__ import annotations

from ascend_emulator.client import memory
from ascend_emulator.codes import INVALID_PARAM, Failure

_ALIGNMENT = 128

_addresses: set[int] = set()
"""Of the live blocks."""


def malloc(size: int) -> int:
    """Allocate device memory in the current context's device.

    Args:
        size: bytes asked for; 32 to 63 bytes more are taken, as `acl.rt.malloc` does.

    Returns:
        The address in this process, a multiple of 128.

    Raises:
        Failure: 107002, 100000 (size 0), 207001 (no room).
    """
    address = memory.malloc(size, pad=True, alignment=_ALIGNMENT)
    _addresses.add(address)
    return address


def free(address: int) -> None:
    """Free what `malloc` gave.

    Raises:
        Failure: 100000, the address is 0 or not one that `malloc` gave.
    """
    if address not in _addresses:
        raise Failure(
            INVALID_PARAM, f"EE1001: {address:#x} is not the start of a live block of media memory."
        )
    _addresses.remove(address)
    memory.free(address)
