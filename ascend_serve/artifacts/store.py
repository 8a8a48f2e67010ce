"""The store: compiled models in folders named by what made them.

    <root>/<key[:2]>/<key>/manifest.json               the artifact is there: written last, never changed
    <root>/<key[:2]>/<key>/<set digest[:16]>/…         its files, under their own names
    <root>/failed/<key>/{failure.json, atc.log}        a build that failed, and why
    <root>/banks/<key>/{bank.json, <set digest[:16]>/…}  a knowledge bank of AOE
    <root>/building/<key>.…                            held while somebody builds that key
    <root>/partial/…                                   being written; no reader looks here

A reader sees an artifact when its manifest is there, and by then all its files are. Two writers whose files differ in
bytes write to different folders; the first manifest stays. What a killed writer leaves is named by no manifest, and
goes with `collect_garbage`. Whatever is handed out was checked against its checksums just before.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from ascend_serve import env
from ascend_serve.artifacts.artifact import Artifact, ready_made
from ascend_serve.artifacts.backing import Backing, Entry, set_folder
from ascend_serve.artifacts.cache import Cache
from ascend_serve.artifacts.files import describe_file, sha256
from ascend_serve.artifacts.folder import FolderBacking
from ascend_serve.artifacts.garbage import Garbage, Policy, find_garbage
from ascend_serve.artifacts.locks import Lock, held
from ascend_serve.artifacts.manifest import ArtifactFile, Manifest, check_key, set_digest
from ascend_serve.artifacts.om.file import read_om_file
from ascend_serve.artifacts.remote import RemoteBacking
from ascend_serve.errors import ArtifactError, ArtifactMissing, ConfigError
from ascend_serve.spec.text import nearest

__all__ = ["Artifact", "Bank", "Failure", "Store", "read_om_file", "ready_made", "sha256"]

logger = logging.getLogger(__name__)

_MANIFEST = re.compile(r"(?P<top>..)/(?P<key>(?P=top)[^/]*)/manifest\.json")
_FAILURE = re.compile(r"failed/(?P<key>[^/]+)/failure\.json")
_BANK = re.compile(r"banks/(?P<key>[^/]+)/bank\.json")
_FLATTENED_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a build failed: what `BuildFailed` is made of, and when it was.

    Attributes:
        cause: one sentence: what is wrong.
        code: ATC's code of the first cause, or None.
        operator: type of the operator that it is about, or None.
        node: name of the node that it is about, or None.
        hint: what to do about it, or None.
        reference: where the code is documented, or None.
        log_path: where the whole output is kept: a path, or a URL.
        at: when it failed, ISO 8601 in UTC.
        circumstances: what is no part of the key and may still have caused it; the failure is news again when they
            change.
        target: what was to be built, for people, such as `resnet50@Ascend310P3`.
        repeats: whether the same build would fail again; not so when it was ended from outside, such as by a signal.
    """

    cause: str
    code: str | None
    operator: str | None
    node: str | None
    hint: str | None
    reference: str | None
    log_path: str
    at: str
    circumstances: dict[str, str]
    target: str = ""
    repeats: bool = True


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
    source: Store = field(compare=False, repr=False)

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


