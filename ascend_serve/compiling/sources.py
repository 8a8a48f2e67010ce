"""The files that hold a recipe's model: what they contain, and the form in which ATC reads them.

Caffe has its weights in a second file, ONNX may have tensors in files beside it, a SavedModel is a folder that
has to be converted first (facts: ATC §1.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ascend_serve.artifacts.store import sha256
from ascend_serve.compiling.onnx_model import read_onnx
from ascend_serve.compiling.saved_model import convert
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe

if TYPE_CHECKING:
    import onnx

_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")
"""The file that makes a folder a SavedModel."""


def source_digests(recipe: CompileRecipe) -> dict[str, str]:
    """SHA-256 of each file that holds a part of the model, by a name that says which part.

    The model's file is `model`, Caffe's weights are `weight`; files beside an ONNX model and those of a SavedModel
    are `model/<path>`, seen from the model. So neither a renamed folder nor a renamed file changes anything, but
    a renamed external file does, since the model names it.

    Args:
        recipe: with absolute paths.

    Raises:
        ConfigError: a file does not exist, or `source` is a folder where a file should be, or the reverse.
    """
    source = Path(recipe.source)
    if recipe.framework_of() == "saved_model":
        if not any((source / name).is_file() for name in _SAVED_MODEL):
            raise ConfigError(
                f"recipe '{recipe.name}': source {source} is no SavedModel, which is a folder with a "
                f"{_SAVED_MODEL[0]}; give `framework` for a model file without a suffix"
            )
        files = sorted(path for path in source.rglob("*") if path.is_file())
        return {f"model/{path.relative_to(source).as_posix()}": sha256(path) for path in files}
    if not source.is_file():
        raise ConfigError(f"recipe '{recipe.name}': source {source} does not exist")
    digests = {"model": sha256(source)}
    if recipe.framework_of() == "onnx":
        for name in external_files(source):
            digests[f"model/{name}"] = _digest(recipe, source.parent / name)
    if recipe.weight is not None:
        weight = Path(recipe.weight)
        if not weight.is_file():
            raise ConfigError(f"recipe '{recipe.name}': weight {weight} does not exist")
        digests["weight"] = sha256(weight)
    return digests


def prepared_source(recipe: CompileRecipe, scratch: Path) -> Path:
    """The file that ATC or AOE is given as `--model`: the source itself, or what a SavedModel was converted to.

    Args:
        recipe: with absolute paths.
        scratch: folder of this build, for what is made here.

    Raises:
        ConfigError: the SavedModel has no such signature.
        CompileError: it cannot be converted; the message says what is missing and how to get it.
    """
    if recipe.framework_of() != "saved_model":
        return Path(recipe.source)
    converted = convert(
        Path(recipe.source), recipe.saved_model, recipe.signature, scratch, timeout_s=recipe.timeout_s
    )
    return converted.path


def input_order(recipe: CompileRecipe, source: Path) -> tuple[str, ...]:
    """Names of the model's inputs in the model's order, by which an AIPP file refers to them (facts: ATC §5.1).

    An ONNX model tells; of the others it is the order in which the recipe gives `inputs`.

    Args:
        recipe: what is compiled.
        source: what ATC is given (`prepared_source`).

    Raises:
        ConfigError: the ONNX model cannot be read.
    """
    converted = recipe.framework_of() == "saved_model" and recipe.saved_model == "onnx"
    if converted or recipe.framework_of() == "onnx":
        return tuple(value.name for value in read_onnx(source).inputs)
    return recipe.input_names


def external_files(source: Path) -> list[str]:
    """Names of the files beside an ONNX model that hold its large tensors, in order and once each."""
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
    nodes = chain(model.graph.node, *(function.node for function in model.functions))
    names = {
        entry.value
        for tensor in chain(model.graph.initializer, _tensors(nodes))
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return sorted(names)


def _digest(recipe: CompileRecipe, file: Path) -> str:
    try:
        return sha256(file)
    except FileNotFoundError as error:
        raise ConfigError(
            f"recipe '{recipe.name}': its model keeps weights in {file}, which does not exist; "
            "copy it beside the model"
        ) from error


def _tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.initializer
                yield from _tensors(graph.node)
