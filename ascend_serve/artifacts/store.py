"""The store: compiled models in folders named by what made them.

    <root>/<key[:2]>/<key>/manifest.json               the artifact is there: written last, never changed
    <root>/<key[:2]>/<key>/<set digest[:16]>/…         its files, under their own names, and cost times (`times`)
    <root>/failed/<key>/{failure.json, atc.log}        a build that failed, and why
    <root>/banks/<key>/{bank.json, <set digest[:16]>/…}  a knowledge bank of AOE
    <root>/building/<key>.…                            held while somebody builds that key
    <root>/partial/…                                   being written; no reader looks here

A reader sees an artifact when its manifest is there, and by then all its files are. Two writers whose files differ in
bytes write to different folders; the first manifest stays, unless files that it names are gone or cut off since. What a
killed writer leaves is named by no manifest, and goes with `collect_garbage`. Whatever is handed out was checked
against its checksums just before.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from ascend_serve import env
from ascend_serve.artifacts.artifact import Artifact, ready_made
from ascend_serve.artifacts.backing import Backing, keys_by_name, set_folder
from ascend_serve.artifacts.banks import Bank, Banks
from ascend_serve.artifacts.cache import Cache
from ascend_serve.artifacts.failures import Failure, Failures
from ascend_serve.artifacts.files import sha256
from ascend_serve.artifacts.folder import FolderBacking
from ascend_serve.artifacts.garbage import Garbage, Policy, find_garbage
from ascend_serve.artifacts.locks import Lock, held, held_if_free
from ascend_serve.artifacts.manifest import ArtifactFile, Manifest, check_key
from ascend_serve.artifacts.om.file import read_om_file
from ascend_serve.artifacts.remote import RemoteBacking
from ascend_serve.errors import ArtifactError, ArtifactMissing, ConfigError
from ascend_serve.spec.text import nearest

__all__ = ["Artifact", "Bank", "Failure", "Store", "read_om_file", "ready_made", "sha256"]

logger = logging.getLogger(__name__)

_MANIFEST = re.compile(r"(?P<top>..)/(?P<key>(?P=top)[^/]*)/manifest\.json")
_IN_PROCESS = "memory"
"""fsspec's protocol for files that are gone with the process."""

