"""Where a client and a card meet: a runtime folder of the user, a socket and a lock file per card.

The folder is `$XDG_RUNTIME_DIR` or the temporary directory, then `ascend-emulator-<uid>/<node>/`, mode 0700.
A card is started, joined and ended under its lock only, so a client never meets a card that is leaving. The
client that starts a card makes
the listening socket itself and hands it over: it can connect at once, and no one polls for readiness. Whoever
ends last removes everything, so an idle node has no file, socket or process.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ascend_emulator.codes import RT_DEVICE_SETUP, Failure

_BACKLOG = 4096


@dataclass(frozen=True)
class Place:
    """The files of one card.

    Attributes:
        folder: runtime folder of the node.
        number: physical number of the card.
    """

    folder: Path
    number: int

    @property
    def socket(self) -> Path:
        """The card's listening socket."""
        return self.folder / f"card{self.number}.sock"

    @property
    def lock(self) -> Path:
        """Held while a card is started, joined or ended."""
        return self.folder / f"card{self.number}.lock"

    @property
    def log(self) -> Path:
        """What the card wrote to its standard error; removed when it ends in order."""
        return self.folder / f"card{self.number}.log"

    def remove(self) -> None:
        """Remove every file of the card, then the folders if nothing else lives there. Call it under the lock."""
        self.log.unlink(missing_ok=True)
        self.clear()

    def clear(self) -> None:
        """As `remove`, for a card that did not end in order: a log that says something stays."""
        with suppress(FileNotFoundError):
            if not self.log.stat().st_size:
                self.log.unlink()
        for path in (self.socket, self.lock):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: another card, or another node, is at home
            self.folder.rmdir()
            self.folder.parent.rmdir()


def place_of(node: str, number: int) -> Place:
    """The files of card `number` of a node; makes nothing."""
    root = os.environ.get("XDG_RUNTIME_DIR", "")
    if not (root and Path(root).is_dir()):
        root = tempfile.gettempdir()
    return Place(Path(root) / f"ascend-emulator-{os.getuid()}" / node, number)


@contextmanager
def locked(place: Place) -> Iterator[None]:
    """Hold the card's lock.

    Raises:
        Failure: 507033, the runtime folder cannot be made or belongs to somebody else.
    """
    while True:
        _make_folder(place.folder.parent)
        _make_folder(place.folder)
        try:
            fd = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # the last card of the node has just removed the folder
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_at(fd, place.lock):
                yield
                return
        finally:
            os.close(fd)


def connect(place: Place) -> socket.socket | None:
    """A connection to the card that listens there, or None when none does. Call it under the lock."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _short(place.socket) as path:
            link.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        link.close()
        return None
    return link


def meet(place: Place) -> socket.socket | None:
    """A connection to a card that runs, or None; unlike `connect`, for those who would start none.

    Clears away what a card left that was killed, except a log that says why it ended.

    Raises:
        Failure: as `locked`.
    """
    if not place.socket.exists():
        return None
    with locked(place):
        link = connect(place)
        if link is None:
            place.clear()
        return link


def listen(place: Place) -> socket.socket:
    """A new listening socket for a card, in place of any that a dead card left. Call it under the lock."""
    place.socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with _short(place.socket) as path:
        listener.bind(path)
    listener.listen(_BACKLOG)
    return listener


@contextmanager
def _short(path: Path) -> Iterator[str]:
    # A socket's address holds 107 bytes and a temporary folder may be longer: go through the open folder.
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


def _make_folder(folder: Path) -> None:
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except FileNotFoundError:
        if folder.parent.parent.is_dir():
            return  # removed by a card that ends; the caller tries again
        raise Failure(RT_DEVICE_SETUP, f"ascend-emulator: the folder above {folder} does not exist") from None
    except OSError as error:
        raise Failure(
            RT_DEVICE_SETUP, f"ascend-emulator: cannot make the folder {folder}: {error}"
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        rule = "must be a folder of this user that nobody else can enter (mode 0700)"
        raise Failure(RT_DEVICE_SETUP, f"ascend-emulator: {folder} {rule}; remove it")


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
