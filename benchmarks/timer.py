"""A timer that epoll can wait for, to the microsecond: epoll's own timeout counts milliseconds (timerfd_create(2))."""

from __future__ import annotations

import ctypes
import os

_MONOTONIC = 1  # CLOCK_MONOTONIC, the clock of time.monotonic
_NONBLOCK = os.O_NONBLOCK
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


_libc = ctypes.CDLL(None, use_errno=True)


class Timer:
    """One timer, which becomes readable when it has expired.

    Raises:
        OSError: the kernel gives none.
    """

    def __init__(self) -> None:
        self._number: int = _libc.timerfd_create(_MONOTONIC, _NONBLOCK)
        if self._number < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._at = _Itimerspec()

    def fileno(self) -> int:
        """Its file descriptor."""
        return self._number

    def set(self, at: float) -> None:
        """Expire at that time of `time.monotonic`; a time that has passed expires at once."""
        self._at.value.seconds = int(at)
        self._at.value.nanoseconds = max(1, int((at - int(at)) * 1e9))
        if _libc.timerfd_settime(self._number, _ABSOLUTE, ctypes.byref(self._at), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def clear(self) -> None:
        """Make it unreadable again after it has expired."""
        try:
            os.read(self._number, 8)
        except BlockingIOError:
            return  # it was set anew meanwhile
