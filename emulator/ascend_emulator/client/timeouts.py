"""How long tasks may take, for the whole process (facts/pyacl.md §6.2)."""

from __future__ import annotations

from math import ceil

from ascend_emulator.client import process
from ascend_emulator.codes import RT_FEATURE_NOT_SUPPORTED, Failure

_ARCHS_WITHOUT_WAIT_LIMIT = frozenset((2002,))

_STEP_US_BY_ARCH = {1001: 68_719_476.736, 2002: 2_147_483.648}
_STEP_US_ELSEWHERE = 4_294_967.296
_MOST_STEPS = 254
"""The hardware counts an operator's time in steps: the kernel credits of the runtime's `task_execute_time.cc`."""

wait_s = 0
"""Seconds that waits queued from now on may take; 0 for ever."""


def set_wait_limit(seconds: int) -> None:
    """Limit the waits for events that are queued from now on.

    Args:
        seconds: the limit; 0 for none.

    Raises:
        Failure: 207000, the SoC has no such limit.
    """
    global wait_s
    if process.settings().soc.arch in _ARCHS_WITHOUT_WAIT_LIMIT:
        raise Failure(RT_FEATURE_NOT_SUPPORTED, "EE1005: this SoC does not limit waits for events.")
    wait_s = seconds


def execute_limit_us(microseconds: int) -> int:
    """The limit of an operator's time that the hardware would have instead of the one asked for.

    Args:
        microseconds: what is asked for; 0 for the most.

    Raises:
        Failure: 107002.
    """
    process.current()
    step_us = _STEP_US_BY_ARCH.get(process.settings().soc.arch, _STEP_US_ELSEWHERE)
    steps = min(ceil(microseconds / step_us), _MOST_STEPS) if microseconds else _MOST_STEPS
    return int(steps * step_us)
