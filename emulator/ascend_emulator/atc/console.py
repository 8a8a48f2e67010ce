"""How `atc` and `aoe` end: where they refuse to run, and what they print when they fail (facts/atc_om_soc.md §2.1).

Verdict and error report go to standard output, complaints of the argument parser to standard error. Exit status 0,
or 255.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ascend_emulator.atc.errors import AtcError, Layout
from ascend_emulator.atc.options import CommandLineError

FAILED = 255

_UNRECORDED = "E19999: Internal Error!\n        An unknown error occurred. Please check the log.\n"
"""What ATC reports when nothing recorded an error, as its argument parser does not."""

_CANN_VARIABLES = ("ASCEND_HOME_PATH", "ASCEND_OPP_PATH", "ASCEND_TOOLKIT_HOME")
_FORCE = "ASCEND_EMULATOR_FORCE"
_LAYOUT = "ASCEND_EMULATOR_CANN"


@dataclass(slots=True)
class Ending:
    """How a run of a tool ends when it fails.

    Attributes:
        failure: line that begins the verdict.
        before: what stands before the verdict, once the tool has come so far as to print it.
    """

    failure: str
    before: str = ""


def ended(work: Callable[[], None], ending: Ending) -> int:
    """Do a tool's work, and tell of it when it fails.

    Returns:
        The exit status: 0, or 255 after any failure.
    """
    layout = Layout.CANN_8_5
    try:
        layout = _layout_of(os.environ)
        work()
    except CommandLineError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        report = _UNRECORDED
    except AtcError as error:
        report = error.report(datetime.now(), layout)
    except Exception as error:  # noqa: BLE001 - a model can be broken in more ways than are foreseen; all of them are told
        traceback.print_exc()
        report = AtcError("E19999", f"{type(error).__name__}: {error}").report(datetime.now(), layout)
    else:
        sys.stdout.flush()
        return 0
    print(f"{ending.before}{ending.failure}")
    print(report, flush=True)
    return FAILED


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


def _layout_of(environment: Mapping[str, str]) -> Layout:
    """Of which CANN the error reports look."""
    text = environment.get(_LAYOUT, "") or Layout.CANN_8_5.value
    known = [layout.value for layout in Layout]
    if text not in known:
        raise AtcError("E10055", f"{_LAYOUT} is {text!r}, it must be one of {', '.join(known)}")
    return Layout(text)
