"""Marks: moments and spans that a program names, which its profiles show beside its calls.

Failing is -1 here, the profiler's own answer, which is no `aclError` (`hicann/runtime`, `msprof_tx_manager.cpp`).
"""

from __future__ import annotations

import threading
import time
from itertools import count

from ascend_emulator.client import handles
from ascend_emulator.client.profiling import profiles
from ascend_emulator.client.profiling.timeline import Mark
from ascend_emulator.codes import INVALID_PARAM, Failure

_FAILED = -1
_LONGEST_MESSAGE = 127


class Stamp:
    """A mark that a program prepares and places."""

    def __init__(self) -> None:
        self.message = ""
        self.began_ns = 0


class Step:
    """A step of a program, which is begun and ended once."""

    def __init__(self) -> None:
        self._begun = self._ended = False

    def pass_tag(self, tag: int) -> None:
        """Begin the step (0) or end it.

        Raises:
            Failure: 100000, that was done before.
        """
        if (self._begun and tag == 0) or (self._ended and tag == 1):
            raise Failure(INVALID_PARAM, "EK0001: the step was begun or ended before.")
        if tag == 0:
            self._begun = True
        else:
            self._ended = True


class _Thread(threading.local):
    def __init__(self) -> None:
        self.pushed: list[Stamp] = []


_thread = _Thread()
_range_numbers = count(1)
_ranges: dict[int, Stamp] = {}


def create_stamp() -> int:
    """A handle of a new stamp.

    Raises:
        Failure: -1, marks are not being collected.
    """
    _check_marking()
    return handles.add(Stamp())


def set_message(handle: int, message: str, length: int) -> None:
    """Give a stamp its text, of which `length` bytes count."""
    if length > _LONGEST_MESSAGE:
        raise Failure(_FAILED, f"EK0006: a message has at most {_LONGEST_MESSAGE} bytes.")
    _stamp(handle).message = message.encode()[:length].decode(errors="replace")


def mark(handle: int) -> None:
    """Mark this moment with a stamp."""
    _check_marking()
    now_ns = time.monotonic_ns()
    _place("marker", _stamp(handle).message, now_ns)


def mark_stream(message: str, stream: int) -> None:
    """Mark this moment with a text; the emulated card places no mark on the stream."""
    _check_marking()
    if not stream or not 0 < len(message.encode()) <= _LONGEST_MESSAGE:
        raise Failure(
            _FAILED, f"EK0001: a mark needs a stream and a message of 1 to {_LONGEST_MESSAGE} bytes."
        )
    _place("marker_ex", message, time.monotonic_ns())


def push(handle: int) -> None:
    """Begin a span in this thread."""
    _check_marking()
    stamp = _stamp(handle)
    stamp.began_ns = time.monotonic_ns()
    _thread.pushed.append(stamp)


def pop() -> None:
    """End the span of this thread that began last."""
    _check_marking()
    if not _thread.pushed:
        raise Failure(_FAILED, "EK0002: push begins what pop ends.")
    stamp = _thread.pushed.pop()
    _place("push/pop", stamp.message, stamp.began_ns)


def start_range(handle: int) -> int:
    """Begin a span that any thread may end; its number."""
    _check_marking()
    stamp = _stamp(handle)
    stamp.began_ns = time.monotonic_ns()
    number = next(_range_numbers)
    _ranges[number] = stamp
    return number


def stop_range(number: int) -> None:
    """End a span by its number."""
    _check_marking()
    stamp = _ranges.pop(number, None)
    if stamp is None:
        raise Failure(_FAILED, "EK0002: range_start begins what range_stop ends.")
    _place("start/end", stamp.message, stamp.began_ns)


def _stamp(handle: int) -> Stamp:
    stamp = handles.find(handle)
    if not isinstance(stamp, Stamp):
        raise Failure(_FAILED, f"EK0006: {handle:#x} is no live stamp.")
    return stamp


def _place(kind: str, message: str, began_ns: int) -> None:
    ended_ns = began_ns if kind.startswith("marker") else time.monotonic_ns()
    profiles.place(Mark(kind, message, threading.get_native_id(), began_ns, ended_ns))


def _check_marking() -> None:
    if not profiles.marking():
        raise Failure(_FAILED, "EK0002: acl.prof.start with the bit for marks comes first.")
