"""Files on this node's disk: checksums, checks against them, and writing that survives a sudden end."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ascend_serve.artifacts.manifest import ArtifactFile

_BLOCK_BYTES = 1 << 20


def sha256(path: Path) -> str:
    """Checksum of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def describe_file(path: Path, name: str) -> ArtifactFile:
    """A file on disk as a part of a set, under that name."""
    return ArtifactFile(name, sha256(path), path.stat().st_size)


def departure(path: Path, file: ArtifactFile) -> str:
    """How a file on disk departs from what it should be, or an empty string.

    Raises:
        FileNotFoundError: there is none.
    """
    size = path.stat().st_size
    if size != file.size_bytes:
        return f"has {size} bytes, published were {file.size_bytes}"
    digest = sha256(path)
    if digest != file.sha256:
        return f"has the checksum {digest[:12]}…, published was {file.sha256[:12]}…"
    return ""


def is_whole(path: Path, file: ArtifactFile) -> bool:
    """Whether a file is there with the content it should have."""
    try:
        return not departure(path, file)
    except FileNotFoundError:
        return False


@contextmanager
def scratch_file(folder: Path) -> Iterator[Path]:
    """A name of its own in a folder, which is made; nothing is left under it, whatever happens.

    The caller makes the file, so that it gets the permissions of its umask: a store may be shared.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}.part"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
