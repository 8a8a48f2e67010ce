"""Memory that two processes see: a sparse memfd, mapped as a whole, so that a pointer is one addition away."""

from __future__ import annotations

import os

from ascend_emulator import libc

GARBAGE = 0x7E
"""Byte that fresh memory is filled with: as float32 8e37, as float16 NaN, as int32 2,122,219,134. Real memory
is uninitialised; zeros would hide a copy that is missing."""

_FILL_WHOLE_UP_TO = 16 << 20
_FILL_EDGE = 64 << 10

_arenas: list[Arena] = []
"""Those of this process; a forked child has its parent's mapped, but they are ordinary memory to it."""

os.register_at_fork(after_in_child=_arenas.clear)


def arena_at(address: int) -> Arena | None:
    """The arena of this process that an address points into, or None."""
    for arena in _arenas:
        if arena.covers(address):
            return arena
    return None


def arena_meeting(address: int, size: int) -> Arena | None:
    """An arena of this process that has a byte of [address, address + size), or None."""
    for arena in _arenas:
        if address < arena.base + arena.size and arena.base < address + size:
            return arena
    return None


class Arena:
    """One mapped memfd.

    Args:
        size: bytes.
        fd: an existing memfd to map, which the arena then owns; a new one is made when None.

    Attributes:
        base: address of byte 0 in this process.
        size: bytes.
        fd: the memfd.
    """

    def __init__(self, size: int, fd: int | None = None) -> None:
        self.size = size
        if fd is None:
            fd = os.memfd_create("ascend-emulator")
            os.ftruncate(fd, size)
        self.fd = fd
        self.base = libc.map_shared(fd, size)
        self._open = True
        _arenas.append(self)

    def covers(self, address: int) -> bool:
        """Whether the address points into this arena."""
        return self.base <= address < self.base + self.size

    def soil(self, offset: int, size: int) -> None:
        """Fill a fresh block with `GARBAGE`; of a huge one only both ends, since its pages cost host memory."""
        if size <= _FILL_WHOLE_UP_TO:
            libc.fill_freeing_gil(self.base + offset, GARBAGE, size)
        else:
            libc.fill_freeing_gil(self.base + offset, GARBAGE, _FILL_EDGE)
            libc.fill_freeing_gil(self.base + offset + size - _FILL_EDGE, GARBAGE, _FILL_EDGE)

    def give_back(self, hole: tuple[int, int], offset: int, size: int) -> None:
        """Return the pages of a freed block to the host.

        Args:
            hole: (start, end) of free space around the block, from `Allocator.free`.
            offset: start of the freed block.
            size: its bytes.
        """
        page = os.sysconf("SC_PAGESIZE")
        start = max(hole[0], offset // page * page)
        end = min(hole[1], -(-(offset + size) // page) * page)
        libc.punch_hole(self.fd, start, end)

    def close(self) -> None:
        """Unmap and close; addresses into the arena are dangling afterwards."""
        if self._open:
            self._open = False
            _arenas[:] = [arena for arena in _arenas if arena is not self]
            libc.unmap(self.base, self.size)
            os.close(self.fd)
