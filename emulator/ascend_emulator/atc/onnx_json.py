"""An ONNX model as the JSON that `--mode=1 --framework=5` writes.

GE prints the graph alone, by a mapping of its own (parser/parser/onnx/onnx_parser.cc `ToJson`,
parser/parser/common/convert/pb2json.cc): fields under their names, enums as names, a float as six digits of
text, bytes with C escapes, fields that are not set left out; keys are in alphabetical order.
"""

from __future__ import annotations

import json
import math
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]  # has no stubs
from google.protobuf.message import Message  # type: ignore[import-untyped]  # has no stubs

_ESCAPES = {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x22: '\\"', 0x27: "\\'", 0x5C: "\\\\"}


def _escaped(data: bytes) -> str:
    return "".join(
        _ESCAPES.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}") for byte in data
    )


def _value(field: Any, value: Any, *, alone: bool) -> Any:
    """One value; of a list, floats stay numbers and bytes are not escaped."""
    match field.type:
        case FieldDescriptor.TYPE_MESSAGE:
            return _message(value)
        case FieldDescriptor.TYPE_ENUM:
            return field.enum_type.values_by_number[value].name
        case FieldDescriptor.TYPE_FLOAT | FieldDescriptor.TYPE_DOUBLE:
            if alone:
                return format(value, "g")
            # JSON has no infinity and no NaN.
            return value if math.isfinite(value) else None
        case FieldDescriptor.TYPE_BYTES:
            return _escaped(value) if alone else value.decode("utf-8", "ignore")
    return value


def _message(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if isinstance(value, Message):
            if value.ByteSize():
                found[field.name] = _message(value)
        elif isinstance(value, str | bytes | int | float):
            found[field.name] = _value(field, value, alone=True)
        else:
            found[field.name] = [_value(field, each, alone=False) for each in value]
    return found


def to_json(model: onnx.ModelProto) -> str:
    """The model's graph as JSON, indented by two, without a newline at its end."""
    return json.dumps(_message(model.graph), indent=2, ensure_ascii=False, sort_keys=True)
