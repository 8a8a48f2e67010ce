"""What `npu-smi info` and `npu-smi info -m` print. Pure (facts: ATC §5.5).

The layout differs from chip to chip, and columns are indented otherwise from version to version, so cells are told
apart by `|`, and amounts within a cell by their slash. A chip has two lines, its board's and its own:

    | NPU   Name       | Health  | Power(W)    Temp(C)           Hugepages-Usage(page) |
    | Chip             | Bus-Id  | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)         |
    | 0     910B4      | OK      | 91.3        33                0    / 0              |
    | 0                | 0000:01 | 0           0    / 0          3197 / 32768          |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from ascend_serve.examining.facts import Chip, Holder, Place, Smi

_AMOUNT = re.compile(r"(\d+)\s*/\s*(\d+)")
_GAP = re.compile(r"\s{2,}")
_PROCESSES = "Process id"
_BOARDS = "Health"


def parse_smi(text: str, alive: Callable[[int], bool]) -> Smi:
    """Chips and the processes on them.

    Args:
        text: what `npu-smi info` printed.
        alive: whether a process of that number runs here.
    """
    chips: list[Chip] = []
    holders: list[Holder] = []
    board: tuple[int, str] | None = None
    with_chips = in_processes = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if len(cells) < 3:
            continue
        if any(cell.startswith(_PROCESSES) for cell in cells):
            in_processes = True
        elif _BOARDS in cells:
            board = None
        elif cells[-1].startswith(("AICore", "NPU Util")):
            with_chips = cells[0].startswith("Chip")
        elif in_processes:
            holders += _holder(cells, alive)
        elif board is None:
            board = _board(cells)
        else:
            chips += _chip(board, cells, with_chips)
            board = None
    trouble = "" if chips else (text.strip().splitlines() or ["it printed nothing"])[-1]
    return Smi(tuple(chips), tuple(holders), trouble=trouble)


def parse_places(text: str) -> tuple[Place, ...]:
    """Which device is which, from `npu-smi info -m`; nothing if that is no table.

    NPU ID            Chip ID           Chip Logic ID     Chip Phy-ID       Chip Name
    0                 0                 0                 0                 Ascend910
    """
    lines = [_GAP.split(line.strip()) for line in text.splitlines() if line.strip()]
    head = next((cells for cells in lines if cells[0] == "NPU ID"), None)
    if head is None:
        return ()
    places = []
    for cells in lines:
        row = dict(zip(head, cells, strict=False))
        npu, chip = _number(row, "NPU ID"), _number(row, "Chip ID")
        logical, physical = _number(row, "Chip Logic ID"), _number(row, "Chip Phy-ID")
        # A board's management controller has no id but those two.
        if npu is not None and chip is not None and (logical, physical) != (None, None):
            places.append(Place(npu, chip, logical, physical))
    return tuple(places)


def _number(row: Mapping[str, str], column: str) -> int | None:
    value = row.get(column, "")
    return int(value) if value.isdigit() else None


def _board(cells: Sequence[str]) -> tuple[int, str] | None:
    number = cells[0].split()[:1]
    return (int(number[0]), cells[-2].split()[0]) if number and number[0].isdigit() else None


def _chip(board: tuple[int, str], cells: Sequence[str], with_chips: bool) -> list[Chip]:
    amounts = _AMOUNT.findall(cells[-1])
    if not amounts:
        return []
    # HBM stands behind the memory that such chips do not have.
    used, total = amounts[-1]
    number = cells[0].split()[:1] if with_chips else []
    return [Chip(board[0], int(number[0]) if number else 0, board[1], int(used), int(total))]


def _holder(cells: Sequence[str], alive: Callable[[int], bool]) -> list[Holder]:
    place = cells[0].split()
    if not (place and place[0].isdigit() and cells[1].isdigit()):
        return []  # "No running processes found in NPU 0"
    pid, memory = int(cells[1]), cells[3].split()[:1]
    mib = int(memory[0]) if memory and memory[0].isdigit() else 0
    chip = int(place[1]) if len(place) > 1 and place[1].isdigit() else 0
    return [Holder(int(place[0]), chip, pid, cells[2], mib, alive(pid))]
