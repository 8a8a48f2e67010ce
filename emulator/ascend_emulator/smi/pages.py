"""The pages of `npu-smi info -l`, `-m` and `-t`: one field per line, `name : value`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

from ascend_emulator.smi.npus import Chip, Family, Node, Npu
from ascend_emulator.smi.version import VERSION

_MODERN = (Family.A2, Family.A3, Family.ASCEND_950)
_WITH_HBM = (Family.ASCEND_910, *_MODERN)
_NA = "NA"


def field(name: str, value: object, width: int = 30) -> str:
    """One line of a page."""
    return f"\t{name:<{width}} : {value}"


# --- all boards ------------------------------------------------------------------------------------


def listing(node: Node) -> list[str]:
    """`info -l`."""
    if not node.npus:
        return ["There is no NPU card on this server."]
    count = "Card Count" if node.family is Family.ASCEND_310B else "Total Count"
    lines = [field(count, len(node.npus)), ""]
    for npu in node.npus:
        lines.append(field("NPU ID", npu.number))
        if node.family in (Family.ASCEND_310B, Family.ASCEND_310P):
            lines += [field("Product Name", _NA), field("Serial Number", _NA)]
        if node.family is not Family.ASCEND_950:
            lines.append(field("Chip Count", len(npu.chips)))
        lines.append("")
    return lines


def mapping(node: Node) -> list[str]:
    """`info -m`."""
    if not node.npus:
        return ["There is no NPU card on this server."]
    if node.family is Family.ASCEND_950:
        lines = [_columns("NPU ID", "Slot ID", "Chip ID", "Chip Phy-ID", "Chip Name")]
        return lines + [
            _columns(npu.number, npu.number, chip.index, chip.physical, node.chip_name)
            for npu in node.npus
            for chip in npu.chips
        ]
    doubled = node.family is Family.A3
    lines = [_columns("NPU ID", "Chip ID", "Chip Logic ID", *(["Chip Phy-ID"] * doubled), "Chip Name")]
    name = node.chip_name if doubled else f"Ascend {node.chip_name}"
    for npu in node.npus:
        for chip in npu.chips:
            lines.append(_columns(npu.number, chip.index, *([chip.physical] * (1 + doubled)), name))
        if node.family.has_mcu:
            lines.append(_columns(npu.number, len(npu.chips), *(["-"] * (1 + doubled)), "Mcu"))
    return lines


def _columns(*values: object) -> str:
    return "\t" + " ".join(f"{value!s:<30}" for value in values)


# --- one board -------------------------------------------------------------------------------------


def board_page(node: Node, npu: Npu) -> list[str]:
    """`info -t board -i`."""
    family = node.family
    lines = [field("NPU ID", npu.number)]
    if family is not Family.ASCEND_910:
        lines.append(field("Product Name", _NA))
    if family is Family.ASCEND_950:
        lines += [
            field("NPU Name", node.npu_name),
            field("Chip Name", node.chip_name),
            field("Chip Version", "V1"),
        ]
    if family is not Family.ASCEND_910:
        lines += [field("Model", _NA), field("Manufacturer", _NA), field("Serial Number", _NA)]
    lines += [field("Software Version", VERSION), field("Firmware Version", _NA)]
    if family is not Family.ASCEND_310B:
        lines.append(field("Compatibility", "OK"))
    lines.append(field("Board ID", _NA))
    if family in (Family.A3, Family.ASCEND_950):
        lines.append(field("Main Board ID", _NA))
    lines += [field("PCB ID", _NA), field("BOM ID", _NA)]
    if family is not Family.ASCEND_310B:
        lines += [field("PCIe Bus Info", _NA), field("Slot ID", npu.number), field("Class ID", _NA)]
        names = ("PCI Vendor ID", "PCI Device ID", "Subsystem Vendor ID", "Subsystem Device ID")
        lines += [field(name, _NA) for name in names]
    lines.append(field("Chip Count", len(npu.chips)))
    if family is Family.ASCEND_310B:
        lines.append(field("Faulty Chip Count", _faulty(npu)))
    elif family is Family.ASCEND_310P:
        lines.append(field("Chip Fault", _faulty(npu)))
    elif family is Family.ASCEND_950:
        lines += [field("DDie ID", _NA), field("Chip Position ID", 0)]
    return lines


def _faulty(npu: Npu) -> int:
    return sum(chip.health != "OK" for chip in npu.chips)


def common_page(node: Node, npu: Npu) -> list[str]:
    """`info -t common -i`."""
    family = node.family
    lines = [field("NPU ID", npu.number)]
    if family is not Family.ASCEND_950:
        lines.append(field("Chip Count", len(npu.chips)))
    for chip in npu.chips:
        if family is not Family.ASCEND_950:
            lines += ["", field("Chip ID", chip.index)]
        lines.append(field("Memory Usage Rate(%)", 0 if family.has_hbm else chip.used_percent))
        if family.has_hbm:
            lines.append(field("HBM Usage Rate(%)", chip.used_percent))
        lines.append(field("Aicore Usage Rate(%)", chip.busy_percent))
        if family is not Family.ASCEND_310B:
            lines += [field("Aicore Freq(MHZ)", node.soc.mhz), field("Aicore curFreq(MHZ)", _NA)]
        if family.has_hbm:
            lines.append(field("Aicore Count", node.soc.ai_cores))
        lines.append(field("Temperature(C)", _NA))
        if family is Family.ASCEND_310B:
            lines.append(field("Rated Power Dissipation(W)", _NA))
        elif family.has_hbm:
            lines.append(field("NPU Real-time Power(W)", _NA))
    if family.has_mcu:
        lines += ["", field("Chip Name", "mcu"), field("Temperature(C)", _NA)]
        if family is Family.ASCEND_310P:
            lines.append(field("NPU Real-time Power(W)", _NA))
    return lines


# --- one chip --------------------------------------------------------------------------------------


def chip_board(node: Node, npu: Npu, chip: Chip) -> list[str]:
    """`info -t board -i -c`."""
    family = node.family
    lines = [field("NPU ID", npu.number)]
    if family is Family.A3:
        lines.append(field("NPU Name", node.npu_name))
    lines.append(field("Chip ID", chip.index))
    if family is not Family.A3:
        lines.append(field("Chip Type", "Ascend"))
    lines += [field("Chip Name", node.chip_name), field("Chip Version", "V1"), field("Board ID", _NA)]
    if family is Family.ASCEND_310B:
        lines.append(field("Module Board ID", _NA))
    if family is not Family.ASCEND_310P:
        lines += [field("PCB ID", _NA), field("BOM ID", _NA)]
    if family.has_hbm:
        lines += [field("VDie ID", _NA), field("NDie ID", _NA)]
    else:
        lines.append(field("Die ID", _NA))
    if family is not Family.ASCEND_310B:
        lines += [
            field("Chip Position ID", chip.index),
            field("PCIe Bus Info", _NA),
            field("Firmware Version", _NA),
        ]
    return lines


def usages(node: Node, chip: Chip) -> list[str]:
    """`-t usages` of a chip."""
    family = node.family
    if family is Family.ASCEND_310B:
        lines = [
            field("Memory Capacity(MB)", chip.total_mib),
            field("Memory Usage Rate(%)", chip.used_percent),
            field("Hugepages Total(page)", 0),
            field("Hugepages Usage Rate(%)", 0),
        ]
    else:
        of_ddr = (0, 0) if family.has_hbm else (chip.total_mib, chip.used_percent)
        lines = [
            field("DDR Capacity(MB)", of_ddr[0]),
            field("DDR Usage Rate(%)", of_ddr[1]),
            field("DDR Hugepages Total(page)", 0),
            field("DDR Hugepages Usage Rate(%)", 0),
        ]
    if family in _WITH_HBM:
        lines += [field("HBM Capacity(MB)", chip.total_mib), field("HBM Usage Rate(%)", chip.used_percent)]
    lines.append(field("Aicore Usage Rate(%)", chip.busy_percent))
    if family in _MODERN:
        lines.append(field("Aivector Usage Rate(%)", _NA))
    lines += [field("Aicpu Usage Rate(%)", 0), field("Ctrlcpu Usage Rate(%)", _NA)]
    if family is Family.ASCEND_310P:
        lines.append(field("Vectorcore Usage Rate(%)", _NA))
    memory = "Memory" if family is Family.ASCEND_310B else "DDR"
    lines.append(field(f"{memory} Bandwidth Usage Rate(%)", 0 if family in _MODERN else _NA))
    if family in _WITH_HBM:
        lines.append(field("HBM Bandwidth Usage Rate(%)", _NA))
    if family is Family.ASCEND_310P:
        lines += [
            field(f"DVPP {unit} Usage Rate(%)", 0) for unit in ("VDEC", "VPC", "VENC", "JPEGE", "JPEGD")
        ]
    if family in _MODERN:
        lines += [field("NPU Utilization(%)", chip.busy_percent), field("Aicube Usage Rate(%)", _NA)]
    return lines


def memory(node: Node, chip: Chip) -> list[str]:
    """`-t memory` of a chip."""
    family = node.family
    total = chip.total_mib
    if family is Family.ASCEND_310B:
        return [
            field("Total Capacity(MB)", total),
            field("Capacity(MB)", total),
            field("Clock Speed(MHz)", _NA),
        ]
    lines = [field("Total DDR Capacity(MB)", total)] if family is Family.ASCEND_310P else []
    lines += [
        field("DDR Capacity(MB)", 0 if family.has_hbm else total),
        field("DDR Clock Speed(MHz)", 0 if family in _MODERN else _NA),
    ]
    if family in _WITH_HBM:
        lines += [
            field("HBM Capacity(MB)", total),
            field("HBM Clock Speed(MHz)", _NA),
            field("HBM Temperature(C)", _NA),
        ]
    if family in _MODERN:
        lines.append(field("HBM Manufacturer ID", _NA))
    return lines


def health(node: Node, chip: Chip) -> list[str]:
    """`-t health` of a board's chip; a 950 says the long form."""
    if node.family is Family.ASCEND_950:
        return health_of_chip(node, chip)
    return [field("Health", chip.health)]


