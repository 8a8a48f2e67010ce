"""The key of an artifact: a hash of everything that changes the compiled model, and of nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from ascend_serve.artifacts.manifest import SCHEMA
from ascend_serve.artifacts.store import sha256
from ascend_serve.compiling.atc import arguments
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.spec.soc import Soc

if TYPE_CHECKING:
    import onnx


def artifact_key(recipe: CompileRecipe, soc: Soc, fingerprint: str, influences: Mapping[str, str]) -> str:
    """The key under which the store files what `recipe` compiles to for `soc`.

    It covers the model's bytes and those of its external data, ATC's arguments in their normal form, the
    bytes of files that they name, whether axis 0 counts rows, the SoC, the toolchain and the environment
    variables that ATC heeds. It leaves out folders, how much is logged, limits of time and memory, and which
    other SoCs the recipe lists. Host system and CPU are left out because only models with open shapes depend
    on them, and a recipe cannot ask for one.

    Args:
        recipe: with absolute paths.
        soc: the target.
        fingerprint: of the toolchain (`toolchain.fingerprint`).
        influences: environment variables that change what ATC builds.

    Returns:
        64 hexadecimal digits.

    Raises:
        ConfigError: the source, or a file it refers to, does not exist.
    """
    source = Path(recipe.source)
    if not source.is_file():
        raise ConfigError(f"recipe '{recipe.name}': source {source} does not exist")
    ingredients = {
        "schema": SCHEMA,
        "model": sha256(source),
        "external_data": {name: _digest(recipe, source.parent / name) for name in _external_files(source)},
        # The stem is kept: ATC writes it into the file as the model's name.
        "arguments": [_normal(argument) for argument in arguments(recipe, soc, "", recipe.name)],
        # One gear is compiled as the same static shape that a recipe without gears may give, and served differently.
        "batched": recipe.batched,
        "toolchain": fingerprint,
        "environment": dict(influences),
    }
    return hashlib.sha256(orjson.dumps(ingredients, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _normal(argument: str) -> str:
    """The argument as it enters the key: no log level, and a file's content in place of its path."""
    option, _, value = argument.partition("=")
    if option == "--log":
        return ""
    path = Path(value)
    return f"{option}=sha256:{sha256(path)}" if path.is_absolute() and path.is_file() else argument


def _digest(recipe: CompileRecipe, file: Path) -> str:
    try:
        return sha256(file)
    except FileNotFoundError as error:
        raise ConfigError(
            f"recipe '{recipe.name}': its model keeps weights in {file}, which does not exist; "
            "copy it beside the model"
        ) from error


def _external_files(source: Path) -> list[str]:
    """Names of the files beside the model that hold its large tensors, in order and once each."""
    data = source.read_bytes()
    # Every tensor kept outside says so in an entry of this name; most models have none, and reading them is slow.
    if b"location" not in data:
        return []
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        return []  # Not an ONNX model: ATC says so better.
    names = {
        entry.value
        for tensor in _tensors(model.graph)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sorted(names)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
