"""`npu-smi`: layouts by family, and parsers as public programs have them."""

import re
from collections.abc import Callable

import pytest
from ascend_emulator.smi import command
from ascend_emulator.smi.npus import Chip, Node, Npu, Process, family_of
from ascend_emulator.smi.pages import TYPES, listing, mapping, page
from ascend_emulator.smi.table import overview
from ascend_emulator.soc import SOCS

pytestmark = pytest.mark.unit

Smi = Callable[..., tuple[int, str]]

SOC_OF_FAMILY = {
    "310B": "Ascend310B1",
    "310P": "Ascend310P3",
    "910": "Ascend910A",
    "A2": "Ascend910B4-1",
    "A3": "Ascend910_9362",
    "950": "Ascend950PR_9589",
}


def node(soc: str, npus: int = 2) -> Node:
    per_npu = 2 if soc.startswith("Ascend910_") else 1
    boards = []
    for number in range(npus):
        chips = tuple(
            Chip(
                index=index,
                physical=number * per_npu + index,
                used_mib=1000 * number + 3197,
                total_mib=SOCS[soc].memory_bytes >> 20,
                busy_percent=37,
                health="OK",
                double_bit_errors=0,
                processes=(Process(4242 + index, "replica", 512),) if number else (),
            )
            for index in range(per_npu)
        )
        boards.append(Npu(number, chips))
    return Node(SOCS[soc], family_of(SOCS[soc]), tuple(boards))


def fields(lines: list[str] | None) -> dict[str, str]:
    assert lines is not None
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


# --- layouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("soc", SOC_OF_FAMILY.values())
def test_every_line_of_the_overview_is_as_wide_as_the_first(soc: str) -> None:
    lines = overview(node(soc))
    assert {len(line) for line in lines} == {len(lines[0])}
    assert all(line[0] == line[-1] and line[0] in "+|" for line in lines)


def test_the_overview_of_an_a2() -> None:
    """Columns of facts/atc_om_soc.md §5.5; widths of the driver's `npu_info_print.c`."""
    lines = overview(node("Ascend910B4-1"))
    assert lines[3:9] == [
        "| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page) |",
        "| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)         |",
        "+===========================+===============+=====================================================+",
        "| 0     910B4-1             | OK            | NA          NA                0     / 0             |",
        "| 0                         | NA            | 37          0    / 0          3197  / 65536         |",
        "+===========================+===============+=====================================================+",
    ]
    assert lines[-4:] == [
        "| No running processes found in NPU 0                                                             |",
        "+===========================+===============+=====================================================+",
        "| 1       0                 | 4242          | replica                  | 512                      |",
        "+===========================+===============+=====================================================+",
    ]


def test_the_overview_of_a_310p_has_a_device_column_and_one_memory() -> None:
    lines = overview(node("Ascend310P3", 1))
    assert lines[3].startswith("| NPU     Name                  | Health          | Power(W)     Temp(C)  ")
    assert lines[4].startswith(
        "| Chip    Device                | Bus-Id          | AICore(%)    Memory-Usage(MB)  "
    )
    assert lines[7].startswith(
        "| 0       0                     | NA              | 37           3197 / 22888  "
    )


def test_an_a3_shows_two_chips_per_board_and_the_power_once() -> None:
    text = "\n".join(overview(node("Ascend910_9362")))
    assert "| Chip  Phy-ID              |" in text
    assert "| 1     3                   |" in text
    assert len(re.findall(r"\| 0     Ascend910           \| OK            \| NA ", text)) == 1
    assert len(re.findall(r"\| 0     Ascend910           \| OK            \| -  ", text)) == 1


def test_a_950_has_boards_and_no_chips() -> None:
    lines = overview(node("Ascend950PR_9589", 1))
    assert "| NPU ID | Name             | Health        |" in lines[3]
    assert "| 0      | Ascend950PR      | OK            |" in lines[6]
    assert "Chip ID" not in "\n".join(
        page("usages", node("Ascend950PR_9589"), node("Ascend950PR_9589").npus[0], None) or []
    )


