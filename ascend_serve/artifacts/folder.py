"""A store in a folder: of this machine, or of a filesystem that all nodes mount, such as NFS."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ascend_serve.artifacts.backing import Entry, set_folder, way_out
from ascend_serve.artifacts.files import departure, flush, is_whole, scratch_file, sha256
from ascend_serve.artifacts.locks import FileLock
from ascend_serve.artifacts.manifest import ArtifactFile
from ascend_serve.errors import ArtifactError, ArtifactMissing

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class FolderBacking:
    """Names are files; each is written aside, flushed, and renamed into place.

    Args:
        root: absolute; made when first written to.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def location(self, name: str) -> str:
        """The path of a name."""
        return str(self._root / name)

    def read(self, name: str) -> bytes | None:
        """Content, or None when there is none of that name."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Contents by name, of those that are there."""
        told = {name: self.read(name) for name in names}
        return {name: data for name, data in told.items() if data is not None}

    def write(self, name: str, data: bytes) -> None:
        """Put content under a name, in place of what was there."""
        target = self._root / name
        with scratch_file(self._root / "partial") as aside:
            aside.write_bytes(data)
            self._into_place(aside, target)

    def create(self, name: str, data: bytes) -> bool:
        """Put content under a name that is free; False when it is not."""
        target = self._root / name
        with scratch_file(self._root / "partial") as aside:
            aside.write_bytes(data)
            flush(aside)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                # A link, unlike a rename, never replaces; on NFS too.
                os.link(aside, target)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if target.exists():
                    return False
                aside.replace(target)
            flush(target.parent)
        return True

    def put(self, source: Path, place: str, files: Sequence[ArtifactFile], file: ArtifactFile) -> None:
        """Put one file of a set; a whole one that is there already is not written again."""
        target = self._root / set_folder(place, files) / file.name
        # What is there may be a killed writer's, about to be collected as an orphan unless it is made young.
        if is_whole(target, file) and _touch(target):
            return
        with scratch_file(self._root / "partial") as aside:
            shutil.copyfile(source, aside)
            if sha256(aside) != file.sha256:
                raise ArtifactError(f"{source} changed while it was published")
            self._into_place(aside, target)

    def fetch(self, place: str, files: Sequence[ArtifactFile]) -> Path:
        """The folder where the set lies; nothing is copied."""
        folder = self._root / set_folder(place, files)
        for file in files:
            path = folder / file.name
            try:
                wrong = departure(path, file)
            except FileNotFoundError:
                raise ArtifactMissing(
                    f"there is no file {path} on this node: all nodes must see the store under the same path, on a "
                    f"shared filesystem; if it was removed, {way_out(place)}"
                ) from None
            if wrong:
                raise ArtifactError(f"{path} {wrong}: it was damaged since; {way_out(place)}")
        return folder

    def has_set(self, place: str, files: Sequence[ArtifactFile]) -> bool:
        """Whether a set's files are all there in their sizes."""
        folder = self._root / set_folder(place, files)
        try:
            return all((folder / file.name).stat().st_size == file.size_bytes for file in files)
        except FileNotFoundError:
            return False

    def exists(self) -> bool:
        """Whether the folder is there."""
        return self._root.exists()

    def note_use(self, name: str) -> None:
        """Make a name's time now, if this user may."""
        _touch(self._root / name)

    def entries(self) -> Iterator[Entry]:
        """Every file there is.

        Raises:
            OSError: the root is no folder, or a folder below it cannot be read.
        """
        for folder, _, names in os.walk(self._root, onerror=_refuse_unless_gone):
            for path in (Path(folder, name) for name in names):
                with suppress(FileNotFoundError):  # removed since it was listed
                    status = path.stat()
                    yield Entry(path.relative_to(self._root).as_posix(), status.st_size, status.st_mtime)

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens when it is not there."""
        (self._root / name).unlink(missing_ok=True)

    def remove_all(self, folder: str) -> None:
        """Remove a folder; nothing happens when there is none.

        Raises:
            OSError: a part of it cannot be removed.
        """
        target = self._root / folder
        while target.exists():
            with suppress(FileNotFoundError):  # somebody else removes it too
                shutil.rmtree(target)

    def lock(self, key: str) -> FileLock:
        """The lock on building a key, seen by all who share the folder."""
        return FileLock(self._root / "building" / f"{key}.lock")

    def _into_place(self, aside: Path, target: Path) -> None:
        flush(aside)
        target.parent.mkdir(parents=True, exist_ok=True)
        aside.replace(target)
        flush(target.parent)


def _refuse_unless_gone(error: OSError) -> None:
    """What `os.walk` passes over in silence: all but a folder that is not there (yet, or any more)."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _touch(path: Path) -> bool:
    """Make a file's time now; False when it is gone, or another's, or on a filesystem that takes no writes."""
    try:
        os.utime(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return False
    return True
