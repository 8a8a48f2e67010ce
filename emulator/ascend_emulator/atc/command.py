"""What `atc` says on the console (facts/atc_om_soc.md §2.1); how it fails is in `console`.

The start line comes first, and `...` before the verdict of every run whose arguments could be parsed.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version

from ascend_emulator.atc import compile_time, modes
from ascend_emulator.atc.console import Ending, ended, refuse_beside_cann
from ascend_emulator.atc.options import HelpWanted, parse, usage

START = "ATC start working now, please wait for a moment."
SUCCESS = "ATC run success, welcome to the next use."
FAILURE = "ATC run failed, Please check the detail log, Try 'atc --help' for more information"

_PARSED = "...\n"

DISTRIBUTION = "ascend-emulator"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `atc`.

    Args:
        arguments: without the program's name; those of the process when None.

    Returns:
        The exit status: 0, or 255 after any failure.
    """
    given_arguments = sys.argv[1:] if arguments is None else list(arguments)
    began = time.monotonic()
    ending = Ending(FAILURE)

    def work() -> None:
        try:
            given = parse(given_arguments)
        except HelpWanted:
            print(usage(version(DISTRIBUTION)), end="")
            return
        ending.before = _PARSED
        refuse_beside_cann(os.environ, "atc")
        duration = compile_time.parse(os.environ.get(compile_time.VARIABLE, ""))
        # Real files name the binary behind the wrapper.
        command_line = " ".join([f"{sys.argv[0]}.bin", *given_arguments])
        warnings = modes.run(given, modes.Tool(command_line, version(DISTRIBUTION), began, duration))
        print(f"{_PARSED}{SUCCESS}")
        for warning in warnings:
            print(warning)

    print(START, flush=True)
    return ended(work, ending)