class Store:
    """Artifacts under one root. It pickles, and opens what it is kept in when it is first used.

    Args:
        root: a folder, made when first written to, or a URL that fsspec knows, such as `s3://bucket/prefix`.
        cache: this node's, for a store that is no folder; None: the one that the environment names, on each node.

    Attributes:
        url: the absolute folder, or the URL.

    Raises:
        ConfigError: a URL that went through `pathlib`, which takes one slash from it.
    """

    def __init__(self, root: str | Path, cache: Cache | None = None) -> None:
        told = str(root)
        if _FLATTENED_URL.match(told):
            raise ConfigError(
                f"the store {told} is neither a folder nor a URL: give a URL as text, with '//'"
            )
        for prefix in ("file://", "local://"):
            told = told.removeprefix(prefix)
        self._is_folder = "://" not in told and "::" not in told
        self.url = str(Path(told).expanduser().absolute()) if self._is_folder else told.rstrip("/")
        self._cache = cache

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.url, self._cache)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    @cached_property
    def _backing(self) -> Backing:
        if self._is_folder:
            return FolderBacking(Path(self.url))
        return RemoteBacking(self.url, self._cache or Cache(env.cache_folder(), env.cache_limit_bytes()))

    # --- artifacts ---------------------------------------------------------------------------------

    def get(self, key: str) -> Artifact | None:
        """The published artifact of that key, or None; one read.

        Raises:
            ArtifactError: its manifest cannot be read.
        """
        data = self._backing.read(_manifest_of(key))
        return None if data is None else self._artifact(self._read_manifest(key, data))

    def fetch(self, key: str, files: Sequence[ArtifactFile]) -> Path:
        """The folder on this node with the files of an artifact; see `Artifact.fetch`."""
        folder = self._backing.fetch(_folder_of(key), files)
        self._backing.note_use(_manifest_of(key))
        return folder

    def publish(self, files: Mapping[str, Path], manifest: Manifest) -> Artifact:
        """Put a compiled model into the store; a failure that was kept under its key is forgotten.

        Call it while `building` that key, or what a concurrent `remove` takes away may be missing.

        Args:
            files: by the names of the manifest, files on this node; they are copied.
            manifest: describes them; `key` says where they go.

        Returns:
            What the store holds under the key from now on: this one, or the one that came first.

        Raises:
            ArtifactError: the bytes copied are not those the manifest describes.
            OSError: the disk is full, or the store cannot be written.
        """
        assert set(files) == {file.name for file in manifest.files}, "files and manifest name the same"
        published = self.get(manifest.key)
        if published is None:
            for file in manifest.files:
                self._backing.put(files[file.name], _folder_of(manifest.key), manifest.files, file)
            self._backing.create(_manifest_of(manifest.key), manifest.to_json())
            published = self.get(manifest.key)
        if published is None:
            raise ArtifactError(f"{manifest.key[:12]} was removed while it was published; try again")
        self.forget_failure(manifest.key)
        return published

    def manifests(self) -> Iterator[Manifest]:
        """What the store holds, in no order. Manifests that cannot be read are left out, with a warning in the log."""
        keys = self._keys(_MANIFEST)
        for name, data in self._backing.read_all(keys).items():
            try:
                yield self._read_manifest(keys[name], data)
            except ArtifactError as error:
                logger.warning("left out: %s", error)

    def find(self, told: str) -> Manifest:
        """The one artifact that a person means.

        Args:
            told: the beginning of its key, or `name@soc`, or its name.

        Raises:
            ConfigError: none, or several.
        """
        if not told:
            raise ConfigError("'' means no artifact: give the beginning of its key, name@soc, or its name")
        everything = list(self.manifests())
        found = [manifest for manifest in everything if _means(told, manifest)]
        if len(found) == 1:
            return found[0]
        if not found:
            known = [f"{manifest.name}@{manifest.soc}" for manifest in everything]
            raise ConfigError(f"there is no artifact '{told}' in {self.url}{nearest(told, known)}")
        shown = ", ".join(sorted(f"{m.key[:12]} ({m.name}@{m.soc}, {m.created})" for m in found))
        raise ConfigError(
            f"'{told}' means {len(found)} artifacts of {self.url}: {shown}; give more of the key"
        )

    def remove(self, key: str) -> None:
        """Remove an artifact, and the failure kept under its key; nothing happens when there is neither.

        Raises:
            ArtifactError: it is being built at this moment.
        """
        lock = self._backing.lock(check_key(key))
        if not lock.try_acquire():
            raise ArtifactError(f"{key[:12]} is being built at this moment; try again when that is done")
        try:
            self._remove_artifact(key)
            self.forget_failure(key)
        finally:
            lock.release()

    @contextmanager
    def building(self, key: str, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the right to build a key: one at a time, across processes and machines that share the store.

        It is freed when its holder dies: at once in a folder, after `locks.LEASE_S` seconds elsewhere. Whoever had to
        wait asks `get` first.

        Args:
            key: the key.
            on_wait: called once, if somebody else holds it.

        Raises:
            OSError: the store cannot be written.
        """
        with held(self.lock(key), on_wait):
            yield

    def lock(self, key: str) -> Lock:
        """What `building` holds, for callers that do something between two tries."""
        return self._backing.lock(check_key(key))

    def copy_to(
        self,
        other: Store,
        keys: Iterable[str],
        progress: Callable[[Manifest, bool], None] | None = None,
    ) -> list[Manifest]:
        """Copy artifacts to another store: push and pull. What arrived stays, so a copy that ended early is resumed.

        Args:
            other: where to.
            keys: whole keys.
            progress: called after each artifact with whether it was copied; if not, it was there.

        Returns:
            Those that were copied.

        Raises:
            ArtifactMissing: a key is not here.
            ArtifactError: a file is damaged here.
            OSError: one of the stores cannot be reached, or a disk is full.
        """
        copied = []
        for key in keys:
            artifact = self.get(key)
            if artifact is None or artifact.manifest is None:
                raise ArtifactMissing(f"there is no artifact {key} in {self.url}")
            manifest = artifact.manifest
            is_new = other.get(key) is None
            if is_new:
                folder = self.fetch(key, manifest.files)
                with other.building(key):
                    other.publish({file.name: folder / file.name for file in manifest.files}, manifest)
                copied.append(manifest)
            if progress is not None:
                progress(manifest, is_new)
        return copied

    # --- failures ----------------------------------------------------------------------------------

    def failure(self, key: str) -> Failure | None:
        """The failure kept under that key, or None."""
        data = self._backing.read(f"failed/{check_key(key)}/failure.json")
        return None if data is None else self._read_failure(key, data)

    def failures(self) -> Iterator[tuple[str, Failure]]:
        """Every failure kept, with its key, in no order."""
        keys = self._keys(_FAILURE)
        for name, data in self._backing.read_all(keys).items():
            if (failure := self._read_failure(keys[name], data)) is not None:
                yield keys[name], failure

    def keep_failure(self, key: str, log: Path, describe: Callable[[str], Failure]) -> Failure:
        """Keep a failed build's output and diagnosis under its key, in place of an earlier one.

        Args:
            key: the build's key.
            log: its whole output; it is copied.
            describe: makes the failure, given the path or URL that the kept output will have.
        """
        name = f"failed/{check_key(key)}/atc.log"
        failure = describe(self._backing.location(name))
        self._backing.write(name, log.read_bytes())
        described = orjson.dumps(asdict(failure), option=orjson.OPT_INDENT_2)
        self._backing.write(f"failed/{key}/failure.json", described)
        return failure

    def forget_failure(self, key: str) -> None:
        """Drop what is kept of a failed build; nothing happens when nothing is."""
        self._backing.remove_all(f"failed/{check_key(key)}")

    # --- knowledge banks ---------------------------------------------------------------------------

    def bank(self, key: str) -> Bank | None:
        """The knowledge bank of that key, or None.

        Raises:
            ArtifactError: what describes it is damaged.
        """
        name = f"banks/{check_key(key)}/bank.json"
        data = self._backing.read(name)
        if data is None:
            return None
        try:
            return Bank(key, tuple(ArtifactFile(**file) for file in orjson.loads(data)["files"]), self)
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{self._backing.location(name)} is damaged: {type(error).__name__}: {error}; tune the model again"
            ) from error

    def keep_bank(self, key: str, folder: Path) -> Bank:
        """Keep a folder's files as the knowledge bank of a key, in place of an earlier one.

        Raises:
            ConfigError: there is no file in it.
            OSError: the disk is full, or the store cannot be written.
        """
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if not paths:
            raise ConfigError(f"there is no file in {folder} to keep as a knowledge bank")
        place = f"banks/{check_key(key)}"
        files = tuple(describe_file(path, path.relative_to(folder).as_posix()) for path in paths)
        for path, file in zip(paths, files, strict=True):
            self._backing.put(path, place, files, file)
        described = orjson.dumps({"files": [asdict(file) for file in files]}, option=orjson.OPT_INDENT_2)
        self._backing.write(f"{place}/bank.json", described)
        return Bank(key, files, self)

    def fetch_bank(self, bank: Bank) -> Path:
        """The folder on this node with the files of a bank; see `Bank.fetch`."""
        folder = self._backing.fetch(f"banks/{bank.key}", bank.files)
        self._backing.note_use(f"banks/{bank.key}/bank.json")
        return folder

    # --- garbage -----------------------------------------------------------------------------------

    def collect_garbage(
        self,
        *,
        older_than_s: float,
        keep: Container[str] = (),
        max_bytes: int | None = None,
        dry_run: bool = False,
    ) -> list[Garbage]:
        """Remove what is no longer needed; what is being built at this moment stays.

        The age of an artifact counts from its last `fetch` in a folder that its users may write, else from when it was
        published. Files that no manifest names, partial files and locks go when they are a day old.

        Args:
            older_than_s: age from which artifacts, failures, and banks that no artifact was built with, go.
            keep: keys that stay, whatever their age.
            max_bytes: size that the artifacts together may have; the oldest go first.
            dry_run: remove nothing.

        Returns:
            What was removed or, in a dry run, would be.
        """
        entries = list(self._backing.entries())
        manifests = {manifest.key: manifest for manifest in self.manifests()}
        policy = Policy(older_than_s, keep, max_bytes)
        found = find_garbage(entries, manifests, self._bank_folders(entries), policy, time.time())
        return found if dry_run else [garbage for garbage in found if self._collect(garbage)]

    def _collect(self, garbage: Garbage) -> bool:
        """Remove one thing, unless its key is being built."""
        if not garbage.key:
            self._backing.remove(garbage.what)
            return True
        lock = self._backing.lock(garbage.key)
        if not lock.try_acquire():
            return False
        try:
            if garbage.kind == "artifact":
                self._remove_artifact(garbage.key)
            elif garbage.kind == "bank":
                self._backing.remove(f"{garbage.what}/bank.json")
                self._backing.remove_all(garbage.what)
            elif garbage.kind != "lock":  # a lock is removed by giving it back
                self._backing.remove_all(garbage.what)
        finally:
            lock.release()
        return True

    # --- helpers -----------------------------------------------------------------------------------

    def _bank_folders(self, entries: Iterable[Entry]) -> dict[str, str]:
        """Folder of each bank's set, by its key; of those that can be read."""
        folders = {}
        for match in filter(None, (_BANK.fullmatch(entry.name) for entry in entries)):
            try:
                bank = self.bank(match["key"])
            except ArtifactError as error:
                logger.warning("left out: %s", error)
                continue
            if bank is not None:
                folders[bank.key] = set_folder(f"banks/{bank.key}", bank.files)
        return folders

    def _remove_artifact(self, key: str) -> None:
        # The manifest first: from then on there is no artifact, and what is left is an orphan.
        self._backing.remove(_manifest_of(key))
        self._backing.remove_all(_folder_of(key))

    def _artifact(self, manifest: Manifest) -> Artifact:
        folder = set_folder(_folder_of(manifest.key), manifest.files)
        location = self._backing.location(f"{folder}/{manifest.om.name}")
        return Artifact(location, manifest.soc, manifest.toolchain, manifest.spec, manifest, self)

    def _keys(self, pattern: re.Pattern[str]) -> dict[str, str]:
        """Keys by the names that match a pattern."""
        matches = (pattern.fullmatch(entry.name) for entry in self._backing.entries())
        return {match[0]: match["key"] for match in matches if match}

    def _read_manifest(self, key: str, data: bytes) -> Manifest:
        try:
            manifest = Manifest.from_json(data)
            if manifest.key != key:
                raise ArtifactError(f"the manifest of another key, {manifest.key[:12]}")
        except ArtifactError as error:
            raise ArtifactError(
                f"{self._backing.location(_manifest_of(key))}: {error}. Run `ascend-serve artifacts rm {key}` on this "
                "store, then compile or import the model again"
            ) from error
        return manifest

    def _read_failure(self, key: str, data: bytes) -> Failure | None:
        try:
            return Failure(**orjson.loads(data))
        except (ValueError, TypeError) as error:
            # As good as none: the build is tried again, and says anew what is wrong.
            logger.warning("the failure kept under %s cannot be read: %s", key, error)
            return None


def _folder_of(key: str) -> str:
    return f"{check_key(key)[:2]}/{key}"


def _manifest_of(key: str) -> str:
    return f"{_folder_of(key)}/manifest.json"


def _means(told: str, manifest: Manifest) -> bool:
    return manifest.key.startswith(told) or told in (manifest.name, f"{manifest.name}@{manifest.soc}")
