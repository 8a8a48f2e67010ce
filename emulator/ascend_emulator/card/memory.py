"""Device memory: one arena of the SoC's size, shared by all clients of the card and accounted together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ascend_emulator.allocator import Allocator
from ascend_emulator.arena import Arena
from ascend_emulator.card.exports import Exports
from ascend_emulator.codes import GE_OUT_OF_MEMORY, INVALID_PARAM, RT_OUT_OF_MEMORY, Failure

if TYPE_CHECKING:
    from ascend_emulator.card.port import Port


class Block:
    """One block of device memory.

    Attributes:
        owner: the client that allocated it.
        live: whether it has not been freed.
    """

    __slots__ = ("live", "owner")

    def __init__(self, owner: Port) -> None:
        self.owner = owner
        self.live = True


class DeviceMemory:
    """Blocks of device memory and who owns them. Call everything under the card's lock, `soil` excepted.

    Args:
        size: the SoC's memory in bytes.

    Attributes:
        arena: the memory.
        blocks: where its blocks lie.
        exports: what its clients let each other use.
    """

    def __init__(self, size: int) -> None:
        self.arena = Arena(size)
        self.blocks = Allocator(size)
        self.exports = Exports()
        self._reserved = 0
        self._held: dict[int, Block] = {}

    @property
    def free_bytes(self) -> int:
        """Bytes neither allocated nor reserved for a loaded model."""
        return self.arena.size - self.blocks.used - self._reserved

    def allocate(self, owner: Port, size: int, alignment: int) -> int:
        """Offset of a new block.

        Raises:
            Failure: 207001, the card has no such room.
        """
        offset = self.blocks.allocate(size, alignment) if size <= self.free_bytes else None
        if offset is None:
            raise Failure(RT_OUT_OF_MEMORY, self._shortage(size))
        self._held[offset] = Block(owner)
        return offset

    def block(self, owner: Port, offset: int, size: int) -> Block | None:
        """The live block of a client that all of [offset, offset + size) lies in, or None."""
        start = self.blocks.find(offset, size)
        block = None if start is None else self._held[start]
        return block if block is not None and block.owner is owner else None

    def free(self, owner: Port, offset: int) -> None:
        """Give a block back.

        Raises:
            Failure: 100000, the client owns no block that starts there.
        """
        block = self._held.get(offset)
        if block is None or block.owner is not owner:
            raise Failure(
                INVALID_PARAM, "EE1001: the address is not the start of a live block of device memory."
            )
        del self._held[offset]
        block.live = False
        size = self.blocks.size_of(offset)
        self.arena.give_back(self.blocks.free(offset), offset, size)

    def free_all(self, owner: Port) -> None:
        """Give back every block of a client."""
        self.exports.withdraw_all(owner)
        for offset in [offset for offset, block in self._held.items() if block.owner is owner]:
            self.free(owner, offset)

    def held(self, owner: Port) -> int:
        """Bytes of a client's blocks, those of its models not counted."""
        return sum(
            self.blocks.size_of(offset) for offset, block in self._held.items() if block.owner is owner
        )

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
