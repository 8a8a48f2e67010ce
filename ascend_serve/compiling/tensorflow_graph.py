"""The inputs of TensorFlow and Caffe models, read without either being installed.

Both formats name their inputs and shapes in a few fields: `Placeholder` nodes of a GraphDef, the signature of a
SavedModel (TensorFlow's protos graph.proto, node_def.proto, attr_value.proto, meta_graph.proto), `Input` layers of a
Caffe net (caffe.proto).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ascend_serve.artifacts.om.wire import WireError, fields, message, number, text
from ascend_serve.errors import ConfigError

_FLOAT, _INT32, _UINT8, _INT64 = 1, 3, 4, 9
INTEGERS = (_INT32, _INT64)
"""TensorFlow's numbers of the types that token ids have."""

Dims = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class GraphInput:
    """One input.

    Attributes:
        name: as shapes are given for it.
        dtype: element type as TensorFlow numbers it (`DataType`); Caffe's are all 1, which is float.
        dims: shape, None where it is open; None when not even the rank is known.
    """

    name: str
    dtype: int
    dims: Dims | None


def frozen_graph_inputs(path: Path) -> tuple[GraphInput, ...]:
    """The placeholders of a frozen graph (`.pb`).

    Raises:
        ConfigError: the file is no GraphDef.
        OSError: it cannot be read.
    """
    try:
        found = tuple(_placeholders(memoryview(path.read_bytes())))
    except WireError as error:
        raise ConfigError(f"{path} is no frozen TensorFlow graph: {error}") from error
    if not found:
        raise ConfigError(f"{path} holds no Placeholder, so it is no frozen TensorFlow graph with inputs")
    return found


def saved_model_inputs(folder: Path, signature: str) -> tuple[GraphInput, ...]:
    """The inputs of one signature of a SavedModel.

    Raises:
        ConfigError: the folder holds no SavedModel, or none with that signature; the message names those there are.
        OSError: it cannot be read.
    """
    path = folder / "saved_model.pb"
    try:
        signatures = dict(_signatures(memoryview(path.read_bytes())))
    except WireError as error:
        raise ConfigError(f"{path} is no SavedModel: {error}") from error
    if signature not in signatures:
        raise ConfigError(
            f"{folder} has no signature '{signature}'; its signatures: {', '.join(sorted(signatures)) or 'none'}"
        )
    return signatures[signature]


def caffe_inputs(path: Path) -> tuple[GraphInput, ...]:
    """The inputs of a Caffe net (`.prototxt`): `input` fields and `Input` layers.

    Raises:
        ConfigError: no input with a shape was found.
        OSError: the file cannot be read.
    """
    content = re.sub(r"#.*", "", path.read_text(encoding="utf-8", errors="replace"))
    names = re.findall(r"^\s*input\s*:\s*[\"']([^\"']+)", content, re.MULTILINE)
    shapes = [_numbers("dim", block) for block in re.findall(r"input_shape\s*:?\s*\{([^}]*)\}", content)]
    flat = _numbers("input_dim", content)
    shapes += [flat[at : at + 4] for at in range(0, len(flat), 4)]
    for layer in re.split(r"\blayers?\s*\{", content)[1:]:
        top = re.search(r"top\s*:\s*[\"']([^\"']+)", layer)
        if top and re.search(r"type\s*:\s*[\"']Input[\"']", layer):
            names.append(top[1])
            shapes.append(_numbers("dim", layer))
    if not names or len(names) != len(shapes):
        raise ConfigError(f"{path} names no inputs with shapes (`input_shape`, or a layer of type Input)")
    return tuple(GraphInput(name, _FLOAT, tuple(dims)) for name, dims in zip(names, shapes, strict=True))


def _numbers(key: str, content: str) -> list[int]:
    return [int(found) for found in re.findall(rf"\b{key}\s*:\s*(\d+)", content)]


def _placeholders(data: memoryview) -> Iterator[GraphInput]:
    for key, _, value in fields(data):
        if key != 1:
            continue
        name, kind, dtype, dims = "", "", 0, None
        for field, _, content in fields(message(value)):
            if field == 1:
                name = text(content)
            elif field == 2:
                kind = text(content)
            elif field == 5:
                attribute, of = _entry(content)
                if attribute == "dtype":
                    dtype = next((number(v) for k, _, v in fields(of) if k == 6), 0)
                elif attribute == "shape":
                    dims = next((_dims(message(v)) for k, _, v in fields(of) if k == 7), None)
        if kind == "Placeholder":
            yield GraphInput(name, dtype, dims)


def _signatures(data: memoryview) -> Iterator[tuple[str, tuple[GraphInput, ...]]]:
    for key, _, graph in fields(data):
        if key != 2:
            continue
        for field, _, entry in fields(message(graph)):
            if field == 5:
                name, definition = _entry(entry)
                inputs = [_entry(value) for part, _, value in fields(definition) if part == 1]
                yield name, tuple(sorted((_tensor(*pair) for pair in inputs), key=lambda each: each.name))


def _tensor(name: str, info: memoryview) -> GraphInput:
    dtype, dims = 0, None
    for key, _, value in fields(info):
        if key == 2:
            dtype = number(value)
        elif key == 3:
            dims = _dims(message(value))
    return GraphInput(name, dtype, dims)


def _entry(value: int | memoryview) -> tuple[str, memoryview]:
    """Key and value of one entry of a map."""
    key, content = "", memoryview(b"")
    for field, _, part in fields(message(value)):
        if field == 1:
            key = text(part)
        elif field == 2:
            content = message(part)
    return key, content


def _dims(shape: memoryview) -> Dims | None:
    dims: list[int | None] = []
    for key, _, value in fields(shape):
        if key == 2:
            size = next((number(v) for k, _, v in fields(message(value)) if k == 1), 0)
            dims.append(size if size > 0 else None)
        elif key == 3 and number(value):
            return None
    return tuple(dims)
