"""The OpenAPI description of the HTTP door, made from the table of its paths.

Rests on OpenAPI 3.1 and JSON Schema 2020-12. It says what is answered, and of requests what is taken at all: what a
model takes is in its metadata, and no description of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from ascend_serve.protocol.datatypes import WireType
from ascend_serve.protocol.messages import IndexEntry, ServerMetadata
from ascend_serve.protocol.paths import MODEL, VERBS, VERSION, Verb
from ascend_serve.spec.tensors import DataType

_INT64_MAX = 2**63 - 1
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_TEXTS = {"type": "array", "items": _TEXT}
_DATATYPES = [*DataType.__members__, *WireType.__members__]
_SHAPE = {"type": "array", "items": {"type": "integer", "minimum": -1}}


def _object(required: Iterable[str] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required) or list(properties), "properties": properties}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


_DURATION = _object(count=_COUNT, ns=_COUNT)
_STAGES = dict.fromkeys(("compute_input", "compute_infer", "compute_output"), _DURATION)
_TENSOR_METADATA = _object(name=_TEXT, datatype={"enum": _DATATYPES}, shape=_SHAPE)
_CONFIG_TENSOR = _object(name=_TEXT, data_type={"enum": [f"TYPE_{name}" for name in _DATATYPES]}, dims=_SHAPE)
_SCHEDULE = {
    "timeout": {"type": "integer", "minimum": 0, "maximum": _INT64_MAX, "description": "microseconds"},
    "priority": {
        "type": "integer",
        "minimum": 0,
        "maximum": _INT64_MAX,
        "description": "1 is the most urgent",
    },
    "binary_data_output": {"type": "boolean"},
}
_DATA = {
    "type": "array",
    "description": "elements, flat in row-major order or nested as the shape says",
}

SCHEMAS: dict[str, dict[str, Any]] = {
    "Error": _object(error=_TEXT),
    "Live": _object(live={"type": "boolean"}),
    "Ready": _object(ready={"type": "boolean"}),
    "ModelReady": _object(name=_TEXT, ready={"type": "boolean"}),
    "ServerMetadata": _object(name=_TEXT, version=_TEXT, extensions=_TEXTS),
    "ModelMetadata": _object(
        name=_TEXT,
        versions=_TEXTS,
        platform=_TEXT,
        inputs=_list(_TENSOR_METADATA),
        outputs=_list(_TENSOR_METADATA),
    ),
    "ModelConfig": _object(
        ("name", "platform", "max_batch_size", "input", "output"),
        name=_TEXT,
        platform=_TEXT,
        version_policy={"type": "object"},
        max_batch_size=_COUNT,
        input=_list(_CONFIG_TENSOR),
        output=_list(_CONFIG_TENSOR),
        dynamic_batching={"type": "object"},
    ),
    "Statistics": _object(
        model_stats=_list(
            _object(
                name=_TEXT,
                version=_TEXT,
                last_inference=_COUNT,
                inference_count=_COUNT,
                execution_count=_COUNT,
                inference_stats=_object(
                    success=_DURATION,
                    fail=_DURATION,
                    queue=_DURATION,
                    **_STAGES,
                    cache_hit=_DURATION,
                    cache_miss=_DURATION,
                ),
                batch_stats=_list(_object(batch_size=_COUNT, **_STAGES)),
            )
        )
    ),
    "IndexRequest": {"type": "object", "properties": {"ready": {"type": ["boolean", "null"]}}},
    "Index": _list(
        _object(name=_TEXT, version=_TEXT, state={"enum": ["READY", "UNAVAILABLE"]}, reason=_TEXT)
    ),
    "InferRequest": _object(
        ("inputs",),
        id=_TEXT,
        parameters={"type": "object", "properties": _SCHEDULE},
        inputs={
            "type": "array",
            "minItems": 1,
            "items": _object(
                ("name", "shape", "datatype", "data"),
                name={"type": "string", "minLength": 1},
                shape={"type": "array", "items": {"type": "integer", "minimum": 1}},
                datatype={"enum": _DATATYPES},
                data=_DATA,
                parameters={"type": "object"},
            ),
        },
        outputs=_list(
            _object(
                ("name",),
                name={"type": "string", "minLength": 1},
                parameters={
                    "type": "object",
                    "properties": {
                        "binary_data": {"type": "boolean"},
                        "classification": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
                    },
                },
            )
        ),
    ),
    "InferResponse": _object(
        ("model_name", "model_version", "outputs"),
        id=_TEXT,
        model_name=_TEXT,
        model_version=_TEXT,
        outputs=_list(
            _object(
                ("name", "shape", "datatype"),
                name=_TEXT,
                shape=_SHAPE,
                datatype={"enum": _DATATYPES},
                parameters={"type": "object"},
                data={"type": "array"},
            )
        ),
    ),
    "Description": {"type": "object"},
}

_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_WITH_OR_WITHOUT_TOKEN: list[dict[str, list[str]]] = [{}, {"token": []}]
"""A server has tokens or has none."""
_WITH_BODY = {"infer", "index", "load"}


def describe(
    server: ServerMetadata, models: Iterable[IndexEntry], others: Mapping[str, Sequence[str]]
) -> bytes:
    """The description of a server, as JSON.

    Args:
        server: its name and version.
        models: what it serves.
        others: paths beside those of the protocol, with the methods that each takes; what goes in and out of them is
            not the protocol's affair.
    """
    entries = list(models)
    paths: dict[str, Any] = {}
    for verb in VERBS:
        for path in verb.paths:
            operation = _operation(verb, path, entries)
            paths[path] = {verb.method.lower(): operation}
    for path, methods in others.items():
        paths[path] = {
            method.lower(): {
                "operationId": f"{method.lower()} {path}",
                "summary": "A door of the model's processor.",
                "responses": {"default": {"description": "What the processor answers."}},
                "security": _WITH_OR_WITHOUT_TOKEN,
            }
            for method in methods
        }
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": f"{server.name}: Open Inference Protocol v2", "version": server.version},
            "paths": paths,
            "components": {
                "schemas": SCHEMAS,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def _operation(verb: Verb, path: str, models: list[IndexEntry]) -> dict[str, Any]:
    number = verb.paths.index(path)
    operation: dict[str, Any] = {
        "operationId": verb.name if number == 0 else f"{verb.name}_{number}",
        "summary": verb.summary,
        "responses": _responses(verb, path),
    }
    # Which of a model's versions there are depends on the model, which a parameter cannot say.
    names = [MODEL, VERSION] if VERSION in path else [MODEL] if MODEL in path else []
    values = ({entry.name for entry in models}, {entry.version for entry in models})
    if names:
        operation["parameters"] = [
            {
                "name": name.strip("{}"),
                "in": "path",
                "required": True,
                "schema": {"type": "string", "enum": sorted(known)},
            }
            for name, known in zip(names, values, strict=False)
        ]
    if verb.body:
        content: dict[str, Any] = {"application/json": {"schema": _ref(verb.body)}}
        operation["requestBody"] = {"required": verb.name == "infer", "content": content}
    if not verb.is_open:
        operation["security"] = _WITH_OR_WITHOUT_TOKEN
    return operation


def _responses(verb: Verb, path: str) -> dict[str, Any]:
    content: dict[str, Any] = {"application/json": {"schema": _ref(verb.answer)}}
    if verb.name == "infer":
        content |= _BINARY
    told = {"200": {"description": verb.summary, "content": content}}
    if verb.name == "load":
        told = {"400": _error("Not done by this server.")}
    if verb.name in ("live", "ready", "model_ready"):
        told["503"] = {"description": "Not now.", "content": content}
    failures = {"401": "No token, or a wrong one."} if not verb.is_open else {}
    if MODEL in path and verb.name != "load":
        failures["404"] = "No such model or version."
    if verb.name in _WITH_BODY:
        failures |= {
            "400": "The request is wrong.",
            "408": "The body did not come in time.",
            "413": "The request is too large.",
            "415": "The body's coding is not taken.",
            "429": "The queue is full, or as many bodies are held as may be.",
        }
    if verb.name == "infer":
        failures |= {
            "422": "The device fails whenever it computes this request.",
            "500": "The device failed.",
            "503": "Not now.",
            "504": "The deadline passed, or cannot be met.",
        }
    return told | {status: _error(words) for status, words in failures.items()}


def _error(words: str) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": _ref("Error")}}}
