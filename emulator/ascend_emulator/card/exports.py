"""Device memory that a process lets others use by a key (facts/pyacl.md §8.1, `ipc_mem_*`)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import TYPE_CHECKING

from ascend_emulator.codes import RT_DRIVER, RT_NO_PERMISSION, RT_PARAM_INVALID, Failure

if TYPE_CHECKING:
    from ascend_emulator.card.memory import Block
    from ascend_emulator.card.port import Port

_MOST_PIDS = 31
"""Processes that one call may allow, and that may import one export (driver: IPC_WLIST_SET_NUM)."""


class Export:
    """One range that a process has exported.

    Attributes:
        block: the block it lies in.
        offset: where it begins in device memory.
        size: its bytes.
        open: whether any process may import it.
        pids: processes that may, where it is not open.
    """

    def __init__(self, block: Block, offset: int, size: int, *, open_to_all: bool) -> None:
        self.block = block
        self.offset = offset
        self.size = size
        self.open = open_to_all
        self.pids: set[int] = set()


class Exports:
    """Every export of a card. Call everything under the card's lock."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._exports: dict[int, Export] = {}

    def add(self, export: Export) -> int:
        """Number of a new export, which is part of its key."""
        number = next(self._numbers)
        self._exports[number] = export
        return number

    def allow(self, number: int, owner: Port, pids: Iterable[int]) -> None:
        """Let processes import an export.

        Args:
            number: of the export.
            owner: who asks for it.
            pids: the processes; the owner's own and 0 do not count.

        Raises:
            Failure: 107000, no processes or too many; 507899, not an export of the owner, or nobody is left to
                allow; 207006, it is open to all.
        """
        found = set(pids)
        if not 0 < len(found) <= _MOST_PIDS:
            raise Failure(
                RT_PARAM_INVALID, f"EE1003: {len(found)} processes: 1 to {_MOST_PIDS} can be allowed."
            )
        export = self._of(number, owner)
        if export.open:
            raise Failure(RT_NO_PERMISSION, "EE9999: the memory was exported without a list of processes.")
        found -= {0, owner.pid}
        if not found or len(export.pids | found) > _MOST_PIDS:
            raise Failure(RT_DRIVER, "EE9999: there is no process to allow, or there are too many.")
        export.pids |= found

    def import_for(self, number: int, guest: Port) -> Export:
        """The export that a client may use.

        Raises:
            Failure: 507899, there is none, its memory was freed, or this process is not on its list.
        """
        export = self._exports.get(number)
        if export is None or not export.block.live:
            raise Failure(RT_DRIVER, "EE9999: no memory is exported by this key.")
        if not export.open and guest.pid not in export.pids and guest is not export.block.owner:
            raise Failure(RT_DRIVER, f"EE9999: process {guest.pid} is not on the list of this key.")
        return export

    def withdraw(self, number: int, owner: Port) -> None:
        """End an export; one that has ended already is no mistake. Who has imported it keeps the memory.

        Raises:
            Failure: 507899, another process's.
        """
        if number in self._exports:
            self._of(number, owner)
            del self._exports[number]

    def withdraw_all(self, owner: Port) -> None:
        """End every export of a client that has gone."""
        for number in [number for number, export in self._exports.items() if export.block.owner is owner]:
            del self._exports[number]

    def _of(self, number: int, owner: Port) -> Export:
        export = self._exports.get(number)
        if export is None or export.block.owner is not owner:
            raise Failure(RT_DRIVER, "EE9999: this process exports no memory by this key.")
        return export
