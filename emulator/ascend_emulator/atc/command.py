"""What `atc` says on the console and how it ends (facts/atc_om_soc.md §2.1).

The start line comes first, `...` before the verdict of every run whose arguments could be parsed, verdict and
error report go to standard output, complaints of the argument parser to standard error. Exit status 0, or
255.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version

from ascend_emulator.atc import compile_time, modes
from ascend_emulator.atc.errors import AtcError, Layout
from ascend_emulator.atc.options import CommandLineError, HelpWanted, parse, usage

START = "ATC start working now, please wait for a moment."
SUCCESS = "ATC run success, welcome to the next use."
FAILURE = "ATC run failed, Please check the detail log, Try 'atc --help' for more information"
UNRECORDED = "E19999: Internal Error!\n        An unknown error occurred. Please check the log.\n"
"""What ATC reports when nothing recorded an error, as its argument parser does not."""

FAILED = 255

DISTRIBUTION = "ascend-emulator"
_CANN_VARIABLES = ("ASCEND_HOME_PATH", "ASCEND_OPP_PATH", "ASCEND_TOOLKIT_HOME")
_FORCE = "ASCEND_EMULATOR_FORCE"
_LAYOUT = "ASCEND_EMULATOR_CANN"


def refuse_beside_cann(environment: Mapping[str, str], tool: str) -> None:
    """An emulated model must not be taken for a real one, so nothing is compiled where CANN is set up.

    Args:
        environment: variables of the process.
        tool: name of the command.

    Raises:
        AtcError: E10055, CANN's variables are set, and nothing says to go on.
    """
    present = [name for name in _CANN_VARIABLES if environment.get(name)]
    if present and environment.get(_FORCE) != "1":
        raise AtcError(
            "E10055",
            f"this is the emulated {tool}, and {', '.join(present)} of CANN is set",
            cause="The models it makes run on the emulated card only.",
            solution=f"Use CANN's own {tool}, unset it, or set {_FORCE}=1 to run the emulated one anyway.",
        )


def layout_of(environment: Mapping[str, str]) -> Layout:
    """Of which CANN the error reports look.

    Raises:
        AtcError: E10055, the variable names none that is known.
    """
    text = environment.get(_LAYOUT, "") or Layout.CANN_8_5.value
    known = [layout.value for layout in Layout]
    if text not in known:
        raise AtcError("E10055", f"{_LAYOUT} is {text!r}, it must be one of {', '.join(known)}")
    return Layout(text)


def _fail(report: str) -> int:
    print(FAILURE)
    print(report, flush=True)
    return FAILED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `atc`.

    Args:
        arguments: without the program's name; those of the process when None.

    Returns:
        The exit status: 0, or 255 after any failure.
    """
    given_arguments = sys.argv[1:] if arguments is None else list(arguments)
    began = time.monotonic()
    layout = Layout.CANN_8_5
    print(START, flush=True)
    try:
        layout = layout_of(os.environ)
        given = parse(given_arguments)
    except HelpWanted:
        print(usage(version(DISTRIBUTION)), end="")
        return 0
    except CommandLineError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return _fail(UNRECORDED)
    except AtcError as error:
        return _fail(error.report(datetime.now(), layout))
    try:
        refuse_beside_cann(os.environ, "atc")
        duration = compile_time.parse(os.environ.get(compile_time.VARIABLE, ""))
        # Real files name the binary behind the wrapper.
        tool = modes.Tool(
            " ".join([f"{sys.argv[0]}.bin", *given_arguments]), version(DISTRIBUTION), began, duration
        )
        warnings = modes.run(given, tool)
    except AtcError as error:
        print("...")
        return _fail(error.report(datetime.now(), layout))
    except Exception as error:  # noqa: BLE001 - a model can be broken in more ways than are foreseen; all of them are told
        traceback.print_exc()
        print("...")
        return _fail(AtcError("E19999", f"{type(error).__name__}: {error}").report(datetime.now(), layout))
    print("...")
    print(SUCCESS)
    for warning in warnings:
        print(warning)
    sys.stdout.flush()
    return 0
