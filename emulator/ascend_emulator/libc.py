"""The few C calls that decide where a thread waits and whether it holds the GIL meanwhile.

`ctypes.PyDLL` calls keep the GIL, `ctypes.CDLL` calls let it go. Real pyACL keeps it in nearly everything and
lets it go in the synchronise calls only (facts/pyacl.md §17), and Python's own `socket` always lets it go, so
the client cannot use that on its hot paths.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os

_keeps = ctypes.PyDLL(None, use_errno=True)
_frees = ctypes.CDLL(None, use_errno=True)

_PUNCH_HOLE = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_TIMER_SLACK = 29  # PR_SET_TIMERSLACK
_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1  # TIMER_ABSTIME
POLL_IN = 0x001


class PollEntry(ctypes.Structure):
    """`struct pollfd`."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


send_keeping_gil = _keeps.send
send_keeping_gil.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
send_keeping_gil.restype = ctypes.c_ssize_t

recv_keeping_gil = _keeps.recv
recv_freeing_gil = _frees.recv
poll_keeping_gil = _keeps.poll
poll_freeing_gil = _frees.poll
for _recv in (recv_keeping_gil, recv_freeing_gil):
    _recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    _recv.restype = ctypes.c_ssize_t
for _poll in (poll_keeping_gil, poll_freeing_gil):
    _poll.argtypes = (ctypes.POINTER(PollEntry), ctypes.c_ulong, ctypes.c_int)

move_keeping_gil = _keeps.memmove
move_freeing_gil = _frees.memmove
fill_keeping_gil = _keeps.memset
fill_freeing_gil = _frees.memset
for _move in (move_keeping_gil, move_freeing_gil):
    _move.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    _move.restype = ctypes.c_void_p
for _fill in (fill_keeping_gil, fill_freeing_gil):
    _fill.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    _fill.restype = ctypes.c_void_p

_mmap = _keeps.mmap
_mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_longlong,
)
_mmap.restype = ctypes.c_void_p
_munmap = _keeps.munmap
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_fallocate = _keeps.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)
_nanosleep_keeping_gil = _keeps.clock_nanosleep
_nanosleep_keeping_gil.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Timespec), ctypes.c_void_p)


def map_shared(fd: int, size: int) -> int:
    """Address at which all of `fd` is mapped, readable, writable and shared.

    Args:
        fd: a memfd of at least `size` bytes.
        size: bytes to map.

    Raises:
        OSError: the address space is limited and has no room.
    """
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    address = _mmap(None, size, protection, mmap.MAP_SHARED, fd, 0)
    if address is None or address == ctypes.c_void_p(-1).value:
        raise _os_error(f"mmap of {size} bytes of device memory")
    return int(address)


def unmap(address: int, size: int) -> None:
    """Undo `map_shared`."""
    if _munmap(address, size):
        raise _os_error("munmap")


def punch_hole(fd: int, start: int, end: int) -> None:
    """Give the whole pages inside [start, end) of a memfd back to the host."""
    start = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    length = end // mmap.PAGESIZE * mmap.PAGESIZE - start
    if length > 0 and _fallocate(fd, _PUNCH_HOLE, start, length):
        raise _os_error("fallocate")


def sharpen_timers() -> None:
    """Let the calling thread's sleeps end within a few microseconds instead of Linux's default 50."""
    _keeps.prctl(_TIMER_SLACK, 1, 0, 0, 0)


def sleep_keeping_gil(until_ns: int) -> None:
    """Sleep to a `time.monotonic_ns` moment without letting other Python threads run."""
    moment = _Timespec(*divmod(until_ns, 1_000_000_000))
    while _nanosleep_keeping_gil(_CLOCK_MONOTONIC, _ABSOLUTE, moment, None) == errno.EINTR:
        pass


def _os_error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
