"""How long tasks may take (facts/pyacl.md §6.2)."""

from __future__ import annotations

from ascend_emulator.client import timeouts
from ascend_emulator.client.calling import function, ret, value_ret

__all__ = [
    "set_op_execute_timeout",
    "set_op_execute_timeout_v2",
    "set_op_wait_timeout",
]


@function("I", ret)
def set_op_wait_timeout(seconds: int) -> int:
    """Limit the waits of streams that are queued from now on; 0 for no limit."""
    timeouts.set_wait_limit(seconds)
    return 0


@function("I", ret)
def set_op_execute_timeout(seconds: int) -> int:
    """Limit the time of an operator, which ends none here."""
    return 0


@function("k", value_ret)
def set_op_execute_timeout_v2(microseconds: int) -> tuple[int, int]:
    """`(microseconds that the hardware makes of it, ret)`; ends no operator here."""
    return timeouts.execute_limit_us(microseconds), 0
