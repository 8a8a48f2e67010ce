"""Copies and fills (facts/pyacl.md §8.4 to §8.6)."""

from __future__ import annotations

from ascend_emulator.client import copies
from ascend_emulator.client.calling import function, ret

__all__ = [
    "memcpy",
    "memcpy2d",
    "memcpy2d_async",
    "memcpy_async",
    "memcpy_async_with_condition",
    "memset",
    "memset_async",
]


@function("kkkki", ret)
def memcpy(target: int, room: int, source: int, size: int, kind: int) -> int:
    """Copy and wait for it; does not wait for streams."""
    copies.copy(target, room, source, size, kind)
    return 0


@function("kkkkik", ret)
def memcpy_async(target: int, room: int, source: int, size: int, kind: int, stream: int) -> int:
    """Queue a copy; with memory that is not acl's, drain the stream and copy at once."""
    copies.copy_async(target, room, source, size, kind, stream)
    return 0


@function("kkkkik", ret)
def memcpy_async_with_condition(
    target: int, room: int, source: int, size: int, kind: int, stream: int
) -> int:
    """As `memcpy_async`."""
    copies.copy_async(target, room, source, size, kind, stream)
    return 0


@function("kkkkkki", ret)
def memcpy2d(
    target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int, kind: int
) -> int:
    """Copy the left part of rows and wait for it."""
    copies.copy_2d(target, target_pitch, source, source_pitch, width, height, kind)
    return 0


@function("kkkkkkik", ret)
def memcpy2d_async(
    target: int,
    target_pitch: int,
    source: int,
    source_pitch: int,
    width: int,
    height: int,
    kind: int,
    stream: int,
) -> int:
    """Queue a copy of the left part of rows."""
    copies.copy_2d_async(target, target_pitch, source, source_pitch, width, height, kind, stream)
    return 0


@function("kkik", ret)
def memset(address: int, room: int, value: int, size: int) -> int:
    """Set bytes and wait for it."""
    copies.fill(address, room, value, size)
    return 0


@function("kkikk", ret)
def memset_async(address: int, room: int, value: int, size: int, stream: int) -> int:
    """Queue setting bytes."""
    copies.fill_async(address, room, value, size, stream)
    return 0