def test_the_mapping_lists_controllers_without_a_logic_id() -> None:
    head, *rows = (re.split(r"\s{2,}", line.strip()) for line in mapping(node("Ascend910B4-1")))
    assert head == ["NPU ID", "Chip ID", "Chip Logic ID", "Chip Name"]
    assert rows == [
        ["0", "0", "0", "Ascend 910B4-1"],
        ["0", "1", "-", "Mcu"],
        ["1", "0", "1", "Ascend 910B4-1"],
        ["1", "1", "-", "Mcu"],
    ]
    head, *rows = (re.split(r"\s{2,}", line.strip()) for line in mapping(node("Ascend910_9362", 1)))
    assert head == ["NPU ID", "Chip ID", "Chip Logic ID", "Chip Phy-ID", "Chip Name"]
    assert rows == [
        ["0", "0", "0", "0", "Ascend910"],
        ["0", "1", "1", "1", "Ascend910"],
        ["0", "2", "-", "-", "Mcu"],
    ]
    head, *rows = (re.split(r"\s{2,}", line.strip()) for line in mapping(node("Ascend950PR_9589", 1)))
    assert head == ["NPU ID", "Slot ID", "Chip ID", "Chip Phy-ID", "Chip Name"]
    assert rows == [["0", "0", "0", "0", "Ascend950PR"]]


@pytest.mark.parametrize("soc", SOC_OF_FAMILY.values())
@pytest.mark.parametrize("kind", TYPES)
def test_every_page_names_its_board_and_measures_nothing_that_is_not_there(kind: str, soc: str) -> None:
    whole = node(soc)
    lines = page(kind, whole, whole.npus[1], None)
    assert fields(lines)["NPU ID"] == "1"
    for name, value in fields(lines).items():
        if re.search(r"Temp|Power|Clock|curFreq|Bandwidth", name):
            assert value in ("NA", "0"), name


def test_usages_follow_the_memory_of_the_family() -> None:
    a2, duo = node("Ascend910B4-1"), node("Ascend310P3")
    assert fields(page("usages", a2, a2.npus[0], a2.npus[0].chips[0]))["HBM Capacity(MB)"] == "65536"
    assert fields(page("usages", a2, a2.npus[0], None))["DDR Capacity(MB)"] == "0"
    told = fields(page("usages", duo, duo.npus[1], None))
    assert (told["DDR Capacity(MB)"], told["DDR Usage Rate(%)"], told["Aicore Usage Rate(%)"]) == (
        "22888",
        "18",
        "37",
    )
    assert "HBM Capacity(MB)" not in told


def test_a_310p_does_not_tell_its_power() -> None:
    whole = node("Ascend310P3")
    assert page("power", whole, whole.npus[0], whole.npus[0].chips[0]) is None


def test_processes_of_a_chip() -> None:
    whole = node("Ascend910B4-1")
    assert page("proc-mem", whole, whole.npus[0], whole.npus[0].chips[0]) == ["\tNo process in device."]
    assert page("proc-mem", whole, whole.npus[1], None) == [
        "\tNPU ID                         : 1",
        "\tChip Count                     : 1",
        "",
        "\tProcess id:4242    Process name:replica           Process memory(MB):512",
        "\tChip ID                        : 0",
        "",
    ]


# --- parsers as seen in public ---------------------------------------------------------------------


def detect_soc(whole: Node) -> str:
    """As facts/atc_om_soc.md §4.5 describes vllm-ascend's detector."""
    number = next(line for line in listing(whole) if "NPU ID" in line).split(":")[1].strip()
    npu = next(npu for npu in whole.npus if str(npu.number) == number)
    told = fields(page("board", whole, npu, None))
    if "Chip Name" not in told:
        told = fields(page("board", whole, npu, npu.chips[0]))
    if "NPU Name" in told:
        return f"{told['Chip Name']}_{told['NPU Name']}"
    return told["Chip Type"] + told["Chip Name"]


@pytest.mark.parametrize(
    "soc", sorted(name for name, soc in SOCS.items() if not soc.short.startswith("Ascend03"))
)
def test_a_detector_finds_every_soc(soc: str) -> None:
    assert detect_soc(node(soc)) == soc


@pytest.mark.parametrize("soc", SOC_OF_FAMILY.values())
def test_a_monitor_finds_the_compute_chips_in_the_mapping(soc: str) -> None:
    """As SwanLab and vllm-ascend do it: rows whose logic or physical number is a number."""
    head, *rows = mapping(node(soc))
    assert head.split()[:2] == ["NPU", "ID"]
    numbers = [int(words[2]) for words in map(str.split, rows) if words[2].isdigit()]
    assert len(numbers) == sum(len(npu.chips) for npu in node(soc).npus)


