"""The protocol's gRPC messages as protobuf classes, from a table instead of generated code.

Rests on the Open Inference Protocol v2's gRPC document: package `inference`, these names and field numbers.

protoc's Python output would put the same names into protobuf's one default pool, where they clash with those of any
client library that a user imports beside us (tritonclient and kserve bring `inference.*` too), and it runs only with
the protobuf releases near the one that made it. A table in a pool of our own does neither.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pool, message_factory  # type: ignore[import-untyped]  # ships no types
from google.protobuf.descriptor_pb2 import (  # type: ignore[import-untyped]  # ships no types
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

PACKAGE = "inference"

_TENSOR = {
    "name": (1, "string"),
    "datatype": (2, "string"),
    "shape": (3, "repeated int64"),
}
_CARRIED_TENSOR = {
    **_TENSOR,
    "parameters": (4, "map InferParameter"),
    "contents": (5, "InferTensorContents"),
}

SCHEMA: dict[str, dict[str, tuple[int, str]]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {
        "name": (1, "string"),
        "version": (2, "string"),
        "extensions": (3, "repeated string"),
    },
    "ModelMetadataRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "ModelMetadataResponse": {
        "name": (1, "string"),
        "versions": (2, "repeated string"),
        "platform": (3, "string"),
        "inputs": (4, "repeated ModelMetadataResponse.TensorMetadata"),
        "outputs": (5, "repeated ModelMetadataResponse.TensorMetadata"),
    },
    "InferParameter": {
        "bool_param": (1, "oneof bool"),
        "int64_param": (2, "oneof int64"),
        "string_param": (3, "oneof string"),
        "double_param": (4, "oneof double"),
        "uint64_param": (5, "oneof uint64"),
    },
    "InferTensorContents": {
        "bool_contents": (1, "repeated bool"),
        "int_contents": (2, "repeated int32"),
        "int64_contents": (3, "repeated int64"),
        "uint_contents": (4, "repeated uint32"),
        "uint64_contents": (5, "repeated uint64"),
        "fp32_contents": (6, "repeated float"),
        "fp64_contents": (7, "repeated double"),
        "bytes_contents": (8, "repeated bytes"),
    },
    "ModelInferRequest.InferInputTensor": _CARRIED_TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": {
        "name": (1, "string"),
        "parameters": (2, "map InferParameter"),
    },
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "map InferParameter"),
        "inputs": (5, "repeated ModelInferRequest.InferInputTensor"),
        "outputs": (6, "repeated ModelInferRequest.InferRequestedOutputTensor"),
        "raw_input_contents": (7, "repeated bytes"),
    },
    "ModelInferResponse.InferOutputTensor": _CARRIED_TENSOR,
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "map InferParameter"),
        "outputs": (5, "repeated ModelInferResponse.InferOutputTensor"),
        "raw_output_contents": (6, "repeated bytes"),
    },
}
"""Fields of each message as (number, type); a type may begin with `repeated`, `oneof` or `map` (from string)."""

ONEOF = "parameter_choice"
"""The name of the one group of alternatives there is, that of `InferParameter`."""


def _file() -> Any:
    file = FileDescriptorProto(name="ascend_serve/open_inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name in sorted(SCHEMA):  # an outer message sorts before those inside it
        outer, _, inner = name.rpartition(".")
        made[name] = made[outer].nested_type.add(name=inner) if outer else file.message_type.add(name=inner)
        for field, (number, kind) in SCHEMA[name].items():
            _add_field(made[name], name, field, number, kind)
    return file


def _add_field(message: Any, message_name: str, field: str, number: int, kind: str) -> None:
    how, _, of = kind.rpartition(" ")
    added = message.field.add(name=field, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if how == "map":
        entry = DescriptorProto(name=f"{field.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "", "key", 1, "string")
        _add_field(entry, "", "value", 2, of)
        message.nested_type.append(entry)
        how, of = "repeated", f"{message_name}.{entry.name}"
    if how == "repeated":
        added.label = FieldDescriptorProto.LABEL_REPEATED
    elif how == "oneof":
        if not message.oneof_decl:
            message.oneof_decl.add(name=ONEOF)
        added.oneof_index = 0
    if of[0].isupper():
        added.type, added.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{of}"
    else:
        added.type = FieldDescriptorProto.Type.Value(f"TYPE_{of.upper()}")


_POOL = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(_file().SerializeToString())


def message_class(name: str) -> Any:
    """The protobuf class of a message, such as `ModelInferRequest`; the same one at every call.

    Raises:
        KeyError: `SCHEMA` has no such message.
    """
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
