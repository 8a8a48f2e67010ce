"""Memory and copies (facts/pyacl.md §8)."""

from __future__ import annotations

from ascend_emulator.client import memory
from ascend_emulator.client.calling import function, ret, two_values_ret, value_ret

__all__ = [
    "free",
    "free_host",
    "get_mem_info",
    "malloc",
    "malloc_align32",
    "malloc_host",
    "memcpy",
    "memcpy_async",
    "memcpy_async_with_condition",
    "memset",
    "memset_async",
]


@function("ki", value_ret)
def malloc(size: int, policy: int) -> tuple[int, int]:
    """`(address, ret)` of device memory, padded by at least 32 bytes."""
    return memory.malloc(size, pad=True), 0


@function("ki", value_ret)
def malloc_align32(size: int, policy: int) -> tuple[int, int]:
    """`(address, ret)` of device memory, rounded up to 32 bytes only."""
    return memory.malloc(size, pad=False), 0


@function("k", ret)
def free(address: int) -> int:
    """Free device memory at once."""
    memory.free(address)
    return 0


@function("k", value_ret)
def malloc_host(size: int) -> tuple[int, int]:
    """`(address, ret)` of pinned host memory."""
    return memory.malloc_host(size), 0


@function("k", ret)
def free_host(address: int) -> int:
    """Free pinned host memory."""
    memory.free_host(address)
    return 0


@function("kkik", ret)
def memset(address: int, room: int, value: int, size: int) -> int:
    """Set bytes and wait for it."""
    memory.fill(address, room, value, size)
    return 0


@function("kkikk", ret)
def memset_async(address: int, room: int, value: int, size: int, stream: int) -> int:
    """Queue setting bytes."""
    memory.fill_async(address, room, value, size, stream)
    return 0


@function("kkkki", ret)
def memcpy(target: int, room: int, source: int, size: int, kind: int) -> int:
    """Copy and wait for it; does not wait for streams."""
    memory.copy(target, room, source, size, kind)
    return 0


@function("kkkkik", ret)
def memcpy_async(target: int, room: int, source: int, size: int, kind: int, stream: int) -> int:
    """Queue a copy; with memory that is not acl's, drain the stream and copy at once."""
    memory.copy_async(target, room, source, size, kind, stream)
    return 0


@function("kkkkik", ret)
def memcpy_async_with_condition(
    target: int, room: int, source: int, size: int, kind: int, stream: int
) -> int:
    """As `memcpy_async`."""
    memory.copy_async(target, room, source, size, kind, stream)
    return 0


@function("i", two_values_ret)
def get_mem_info(kind: int) -> tuple[int, int, int]:
    """`(free, total, ret)` bytes of a kind of memory, which is no device id."""
    return (*memory.memory_info(kind), 0)
