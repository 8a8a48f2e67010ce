"""Threads as pyACL makes them: by the C library, known to Python only while they run Python (facts/pyacl.md §7)."""

from __future__ import annotations

import ctypes
import errno
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

_SIGINT = 2
_DEFAULT_ACTION = None

_Entry = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)

_libc = ctypes.CDLL(None)  # its calls let the GIL go
_libc.pthread_create.argtypes = (
    ctypes.POINTER(ctypes.c_ulong),
    ctypes.c_void_p,
    _Entry,
    ctypes.c_void_p,
)
_libc.pthread_join.argtypes = (ctypes.c_ulong, ctypes.c_void_p)
_libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
_libc.signal.restype = ctypes.c_void_p


@dataclass
class _Job:
    """What one thread does; `failure` is what `stop` says of it when it raised."""

    target: Callable[..., object]
    argument: Any
    failure: str = ""


_numbers = count(1)
_jobs: dict[int, _Job] = {}
"""By the number that the thread is given."""

_threads: dict[int, int] = {}
"""Thread id to the number of its job, until it was stopped."""


def start(target: Callable[..., object], argument: Any) -> tuple[int, int]:
    """Start a thread that calls `target(argument)`, or `target()` when the argument is None.

    The action of SIGINT is the default one from now on, as after the binding's: it ends the process.

    Returns:
        (what `threading.get_ident()` says in the thread, errno or 0).
    """
    number = next(_numbers)
    _jobs[number] = _Job(target, argument)
    thread = ctypes.c_ulong()
    code: int = _libc.pthread_create(thread, None, _entry, number)
    _libc.signal(_SIGINT, _DEFAULT_ACTION)
    if code:
        del _jobs[number]
    else:
        _threads[thread.value] = number
    return thread.value, code


def stop(thread: int) -> int:
    """Wait, without the GIL, until a thread that `start` started has ended.

    Args:
        thread: its id.

    Returns:
        errno or 0: 3 for one that `start` did not start or that was stopped already, 35 for the calling one.

    Raises:
        RuntimeError: its function raised; the text names the exception.
    """
    number = _threads.pop(thread, None)
    if number is None:
        return errno.ESRCH  # the C library does not check
    code: int = _libc.pthread_join(thread, None)
    if code:
        _threads[thread] = number
        return code
    job = _jobs.pop(number)
    if job.failure:
        raise RuntimeError(job.failure)
    return 0


def _run(number: int) -> None:
    job = _jobs[number]
    try:
        if job.argument is None:
            job.target()
        else:
            job.target(job.argument)
    except BaseException as error:  # noqa: BLE001 - there is no Python below that could take it
        traceback.print_exception(error)
        job.failure = f"exception={type(error).__name__},msg=thread call failed;"


_entry = _Entry(_run)


def _after_fork() -> None:
    # The threads are the parent's: there is nothing to join here.
    _threads.clear()
    _jobs.clear()


os.register_at_fork(after_in_child=_after_fork)
