"""What is kept beside a compiled model: how it was made, by whom, and what it takes and gives."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import orjson

from ascend_serve.errors import ArtifactError, ConfigError
from ascend_serve.spec.buckets import Bucket
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec
from ascend_serve.spec.toolchain import Toolchain

SCHEMA = 2
"""Version of the manifest and of the key's ingredients; a store holds several side by side."""

_KEY = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{2,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """One file of a set.

    Attributes:
        name: relative POSIX path under which it must lie beside the others, such as `weight/weight_ab12`.
        sha256: checksum of its content, in hex.
        size_bytes: its size.

    Raises:
        ConfigError: a name that would lie outside the set's folder, or what is no checksum or size. Manifests come
            from stores that others write to, and names become paths.
    """

    name: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        path = PurePosixPath(self.name)
        stays = bool(path.parts) and ".." not in path.parts and not path.is_absolute()
        if not stays or str(path) != self.name or "\0" in self.name:
            raise ConfigError(
                f"file name {self.name!r}: a plain path is needed that stays in its folder, such as 'net.om'"
            )
        if not _SHA256.fullmatch(self.sha256):
            raise ConfigError(f"file '{self.name}': {self.sha256!r} is no SHA-256 checksum in hex")
        if isinstance(self.size_bytes, bool) or not isinstance(self.size_bytes, int) or self.size_bytes < 0:
            raise ConfigError(f"file '{self.name}': {self.size_bytes!r} is no size in bytes")


def set_digest(files: Iterable[ArtifactFile]) -> str:
    """SHA-256, in hex, over names and checksums of a set of files, in whatever order they stand."""
    lines = sorted(f"{file.sha256} {file.name}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_key(key: str) -> str:
    """The key itself, if it can name a folder.

    Raises:
        ConfigError: it cannot.
    """
    if not _KEY.fullmatch(key):
        raise ConfigError(
            f"{key!r} is no key of a store: 3 to 128 letters, digits, '-' and '_', as `ascend-serve artifacts ls` "
            "lists them"
        )
    return key


@dataclass(frozen=True, slots=True)
class Manifest:
    """The story of one artifact.

    Attributes:
        key: what the store files it under: a hash of everything that changed it.
        name: name of the model.
        soc: SoC it was compiled for.
        toolchain: what compiled it.
        files: the `.om` first, then what must lie beside it.
        spec: signature under which it is served; None when it is not served as it is.
        unservable: why it is not, in a sentence; empty when `spec` is there.
        origin: `built` from a recipe here, or `imported` as a file.
        recipe: the recipe's fields, as JSON values; empty for what was imported.
        seconds: how long the build took.
        created: when it was built or imported, ISO 8601 in UTC.
        verification: report of a comparison with the source model, as JSON values, or None.
        details: what the file says of itself (`report.report`), as JSON values, for people. `bank` is the key of the
            knowledge bank it was built with, if any, which keeps that bank from being collected as garbage.

    Raises:
        ConfigError: no file, a name twice, or both or neither of `spec` and `unservable`.
    """

    key: str
    name: str
    soc: str
    toolchain: Toolchain
    files: tuple[ArtifactFile, ...]
    spec: ModelSpec | None
    unservable: str
    origin: Literal["built", "imported"]
    recipe: dict[str, Any]
    seconds: float
    created: str
    verification: dict[str, Any] | None
    details: dict[str, Any]

    def __post_init__(self) -> None:
        check_key(self.key)
        names = [file.name for file in self.files]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"manifest of '{self.name}': files are {names}, each name must stand once")
        if (self.spec is None) != bool(self.unservable):
            raise ConfigError(f"manifest of '{self.name}': give either spec, or unservable with the reason")

    @property
    def om(self) -> ArtifactFile:
        """The `.om` itself."""
        return self.files[0]

    @property
    def size_bytes(self) -> int:
        """Size of all files together."""
        return sum(file.size_bytes for file in self.files)

    def to_json(self) -> bytes:
        """The manifest as indented JSON."""
        told = {
            "schema": SCHEMA,
            "key": self.key,
            "name": self.name,
            "soc": self.soc,
            "toolchain": asdict(self.toolchain),
            "files": [asdict(file) for file in self.files],
            "spec": None if self.spec is None else _spec_to_json(self.spec),
            "unservable": self.unservable,
            "origin": self.origin,
            "recipe": self.recipe,
            "seconds": self.seconds,
            "created": self.created,
            "verification": self.verification,
            "details": self.details,
        }
        return orjson.dumps(told, option=orjson.OPT_INDENT_2)

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        """Read what `to_json` wrote.

        Raises:
            ArtifactError: it is no manifest, or of another schema.
        """
        try:
            told = orjson.loads(data)
            if told["schema"] != SCHEMA:
                raise ArtifactError(f"a manifest of schema {told['schema']}, this version reads {SCHEMA}")
            return cls(
                key=told["key"],
                name=told["name"],
                soc=told["soc"],
                toolchain=Toolchain(**told["toolchain"]),
                files=tuple(ArtifactFile(**file) for file in told["files"]),
                spec=None if told["spec"] is None else _spec_from_json(told["spec"]),
                unservable=told["unservable"],
                origin=told["origin"],
                recipe=told["recipe"],
                seconds=told["seconds"],
                created=told["created"],
                verification=told["verification"],
                details=told["details"],
            )
        except (ValueError, KeyError, TypeError) as error:  # ConfigError is a ValueError
            raise ArtifactError(f"not a manifest: {type(error).__name__}: {error}") from error


def _spec_to_json(spec: ModelSpec) -> dict[str, Any]:
    """A spec as JSON values; what only models with several buckets have is left out for the others."""

    def tensors(side: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
        return [
            {"name": t.name, "datatype": t.dtype.name, "shape": list(t.shape)}
            | ({} if t.counted else {"counted": False})
            for t in side
        ]

    told = {
        "name": spec.name,
        "inputs": tensors(spec.inputs),
        "outputs": tensors(spec.outputs),
        "gears": list(spec.gears),
    }
    if spec.free:
        told["buckets"] = [
            {
                "gears": list(bucket.gears),
                "shapes": {name: list(dims) for name, dims in bucket.shapes.items()},
            }
            for bucket in spec.buckets
        ]
    return told


def _spec_from_json(told: dict[str, Any]) -> ModelSpec:
    def tensors(side: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(t["name"], DataType[t["datatype"]], tuple(t["shape"]), t.get("counted", True))
            for t in side
        )

    buckets = tuple(
        Bucket(Gears.of(bucket["gears"]), {name: tuple(dims) for name, dims in bucket["shapes"].items()})
        for bucket in told.get("buckets", ())
    )
    gears = Gears.of(told["gears"])
    return ModelSpec(told["name"], tensors(told["inputs"]), tensors(told["outputs"]), gears, buckets)
