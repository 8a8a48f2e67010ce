"""The blocks of memory that a program got from `acl`, and the ones it gave back."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from ascend_emulator.strict.stacks import Stack

_BEHIND = 4096
_MOST_FREED = 4096


class Memory(Enum):
    """A kind of memory, as a sentence names it."""

    DEVICE = "device memory"
    PINNED = "pinned host memory"
    RESERVED = "reserved addresses"
    IMPORTED = "another process's device memory"


class Task(NamedTuple):
    """A piece of queued work.

    Attributes:
        stream: where it is queued.
        number: its place there, from `Clocks.queue`.
        call: the function that queued it.
        stack: where that was.
    """

    stream: int
    number: int
    call: str
    stack: Stack


@dataclass(eq=False, slots=True)
class Block:
    """One block.

    Attributes:
        start: its address.
        size: bytes that were asked for, without the slack behind them.
        memory: its kind.
        freed_by: the function that gives it back.
        device: the ordinal of the device it came with.
        stack: where it was allocated.
        freed: where it was freed.
        holders: (kind, number) of what else depends on it: a model loaded into it, processes it is shared with.
        uses: (stream, first address, address behind the last, whether written) -> the last such queued work.
    """

    start: int
    size: int
    memory: Memory
    freed_by: str
    device: int
    stack: Stack
    freed: Stack | None = None
    holders: set[tuple[str, int]] = field(default_factory=set)
    uses: dict[tuple[int, int, int, bool], Task] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """Address behind the last byte."""
        return self.start + self.size


class _Index:
    """Blocks by address; those in it never overlap."""

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self._starts: list[int] = []

    def add(self, block: Block) -> None:
        self.blocks[block.start] = block
        insort(self._starts, block.start)

    def remove(self, start: int) -> Block | None:
        block = self.blocks.pop(start, None)
        if block is not None:
            del self._starts[bisect_right(self._starts, start) - 1]
        return block

    def floor(self, address: int) -> Block | None:
        """The block with the highest start that is not above the address."""
        place = bisect_right(self._starts, address)
        return self.blocks[self._starts[place - 1]] if place else None

    def overlapping(self, start: int, end: int) -> list[Block]:
        found = []
        before = self.floor(start)
        if before is not None and before.end > start:
            found.append(before)
        first = bisect_right(self._starts, start)
        for place in range(first, len(self._starts)):
            if self._starts[place] >= end:
                break
            found.append(self.blocks[self._starts[place]])
        return found


class Blocks:
    """The books on memory: live blocks, freed ones (the last 4096), and those a reset took away."""

    def __init__(self) -> None:
        self._live = _Index()
        self._freed = _Index()
        self._order: OrderedDict[int, None] = OrderedDict()
        self._taken: dict[int, Block] = {}

    def add(self, block: Block) -> None:
        """Enter a new block; whatever was known of these addresses is over."""
        end = block.start + max(block.size, 1)
        for former in self._live.overlapping(block.start, end):
            self._live.remove(former.start)
        for former in self._freed.overlapping(block.start, end):
            self._forget(former.start)
        self._taken.pop(block.start, None)
        self._live.add(block)

    def free(self, block: Block, stack: Stack) -> None:
        """Note that a block was given back."""
        block.freed = stack
        block.uses.clear()
        self._live.remove(block.start)
        self._taken.pop(block.start, None)
        self._forget(block.start)
        self._freed.add(block)
        self._order[block.start] = None
        if len(self._order) > _MOST_FREED:
            self._forget(next(iter(self._order)))

    def take(self, device: int) -> None:
        """Note that a device was reset, and took its memory with it: each block may still be freed once."""
        for block in list(self._live.blocks.values()):
            if block.device == device and block.memory is not Memory.PINNED:
                self._live.remove(block.start)
                block.uses.clear()
                self._taken[block.start] = block

    def live(self) -> list[Block]:
        """Every block that was not given back."""
        return [*self._live.blocks.values(), *self._taken.values()]

    def at(self, start: int) -> Block | None:
        """The block that starts there and was not given back."""
        return self._live.blocks.get(start) or self._taken.get(start)

    def around(self, address: int) -> Block | None:
        """The live block that an address lies in."""
        block = self._live.floor(address)
        return block if block is not None and address < block.end else None

    def freed_around(self, address: int) -> Block | None:
        """The freed block that an address lies in."""
        block = self._freed.floor(address)
        return block if block is not None and address < block.end else None

    def freed_at(self, start: int) -> Block | None:
        """The freed block that starts there."""
        return self._freed.blocks.get(start)

    def beside(self, address: int, size: int) -> Block | None:
        """The live block that a range outside all blocks just misses: it starts behind it, or runs into it."""
        block = self._live.floor(address)
        if block is not None and block.end <= address < block.end + _BEHIND:
            return block
        return next(iter(self._live.overlapping(address, address + size)), None)

    def _forget(self, start: int) -> None:
        self._freed.remove(start)
        self._order.pop(start, None)
