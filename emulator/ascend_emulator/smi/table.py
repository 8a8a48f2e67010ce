"""The overview that `npu-smi info` prints."""

from __future__ import annotations

from ascend_emulator.smi.npus import Chip, Family, Node, Npu
from ascend_emulator.smi.version import VERSION


def overview(node: Node) -> list[str]:
    """The lines of `npu-smi info`: boards with their chips, then processes where the tool lists them."""
    layout = _Wide(node) if node.family.has_hbm else _Narrow(node)
    return layout.lines()


def _rule(fill: str, *widths: int) -> str:
    return "+" + "+".join(fill * width for width in widths) + "+"


class _Layout:
    """What both layouts share.

    Attributes:
        boards: widths of the three columns of the first table.
        processes: widths of the columns of the second; the last two share one in its rules.
    """

    boards: tuple[int, ...]
    processes: tuple[int, ...]

    def __init__(self, node: Node) -> None:
        self._node = node

    def lines(self) -> list[str]:
        title = f" npu-smi {VERSION}"
        whole = sum(self.boards) + len(self.boards) - 1
        found = [
            _rule("-", whole),
            f"|{title:<{self._title_width()}}Version: {VERSION}".ljust(whole + 1) + "|",
            _rule("-", *self.boards),
            *self._heads(),
            _rule("=", *self.boards),
        ]
        for npu in self._node.npus:
            for place, chip in enumerate(npu.chips):
                if place:
                    found.append(self._between(whole))
                found += self._rows(npu, chip)
            found.append(_rule("=", *self.boards))
        if self._node.family is not Family.ASCEND_310B:
            found += self._process_table(whole)
        return found

    def _process_table(self, whole: int) -> list[str]:
        found = [_rule("-", *self.processes), self._process_head(), _rule("=", *self.processes)]
        for npu in self._node.npus:
            rows = [
                self._process_row(npu.number, chip, process.pid, process.name, process.mib)
                for chip in npu.chips
                for process in chip.processes
            ]
            nobody = f"| No running processes found in NPU {npu.number}".ljust(whole + 1) + "|"
            found += rows or [nobody]
            found.append(_rule("=", *self.processes))
        return found

    def _title_width(self) -> int:
        raise NotImplementedError

    def _between(self, whole: int) -> str:
        raise NotImplementedError

    def _heads(self) -> list[str]:
        raise NotImplementedError

    def _rows(self, npu: Npu, chip: Chip) -> list[str]:
        raise NotImplementedError

    def _process_head(self) -> str:
        raise NotImplementedError

    def _process_row(self, number: int, chip: Chip, pid: int, name: str, mib: int) -> str:
        raise NotImplementedError


class _Narrow(_Layout):
    """310P and 310B: one memory, no HBM."""

    boards = processes = (31, 17, 54)

    def _title_width(self) -> int:
        return 50

    def _between(self, whole: int) -> str:
        return _rule("-", *self.boards)

    def _heads(self) -> list[str]:
        return [
            f"| {'NPU     Name':<30}| {'Health':<15} | Power(W)     Temp(C)           Hugepages-Usage(page) |",
            f"| {'Chip    Device':<30}| {'Bus-Id':<15} | {'AICore(%)    Memory-Usage(MB)':<52} |",
        ]

    def _rows(self, npu: Npu, chip: Chip) -> list[str]:
        name = self._node.chip_name
        used, total = chip.used_mib, chip.total_mib
        return [
            f"| {npu.number:<7} {name:<22}| {chip.health:<15} | {'NA':<12} {'NA':<17} {0:<6}/ {0:<13} |",
            f"| {chip.index:<7} {chip.physical:<22}| {'NA':<15} | {chip.busy_percent:<12} {used:<5}/ {total:<32} |",
        ]

    def _process_head(self) -> str:
        return (
            "| NPU     Chip                  | Process id      | Process name             "
            "| Process memory(MB)        |"
        )

    def _process_row(self, number: int, chip: Chip, pid: int, name: str, mib: int) -> str:
        return f"| {number:<7} {chip.index:<22}| {pid:<15} | {name:<24} | {mib:<25} |"


class _Wide(_Layout):
    """910 to 950: HBM beside a memory that is 0 here; the 950 has boards and no chips."""

    processes = (27, 15, 53)

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self._flat = node.family is Family.ASCEND_950
        self.boards = (8, 18, 15, 53) if self._flat else (27, 15, 53)

    def _title_width(self) -> int:
        return 50 if self._flat else 34

    def _between(self, whole: int) -> str:
        return _rule("-", whole)

    def _heads(self) -> list[str]:
        if self._flat:
            return [
                "| NPU ID | Name             | Health        | Power(W)    Temp(C)           Hugepages-Usage(page) |",
                "|        |                  | Bus-Id        | NPU Util(%) Memory-Usage(MB)  HBM-Usage(MB)         |",
            ]
        chip = "Chip  Phy-ID" if self._node.family is Family.A3 else "Chip"
        return [
            "| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page) |",
            f"| {chip:<26}| Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)         |",
        ]

    def _rows(self, npu: Npu, chip: Chip) -> list[str]:
        name = self._node.chip_name
        board, below = f"| {npu.number:<5} {name:<20}|", f"| {chip.index:<26}|"
        if self._flat:
            board, below = f"| {npu.number:<7}| {name:<17}|", f"|{'':<8}|{'':<18}|"
        elif self._node.family is Family.A3:
            below = f"| {chip.index:<5} {chip.physical:<20}|"
        power = "-" if chip.index else "NA"  # the board's power stands with its first chip
        used, total = chip.used_mib, chip.total_mib
        return [
            f"{board} {chip.health:<13} | {power:<11} {'NA':<17} {0:<6}/ {0:<13} |",
            f"{below} {'NA':<13} | {chip.busy_percent:<11} {0:<5}/ {0:<10} {used:<6}/ {total:<13} |",
        ]

    def _process_head(self) -> str:
        whose = "NPU ID" if self._flat else "NPU     Chip"
        return f"| {whose:<26}| Process id    | Process name             | Process memory(MB)       |"

    def _process_row(self, number: int, chip: Chip, pid: int, name: str, mib: int) -> str:
        whose = f"{number:<26}" if self._flat else f"{number:<7} {chip.index:<18}"
        return f"| {whose}| {pid:<13} | {name:<24} | {mib:<24} |"
