"""Where blocks lie in a range of memory: pure bookkeeping, no memory is touched.

Used twice: by the card for device memory, by each client for its pinned host memory.
"""

from __future__ import annotations

from bisect import bisect_right, insort

ALIGNMENT = 64
"""Bytes to which `aclrtMalloc` aligns every address (facts/pyacl.md §8.2)."""


def whole_lines(size: int) -> int:
    """Bytes that a block of `size` bytes takes."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class Allocator:
    """First-fit allocation of [0, size) with immediate coalescing.

    Args:
        size: bytes in the range.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0
        self._holes: list[tuple[int, int]] = [(0, size)]
        self._starts: list[int] = []
        self._sizes: dict[int, int] = {}

    def allocate(self, size: int, alignment: int = ALIGNMENT) -> int | None:
        """Make a block.

        Args:
            size: its bytes, rounded up to whole 64-byte lines.
            alignment: what its offset is a multiple of; itself a multiple of 64.

        Returns:
            Its offset, or None when it fits nowhere.
        """
        size = whole_lines(size)
        for index, (hole, room) in enumerate(self._holes):
            start = -(-hole // alignment) * alignment
            rest = hole + room - start - size
            if rest >= 0:
                left = [(hole, start - hole), (start + size, rest)]
                self._holes[index : index + 1] = [piece for piece in left if piece[1]]
                insort(self._starts, start)
                self._sizes[start] = size
                self.used += size
                return start
        return None

    def free(self, offset: int) -> tuple[int, int]:
        """Give a block back.

        Args:
            offset: what `allocate` returned.

        Returns:
            (start, end) of the hole that now surrounds the block.

        Raises:
            KeyError: no live block starts there.
        """
        size = self._sizes.pop(offset)
        del self._starts[bisect_right(self._starts, offset) - 1]
        self.used -= size
        start, end = offset, offset + size
        index = bisect_right(self._holes, (offset, 0))
        if index < len(self._holes) and self._holes[index][0] == end:
            end += self._holes.pop(index)[1]
        if index and sum(self._holes[index - 1]) == start:
            index -= 1
            start = self._holes.pop(index)[0]
        self._holes.insert(index, (start, end - start))
        return start, end

    def size_of(self, offset: int) -> int:
        """Bytes in the live block that starts at `offset`; KeyError when there is none."""
        return self._sizes[offset]

    def holds(self, offset: int, size: int) -> bool:
        """Whether [offset, offset + size) lies inside one live block."""
        return self.find(offset, size) is not None

    def find(self, offset: int, size: int) -> int | None:
        """Start of the live block that all of [offset, offset + size) lies in, or None."""
        index = bisect_right(self._starts, offset) - 1
        if index < 0:
            return None
        start = self._starts[index]
        return start if offset + size <= start + self._sizes[start] else None
