"""The store: compiled models in folders named by what made them.

    <root>/<key[:2]>/<key>/{model.om, manifest.json}     published: whole, never changed
    <root>/failed/<key>/{failure.json, atc.log}          a build that failed, and why
    <root>/partial/…                                     being written; no reader looks here

An artifact appears by one rename of its folder, so a reader sees all of it or nothing, and of two writers the
first wins (their contents are equal in all that matters: the key says so). Everything lies on one filesystem.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from ascend_serve.artifacts.manifest import Manifest
from ascend_serve.artifacts.om import Om, read_om
from ascend_serve.errors import ArtifactError, ArtifactMissing, NotAnOm
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.toolchain import Toolchain

_OM = "model.om"
_MANIFEST = "manifest.json"
_FAILURE = "failure.json"
_LOG = "atc.log"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled model at rest.

    Attributes:
        path: the `.om`.
        spec: signature under which it is served.
        soc: SoC it was compiled for; empty when a ready-made file does not tell.
        toolchain: what compiled it.
        manifest: what the store knows of it; None for a ready-made file.
    """

    path: Path
    spec: ModelSpec
    soc: str
    toolchain: Toolchain
    manifest: Manifest | None = None

    def verify(self) -> Path:
        """Check the file against its manifest and return its path; call it before each load.

        Raises:
            ArtifactMissing: there is no such file on this node.
            ArtifactError: its bytes are not those that were published.
        """
        if not self.path.is_file():
            otherwise = (
                f"; if it was removed, remove {self.path.parent} and compile again" if self.manifest else ""
            )
            raise ArtifactMissing(
                f"there is no file {self.path} on this node: all nodes must see it under the same path, on a shared "
                f"filesystem or as a copy{otherwise}"
            )
        if self.manifest is not None and (digest := sha256(self.path)) != self.manifest.sha256:
            raise ArtifactError(
                f"{self.path} has the checksum {digest[:12]}…, published was {self.manifest.sha256[:12]}…: "
                f"it was damaged since. Remove {self.path.parent} and compile again"
            )
        return self.path


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a build failed: what `BuildFailed` is made of, and when it was.

    Attributes:
        cause: one sentence: what is wrong.
        code: ATC's code of the first cause, or None.
        hint: what to do about it, or None.
        log_path: where the whole output is kept.
        at: when it failed, ISO 8601 in UTC.
        circumstances: what is no part of the key and may still have caused it; the failure is news again when they
            change.
    """

    cause: str
    code: str | None
    hint: str | None
    log_path: str
    at: str
    circumstances: dict[str, str]


class Store:
    """Artifacts under one root folder, which is made when first written to.

    Args:
        root: an absolute folder, on a filesystem that renames folders atomically.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()

    def get(self, key: str) -> Artifact | None:
        """The published artifact of that key, or None; one read.

        Raises:
            ArtifactError: its manifest cannot be read.
        """
        folder = self._folder(key)
        try:
            data = (folder / _MANIFEST).read_bytes()
        except FileNotFoundError:
            return None
        try:
            manifest = Manifest.from_json(data)
        except ArtifactError as error:
            raise ArtifactError(
                f"{folder / _MANIFEST}: {error}. Remove {folder} and compile again"
            ) from error
        return Artifact(folder / _OM, manifest.spec, manifest.soc, manifest.toolchain, manifest)

    def publish(self, om: Path, manifest: Manifest) -> Artifact:
        """Put a compiled model into the store; a failure that was kept under its key is forgotten.

        Args:
            om: the file, on any filesystem; it is copied.
            manifest: describes it; `key` says where it goes.

        Returns:
            What the store holds under the key from now on: this one, or the one that came first.

        Raises:
            ArtifactError: the bytes copied are not those the manifest describes.
            OSError: the disk is full, or the folder cannot be written.
        """

        def fill(folder: Path) -> None:
            shutil.copyfile(om, folder / _OM)
            if sha256(folder / _OM) != manifest.sha256:
                raise ArtifactError(f"{om} changed while it was published")
            (folder / _MANIFEST).write_bytes(manifest.to_json())

        self._publish(self._folder(manifest.key), fill)
        self.forget_failure(manifest.key)
        kept = self.get(manifest.key)
        if kept is None:
            raise ArtifactError(f"{self._folder(manifest.key)} was removed while it was published; try again")
        return kept

    def failure(self, key: str) -> Failure | None:
        """The failure kept under that key, or None."""
        try:
            told = orjson.loads((self._failed(key) / _FAILURE).read_bytes())
        except FileNotFoundError:
            return None
        return Failure(**told)

    def keep_failure(self, key: str, log: Path, describe: Callable[[str], Failure]) -> Failure:
        """Keep a failed build's output and diagnosis under its key, in place of an earlier one.

        Args:
            key: the build's key.
            log: its whole output; it is copied.
            describe: makes the failure, given the path that the kept output will have.
        """
        folder = self._failed(key)
        failure = describe(str(folder / _LOG))

        def fill(aside: Path) -> None:
            shutil.copyfile(log, aside / _LOG)
            (aside / _FAILURE).write_bytes(orjson.dumps(asdict(failure), option=orjson.OPT_INDENT_2))

        self.forget_failure(key)
        self._publish(folder, fill)
        return failure

    def forget_failure(self, key: str) -> None:
        """Drop what is kept of a failed build; nothing happens when nothing is."""
        shutil.rmtree(self._failed(key), ignore_errors=True)

    def _folder(self, key: str) -> Path:
        return self.root / key[:2] / key

    def _failed(self, key: str) -> Path:
        return self.root / "failed" / key

    def _publish(self, folder: Path, fill: Callable[[Path], None]) -> None:
        """Fill a folder aside, flush it, and rename it into place; leaves nothing aside, whatever happens."""
        partial = self.root / "partial"
        partial.mkdir(parents=True, exist_ok=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=folder.name[:12] + "-", dir=partial))
        try:
            # mkdtemp makes folders that only their owner may read; a store may be shared.
            aside.chmod(0o755)
            fill(aside)
            for file in aside.iterdir():
                _flush(file)
            _flush(aside)
            try:
                aside.rename(folder)
            except OSError:
                # Another writer of the same key came first; a rename never replaces a folder with files in it.
                if not folder.is_dir():
                    raise
            _flush(folder.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def ready_made(path: Path, name: str, batched: bool | None = None) -> Artifact:
    """An artifact from a compiled file that the store knows nothing of.

    Args:
        path: an `.om`, from any toolchain.
        name: name of the served model.
        batched: see `Om.model_spec`.

    Raises:
        ArtifactMissing: there is no such file.
        NotAnOm: it is no offline model; the message names the file.
        ConfigError: the model cannot be served so.
    """
    try:
        om = read_om_file(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ArtifactMissing(f"there is no file {path}") from error
    except NotAnOm as error:
        raise NotAnOm(f"{path}: {error}") from error
    return Artifact(path, om.model_spec(name, batched), om.soc, om.toolchain)


def read_om_file(path: Path) -> Om:
    """Read an `.om` on disk, of which only the parts that are looked at get loaded.

    Raises:
        NotAnOm: it is no offline model.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        # An empty file cannot be mapped.
        return read_om(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if size else b"")


def sha256(path: Path) -> str:
    """Checksum of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
