"""One at a time: a lock file that the kernel frees, and a lease where there is no kernel in common.

Both are tried, never waited for inside the kernel: a wait has to end when Ray cancels a task, which raises
`KeyboardInterrupt` between two steps of Python and not in a system call. It may be raised between any two, in a process
that lives on, so two things hold for both: `release` gives back whatever was taken and nothing else, so that it can
stand in a `finally` whose `try` begins before the lock is taken; and a lock that nobody refers to any more is free, a
lease after `LEASE_S`.
"""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Protocol

import orjson

logger = logging.getLogger(__name__)

LEASE_S = 30.0
"""A lease that was not renewed for so long is broken."""

_RENEW_S = LEASE_S / 4
_SURELY_DEAD_S = 3600.0
"""A lease renewed so long ago, by its own clock, is broken at sight: no clock is that wrong."""


class Lock(Protocol):
    """What `held` waits for."""

    poll_s: float

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        ...

    def release(self) -> None:
        """Give back what was taken; nothing happens when nothing was."""
        ...


@contextmanager
def held(lock: Lock, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock, after waiting for it as long as it takes.

    Args:
        lock: what to hold.
        on_wait: called once, if it has to wait.
    """
    try:
        if not lock.try_acquire():
            if on_wait is not None:
                on_wait()
            while not lock.try_acquire():
                pause(lock.poll_s)
        yield
    finally:
        lock.release()


@contextmanager
def held_if_free(lock: Lock) -> Iterator[bool]:
    """Hold a lock if nobody else does; gives whether it is held."""
    try:
        yield lock.try_acquire()
    finally:
        lock.release()


def pause(seconds: float) -> None:
    """Sleep between two tries."""
    time.sleep(seconds)


class FileLock:
    """An exclusive `flock` on a file, which is made and, on release, removed.

    The kernel frees it when its holder dies, by kill -9 too. Over NFS, Linux turns it into a lock at the server, so it
    holds across machines unless the mount says `nolock` or `local_lock=flock`; then each machine builds for itself,
    and the store keeps what is published first.

    Raises:
        OSError: from `try_acquire`: the filesystem has no such locks, or the folder cannot be written.
    """

    poll_s = 0.1

    def __init__(self, path: Path) -> None:
        self._path = path
        # A file object and no bare descriptor: it closes itself when an interrupt leaves nobody who would.
        self._file: FileIO | None = None

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("ab", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have removed the name since it was opened; what is locked then is nobody's file.
            if os.path.samestat(os.fstat(file.fileno()), self._path.stat()):
                self._file = file
        except (BlockingIOError, FileNotFoundError):
            return False
        finally:
            if self._file is not file:
                file.close()
        return self._file is file

    def release(self) -> None:
        """Give back what was taken; nothing happens when nothing was."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(FileNotFoundError):
                self._path.unlink()
            file.close()


class Objects(Protocol):
    """The few operations that a lease needs of what it is kept in."""

    def read(self, name: str) -> bytes | None:
        """Content, or None when there is none of that name."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Put content under a name, in place of what was there."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Put content under a name that is free; False when it is not."""
        ...

    def remove(self, name: str) -> None:
        """Remove a name; nothing happens when it is not there."""
        ...


class Lease:
    """A lock as an object that its holder renews.

    A waiter breaks it after it has watched it unchanged for `LEASE_S`, by its own clock, so that the clocks of the
    machines need not agree. Two that break it in the same moment, and filesystems that cannot create exclusively, let
    two build at once: that costs time and harms nothing, since the store keeps one.

    Args:
        objects: where it is kept.
        name: under which name.
        clock: seconds, monotonic.
    """

    poll_s = 0.5

    def __init__(self, objects: Objects, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._objects = objects
        self._name = name
        self._clock = clock
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex}"
        self._seen: bytes | None = None
        self._seen_since = 0.0
        self._may_be_mine = False
        self._released = threading.Event()
        self._turn = threading.Lock()

    def try_acquire(self) -> bool:
        """Take the lease if there is none, or if the one there is dead."""
        there = self._objects.read(self._name)
        if there is not None:
            if not self._is_dead(there):
                return False
            logger.warning("%s is not renewed any more; taken over", self._name)
            self._objects.remove(self._name)
        # Before it is created: an interrupt may come when the store has it and this process has not heard of it.
        self._may_be_mine = True
        if not self._objects.create(self._name, self._content()):
            self._may_be_mine = False
            return False
        self._released.clear()
        threading.Thread(
            target=_keep_renewed,
            args=(weakref.ref(self), self._name, self._released),
            name=f"lease {self._name}",
            daemon=True,
        ).start()
        return True

    def release(self) -> None:
        """Give back what was taken, unless it was taken over meanwhile; nothing happens when nothing was."""
        self._released.set()
        with self._turn:
            if self._may_be_mine and self._is_mine():
                self._objects.remove(self._name)
            self._may_be_mine = False

    def renew(self) -> bool:
        """Show that the holder lives; False when the lease was taken over or given back."""
        # In turn with `release`, or a renewal under way would put back what that removed.
        with self._turn:
            if self._released.is_set() or not self._is_mine():
                return False
            self._objects.write(self._name, self._content())
            return True

    def _is_dead(self, there: bytes) -> bool:
        now = self._clock()
        if there != self._seen:
            self._seen, self._seen_since = there, now
        try:
            renewed = float(orjson.loads(there)["renewed"])
        except (ValueError, KeyError, TypeError):
            return now - self._seen_since > LEASE_S  # cut off in the middle of a write, perhaps
        return now - self._seen_since > LEASE_S or time.time() - renewed > _SURELY_DEAD_S

    def _is_mine(self) -> bool:
        there = self._objects.read(self._name)
        return there is not None and f'"{self._owner}"'.encode() in there

    def _content(self) -> bytes:
        return orjson.dumps({"owner": self._owner, "renewed": time.time()})


def _keep_renewed(holder: weakref.ref[Lease], name: str, released: threading.Event) -> None:
    """Renew a lease for as long as its holder has it, and refers to it."""
    while not released.wait(_RENEW_S):
        lease = holder()
        try:
            if lease is None or not lease.renew():
                return
        except OSError as error:
            logger.warning("%s could not be renewed now: %s", name, error)
        del lease
