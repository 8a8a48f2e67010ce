"""Freed memory that is kept from being handed out again for a while.

To the program such a block is free: what it does to it is a finding. Only its address does not come back at once
as another block, where the same misuse would look like a proper use.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ascend_emulator.strict.blocks import Block, Memory

BYTES = 64 << 20
"""Bytes kept at most; a larger block is freed at once."""

BLOCKS = 256
"""Blocks kept at most."""

Release = Callable[[], object]
"""What frees a block for real."""


class Quarantine:
    """Blocks whose real freeing waits, oldest first."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, tuple[Block, Release]] = OrderedDict()
        self._bytes = 0

    def add(self, block: Block, release: Release) -> list[Release]:
        """Keep a block; what is to be released to make room for it, the block itself when it is too large."""
        self._waiting[block.start] = (block, release)
        self._bytes += block.size
        due: list[Release] = []
        while self._bytes > BYTES or len(self._waiting) > BLOCKS:
            due += self.take(next(iter(self._waiting)))
        return due

    def take(self, start: int) -> list[Release]:
        """What releases the block that starts there; empty when it is not kept."""
        block, release = self._waiting.pop(start, (None, None))
        if block is None or release is None:
            return []
        self._bytes -= block.size
        return [release]

    def take_all(self) -> list[Release]:
        """What releases every block."""
        due = [release for _, release in self._waiting.values()]
        self._waiting.clear()
        self._bytes = 0
        return due

    def device_bytes(self) -> int:
        """Bytes of device memory that are kept."""
        return sum(block.size for block, _ in self._waiting.values() if block.memory is Memory.DEVICE)
