"""What `aoe` says on the console and how it ends.

Of a real run two lines are known, `[Aoe]<name> Tuning process finished.` and `[Aoe]Aoe process finished,cost time
1109s.` (AOE's page aoe_16_041); programs look for `Aoe process finished` (MindSpore Lite's converter). Everything else
here, the report of a failure and exit status 255 among it, is as of `atc`, since nothing public tells.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version

from ascend_emulator.aoe import job
from ascend_emulator.aoe.options import EXAMPLE, GROUPS, LETTERS, OPTIONS
from ascend_emulator.atc import compile_time
from ascend_emulator.atc.command import DISTRIBUTION
from ascend_emulator.atc.console import Ending, ended, refuse_beside_cann
from ascend_emulator.atc.modes import Tool
from ascend_emulator.atc.options import HelpWanted, parse, usage

FAILURE = "[Aoe]Aoe process failed, Try 'aoe --help' for more information"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `aoe`.

    Args:
        arguments: without the program's name; those of the process when None.

    Returns:
        The exit status: 0, or 255 after any failure.
    """
    given_arguments = sys.argv[1:] if arguments is None else list(arguments)
    began = time.monotonic()

    def work() -> None:
        try:
            given = parse(given_arguments, OPTIONS, LETTERS)
        except HelpWanted:
            print(usage(version(DISTRIBUTION), EXAMPLE, GROUPS), end="")
            return
        refuse_beside_cann(os.environ, "aoe")
        duration = compile_time.parse(os.environ.get(compile_time.VARIABLE, ""))
        plan = job.plan(given, os.environ, datetime.now())
        tool = Tool(" ".join([sys.argv[0], *given_arguments]), version(DISTRIBUTION), began, duration)
        for warning in job.run(plan, tool):
            print(warning)
        print(f"[Aoe]<{plan.name}> Tuning process finished.")
        print(f"[Aoe]Aoe process finished,cost time {time.monotonic() - began:.0f}s.")

    return ended(work, Ending(FAILURE))