def health_of_chip(node: Node, chip: Chip) -> list[str]:
    """`-t health` with `-c`."""
    names = {"Alarm": "uncorrectable memory error (injected)", "Critical": "device lost (injected)"}
    return [
        field("Health Status", chip.health),
        field("Error Code", _NA),
        field("Error Information", names.get(chip.health, _NA)),
    ]


def temperature(node: Node, chip: Chip) -> list[str]:
    """`-t temp` of a chip."""
    return [field("NPU Temperature (C)" if node.family in _WITH_HBM else "Temperature (C)", _NA)]


def power(node: Node, chip: Chip) -> list[str] | None:
    """`-t power` of a chip; None on a 310P, which does not tell."""
    return None if node.family is Family.ASCEND_310P else [field("NPU Real-time Power(W)", _NA)]


def product(node: Node, chip: Chip) -> list[str]:
    """`-t product` of a chip."""
    return [field("Product Type", _NA)]


def ecc(node: Node, chip: Chip) -> list[str]:
    """`-t ecc` of a chip."""
    family = node.family
    if family is Family.ASCEND_310B:
        return [_count("Single-bit Error Count", 0), _count("Double-bit Error Count", chip.double_bit_errors)]
    kind = "HBM" if family.has_hbm else "DDR"
    counts = [
        ("Single Bit Error Count", 0),
        ("Double Bit Error Count", chip.double_bit_errors),
        ("Single Bit Aggregate Total Err Cnt", 0),
        ("Double Bit Aggregate Total Err Cnt", chip.double_bit_errors),
        ("Single Bit Isolated Pages Count", 0),
        ("Double Bit Isolated Pages Count", 0),
    ]
    if family is not Family.ASCEND_910:
        counts += [("Single Bit Next-Isolated Pages Count", 0), ("Double Bit Next-Isolated Pages Count", 0)]
        return [_count(f"{kind} {name}", value) for name, value in counts]
    of_ddr = [_count(f"DDR {name}", 0) for name, _ in counts]
    return of_ddr + [_count(f"HBM {name}", value) for name, value in counts]


