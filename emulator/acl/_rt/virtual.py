"""Address space and device memory apart from each other (facts/pyacl.md §8.1)."""

from __future__ import annotations

from ascend_emulator.client import virtual
from ascend_emulator.client.calling import function, ret, value_ret

from acl._rt._structs import physical_properties

__all__ = [
    "free_physical",
    "malloc_physical",
    "map_mem",
    "mem_get_allocation_granularity",
    "release_mem_address",
    "reserve_mem_address",
    "unmap_mem",
]


@function("kkkk", value_ret)
def reserve_mem_address(size: int, alignment: int, wanted: int, flags: int) -> tuple[int, int]:
    """`(address, ret)` of address space without memory."""
    return virtual.reserve(size, alignment, wanted, flags), 0


@function("k", ret)
def release_mem_address(address: int) -> int:
    """Give address space back."""
    virtual.release(address)
    return 0


@function("kOk", value_ret)
def malloc_physical(size: int, prop: object, flags: int) -> tuple[int, int]:
    """`(handle, ret)` of device memory without an address; TypeError for a prop of another form."""
    return virtual.malloc_physical(size, physical_properties(prop), flags), 0


@function("k", ret)
def free_physical(handle: int) -> int:
    """Give device memory back once it is mapped nowhere."""
    virtual.free_physical(handle)
    return 0


@function("kkkkk", ret)
def map_mem(address: int, size: int, offset: int, handle: int, flags: int) -> int:
    """Let address space hold device memory."""
    virtual.map_memory(address, size, offset, handle, flags)
    return 0


@function("k", ret)
def unmap_mem(address: int) -> int:
    """Undo `map_mem`."""
    virtual.unmap_memory(address)
    return 0


@function("Oi", value_ret)
def mem_get_allocation_granularity(prop: object, option: int) -> tuple[int, int]:
    """`(bytes, ret)` that device memory without an address comes in."""
    return virtual.granularity(physical_properties(prop), option), 0
