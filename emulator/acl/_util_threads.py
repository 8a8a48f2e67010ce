"""`acl.util`: threads (facts/pyacl.md §7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ascend_emulator.client import threads
from ascend_emulator.client.calling import function, ret, value_ret

__all__ = ["start_thread", "stop_thread"]


@function("OO", value_ret)
def start_thread(target: Callable[..., object], argument: Any) -> tuple[int, int]:
    """`(thread id, errno)`; calls `target(argument)` in the new thread, or `target()` when it is None.

    SIGINT gets its default action back. TypeError for a target that cannot be called.
    """
    if not callable(target):
        raise TypeError("parameter must be callable")
    return threads.start(target, argument)


@function("k", ret)
def stop_thread(thread_id: int) -> int:
    """Wait, without the GIL, until a thread has ended; its errno. RuntimeError if its function raised."""
    return threads.stop(thread_id)
