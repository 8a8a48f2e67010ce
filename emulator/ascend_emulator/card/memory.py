"""Device memory: one arena of the SoC's size, shared by all clients of the card and accounted together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ascend_emulator.allocator import Allocator
from ascend_emulator.arena import Arena
from ascend_emulator.codes import GE_OUT_OF_MEMORY, INVALID_PARAM, RT_OUT_OF_MEMORY, Failure

if TYPE_CHECKING:
    from ascend_emulator.card.port import Port


class DeviceMemory:
    """Blocks of device memory and who owns them. Call everything under the card's lock, `soil` excepted.

    Args:
        size: the SoC's memory in bytes.
    """

    def __init__(self, size: int) -> None:
        self.arena = Arena(size)
        self.blocks = Allocator(size)
        self._reserved = 0
        self._owners: dict[int, Port] = {}

    @property
    def free_bytes(self) -> int:
        """Bytes neither allocated nor reserved for a loaded model."""
        return self.arena.size - self.blocks.used - self._reserved

    def allocate(self, owner: Port, size: int) -> int:
        """Offset of a new block.

        Raises:
            Failure: 207001, the card has no such room.
        """
        offset = self.blocks.allocate(size) if size <= self.free_bytes else None
        if offset is None:
            raise Failure(RT_OUT_OF_MEMORY, self._shortage(size))
        self._owners[offset] = owner
        return offset

    def free(self, owner: Port, offset: int) -> None:
        """Give a block back.

        Raises:
            Failure: 100000, the client owns no block that starts there.
        """
        if self._owners.get(offset) is not owner:
            raise Failure(
                INVALID_PARAM, "EE1001: the address is not the start of a live block of device memory."
            )
        del self._owners[offset]
        size = self.blocks.size_of(offset)
        self.arena.give_back(self.blocks.free(offset), offset, size)

    def free_all(self, owner: Port) -> None:
        """Give back every block of a client."""
        for offset in [offset for offset, holder in self._owners.items() if holder is owner]:
            self.free(owner, offset)

    def reserve(self, size: int) -> None:
        """Account for a loaded model, which lives outside the arena.

        Raises:
            Failure: 245000, the card has no such room.
        """
        if size > self.free_bytes:
            raise Failure(GE_OUT_OF_MEMORY, self._shortage(size))
        self._reserved += size

    def unreserve(self, size: int) -> None:
        """Undo `reserve`."""
        self._reserved -= size

    def _shortage(self, size: int) -> str:
        return f"EL0004: {size} bytes of device memory were asked for, {self.free_bytes} of {self.arena.size} are free."
