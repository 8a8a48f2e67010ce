"""Where blocks lie in a range of memory: pure bookkeeping, no memory is touched.

Used twice: by the card for device memory, by each client for its pinned host memory.
"""

from __future__ import annotations

from bisect import bisect_right, insort

ALIGNMENT = 64
"""Bytes to which `aclrtMalloc` aligns every address (facts/pyacl.md §8.2)."""


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

    def allocate(self, size: int) -> int | None:
        """Offset of a new block of `size` bytes (rounded up to whole 64-byte lines), or None when none fits."""
        size = -(-size // ALIGNMENT) * ALIGNMENT
        for index, (start, room) in enumerate(self._holes):
            if room >= size:
                if room == size:
                    del self._holes[index]
                else:
                    self._holes[index] = (start + size, room - size)
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
        index = bisect_right(self._starts, offset) - 1
        if index < 0:
            return False
        start = self._starts[index]
        return offset + size <= start + self._sizes[start]
