"""Callbacks in stream order (facts/pyacl.md §7)."""

from __future__ import annotations

from collections.abc import Callable

from ascend_emulator.client import callbacks
from ascend_emulator.client.calling import function, ret

__all__ = [
    "launch_callback",
    "process_report",
    "subscribe_report",
    "unsubscribe_report",
]


@function("kk", ret)
def subscribe_report(thread_id: int, stream: int) -> int:
    """Let a thread run the callbacks of a stream."""
    callbacks.subscribe(thread_id, stream)
    return 0


@function("kk", ret)
def unsubscribe_report(thread_id: int, stream: int) -> int:
    """Undo `subscribe_report`."""
    callbacks.unsubscribe(thread_id, stream)
    return 0


@function("i", ret)
def process_report(timeout_ms: int) -> int:
    """Wait for callbacks that are due to this thread and run them; releases the GIL while it waits."""
    callbacks.process_report(timeout_ms)
    return 0


@function("OOik", ret)
def launch_callback(
    target: Callable[[object], object], user_data: object, block_type: int, stream: int
) -> int:
    """Queue a call of `target(user_data)`; 1: the stream waits for it, 0: it does not."""
    if not callable(target):
        raise TypeError("parameter must be callable")
    callbacks.launch(target, user_data, block_type, stream)
    return 0
