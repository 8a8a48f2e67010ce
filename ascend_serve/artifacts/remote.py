"""A store behind a URL: S3 and whatever else fsspec speaks.

Credentials and endpoints are fsspec's own business: `FSSPEC_S3_KEY`, `FSSPEC_S3_SECRET`, `FSSPEC_S3_ENDPOINT_URL` and
the like, or files in `~/.config/fsspec/`; the driver's own ways (`AWS_…` variables, instance roles) work too. fsspec
reads them in each process that opens the store.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from time import time
from typing import Any

from ascend_serve.artifacts.backing import ORPHAN_AGE_S, Entry, set_folder, way_out
from ascend_serve.artifacts.cache import Cache
from ascend_serve.artifacts.files import departure, sha256
from ascend_serve.artifacts.locks import Lease
from ascend_serve.artifacts.manifest import ArtifactFile
from ascend_serve.errors import ArtifactError, ArtifactMissing, AscendServeError, ConfigError

_OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}
"""Protocols under which a put is atomic by itself, and may demand that the name is free."""

_TIMES = ("LastModified", "mtime", "last_modified", "updated", "modified", "created")
"""Where drivers put the time at which a file was written."""

_WRITTEN_TO = {errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR}
"""What filesystems with folders answer when a file appears in a folder that is being removed."""


class RemoteBacking:
    """Names are objects, or files of a filesystem that is no folder here; sets are fetched through the cache.

    Where a put is not atomic, a file is put under another name and moved. Where nothing can be created exclusively
    (all but object stores), the last writer wins: both wrote what their manifest says, so either is right.

    Args:
        url: with a protocol that fsspec knows.
        cache: this node's.

    Raises:
        ConfigError: fsspec does not know the protocol, or its driver is not installed.
    """

    def __init__(self, url: str, cache: Cache) -> None:
        # Not at the top: a store in a folder needs none of it, and it takes a while.
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # fsspec has no annotations

        self._url = url
        self._cache = cache
        protocol = url.split("://", 1)[0].split("::", 1)[0]
        with self._told_as_os_errors():
            try:
                self._fs, self._root = url_to_fs(url)
            except ImportError as error:
                extra = "; `pip install 'ascend-serve[s3]'`" if protocol in ("s3", "s3a") else ""
                raise ConfigError(
                    f"the store {url} needs a driver that is not installed: {error}{extra}"
                ) from error
            except ValueError as error:
                raise ConfigError(f"fsspec cannot open the store {url}: {error}") from error
        self._atomic = protocol in _OBJECT_STORES

    def location(self, name: str) -> str:
        """The URL of a name."""
        return f"{self._url}/{name}"

    def read(self, name: str) -> bytes | None:
        """Content, or None when there is none of that name."""
        try:
            with self._told_as_os_errors():
                data: bytes = self._fs.cat_file(self._path(name))
                return data
        except FileNotFoundError:
            return None

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Contents by name, of those that are there."""
        paths = {self._path(name): name for name in names}
        if not paths:
            return {}
        with self._told_as_os_errors():
            told = self._fs.cat(list(paths), on_error="return")
        contents = {}
        for path, data in told.items():
            if isinstance(data, FileNotFoundError):
                continue
            if isinstance(data, BaseException):
                raise OSError(f"{self._url}: {type(data).__name__}: {data}") from data
            contents[paths[path]] = data
        return contents

    def write(self, name: str, data: bytes) -> None:
        """Put content under a name, in place of what was there."""
        with self._told_as_os_errors():
            if self._atomic:
                self._fs.pipe_file(self._path(name), data)
                return
            with self._aside() as aside:
                self._fs.pipe_file(aside, data)
                self._into_place(aside, self._path(name))

    def create(self, name: str, data: bytes) -> bool:
        """Put content under a name that is free; False when it is not."""
        with self._told_as_os_errors():
            if self._atomic:
                try:
                    self._fs.pipe_file(self._path(name), data, mode="create")
                except FileExistsError:
                    return False
                return True
            if self._info(name) is not None:
                return False
        self.write(name, data)
        return True

    def put(self, source: Path, place: str, files: Sequence[ArtifactFile], file: ArtifactFile) -> None:
        """Put one file of a set; one that is there already is not sent again."""
        name = f"{set_folder(place, files)}/{file.name}"
        there = self._info(name)
        # The name holds the set's checksums and puts are atomic, so the size tells enough; and what is old may be
        # about to be collected as a killed writer's.
        young = there is not None and time() - there.modified < ORPHAN_AGE_S / 2
        if there is not None and young and there.size_bytes == file.size_bytes:
            return
        if sha256(source) != file.sha256:
            raise ArtifactError(f"{source} changed while it was published")
        with self._told_as_os_errors():
            if self._atomic:
                self._fs.put_file(str(source), self._path(name))
                return
            with self._aside() as aside:
                self._fs.put_file(str(source), aside)
                self._into_place(aside, self._path(name))

    def fetch(self, place: str, files: Sequence[ArtifactFile]) -> Path:
        """The folder in this node's cache that has the set."""

        def download(file: ArtifactFile, to: Path) -> None:
            name = f"{set_folder(place, files)}/{file.name}"
            aside = to.with_name(f"{to.name}.part")
            try:
                with self._told_as_os_errors():
                    self._fs.get_file(self._path(name), str(aside))
            except FileNotFoundError as error:
                raise ArtifactMissing(f"there is no {self.location(name)}: {way_out(place)}") from error
            if wrong := departure(aside, file):
                aside.unlink()
                raise ArtifactError(f"{self.location(name)} {wrong}: it was damaged since; {way_out(place)}")
            aside.replace(to)

        return self._cache.fetch(files, download)

    def has_set(self, place: str, files: Sequence[ArtifactFile]) -> bool:
        """Whether a set's files are all there in their sizes; one listing."""
        folder = set_folder(place, files)
        there = {entry.name: entry.size_bytes for entry in self._listed(folder)}
        return all(there.get(f"{folder}/{file.name}") == file.size_bytes for file in files)

    def exists(self) -> bool:
        """Whether there is anything below the URL."""
        return next(self.entries(), None) is not None

    def note_use(self, name: str) -> None:
        """Nothing: fsspec has no way to touch a file that leaves its content alone."""

    def entries(self) -> Iterator[Entry]:
        """Every file there is."""
        return self._listed("")

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens when it is not there."""
        with suppress(FileNotFoundError), self._told_as_os_errors():
            self._fs.rm_file(self._path(name))

    def remove_all(self, folder: str) -> None:
        """Remove all files below a folder; nothing happens when there is none.

        Raises:
            OSError: a part of it cannot be removed, as when somebody writes to it on a filesystem that has folders.
        """
        with suppress(FileNotFoundError), self._told_as_os_errors():
            self._fs.invalidate_cache()
            try:
                self._fs.rm(self._path(folder), recursive=True)
            except OSError as error:
                if error.errno not in _WRITTEN_TO:
                    raise
                raise OSError(
                    error.errno,
                    f"{self.location(folder)} cannot be removed while somebody writes to it: try again",
                ) from error

    def lock(self, key: str) -> Lease:
        """The lease on building a key."""
        return Lease(self, f"building/{key}.json")

    def _listed(self, folder: str) -> Iterator[Entry]:
        """Every file below a folder; all there are below an empty name."""
        with self._told_as_os_errors():
            # Drivers remember listings; others write here too.
            self._fs.invalidate_cache()
            try:
                found = self._fs.find(self._path(folder), detail=True)
            except FileNotFoundError:
                return
            for path, info in found.items():
                name = path[len(self._root) :].strip("/")
                if name:
                    yield Entry(name, info["size"], self._modified(path, info))

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")

    def _info(self, name: str) -> Entry | None:
        path = self._path(name)
        with self._told_as_os_errors():
            self._fs.invalidate_cache()
            try:
                info = self._fs.info(path)
            except FileNotFoundError:
                return None
            return Entry(name, info["size"], self._modified(path, info))

    def _modified(self, path: str, info: dict[str, Any]) -> float:
        told = next((info[key] for key in _TIMES if info.get(key) is not None), None)
        if told is None:
            told = self._fs.modified(path)
        if isinstance(told, str):
            told = datetime.fromisoformat(told.replace("Z", "+00:00"))
        if isinstance(told, datetime):
            return (told if told.tzinfo else told.replace(tzinfo=timezone.utc)).timestamp()
        return float(told)

    @contextmanager
    def _aside(self) -> Iterator[str]:
        """A path of its own to write to before a move; nothing is left there."""
        folder = self._path("partial")
        self._fs.makedirs(folder, exist_ok=True)
        path = f"{folder}/{uuid.uuid4().hex}.part"
        try:
            yield path
        finally:
            with suppress(FileNotFoundError):
                self._fs.rm_file(path)

    def _into_place(self, aside: str, path: str) -> None:
        self._fs.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
        self._fs.mv(aside, path)

    @contextmanager
    def _told_as_os_errors(self) -> Iterator[None]:
        """Turn what drivers raise, each its own, into `OSError`: the one door to all of them."""
        try:
            yield
        except (OSError, AscendServeError):
            raise
        except Exception as error:
            raise OSError(
                f"{self._url} cannot be used: {type(error).__name__}: {error} (fsspec takes endpoints and credentials "
                "from FSSPEC_… variables and ~/.config/fsspec)"
            ) from error
