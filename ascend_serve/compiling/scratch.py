"""Folders for the work of one build, which do not outlive it: kill -9 leaves one until the next is made.

    <temporary folder>/ascend-serve-<machine>-<32 hex digits>        what is worked in
    <temporary folder>/ascend-serve-<machine>-<32 hex digits>.lock   held from before it is made until it is removed

The kernel frees the lock when its holder dies, so a folder whose lock is free is a dead process's, and whoever makes
the next removes it. Names tell the machine because not every filesystem that machines share carries locks across.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ascend_serve.artifacts.locks import FileLock, held, held_if_free

_LOCK = ".lock"


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder that only this user may enter, removed afterwards; what dead processes left goes first.

    Raises:
        OSError: the temporary folder cannot be written, or its filesystem has no locks.
    """
    top = Path(tempfile.gettempdir())
    _sweep(top)
    folder = top / f"{_prefix()}{uuid.uuid4().hex}"
    with held(_lock_of(folder)):
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            _remove(folder)


def _prefix() -> str:
    return f"ascend-serve-{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]}-"


def _sweep(top: Path) -> None:
    """Remove what dead processes of this user left."""
    ours = re.compile(rf"({_prefix()}[0-9a-f]{{32}})({re.escape(_LOCK)})?")
    with os.scandir(top) as entries:
        found = [(match[1], entry) for entry in entries if (match := ours.fullmatch(entry.name))]
    for name in {name for name, entry in found if _is_own(entry)}:
        with held_if_free(_lock_of(top / name)) as is_dead:
            if is_dead:
                _remove(top / name)


def _is_own(entry: os.DirEntry[str]) -> bool:
    """Whether it is this user's: in a folder that all share, others have theirs, and can leave links."""
    try:
        return entry.stat(follow_symlinks=False).st_uid == os.geteuid()
    except FileNotFoundError:
        return False  # removed meanwhile


def _lock_of(folder: Path) -> FileLock:
    return FileLock(folder.with_name(folder.name + _LOCK))


def _remove(folder: Path) -> None:
    # What cannot be removed, such as what a program that is just being killed still writes, is left to the next sweep.
    shutil.rmtree(folder, ignore_errors=True)
