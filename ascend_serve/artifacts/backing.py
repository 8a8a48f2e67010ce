"""What a store is kept in: names below a root, each written whole or not at all.

`folder.py` is a folder of this machine or of a shared filesystem; `remote.py` is whatever else fsspec speaks. Names are
relative POSIX paths. A *set* is a folder of files that belong together and never change: it lies under
`<place>/<set_digest[:16]>/`, so that two writers whose files differ in bytes never mix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ascend_serve.artifacts.locks import Lock
from ascend_serve.artifacts.manifest import ArtifactFile, set_digest

ORPHAN_AGE_S = 86_400.0
"""Files that nothing names are left alone for so long: their writer may still be at work."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a backing.

    Attributes:
        name: relative to the root.
        size_bytes: size of its content.
        modified: when it was written or, in a folder, last used; seconds since 1970.
    """

    name: str
    size_bytes: int
    modified: float


class Backing(Protocol):
    """The operations a store is made of; all raise `OSError` for what the filesystem refuses."""

    def location(self, name: str) -> str:
        """The path or URL of a name, for people."""
        ...

    def read(self, name: str) -> bytes | None:
        """Content, or None when there is none of that name."""
        ...

    def read_all(self, names: Iterable[str]) -> dict[str, bytes]:
        """Contents by name, of those that are there."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Put content under a name, in place of what was there."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Put content under a name that is free; False when it is not."""
        ...

    def put(self, source: Path, place: str, files: Sequence[ArtifactFile], file: ArtifactFile) -> None:
        """Put one file of a set; a whole one that is there already is not written again.

        Raises:
            ArtifactError: the bytes of `source` are not those of `file`.
        """
        ...

    def fetch(self, place: str, files: Sequence[ArtifactFile]) -> Path:
        """The folder on this node with a set's files, all of them checked.

        Raises:
            ArtifactMissing: a file is not there.
            ArtifactError: a file is damaged.
        """
        ...

    def has_set(self, place: str, files: Sequence[ArtifactFile]) -> bool:
        """Whether a set's files are all there in their sizes; what is in them is not read."""
        ...

    def exists(self) -> bool:
        """Whether there is anything."""
        ...

    def note_use(self, name: str) -> None:
        """Make a name's time now, where that can be done without writing it anew."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Every name there is."""
        ...

    def remove(self, name: str) -> None:
        """Remove a name; nothing happens when it is not there."""
        ...

    def remove_all(self, folder: str) -> None:
        """Remove all names below a folder; nothing happens when there is none."""
        ...

    def lock(self, key: str) -> Lock:
        """The lock on building a key, seen by all who share the store."""
        ...


def set_folder(place: str, files: Sequence[ArtifactFile]) -> str:
    """Name of the folder in which a set lies."""
    return f"{place}/{set_digest(files)[:16]}"


def keys_by_name(backing: Backing, pattern: re.Pattern[str]) -> dict[str, str]:
    """Keys by the names that match a pattern, whose group `key` they are."""
    matches = (pattern.fullmatch(entry.name) for entry in backing.entries())
    return {match[0]: match["key"] for match in matches if match}


def way_out(place: str) -> str:
    """What to do about a set that is damaged or gone."""
    kind, _, key = place.rpartition("/")
    if kind == "banks":
        return f"run `ascend-serve artifacts rm {key}` on this store, then tune the model again"
    return f"run `ascend-serve artifacts rm {key[:12]}` on this store, then compile or import the model again"
