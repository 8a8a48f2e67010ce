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
_FIXED = 0x10  # MAP_FIXED
_FIXED_IF_FREE = 0x100000  # MAP_FIXED_NOREPLACE
_NO_RESERVE = 0x4000  # MAP_NORESERVE
_FAILED = ctypes.c_void_p(-1).value
_BRING_IN = (22, 23)  # MADV_POPULATE_READ, MADV_POPULATE_WRITE
_ADDRESSES = 1 << 64
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

pread_keeping_gil = _keeps.pread
pread_freeing_gil = _frees.pread
pwrite_keeping_gil = _keeps.pwrite
pwrite_freeing_gil = _frees.pwrite
for _transfer in (pread_keeping_gil, pread_freeing_gil, pwrite_keeping_gil, pwrite_freeing_gil):
    _transfer.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_longlong)
    _transfer.restype = ctypes.c_ssize_t

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
_madvise = _keeps.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
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
    if address is None or address == _FAILED:
        raise _os_error(f"mmap of {size} bytes of device memory")
    return int(address)


def unmap(address: int, size: int) -> None:
    """Undo `map_shared`, or `reserve` and all that was mapped into it."""
    if _munmap(address, size):
        raise _os_error("munmap")


def bring_in(address: int, size: int, *, writing: bool) -> int:
    """Bring all pages of a range in, so that using them cannot fail.

    Args:
        address: where it begins.
        size: its bytes, at least 1.
        writing: whether they are to be written, not only read.

    Returns:
        0 when they can be used, else the error: EINVAL where the kernel does not know the request (before 5.14) or
        has it not for this kind of memory.
    """
    start = address // mmap.PAGESIZE * mmap.PAGESIZE
    length = -(-(address + size - start) // mmap.PAGESIZE) * mmap.PAGESIZE
    if start + length > _ADDRESSES:
        return errno.EFAULT
    return ctypes.get_errno() if _madvise(start, length, _BRING_IN[writing]) else 0


def reserve(size: int, wanted: int = 0) -> int:
    """Address of a range that nothing else will be mapped into; any use of it is a fault.

    Args:
        size: bytes.
        wanted: the address it must have; 0 for any.

    Raises:
        OSError: there is no room, or not there.
    """
    exactly = _FIXED_IF_FREE if wanted else 0
    address = _mmap(wanted, size, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE | exactly, -1, 0)
    if address is None or address == _FAILED:
        raise _os_error(f"mmap of {size} bytes of address space")
    if wanted and address != wanted:  # a kernel before 4.17 takes the flag for a wish
        _munmap(address, size)
        raise OSError(errno.EEXIST, f"{wanted:#x} is in use")
    return int(address)


def map_over(address: int, fd: int, offset: int, size: int) -> None:
    """Map a piece of a memory file, readable, writable and shared, over a piece of a reserved range.

    Args:
        address: where, a whole page.
        fd: the memory file.
        offset: start of the piece in it, a whole page.
        size: its bytes.

    Raises:
        OSError: the process has too many mappings.
    """
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    if _mmap(address, size, protection, mmap.MAP_SHARED | _FIXED, fd, offset) == _FAILED:
        raise _os_error(f"mmap of {size} bytes of device memory at {address:#x}")


def cover(address: int, size: int) -> None:
    """Undo `map_over`: any use of the piece is a fault again.

    Raises:
        OSError: the process has too many mappings.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE | _FIXED
    if _mmap(address, size, 0, flags, -1, 0) == _FAILED:
        raise _os_error(f"mmap of {size} bytes of address space at {address:#x}")


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
