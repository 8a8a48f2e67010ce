"""Contexts, and the thread's last error (facts/pyacl.md §5, §6.2)."""

from __future__ import annotations

from ascend_emulator.client import process
from ascend_emulator.client.calling import function, last_code, ret, value_ret
from ascend_emulator.codes import RT_PARAM_INVALID

__all__ = [
    "create_context",
    "ctx_get_current_default_stream",
    "destroy_context",
    "get_context",
    "get_last_error",
    "peek_at_last_error",
    "set_context",
]

_LEVELS = (0, 1)


@function("i", value_ret)
def create_context(device_id: int) -> tuple[int, int]:
    """`(context, ret)`; the thread is bound to the new context."""
    return process.create_context(device_id).handle, 0


@function("k", ret)
def set_context(context: int) -> int:
    """Bind the thread to a context."""
    process.set_context(context)
    return 0


@function("", value_ret)
def get_context() -> tuple[int, int]:
    """`(context, ret)` of the thread; 107002 if none."""
    return process.current().handle, 0


@function("k", ret)
def destroy_context(context: int) -> int:
    """End an explicit context."""
    process.destroy_context(context)
    return 0


@function("", value_ret)
def ctx_get_current_default_stream() -> tuple[int, int]:
    """`(stream, ret)`."""
    return process.current().default_handle, 0


@function("i", ret)
def peek_at_last_error(level: int) -> int:
    """The thread's last error code; levels 0 (thread) and 1 (context) are one here."""
    return last_code(clear=False) if level in _LEVELS else RT_PARAM_INVALID


@function("i", ret)
def get_last_error(level: int) -> int:
    """The thread's last error code, which is cleared; levels 0 (thread) and 1 (context) are one here."""
    return last_code(clear=True) if level in _LEVELS else RT_PARAM_INVALID
