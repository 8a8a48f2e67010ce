"""The node as `npu-smi` sees it: NPUs, each a board with one or two chips."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ascend_emulator.control import CardState, cards
from ascend_emulator.settings import Settings
from ascend_emulator.soc import MIB, Soc


class Family(Enum):
    """Chips that `npu-smi` treats alike."""

    ASCEND_310B = "310B"
    ASCEND_310P = "310P"
    ASCEND_910 = "910"
    A2 = "910B"
    A3 = "910_93"
    ASCEND_950 = "950"

    @property
    def has_hbm(self) -> bool:
        """Whether its memory is HBM; the others have DDR."""
        return self not in (Family.ASCEND_310B, Family.ASCEND_310P)

    @property
    def has_mcu(self) -> bool:
        """Whether a board has a management controller, which counts as one chip more."""
        return self not in (Family.ASCEND_310B, Family.ASCEND_950)


_FAMILIES = {
    "Ascend310P": Family.ASCEND_310P,
    "Ascend910": Family.ASCEND_910,
    "Ascend910B": Family.A2,
    "Ascend910_93": Family.A3,
    "Ascend350": Family.ASCEND_950,
    "Ascend950": Family.ASCEND_950,
}


def family_of(soc: Soc) -> Family:
    """The family of a SoC; small ones that the tool does not know count as 310B, boards with DDR."""
    return _FAMILIES.get(soc.short, Family.ASCEND_310B)


@dataclass(frozen=True)
class Process:
    """A process on a chip.

    Attributes:
        pid: its number.
        name: as the kernel has it; empty when it has just ended.
        mib: device memory it holds, in MiB.
    """

    pid: int
    name: str
    mib: int


@dataclass(frozen=True)
class Chip:
    """One chip, which is one emulated card.

    Attributes:
        index: number on its board.
        physical: number on the node; also the logical one.
        used_mib: memory in use.
        total_mib: memory there is.
        busy_percent: use of the AI cores in the last second.
        health: OK; Alarm with an uncorrectable memory error; Critical when lost.
        double_bit_errors: uncorrectable memory errors.
        processes: who has it open.
    """

    index: int
    physical: int
    used_mib: int
    total_mib: int
    busy_percent: int
    health: str
    double_bit_errors: int
    processes: tuple[Process, ...]

    @property
    def used_percent(self) -> int:
        """Memory in use, in percent."""
        return self.used_mib * 100 // self.total_mib


@dataclass(frozen=True)
class Npu:
    """One board.

    Attributes:
        number: what `-i` takes.
        chips: its chips; two on an A3, else one.
    """

    number: int
    chips: tuple[Chip, ...]


@dataclass(frozen=True)
class Node:
    """All boards of a node, which are of one kind.

    Attributes:
        soc: their SoC.
        family: its family.
        npus: the boards by number.
    """

    soc: Soc
    family: Family
    npus: tuple[Npu, ...]

    @property
    def chip_name(self) -> str:
        """`Ascend910` on an A3, `Ascend950PR` on a 950, else what follows `Ascend` (facts/atc_om_soc.md §4.1)."""
        if self.family in (Family.A3, Family.ASCEND_950):
            return self.soc.name.partition("_")[0]
        return self.soc.name.removeprefix("Ascend")

    @property
    def npu_name(self) -> str:
        """What follows `_` in the name of an A3 or a 950."""
        return self.soc.name.partition("_")[2]


def read_node(settings: Settings) -> Node:
    """The node of the settings, as it is now.

    Raises:
        Failure: 507033, the runtime folder is wrong.
    """
    family = family_of(settings.soc)
    running = {state.number: state for state in cards(settings.node)}
    per_npu = 2 if family is Family.A3 else 1
    npus = []
    for first in range(0, settings.devices, per_npu):
        numbers = range(first, min(first + per_npu, settings.devices))
        chips = tuple(
            _chip(index, number, settings, running.get(number)) for index, number in enumerate(numbers)
        )
        npus.append(Npu(first // per_npu, chips))
    return Node(settings.soc, family, tuple(npus))


def _chip(index: int, number: int, settings: Settings, state: CardState | None) -> Chip:
    if state is None:
        return Chip(index, number, 0, settings.soc.memory_bytes // MIB, 0, "OK", 0, ())
    return Chip(
        index=index,
        physical=number,
        used_mib=state.memory_used // MIB,
        total_mib=state.memory_total // MIB,
        busy_percent=round(state.engines["compute"].busy * 100),
        health="Critical" if state.lost else "Alarm" if state.ecc else "OK",
        double_bit_errors=int(state.ecc),
        processes=tuple(
            Process(client.pid, _name(client.pid), client.bytes // MIB) for client in state.clients
        ),
    )


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    except (FileNotFoundError, ProcessLookupError):
        return ""
