"""The command line of `npu-smi`: `-h`, `-v` and `info`; exit codes and wrong arguments are the driver's tool's."""

from __future__ import annotations

import signal
import sys

from ascend_emulator.codes import Failure
from ascend_emulator.settings import read_settings
from ascend_emulator.smi.npus import Chip, Family, Node, Npu, read_node
from ascend_emulator.smi.pages import TYPES, listing, mapping, page
from ascend_emulator.smi.table import overview
from ascend_emulator.smi.version import VERSION

_BASE = -9000
_WRONG_ARGUMENT = (_BASE - 1) & 0xFF
_WRONG_COMMAND = (_BASE - 5) & 0xFF
_NO_DRIVER = 1
"""The tool's codes, negative numbers that a process ends with as their last byte."""

_HELP = """Usage: npu-smi <Command|-h|-v> [Options...]

npu-smi Command:
\t-h            This command's help information
\t--help        This command's help information
\t-v            Show npu-smi version information
\tinfo          Show hardware details"""

_INFO_HELP = f"""Usage: npu-smi info <-h|-m|-l|-t type> [Options...]

Commands:
       -h, --help     Show this help text and exit
       -m             Show all device's mapping information
       -l             Show all device's topology information
       -t type        Show information for type
                      type: {", ".join(TYPES)}.

Options:
       -i %d          Card ID
       -c %d          Chip ID"""

_NOT_EMULATED = (
    "flash",
    "sensors",
    "volt",
    "mac-addr",
    "ip",
    "sys-time",
    "i2c_check",
    "work-mode",
    "ecc-enable",
    "p2p-enable",
    "ssh-enable",
    "license",
    "customized-info",
    "device-share",
    "nve-level",
    "aicpu-config",
    "pcie-err",
    "mcu-monitor",
    "err-count",
    "boot-area",
    "vnpu-mode",
    "info-vnpu",
    "vnpu-svm",
    "cpu-num-cfg",
    "first-power-on-date",
    "phyid-remap",
    "key-manage",
    "template-info",
    "p2p-mem-cfg",
    "topo",
    "hccs",
    "sio-info",
    "spod-info",
    "hccs-bw",
    "cpu-freq-up",
    "sys-log-info",
    "current-fault-event",
)
"""Types of the tool that ask for what an emulated card has not."""


class _Wrong(Exception):  # noqa: N818 - wrong usage, not an error of the emulator
    """Arguments that the tool refuses; its text stands before the help."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what follows the command's name; those of the process when None.

    Returns:
        The exit code.
    """
    if arguments is None:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `npu-smi info | head` ends it quietly
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words:
        print(_HELP)
        return _WRONG_ARGUMENT
    command, *options = words
    if command in ("-h", "--help"):
        print(_HELP)
        return 0
    if command == "-v":
        print(f"npu-smi version: {VERSION}")
        return 0
    if command in ("set", "clear", "upgrade"):
        print(f"npu-smi {command} is not emulated.")
        return _WRONG_COMMAND
    if command != "info":
        print(f"Command or option is not found.\n{_HELP}")
        return _WRONG_COMMAND
    try:
        lines = _info(options)
    except _Wrong as wrong:
        print("\n".join(filter(None, [str(wrong), _INFO_HELP])))
        return _WRONG_ARGUMENT
    except Failure as failure:
        print(f"dcmi module initialize failed. {failure.text}", file=sys.stderr)
        return _NO_DRIVER
    print("\n".join(lines))
    return 0


def _info(options: list[str]) -> list[str]:
    node = read_node(read_settings())
    if not options:
        return overview(node) if node.npus else [_INFO_HELP]
    if options in (["-h"], ["--help"]):
        return [_INFO_HELP]
    if options == ["-l"]:
        return listing(node)
    if options == ["-m"]:
        return mapping(node)
    given = _pairs(options)
    kind = given.get("-t")
    if kind is not None and kind not in TYPES and kind not in _NOT_EMULATED:
        raise _Wrong("Error parameter of -t")
    npu = _npu(node, given)
    if "-c" in given and node.family is Family.ASCEND_950:
        raise _Wrong("This device does not support input parameter of -c.")
    chip = _chip(npu, given)
    if npu is None:
        raise _Wrong("\nThis command must input card id.\n")
    if kind is None:
        raise _Wrong("Must input parameter of type.")
    lines = page(kind, node, npu, chip) if kind in TYPES else None
    return [f"This device does not support querying {kind}."] if lines is None else lines


def _pairs(options: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in zip(options[::2], [*options[1::2], None]):  # noqa: B905 - a last name may lack its value
        if name not in ("-t", "-i", "-c") or name in given or value is None:
            raise _Wrong(f"Error parameter of {name}")
        given[name] = value
    return given


def _npu(node: Node, given: dict[str, str]) -> Npu | None:
    if "-i" not in given:
        return None
    for npu in node.npus:
        if given["-i"] == str(npu.number):
            return npu
    raise _Wrong("Invalid card id.\nError parameter of -i")


def _chip(npu: Npu | None, given: dict[str, str]) -> Chip | None:
    if "-c" not in given:
        return None
    for chip in npu.chips if npu is not None else ():
        if given["-c"] == str(chip.index):
            return chip
    raise _Wrong("Invalid chip id.\nError parameter of -c")