_FLATTENED_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")


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

    @classmethod
    def lasting(cls, root: str | Path) -> Store:
        """A store that other processes see too, which is what people mean on a command line.

        Raises:
            ConfigError: its files would be gone with this process; or as the class itself.
        """
        protocol = str(root).rpartition("::")[2].partition("://")[0]
        if protocol == _IN_PROCESS:
            raise ConfigError(
                f"the store {root} lives in the memory of one process and is gone with it: give a folder, or a URL of "
                "something that lasts, such as s3://bucket/prefix"
            )
        return cls(root)

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.url, self._cache)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    @cached_property
    def _backing(self) -> Backing:
        if self._is_folder:
            return FolderBacking(Path(self.url))
        return RemoteBacking(self.url, self._cache or Cache(env.cache_folder(), env.cache_limit_bytes()))

    @cached_property
    def _failures(self) -> Failures:
        return Failures(self._backing)

    @cached_property
    def _banks(self) -> Banks:
        return Banks(self._backing, self)

    def exists(self) -> bool:
        """Whether anything was ever written to it and is still there."""
        return self._backing.exists()

    # --- artifacts ---------------------------------------------------------------------------------

    def get(self, key: str) -> Artifact | None:
        """The published artifact of that key, or None; one read.

        Raises:
            ArtifactError: its manifest cannot be read.
        """
        data = self._backing.read(_manifest_of(key))
        return None if data is None else self._artifact(self._read_manifest(key, data))

    def get_whole(self, key: str) -> Artifact | None:
        """The published artifact of that key whose files are all there in their sizes, or None.

        What is in the files is not read; that is done by `Artifact.fetch`.

        Raises:
            ArtifactError: its manifest cannot be read.
        """
        artifact = self.get(key)
        return artifact if artifact is not None and self._is_whole(artifact) else None

    def fetch(self, key: str, files: Sequence[ArtifactFile]) -> Path:
        """The folder on this node with the files of an artifact; see `Artifact.fetch`."""
        folder = self._backing.fetch(_folder_of(key), files)
        self._backing.note_use(_manifest_of(key))
        return folder

    def read_beside(self, manifest: Manifest, name: str) -> bytes | None:
        """What is kept under a name beside an artifact's files, or None.

        Raises:
            OSError: the store cannot be reached.
        """
        return self._backing.read(f"{set_folder(_folder_of(manifest.key), manifest.files)}/{name}")

    def write_beside(self, manifest: Manifest, name: str, data: bytes) -> None:
        """Keep something under a name beside an artifact's files, in place of what was there.

        It is whole or not there, belongs to no checksum, is not copied to other stores, and goes with the artifact.

        Raises:
            OSError: the store cannot be written.
        """
        self._backing.write(f"{set_folder(_folder_of(manifest.key), manifest.files)}/{name}", data)

    def publish(self, files: Mapping[str, Path], manifest: Manifest) -> Artifact:
        """Put a compiled model into the store; a failure that was kept under its key is forgotten.

        Call it while `building` that key, or what a concurrent `remove` takes away may be missing. An artifact of that
        key with files that are gone or cut off is replaced.

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
        if published is not None and not self._is_whole(published):
            # Not so when there was none: another writer's may have come meanwhile, and that is the first.
            self._backing.remove(_manifest_of(manifest.key))
            published = None
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
        keys = keys_by_name(self._backing, _MANIFEST)
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
            hint = nearest(told, known) or "; the store is empty"
            raise ConfigError(f"there is no artifact '{told}' in {self.url}{hint}")
        shown = ", ".join(sorted(f"{m.key[:12]} ({m.name}@{m.soc}, {m.created})" for m in found))
        raise ConfigError(
            f"'{told}' means {len(found)} artifacts of {self.url}: {shown}; give more of the key"
        )

    def remove(self, key: str) -> None:
        """Remove an artifact, and the failure and the knowledge bank kept under its key; of these, what there is.

        Raises:
            ArtifactError: it is being built at this moment.
            OSError: the store cannot be written, or somebody writes to what is being removed.
        """
        with held_if_free(self.lock(key)) as is_held:
            if not is_held:
                raise ArtifactError(f"{key[:12]} is being built at this moment; try again when that is done")
            self._remove_artifact(key)
            self.forget_failure(key)
            self._banks.remove(key)

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
            is_new = other.get_whole(key) is None
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
        return self._failures.get(key)

    def failures(self) -> Iterator[tuple[str, Failure]]:
        """Every failure kept, with its key, in no order."""
        return self._failures.all()

    def keep_failure(self, key: str, log: Path, describe: Callable[[str], Failure]) -> Failure:
        """Keep a failed build's output and diagnosis under its key, in place of an earlier one.

        Args:
            key: the build's key.
            log: its whole output; it is copied.
            describe: makes the failure, given the path or URL that the kept output will have.
        """
        return self._failures.keep(key, log, describe)

    def forget_failure(self, key: str) -> None:
        """Drop what is kept of a failed build; nothing happens when nothing is."""
        self._failures.forget(key)

    # --- knowledge banks ---------------------------------------------------------------------------

    def bank(self, key: str) -> Bank | None:
        """The knowledge bank of that key, or None; one with files that are gone or cut off is none.

        Raises:
            ArtifactError: what describes it is damaged.
        """
        return self._banks.get_whole(key)

    def keep_bank(self, key: str, folder: Path) -> Bank:
        """Keep a folder's files as the knowledge bank of a key, in place of an earlier one.

        Raises:
            ConfigError: there is no file in it.
            OSError: the disk is full, or the store cannot be written.
        """
        return self._banks.keep(key, folder)

    def fetch_bank(self, bank: Bank) -> Path:
        """The folder on this node with the files of a bank; see `Bank.fetch`."""
        return self._banks.fetch(bank)

    # --- garbage -----------------------------------------------------------------------------------

    def collect_garbage(
        self,
        *,
        older_than_s: float,
        keep: Container[str] = (),
        max_bytes: int | None = None,
        dry_run: bool = False,
        refused: Callable[[Garbage, OSError], None] | None = None,
    ) -> list[Garbage]:
        """Remove what is no longer needed; what is being built at this moment stays.

        The age of an artifact counts from its last `fetch` in a folder that its users may write, else from when it was
        published. Files that no manifest names, partial files and locks go when they are a day old.

        Args:
            older_than_s: age from which artifacts, failures, and banks that no artifact was built with, go.
            keep: keys that stay, whatever their age.
            max_bytes: size that the artifacts together may have; the oldest go first.
            dry_run: remove nothing.
            refused: called for each thing that could not be removed; the rest goes all the same. None: the first such
                error is raised when that is done.

        Returns:
            What was removed or, in a dry run, would be.

        Raises:
            OSError: the store cannot be reached; or, without `refused`, a thing could not be removed.
        """
        entries = list(self._backing.entries())
        manifests = {manifest.key: manifest for manifest in self.manifests()}
        policy = Policy(older_than_s, keep, max_bytes)
        found = find_garbage(entries, manifests, self._banks.set_folders(entries), policy, time.time())
        if dry_run:
            return found
        removed, errors = [], []
        for garbage in found:
            try:
                if self._collect(garbage):
                    removed.append(garbage)
            except OSError as error:
                errors.append(error)
                if refused is not None:
                    refused(garbage, error)
        if errors and refused is None:
            raise errors[0]
        return removed

    def _collect(self, garbage: Garbage) -> bool:
        """Remove one thing, unless its key is being built."""
        if not garbage.key:
            self._backing.remove(garbage.what)
            return True
        with held_if_free(self._backing.lock(garbage.key)) as is_held:
            if not is_held:
                return False
            if garbage.kind == "artifact":
                self._remove_artifact(garbage.key)
            elif garbage.kind == "bank":
                self._banks.remove(garbage.key)
            elif garbage.kind != "lock":  # a lock is removed by giving it back
                self._backing.remove_all(garbage.what)
        return True

    # --- helpers -----------------------------------------------------------------------------------

    def _remove_artifact(self, key: str) -> None:
        # The manifest first: from then on there is no artifact, and what is left is an orphan.
        self._backing.remove(_manifest_of(key))
        self._backing.remove_all(_folder_of(key))

    def _is_whole(self, artifact: Artifact) -> bool:
        """Whether the files of an artifact are all there in their sizes."""
        manifest = artifact.manifest
        assert manifest is not None, "what comes from a store has a manifest"
        if self._backing.has_set(_folder_of(manifest.key), manifest.files):
            return True
        logger.warning("%s is taken for absent: files of it are gone or cut off", artifact.location)
        return False

    def _artifact(self, manifest: Manifest) -> Artifact:
        folder = set_folder(_folder_of(manifest.key), manifest.files)
        location = self._backing.location(f"{folder}/{manifest.om.name}")
        return Artifact(location, manifest.soc, manifest.toolchain, manifest.spec, manifest, self)

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


def _folder_of(key: str) -> str:
    return f"{check_key(key)[:2]}/{key}"


def _manifest_of(key: str) -> str:
    return f"{_folder_of(key)}/manifest.json"


def _means(told: str, manifest: Manifest) -> bool:
    return manifest.key.startswith(told) or told in (manifest.name, f"{manifest.name}@{manifest.soc}")