def test_a_monitor_reads_its_figures_behind_the_last_colon() -> None:
    """As SwanLab does it: the field by name, the value only where it is a number."""
    whole = node("Ascend910B3")
    lines = page("usages", whole, whole.npus[0], whole.npus[0].chips[0]) or []
    found = {}
    for line in lines:
        for name in ("aicore usage rate", "hbm usage rate", "hbm capacity"):
            if name in line.lower() and (value := line.split(":")[-1].strip()).isdigit():
                found[name] = int(value)
    assert found == {"aicore usage rate": 37, "hbm usage rate": 4, "hbm capacity": 65536}


def test_a_table_reader_finds_devices_and_processes() -> None:
    """As monitors do it that read the overview: by its two rows per chip, then by the process table's heading."""
    devices, processes, below = [], [], False
    for line in overview(node("Ascend910B4-1")):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        below = below or "Process id" in line
        if below and len(cells) == 4 and cells[1].isdigit():
            processes.append((int(cells[0].split()[0]), int(cells[1]), cells[2], int(cells[3])))
        elif not below and (used := re.findall(r"(\d+)\s*/\s*(\d+)", line)) and len(used) == 2:
            devices.append(tuple(map(int, used[1])))
    assert devices == [(3197, 65536), (4197, 65536)]
    assert processes == [(1, 4242, "replica", 512)]


# --- the command line ------------------------------------------------------------------------------


@pytest.fixture
def smi(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Smi:
    """Run the command on a node of two boards; gives exit code and what it printed."""

    def run(*words: str, soc: str = "Ascend910B3", npus: int = 2) -> tuple[int, str]:
        monkeypatch.setattr(command, "read_node", lambda _: node(soc, npus))
        code = command.main(list(words))
        return code, capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("words", "code", "anchor"),
    [
        ((), 215, "Usage: npu-smi <Command|-h|-v> [Options...]"),
        (("-h",), 0, "Show hardware details"),
        (("-v",), 0, "npu-smi version: 26.1.0+emulated"),
        (("inof",), 211, "Command or option is not found."),
        (("set", "-t", "ecc-enable"), 211, "not emulated"),
        (("info", "-h"), 0, "Usage: npu-smi info"),
        (("info", "-t", "board"), 215, "This command must input card id."),
        (("info", "-t", "board", "-i", "2"), 215, "Invalid card id.\nError parameter of -i"),
        (("info", "-t", "board", "-i", "0", "-c", "1"), 215, "Invalid chip id.\nError parameter of -c"),
        (("info", "-t", "boards", "-i", "0"), 215, "Error parameter of -t"),
        (("info", "-t"), 215, "Error parameter of -t"),
        (("info", "-x", "1"), 215, "Error parameter of -x"),
        (("info", "-i", "0", "-i", "1"), 215, "Error parameter of -i"),
        (("info", "-i", "0"), 215, "Must input parameter of type."),
        (("info", "-t", "flash", "-i", "0"), 0, "This device does not support querying flash."),
        (("info", "-t", "common", "-i", "0", "-c", "0"), 0, "does not support querying common."),
        (("info", "-l"), 0, "Total Count                    : 2"),
        (("info", "-m"), 0, "Chip Logic ID"),
        (("info", "-t", "health", "-i", "1"), 0, "Health                         : OK"),
        (("info",), 0, "910B3"),
    ],
)
def test_arguments_get_the_tools_codes(smi: Smi, words: tuple[str, ...], code: int, anchor: str) -> None:
    got, printed = smi(*words)
    assert got == code
    assert anchor in printed


def test_a_950_refuses_a_chip(smi: Smi) -> None:
    got, printed = smi("info", "-t", "usages", "-i", "0", "-c", "0", soc="Ascend950PR_9589")
    assert got == 215
    assert "does not support input parameter of -c" in printed


def test_a_node_without_devices_says_so(smi: Smi) -> None:
    assert smi("info", "-l", npus=0) == (0, "There is no NPU card on this server.\n")


def test_wrong_settings_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ASCEND_EMULATOR_SOC", "Ascend999")
    assert command.main(["info"]) == 1
    assert "ASCEND_EMULATOR_SOC is 'Ascend999'" in capsys.readouterr().err
