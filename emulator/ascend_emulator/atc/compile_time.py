"""How long a compile takes: on a server tens of seconds to minutes, here as long as is asked for.

`ASCEND_EMULATOR_COMPILE_TIME` is `<seconds>` or `<seconds>,<milliseconds per operator>`, whole or decimal; a
compile that is ready earlier waits. Nothing is waited for without it. It lets what schedules compiles be
tested.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass

from ascend_emulator.atc.errors import AtcError

VARIABLE = "ASCEND_EMULATOR_COMPILE_TIME"

_NUMBER = r"[0-9]{1,6}(?:\.[0-9]{1,6})?"


@dataclass(frozen=True, slots=True)
class CompileTime:
    """How long a compile takes: fixed seconds, and milliseconds for each operator of the model."""

    fixed_s: float = 0.0
    per_operator_ms: float = 0.0

    def seconds(self, operators: int) -> float:
        """The time of a model with that many operators."""
        return self.fixed_s + operators * self.per_operator_ms / 1000

    def wait(self, operators: int, began: float) -> None:
        """Wait until the compile would be over; a signal that ends the process ends the wait.

        Args:
            operators: of the model.
            began: `time.monotonic()` when the compile began.
        """
        left = began + self.seconds(operators) - time.monotonic()
        if left > 0:
            # An event that nobody sets: the wait ends by time, or with the process.
            threading.Event().wait(left)


def parse(text: str) -> CompileTime:
    """Read the variable; empty for no time at all.

    Raises:
        AtcError: E10055 another form.
    """
    if not text:
        return CompileTime()
    found = re.fullmatch(rf"({_NUMBER})(?:,({_NUMBER}))?", text)
    if not found:
        raise AtcError(
            "E10055",
            f"{VARIABLE} is {text!r}, it must be seconds, or seconds and milliseconds per operator: 30 or 5,2.5",
        )
    return CompileTime(float(found[1]), float(found[2] or 0))
