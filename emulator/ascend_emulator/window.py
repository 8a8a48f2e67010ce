"""A range of address space into which pieces of device memory are mapped one by one (facts/pyacl.md §8.1).

The client has one where its program sees it, and the card has a twin, so that memory that is contiguous for the
program is contiguous for the card's engines too.
"""

from __future__ import annotations

from ascend_emulator import libc
from ascend_emulator.ranges import Ranges


class Window:
    """Reserved address space.

    Args:
        size: bytes, whole pages.
        wanted: the address it must have; 0 for any.

    Raises:
        OSError: there is no room for it.

    Attributes:
        base: its address in this process.
        size: its bytes.
        pieces: what is mapped, by distance from the base; the value is its place in the memory file.
    """

    def __init__(self, size: int, wanted: int = 0) -> None:
        self.base = libc.reserve(size, wanted)
        self.size = size
        self.pieces: Ranges[int] = Ranges()

    def map(self, distance: int, fd: int, offset: int, size: int) -> None:
        """Map a piece of a memory file.

        Args:
            distance: of the piece from the base, whole pages.
            fd: the memory file.
            offset: place in the file, whole pages.
            size: bytes, whole pages.

        Raises:
            OSError: the process has too many mappings.
        """
        libc.map_over(self.base + distance, fd, offset, size)
        self.pieces.add(distance, size, offset)

    def unmap(self, distance: int) -> None:
        """Undo `map` for the piece that begins there: any use of it is a fault from now on.

        Raises:
            OSError: the process has too many mappings.
        """
        piece = self.pieces.take(distance)
        if piece is not None:
            libc.cover(self.base + distance, piece.end - piece.start)

    def close(self) -> None:
        """Give the address space back; addresses into it are dangling afterwards."""
        libc.unmap(self.base, self.size)
