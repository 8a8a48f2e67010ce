"""What is kept beside a compiled model: how it was made, by whom, and what it takes and gives."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import orjson

from ascend_serve.errors import ArtifactError, ConfigError
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec
from ascend_serve.spec.toolchain import Toolchain

SCHEMA = 1
"""Version of the manifest and of the key's ingredients; a store holds several side by side."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The story of one artifact.

    Attributes:
        key: what the store files it under: a hash of everything that changed it.
        soc: SoC it was compiled for.
        toolchain: what compiled it.
        sha256: checksum of the `.om`, in hex.
        size_bytes: size of the `.om`.
        spec: signature under which it is served.
        recipe: the recipe's fields, as JSON values.
        seconds: how long the build took.
        created: when it was built, ISO 8601 in UTC.
    """

    key: str
    soc: str
    toolchain: Toolchain
    sha256: str
    size_bytes: int
    spec: ModelSpec
    recipe: dict[str, Any]
    seconds: float
    created: str

    def to_json(self) -> bytes:
        """The manifest as indented JSON."""
        return orjson.dumps(
            {
                "schema": SCHEMA,
                "key": self.key,
                "soc": self.soc,
                "toolchain": asdict(self.toolchain),
                "sha256": self.sha256,
                "size_bytes": self.size_bytes,
                "spec": _spec_to_json(self.spec),
                "recipe": self.recipe,
                "seconds": self.seconds,
                "created": self.created,
            },
            option=orjson.OPT_INDENT_2,
        )

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
                soc=told["soc"],
                toolchain=Toolchain(**told["toolchain"]),
                sha256=told["sha256"],
                size_bytes=told["size_bytes"],
                spec=_spec_from_json(told["spec"]),
                recipe=told["recipe"],
                seconds=told["seconds"],
                created=told["created"],
            )
        except (ValueError, KeyError, TypeError, ConfigError) as error:
            raise ArtifactError(f"not a manifest: {type(error).__name__}: {error}") from error


def _spec_to_json(spec: ModelSpec) -> dict[str, Any]:
    def tensors(side: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
        return [{"name": t.name, "datatype": t.dtype.name, "shape": list(t.shape)} for t in side]

    return {
        "name": spec.name,
        "inputs": tensors(spec.inputs),
        "outputs": tensors(spec.outputs),
        "gears": list(spec.gears),
    }


def _spec_from_json(told: dict[str, Any]) -> ModelSpec:
    def tensors(side: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(t["name"], DataType[t["datatype"]], tuple(t["shape"])) for t in side)

    return ModelSpec(told["name"], tensors(told["inputs"]), tensors(told["outputs"]), Gears.of(told["gears"]))
