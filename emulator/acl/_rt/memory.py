"""Blocks of memory (facts/pyacl.md §8.2, §8.3)."""

from __future__ import annotations

from typing import Any

from ascend_emulator.client import memory, pointers
from ascend_emulator.client.calling import function, ret, two_values_ret, value_ret
from ascend_emulator.client.pointers import Attributes

from acl._rt._structs import malloc_attributes

__all__ = [
    "free",
    "free_host",
    "get_mem_info",
    "malloc",
    "malloc_align32",
    "malloc_cached",
    "malloc_for_task_scheduler",
    "malloc_host",
    "malloc_host_with_cfg",
    "malloc_with_cfg",
    "mem_flush",
    "mem_invalidate",
    "pointer_get_attributes",
]


def _attributes_ret(code: int) -> tuple[dict[str, Any], int]:
    return _described(Attributes(0, 0, 0)), code


def _described(found: Attributes) -> dict[str, Any]:
    location = {"id": found.location_id, "type": found.location_type}
    return {"location": location, "page_size": found.page_bytes, "rsv": [0, 0, 0, 0]}


@function("ki", value_ret)
def malloc(size: int, policy: int) -> tuple[int, int]:
    """`(address, ret)` of device memory, padded by at least 32 bytes."""
    return memory.malloc(size, pad=True, policy=policy), 0


@function("ki", value_ret)
def malloc_align32(size: int, policy: int) -> tuple[int, int]:
    """`(address, ret)` of device memory, rounded up to 32 bytes only."""
    return memory.malloc(size, pad=False, policy=policy), 0


@function("ki", value_ret)
def malloc_cached(size: int, policy: int) -> tuple[int, int]:
    """`(address, ret)` of device memory; policy 2 only."""
    return memory.malloc_cached(size, policy), 0


@function("kiO", value_ret)
def malloc_with_cfg(size: int, policy: int, cfg: object) -> tuple[int, int]:
    """`(address, ret)` of device memory with attributes; TypeError and KeyError for a dict of another form."""
    return memory.malloc_configured(size, policy, malloc_attributes(cfg)), 0


@function("kiO", value_ret)
def malloc_for_task_scheduler(size: int, policy: int, cfg: object) -> tuple[int, int]:
    """`(address, ret)` of device memory that the task scheduler reaches too, as it does all memory here."""
    return memory.malloc_configured(size, policy, malloc_attributes(cfg)), 0


@function("k", ret)
def free(address: int) -> int:
    """Free device memory at once."""
    memory.free(address)
    return 0


@function("k", value_ret)
def malloc_host(size: int) -> tuple[int, int]:
    """`(address, ret)` of pinned host memory."""
    return memory.malloc_host(size), 0


@function("kO", value_ret)
def malloc_host_with_cfg(size: int, cfg: object) -> tuple[int, int]:
    """`(address, ret)` of pinned host memory with attributes."""
    return memory.malloc_host_configured(size, malloc_attributes(cfg)), 0


@function("k", ret)
def free_host(address: int) -> int:
    """Free pinned host memory."""
    memory.free_host(address)
    return 0


@function("kk", ret)
def mem_flush(address: int, size: int) -> int:
    """Write back what a cache holds: nothing."""
    memory.flush(address, size)
    return 0


@function("kk", ret)
def mem_invalidate(address: int, size: int) -> int:
    """Drop what a cache holds: nothing."""
    memory.flush(address, size)
    return 0


@function("i", two_values_ret)
def get_mem_info(kind: int) -> tuple[int, int, int]:
    """`(free, total, ret)` bytes of a kind of memory, which is no device id."""
    return (*memory.memory_info(kind), 0)


@function("k", _attributes_ret)
def pointer_get_attributes(address: int) -> tuple[dict[str, Any], int]:
    """`(attributes, ret)`: the location's id and type, the page size, and four reserved zeros."""
    return _described(pointers.attributes(address)), 0
