"""The program's function for failed tasks (facts/pyacl.md §7, `set_exception_info_callback`).

On hardware a thread of the runtime calls it when the card reports the failure. Here the thread that learns of it
does, in the call that waits for the stream, before that call returns.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from ascend_emulator.client import handles
from ascend_emulator.codes import Failure

NO_INFO = 0xFFFF_FFFF
"""What every accessor answers for something that is no live description of a failure."""


@dataclass(frozen=True)
class ExceptionInfo:
    """A failed task.

    Attributes:
        task: its number on its stream.
        stream: id of the stream.
        thread: native id of the thread that learned of it.
        device: the process's number for the device.
        code: what the task ended with.
    """

    task: int
    stream: int
    thread: int
    device: int
    code: int


_callback: Callable[[int], object] | None = None


def set_callback(callback: Callable[[int], object] | None) -> None:
    """Call `callback` with the handle of an `ExceptionInfo` for each failed task from now on; None for nobody."""
    global _callback
    _callback = callback


def tell(failure: Failure, device: int) -> None:
    """Call the program's function, if there is one, for a failed task of a device.

    What the function raises is shown on standard error and ends its registration, which the binding does in silence.
    """
    global _callback
    callback = _callback
    if callback is None:
        return
    thread = threading.get_native_id()
    info = handles.add(ExceptionInfo(failure.task, failure.stream, thread, device, failure.code))
    try:
        callback(info)
    except BaseException as error:  # noqa: BLE001 - as the binding, which lets nothing out of the callback
        _callback = None
        traceback.print_exception(error)
    finally:
        handles.remove(info, ExceptionInfo)


def info_of(handle: int) -> ExceptionInfo | None:
    """The failed task that a handle describes, while the program's function runs; None after that."""
    info = handles.find(handle)
    return info if isinstance(info, ExceptionInfo) else None