def _count(name: str, value: int) -> str:
    return field(name, value, 40)


def processes(node: Node, chip: Chip) -> list[str]:
    """`-t proc-mem` of a chip."""
    return [
        f"\tProcess id:{process.pid:<7} Process name:{process.name:<17} Process memory(MB):{process.mib}"
        for process in chip.processes
    ] or ["\tNo process in device."]


_ChipPage = Callable[[Node, Chip], "list[str] | None"]

_OF_A_CHIP: dict[str, tuple[_ChipPage, _ChipPage]] = {
    "usages": (usages, usages),
    "memory": (memory, memory),
    "health": (health, health_of_chip),
    "temp": (temperature, temperature),
    "power": (power, power),
    "product": (product, product),
    "ecc": (ecc, ecc),
    "proc-mem": (processes, processes),
}
"""Type -> what a board's page says of each chip, and what `-c` says of one."""

TYPES = ("board", "common", *_OF_A_CHIP)


def page(kind: str, node: Node, npu: Npu, chip: Chip | None) -> list[str] | None:
    """The page of `info -t kind`; None when the device does not tell.

    Args:
        kind: one of `TYPES`.
        node: the node.
        npu: the board.
        chip: the chip that `-c` names, None without it.
    """
    if chip is not None:
        if kind == "common":
            return None
        return chip_board(node, npu, chip) if kind == "board" else _OF_A_CHIP[kind][1](node, chip)
    if kind in ("board", "common"):
        return board_page(node, npu) if kind == "board" else common_page(node, npu)
    width = 40 if kind == "ecc" else 30
    lines = [field("NPU ID", npu.number, width)]
    bare = node.family is Family.ASCEND_950
    if not bare:
        lines += [field("Chip Count", len(npu.chips), width), ""]
    said = ((each, _OF_A_CHIP[kind][0](node, each)) for each in npu.chips)
    return lines + list(chain.from_iterable(_with_id(node, each, told, width) for each, told in said if told))


def _with_id(node: Node, chip: Chip, told: list[str], width: int) -> list[str]:
    number = field("Chip ID", chip.index, width)
    if node.family is Family.ASCEND_950:
        return [*told, ""]
    return [number, *told, ""] if node.family is Family.ASCEND_310B else [*told, number, ""]
