"""Every use of an address that a program gave: no number may end the process that a card's fault would not end.

In emulated memory (a device's, the pinned host memory) a range must lie in one live block. Of ordinary host memory
the kernel is asked to bring all pages in, for reading or for writing (`madvise`), which it refuses where it would
otherwise send SIGSEGV or SIGBUS; then the bytes are copied as ever. That costs about 2 us a call and at most 0.15 us a
page. A program that unmaps the memory in another thread meanwhile gets what it would get anywhere.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import PAGESIZE
from typing import TYPE_CHECKING

from ascend_emulator import libc
from ascend_emulator.arena import arena_at, arena_meeting
from ascend_emulator.client import process
from ascend_emulator.codes import RT_PARAM_INVALID, Failure
from ascend_emulator.ranges import Ranges

if TYPE_CHECKING:
    from ascend_emulator.client.process import Device


@dataclass(frozen=True, eq=False)
class Block:
    """A block of emulated memory.

    Attributes:
        device: the device it is on; None for pinned host memory.
        page_bytes: bytes of its pages.
    """

    device: Device | None
    page_bytes: int

    @property
    def gone(self) -> bool:
        """Whether its device was reset: the memory, and everything that was in it, is no more."""
        return self.device is not None and self.device.link.closed


live: Ranges[Block] = Ranges()
"""Blocks that this process holds, has imported or has mapped."""

registered: Ranges[Device] = Ranges()
"""Ordinary host memory that a device was told to reach as if it were pinned."""

_HOST_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

_PATH_MAX = 4096

_spare: list[int] = []
"""Memory files that no call is using. One is taken for as long as a call needs it, so that neither another
thread nor a `__del__` that runs in between meets somebody else's bytes."""


def read(address: int, size: int, *, code: int = RT_PARAM_INVALID) -> bytes:
    """A copy of memory.

    Args:
        address: where it begins.
        size: bytes, of any magnitude: what is not all there fails before room for it is made.
        code: what a range that cannot be read fails with.

    Raises:
        Failure: with `code`.
    """
    _check(address, size, code, writing=False)
    return ctypes.string_at(address, size)


def text(address: int, *, code: int = RT_PARAM_INVALID) -> str | None:
    """The path that a C string holds; None at address 0.

    Args:
        address: of its first byte.
        code: what a string that cannot be read, or is longer than a path, fails with.

    Raises:
        Failure: with `code`.
    """
    if not address:
        return None
    found = bytearray()
    # Byte by byte: what lies behind the string need not be memory.
    while byte := read(address + len(found), 1, code=code).rstrip(b"\0"):
        found += byte
        if len(found) >= _PATH_MAX:
            raise Failure(code, f"EH0001: the text at {address:#x} is longer than a path, {_PATH_MAX} bytes.")
    return os.fsdecode(bytes(found))


def write(address: int, data: bytes, *, code: int = RT_PARAM_INVALID) -> None:
    """Store bytes in memory.

    Args:
        address: where they go.
        data: the bytes.
        code: what a range that cannot be written fails with.

    Raises:
        Failure: with `code`.
    """
    _check(address, len(data), code, writing=True)
    libc.move_keeping_gil(address, data, len(data))


def move(target: int, source: int, size: int, *, code: int = RT_PARAM_INVALID) -> None:
    """Copy memory.

    Args:
        target: where the bytes go.
        source: where they are.
        size: how many.
        code: what a range that cannot be used fails with.

    Raises:
        Failure: with `code`.
    """
    _check(target, size, code, writing=True)
    _check(source, size, code, writing=False)
    libc.move_keeping_gil(target, source, size)


def fill(target: int, value: int, size: int, *, code: int = RT_PARAM_INVALID) -> None:
    """Set memory to one byte's value.

    Args:
        target: where.
        value: 0 to 255.
        size: how many bytes.
        code: what a range that cannot be written fails with.

    Raises:
        Failure: with `code`.
    """
    _check(target, size, code, writing=True)
    libc.fill_keeping_gil(target, value, size)


def readable(address: int, size: int) -> bool:
    """Whether every byte of a range can be read."""
    return _is_usable(address, size, writing=False)


def writable(address: int, size: int) -> bool:
    """Whether every byte of a range can be written."""
    return _is_usable(address, size, writing=True)


def is_device_memory(address: int) -> bool:
    """Whether an address points into the memory of a device that this process has open, in a live block or not."""
    arena = arena_at(address)
    if arena is not None:
        return arena is not process.pinned().arena
    found = live.at(address)
    return found is not None and found.value.device is not None and not found.value.gone


def is_pinned_memory(address: int) -> bool:
    """Whether an address points into pinned host memory, in a live block or not, or into registered memory."""
    arena = arena_at(address)
    if arena is not None:
        return arena is process.pinned().arena
    found = registered.at(address)
    return found is not None and not found.value.link.closed


def _is_usable(address: int, size: int, *, writing: bool) -> bool:
    try:
        _check(address, size, RT_PARAM_INVALID, writing=writing)
    except Failure:
        return False
    return True


def _check(address: int, size: int, code: int, *, writing: bool) -> None:
    if not size:
        return
    if arena_meeting(address, size) is not None:
        block = live.holding(address, size)
        if block is None or block.value.gone:
            raise Failure(code, f"EE9999: {size} bytes at {address:#x} do not all lie in one live block.")
    elif not _is_memory(address, size, writing=writing):
        raise Failure(code, f"EE9999: {size} bytes at {address:#x} are not memory that this process may use.")


def _is_memory(address: int, size: int, *, writing: bool) -> bool:
    if size > _HOST_BYTES:  # which cannot all be memory, and to look at every page would take for ever
        return False
    trouble = libc.bring_in(address, size, writing=writing)
    if trouble == errno.EINVAL:
        return _passes_through_a_file(address, size, writing=writing)
    return not trouble


def _passes_through_a_file(address: int, size: int, *, writing: bool) -> bool:
    """Whether a byte of each page can be written to a memory file and, if they are to be written, read back."""
    with _borrowed() as file:
        for byte in _one_byte_of_each_page(address, size):
            if libc.pwrite_keeping_gil(file, byte, 1, 0) != 1:
                return False
            if writing and libc.pread_keeping_gil(file, byte, 1, 0) != 1:
                return False
    return True


def _one_byte_of_each_page(address: int, size: int) -> Iterator[int]:
    yield address
    yield from range((address // PAGESIZE + 1) * PAGESIZE, address + size, PAGESIZE)


@contextmanager
def _borrowed() -> Iterator[int]:
    try:
        file = _spare.pop()
    except IndexError:
        file = os.memfd_create("ascend-emulator-probe")
    try:
        yield file
    finally:
        _spare.append(file)


def _after_fork() -> None:
    # The files and the blocks are the parent's: a child that wrote there would write into the parent's memory.
    global live, registered
    for file in _spare:
        os.close(file)
    _spare.clear()
    live, registered = Ranges(), Ranges()


os.register_at_fork(after_in_child=_after_fork)
