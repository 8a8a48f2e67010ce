"""This node's copies of what lies in a store that is no folder: bounded, shared by all processes of the node.

    <folder>/sets/<digest>/…       whole sets; the folder's time is that of the last use
    <folder>/partial/<digest>/…    being fetched, file by file, so that a fetch that ended early is resumed
    <folder>/partial/<digest>.bytes   the room that fetch was promised
    <folder>/locks/…               one fetch of a set at a time, one change of the books at a time

Which set it is lies in its name, `set_digest`, so an entry is never out of date; whether it is still whole is checked
at every use.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ascend_serve.artifacts.files import is_whole
from ascend_serve.artifacts.locks import FileLock, held
from ascend_serve.artifacts.manifest import ArtifactFile, set_digest

GRACE_S = 600.0
"""What was asked for within this time is not evicted: someone may be about to load it."""

_ABANDONED_S = 86_400.0
_EVICTED = "evicted-"

Download = Callable[[ArtifactFile, Path], None]


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder held to a size, from which the least recently used sets go first.

    It may pass the limit by what was used within `GRACE_S`, and by one set that is larger than the limit by itself.

    Attributes:
        folder: on this node; made when first written to.
        limit_bytes: size to which it is held.
    """

    folder: Path
    limit_bytes: int

    def fetch(self, files: Sequence[ArtifactFile], download: Download) -> Path:
        """The folder with a whole copy of a set, fetched if there is none.

        Args:
            files: the set.
            download: brings one file to a path on this node and leaves nothing there unless it is whole.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        digest = set_digest(files)
        entry = self.folder / "sets" / digest
        if self._use(entry) and _are_whole(entry, files):
            return entry
        with held(FileLock(self.folder / "locks" / f"{digest[:2]}.lock")):
            if self._use(entry):
                if _are_whole(entry, files):  # by another process, while this one waited
                    return entry
                self._drop(entry)
            partial = self.folder / "partial" / digest
            promise = partial.with_name(f"{digest}.bytes")
            self._make_room(promise, sum(file.size_bytes for file in files))
            for file in files:
                at = partial / file.name
                at.parent.mkdir(parents=True, exist_ok=True)
                if not is_whole(at, file):
                    download(file, at)
            with self._books():
                entry.parent.mkdir(parents=True, exist_ok=True)
                partial.rename(entry)
                os.utime(entry)
                promise.unlink()
        return entry

    def _books(self) -> AbstractContextManager[None]:
        """Held for moments only, by whoever changes which entries there are or when they were used."""
        return held(FileLock(self.folder / "locks" / "books.lock"))

    def _use(self, entry: Path) -> bool:
        """Note that an entry is used now; False when there is none."""
        if not entry.is_dir():
            return False
        with self._books():
            try:
                os.utime(entry)
            except FileNotFoundError:
                return False
            return True

    def _make_room(self, promise: Path, size_bytes: int) -> None:
        """Evict until a set of that size fits, and promise it the room."""
        with self._books():
            promise.parent.mkdir(parents=True, exist_ok=True)
            promise.unlink(missing_ok=True)
            now = time.time()
            leftovers = self._leftovers(now)
            entries = [(path.stat().st_mtime, path, _size(path)) for path in self._entries()]
            # A full disk, or a sudden end, may have left one empty.
            promised = sum(int(path.read_text() or 0) for path in promise.parent.glob("*.bytes"))
            free = self.limit_bytes - promised - sum(size for *_, size in entries)
            for used, entry, size in sorted(entries):
                if free >= size_bytes or now - used < GRACE_S:
                    break
                leftovers.append(self._set_aside(entry))
                free += size
            promise.write_text(str(size_bytes))
        for path in leftovers:
            shutil.rmtree(path, ignore_errors=True)

    def _drop(self, entry: Path) -> None:
        with self._books():
            aside = self._set_aside(entry)
        shutil.rmtree(aside, ignore_errors=True)

    def _entries(self) -> list[Path]:
        return list((self.folder / "sets").glob("*"))

    def _leftovers(self, now: float) -> list[Path]:
        """Folders that fetches and evictions left that ended early; promises without a fetch are withdrawn."""
        partial = self.folder / "partial"
        for promise in partial.glob("*.bytes"):
            if now - promise.stat().st_mtime > _ABANDONED_S:
                promise.unlink()
        return [
            path
            for path in partial.iterdir()
            if path.is_dir()
            and (
                path.name.startswith(_EVICTED)
                or (
                    not path.with_name(f"{path.name}.bytes").exists()
                    and now - path.stat().st_mtime > _ABANDONED_S
                )
            )
        ]

    def _set_aside(self, path: Path) -> Path:
        """Take a folder away from its name in one step, to be removed without holding the books."""
        aside = self.folder / "partial" / f"{_EVICTED}{uuid.uuid4().hex}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        path.rename(aside)
        return aside


def _are_whole(folder: Path, files: Sequence[ArtifactFile]) -> bool:
    return all(is_whole(folder / file.name, file) for file in files)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
