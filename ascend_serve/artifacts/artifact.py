"""A compiled model at rest, as the rest of the product holds it: from a store, or a ready-made file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ascend_serve.artifacts.manifest import ArtifactFile, Manifest
from ascend_serve.artifacts.om.file import read_om_file
from ascend_serve.artifacts.om.reading import Om
from ascend_serve.errors import ArtifactMissing, ConfigError, NotAnOm
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.toolchain import Toolchain


class Source(Protocol):
    """Where an artifact's files come from: a store."""

    def fetch(self, key: str, files: Sequence[ArtifactFile]) -> Path:
        """The folder on this node with the files of a key, all of them checked."""
        ...

    def read_beside(self, manifest: Manifest, name: str) -> bytes | None:
        """What is kept under a name beside an artifact's files, or None."""
        ...

    def write_beside(self, manifest: Manifest, name: str, data: bytes) -> None:
        """Keep something under a name beside an artifact's files, in place of what was there."""
        ...


@dataclass(frozen=True, slots=True)
class Artifact:
    """A compiled model at rest. It is small, and travels between processes: files stay where they are.

    Attributes:
        location: path or URL of the `.om`, for people.
        soc: SoC it was compiled for; empty when a ready-made file does not tell.
        toolchain: what compiled it.
        signature: `spec`, or None when the model is not served as it is.
        manifest: what the store knows of it; None for a ready-made file.
        source: the store; None for a ready-made file.
        order: `input_order` of a ready-made file.
    """

    location: str
    soc: str
    toolchain: Toolchain
    signature: ModelSpec | None
    manifest: Manifest | None = None
    source: Source | None = field(default=None, compare=False, repr=False)
    order: tuple[str, ...] = ()

    @property
    def input_order(self) -> tuple[str, ...]:
        """Names of the inputs in the order in which gears of any dims count their sizes; empty when not known.

        It is that of ATC's `--input_shape`, and inputs that were not named there come last (facts: ATC §1.5, §3.7).
        """
        told = self.order
        if self.manifest is not None:
            # Manifests of before it was told have the recipe, if they were built.
            listed = self.manifest.details.get("gears", {}).get("input_order") or self.manifest.recipe.get(
                "inputs", {}
            )
            told = tuple(listed)
        if not told or self.signature is None:
            return told
        names = [tensor.name for tensor in self.signature.inputs]
        return (*(name for name in told if name in names), *(name for name in names if name not in told))

    @property
    def spec(self) -> ModelSpec:
        """Signature under which it is served.

        Raises:
            ConfigError: it is not served as it is; the message says why.
        """
        if self.signature is None:
            assert self.manifest is not None, "a ready-made file that cannot be served makes no artifact"
            raise ConfigError(f"{self.location} cannot be served: {self.manifest.unservable}")
        return self.signature

    def fetch(self) -> Path:
        """The `.om` on this node, whole, with what belongs beside it; call it before each load.

        In a store that is a folder it lies there; from any other store it is copied to this node's cache. Checksums of
        all files are checked every time.

        Raises:
            ArtifactMissing: there is no such file.
            ArtifactError: its bytes are not those that were published.
            OSError: the store cannot be reached, or the cache not be written.
        """
        if self.manifest is not None and self.source is not None:
            folder = self.source.fetch(self.manifest.key, self.manifest.files)
            return folder / self.manifest.om.name
        path = Path(self.location)
        if not path.is_file():
            raise ArtifactMissing(
                f"there is no file {path} on this node: all nodes must see it under the same path, on a shared "
                "filesystem or as a copy"
            )
        return path


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
    om = read_named(path)
    return Artifact(str(path), om.soc, om.toolchain, om.model_spec(name, batched), order=om.input_order)


def read_named(path: Path) -> Om:
    """Read an `.om` whose path a person gave.

    Raises:
        ArtifactMissing: there is no such file.
        NotAnOm: it is no offline model; the message names the file.
    """
    try:
        return read_om_file(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ArtifactMissing(f"there is no file {path}") from error
    except NotAnOm as error:
        raise NotAnOm(f"{path}: {error}") from error
