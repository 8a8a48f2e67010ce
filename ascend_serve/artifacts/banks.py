"""Knowledge banks of AOE, as a store keeps them: `banks/<key>/{bank.json, <set digest[:16]>/…}`.

A bank may be replaced, and nothing is served from it, so it has no manifest: `bank.json` lists its files.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import orjson

from ascend_serve.artifacts.backing import Backing, Entry, set_folder, way_out
from ascend_serve.artifacts.files import describe_file
from ascend_serve.artifacts.manifest import ArtifactFile, check_key, set_digest
from ascend_serve.errors import ArtifactError, ConfigError

logger = logging.getLogger(__name__)

_BANK = re.compile(r"banks/(?P<key>[^/]+)/bank\.json")


class Source(Protocol):
    """Where a bank's files come from: a store."""

    def fetch_bank(self, bank: Bank) -> Path:
        """The folder on this node with the files of a bank, all of them checked."""
        ...


@dataclass(frozen=True, slots=True)
class Bank:
    """A knowledge bank of AOE: what tuning found, to be used by later builds.

    Attributes:
        key: what the store files it under.
        files: what it consists of.
        source: the store.
    """

    key: str
    files: tuple[ArtifactFile, ...]
    source: Source = field(compare=False, repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 over names and checksums of its files, in hex."""
        return set_digest(self.files)

    def fetch(self) -> Path:
        """The folder on this node with its files, all of them checked; not to be written to.

        Raises:
            ArtifactMissing: a file is not there.
            ArtifactError: a file is damaged.
            OSError: the store cannot be reached, or the cache not be written.
        """
        return self.source.fetch_bank(self)


class Banks:
    """The knowledge banks that a backing holds.

    Args:
        backing: where they are.
        source: the store, which the banks handed out refer to.
    """

    def __init__(self, backing: Backing, source: Source) -> None:
        self._backing = backing
        self._source = source

    def get(self, key: str) -> Bank | None:
        """The bank of a key, or None; files that are gone or of another size are not looked for.

        Raises:
            ArtifactError: what describes it is damaged.
        """
        name = f"{_place(key)}/bank.json"
        data = self._backing.read(name)
        if data is None:
            return None
        try:
            files = tuple(ArtifactFile(**file) for file in orjson.loads(data)["files"])
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{self._backing.location(name)} is damaged: {type(error).__name__}: {error}; {way_out(_place(key))}"
            ) from error
        return Bank(key, files, self._source)

    def get_whole(self, key: str) -> Bank | None:
        """The bank of a key whose files are all there in their sizes, or None; raises as `get`."""
        bank = self.get(key)
        if bank is None or self._backing.has_set(_place(key), bank.files):
            return bank
        logger.warning(
            "%s is taken for absent: files of it are gone or cut off", self._backing.location(_place(key))
        )
        return None

    def keep(self, key: str, folder: Path) -> Bank:
        """Keep a folder's files as the bank of a key; see `Store.keep_bank`."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if not paths:
            raise ConfigError(f"there is no file in {folder} to keep as a knowledge bank")
        files = tuple(describe_file(path, path.relative_to(folder).as_posix()) for path in paths)
        for path, file in zip(paths, files, strict=True):
            self._backing.put(path, _place(key), files, file)
        described = orjson.dumps({"files": [asdict(file) for file in files]}, option=orjson.OPT_INDENT_2)
        self._backing.write(f"{_place(key)}/bank.json", described)
        return Bank(key, files, self._source)

    def fetch(self, bank: Bank) -> Path:
        """The folder on this node with the files of a bank; see `Bank.fetch`."""
        folder = self._backing.fetch(_place(bank.key), bank.files)
        self._backing.note_use(f"{_place(bank.key)}/bank.json")
        return folder

    def remove(self, key: str) -> None:
        """Remove the bank of a key; nothing happens when there is none."""
        # What describes it first: from then on there is no bank, and what is left is an orphan.
        self._backing.remove(f"{_place(key)}/bank.json")
        self._backing.remove_all(_place(key))

    def set_folders(self, entries: Iterable[Entry]) -> dict[str, str]:
        """Folder of each bank's set, by its key; of those that can be read.

        Args:
            entries: everything in the backing.
        """
        folders = {}
        for match in filter(None, (_BANK.fullmatch(entry.name) for entry in entries)):
            try:
                bank = self.get(match["key"])
            except ArtifactError as error:
                logger.warning("left out: %s", error)
                continue
            if bank is not None:
                folders[bank.key] = set_folder(_place(bank.key), bank.files)
        return folders


def _place(key: str) -> str:
    return f"banks/{check_key(key)}"
