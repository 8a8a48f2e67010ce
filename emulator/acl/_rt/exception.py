"""What is known of a task that failed (facts/pyacl.md §7)."""

from __future__ import annotations

from typing import Any

from ascend_emulator.client import exceptions
from ascend_emulator.client.calling import function, ret, zero

__all__ = [
    "get_device_id_from_exception_info",
    "get_error_code_from_exception_info",
    "get_stream_id_from_exception_info",
    "get_task_id_from_exception_info",
    "get_thread_id_from_exception_info",
    "set_exception_info_callback",
]


@function("|O", ret)
def set_exception_info_callback(target: Any = None) -> int:
    """Have `target(info)` called for every failed task; None or nothing for no call any more."""
    if target is not None and not callable(target):
        raise TypeError("acl.rt.set_exception_info_callback args parse failed")
    exceptions.set_callback(target)
    return 0


@function("k", zero)
def get_task_id_from_exception_info(info: int) -> int:
    """Number of the task on its stream."""
    found = exceptions.info_of(info)
    return exceptions.NO_INFO if found is None else found.task


@function("k", zero)
def get_stream_id_from_exception_info(info: int) -> int:
    """Id of the stream, as `stream_get_id` says it."""
    found = exceptions.info_of(info)
    return exceptions.NO_INFO if found is None else found.stream


@function("k", zero)
def get_thread_id_from_exception_info(info: int) -> int:
    """Native id of the thread that learned of the failure."""
    found = exceptions.info_of(info)
    return exceptions.NO_INFO if found is None else found.thread


@function("k", zero)
def get_device_id_from_exception_info(info: int) -> int:
    """The device."""
    found = exceptions.info_of(info)
    return exceptions.NO_INFO if found is None else found.device


@function("k", zero)
def get_error_code_from_exception_info(info: int) -> int:
    """The code that the task ended with."""
    found = exceptions.info_of(info)
    return exceptions.NO_INFO if found is None else found.code
