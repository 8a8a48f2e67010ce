"""Inference requests and answers over gRPC: serialised protobuf messages to ours and back.

Rests on the Open Inference Protocol v2's gRPC document. Tensor data comes as `raw_input_contents`, for all inputs or
for none, or typed in each input's `contents`; FP16 and BF16 have no typed form. Answers carry `raw_output_contents`
only. Parameters that nobody knows are ignored, and an empty string counts as absent, since protobuf cannot tell the two
apart. What is told of servers and models is in `grpc_told`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no types

from ascend_serve.errors import InvalidTensor, MalformedRequest, RequestTooLarge
from ascend_serve.protocol._pb.messages import ONEOF, message_class
from ascend_serve.protocol._pb.wire import (
    CONTENTS,
    INPUTS,
    RAW_INPUT_CONTENTS,
    RAW_OUTPUT_CONTENTS,
    STREAMED_RESPONSE,
    with_field,
    without_field,
)
from ascend_serve.protocol.checking import DeclaredCheck
from ascend_serve.protocol.classification import PARAMETER, classes_of
from ascend_serve.protocol.datatypes import (
    Datatype,
    WireType,
    array_from_binary,
    array_from_octets,
    binary_octets,
    datatype_named,
    datatype_of,
)
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import (
    Array,
    InferRequest,
    InferResponse,
    RequestedOutput,
)
from ascend_serve.protocol.show import show
from ascend_serve.spec.tensors import DataType

_InferRequest = message_class("ModelInferRequest")
_InferResponse = message_class("ModelInferResponse")
_StreamResponse = message_class("ModelStreamInferResponse")
_Contents = message_class("InferTensorContents")

_OTHER_FIELDS = 256
"""Fields that a request may have besides its tensors: names, id and parameters."""

_TYPED = {
    DataType.BOOL: "bool_contents",
    DataType.INT8: "int_contents",
    DataType.INT16: "int_contents",
    DataType.INT32: "int_contents",
    DataType.INT64: "int64_contents",
    DataType.UINT8: "uint_contents",
    DataType.UINT16: "uint_contents",
    DataType.UINT32: "uint_contents",
    DataType.UINT64: "uint64_contents",
    DataType.FP32: "fp32_contents",
    DataType.FP64: "fp64_contents",
    WireType.BYTES: "bytes_contents",
}
_CARRIER = {"int_contents": np.dtype(np.int32), "uint_contents": np.dtype(np.uint32)}
"""What protobuf itself holds those contents in, which may be wider than the tensor's own type."""


_MOST_BESIDE_BYTES = 256 * 1024
"""What a request may have besides its tensors' elements: protobuf holds the GIL while it reads it."""
_MOST_BYTES_EACH = 16
"""What typed contents may take for each element; protobuf writes no number in more than 11."""
_PIECE = 8192
"""Elements of typed contents that are read at once; between two pieces other threads get their turn."""
_KNOWN_BYTES = 4096
"""Requests that differ in their tensors' bytes alone are the rule; what else they say, up to so long, is read once."""


class _Declared(NamedTuple):
    name: str
    dtype: Datatype
    shape: tuple[int, ...]


class _Head(NamedTuple):
    """All of a request but its tensors' elements; nothing in it can be changed."""

    model_name: str
    model_version: str | None
    id: str | None
    tensors: tuple[_Declared, ...]
    outputs: tuple[RequestedOutput, ...]
    parameters: Mapping[str, bool | int | float | str]
    has_octets: bool


class Opened(NamedTuple):
    """A request whose tensors' elements are not read yet.

    Attributes:
        head: all the rest of it.
        raw: of each input its bytes; empty where they are typed.
        typed: of each input its contents, serialised, in pieces.
        typed_bytes: of all contents.
    """

    head: _Head
    raw: Sequence[memoryview]
    typed: Sequence[Sequence[memoryview]]
    typed_bytes: int

    @property
    def unchecked(self) -> bool:
        """Whether there are elements to be read, which takes a check; raw numbers are not read at all."""
        return self.head.has_octets or not self.raw


def decode_infer(message: bytes, limits: Limits, check: DeclaredCheck | None = None) -> InferRequest:
    """Read a `ModelInferRequest`: `opened`, then `read`."""
    return read(opened(message, limits), check)


def opened(message: bytes, limits: Limits) -> Opened:
    """Read a `ModelInferRequest` but for its tensors' elements; this takes no time.

    Args:
        message: the serialised message. Raw inputs become read-only views on it.
        limits: bounds on what the request may hold.

    Raises:
        MalformedRequest: no such message, a name that is empty, too long or used twice, no inputs, raw contents for
            some inputs only.
        InvalidTensor: an input's datatype or shape breaks the protocol's rules.
        RequestTooLarge: more bytes, or more elements in a tensor, than the limits allow.
    """
    if len(message) > limits.max_body_bytes:
        raise RequestTooLarge(
            f"the request has {len(message)} bytes; at most {limits.max_body_bytes} are taken"
        )
    most_fields = max_fields(limits)
    rest, raw = without_field(message, RAW_INPUT_CONTENTS, most_fields)
    typed: list[list[memoryview]] = []
    if not raw:
        lean, entries = without_field(rest, INPUTS, most_fields)
        _check_count(entries, "inputs", limits)
        heads = []
        for entry in entries:
            own, contents = without_field(entry, CONTENTS, most_fields)
            heads.append(memoryview(own))
            typed.append(contents)
        rest = with_field(lean, INPUTS, heads)
    if len(rest) > _MOST_BESIDE_BYTES:
        raise RequestTooLarge(
            f"the request has {len(rest)} bytes besides its tensors' elements; at most {_MOST_BESIDE_BYTES} are taken"
        )
    head = (_known_head if len(rest) <= _KNOWN_BYTES else _raw_head)(rest, limits)
    return Opened(head, raw, typed, sum(len(piece) for pieces in typed for piece in pieces) if typed else 0)


def read(request: Opened, check: DeclaredCheck | None = None) -> InferRequest:
    """Read the elements of a request's tensors; large typed contents take time, and give others theirs.

    Args:
        request: as `opened` gave it.
        check: of the model: what it refuses is not read.

    Raises:
        MalformedRequest: raw contents for some inputs only, or contents that are none.
        InvalidTensor: an input's data breaks the protocol's rules, or what `check` raises.
        RequestTooLarge: what `check` raises.
    """
    head = request.head
    if check is not None and request.unchecked:
        for declared in head.tensors:
            check(*declared)
    if request.raw:
        inputs = _raw_inputs(head.tensors, request.raw)
    else:
        inputs = {
            declared.name: _typed(contents, declared)
            for declared, contents in zip(head.tensors, request.typed, strict=True)
        }
    return InferRequest(
        model_name=head.model_name,
        model_version=head.model_version,
        id=head.id,
        inputs=inputs,
        outputs=head.outputs,
        parameters=head.parameters,
        binary_output_default=True,
    )


def max_fields(limits: Limits) -> int:
    """Fields that a request may have: inputs, their raw contents, outputs, and others."""
    return 3 * limits.max_tensors + _OTHER_FIELDS


def encode_infer(response: InferResponse) -> bytes:
    """A serialised `ModelInferResponse`, in which each output is copied once."""
    message = _InferResponse(
        model_name=response.model_name, model_version=response.model_version, id=response.id
    )
    for key, value in response.parameters.items():
        _set_parameter(message.parameters[key], key, value)
    for name, array in response.outputs.items():
        message.outputs.add(name=name, datatype=datatype_of(array.dtype).name, shape=array.shape)
    octets = (
        binary_octets(array)
        if array.dtype.kind == "O"
        else np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data
        for array in response.outputs.values()
    )
    return with_field(message.SerializeToString(), RAW_OUTPUT_CONTENTS, octets)


def encode_streamed(answer: bytes) -> bytes:
    """A serialised `ModelStreamInferResponse` around what `encode_infer` gave, which is copied once."""
    return with_field(b"", STREAMED_RESPONSE, [memoryview(answer)])


def encode_streamed_error(words: str, request_id: str | None) -> bytes:
    """A serialised `ModelStreamInferResponse` for a request that failed, with its `id` for whoever waits for it."""
    error = words.encode("utf-8", "backslashreplace").decode()
    message = _StreamResponse(error_message=error, infer_response=_InferResponse(id=request_id))
    octets: bytes = message.SerializeToString()
    return octets


def request_id(message: bytes, limits: Limits) -> str | None:
    """The `id` of a `ModelInferRequest`, even if the rest of it is wrong; None if there is none to be read."""
    try:
        rest, _ = without_field(message, RAW_INPUT_CONTENTS, max_fields(limits))
        lean, _ = without_field(rest, INPUTS, max_fields(limits))
        own = parsed(_InferRequest, lean).id if len(lean) <= _MOST_BESIDE_BYTES else ""
    except MalformedRequest:
        return None
    return own or None


def parsed(message_type: Any, message: bytes) -> Any:
    """The message of a protobuf class.

    Raises:
        MalformedRequest: no such message.
    """
    try:
        return message_type.FromString(message)
    except DecodeError as error:
        raise MalformedRequest(
            f"the request is no {message_type.DESCRIPTOR.full_name} in protobuf: {error}"
        ) from None


def _raw_head(message: bytes, limits: Limits) -> _Head:
    request = parsed(_InferRequest, message)
    head = _head(request, limits)
    for entry in request.inputs:
        if entry.HasField("contents"):
            raise MalformedRequest(
                f"input '{entry.name}' has contents besides the request's raw_input_contents: give one of them"
            )
    return head


_known_head = lru_cache(maxsize=256)(_raw_head)


def _head(request: Any, limits: Limits) -> _Head:
    tensors = _declared(request.inputs, limits)
    return _Head(
        model_name=request.model_name,
        model_version=request.model_version or None,
        id=request.id or None,
        tensors=tensors,
        outputs=_requested(request.outputs, limits),
        parameters=_parameters(request.parameters),
        has_octets=any(tensor.dtype is WireType.BYTES for tensor in tensors),
    )


def _declared(entries: Sequence[Any], limits: Limits) -> tuple[_Declared, ...]:
    if not entries:
        raise MalformedRequest("the request has no inputs")
    _check_count(entries, "inputs", limits)
    declared: dict[str, _Declared] = {}
    for index, entry in enumerate(entries):
        name = _name(entry.name, f"inputs[{index}]", limits)
        if name in declared:
            raise MalformedRequest(f"input '{name}' is given twice")
        declared[name] = _Declared(
            name, datatype_named(entry.datatype, name), _shape(entry.shape, name, limits)
        )
    return tuple(declared.values())


def _raw_inputs(tensors: Sequence[_Declared], raw: Sequence[memoryview]) -> dict[str, Array]:
    if len(raw) != len(tensors):
        raise MalformedRequest(
            f"raw_input_contents has {len(raw)} entries for {len(tensors)} inputs: give one for each input, in their "
            "order, or none at all"
        )
    return {
        name: array_from_binary(octets, dtype, shape, name)
        for (name, dtype, shape), octets in zip(tensors, raw, strict=True)
    }


def _typed(pieces: Sequence[memoryview], declared: _Declared) -> Array:
    """The input's array from its `contents`, serialised; protobuf has several as one after another.

    Raises:
        MalformedRequest: they are none.
        InvalidTensor: FP16 or BF16; contents of another type, or of several; too few or too many elements; one that is
            not in the datatype's range.
    """
    tensor, dtype, shape = declared
    if dtype not in _TYPED:
        raise InvalidTensor(
            f"input '{tensor}': {dtype.name} has no typed contents; send it as raw_input_contents"
        )
    right, count = _TYPED[dtype], prod(shape)
    size = sum(len(piece) for piece in pieces)
    # Before they are parsed, since protobuf holds the GIL until it has read them all.
    if dtype is not WireType.BYTES and size > _MOST_BYTES_EACH * (count + 1):
        raise InvalidTensor(
            f"input '{tensor}': its contents have {size} bytes, too many for shape {list(shape)} of {count} elements"
        )
    contents = parsed(_Contents, b"".join(pieces))
    for field, _ in contents.ListFields():
        if field.name != right:
            raise InvalidTensor(f"input '{tensor}': {dtype.name} goes in {right}, but {field.name} is filled")
    values = getattr(contents, right)
    if len(values) != count:
        raise InvalidTensor(
            f"input '{tensor}': {right} holds {len(values)} elements, but shape {list(shape)} takes {count}"
        )
    if dtype is WireType.BYTES:
        return array_from_octets(values, shape)
    carried: Array = np.empty(count, _CARRIER.get(right, dtype.numpy))
    for start in range(0, count, _PIECE):
        carried[start : start + _PIECE] = values[start : start + _PIECE]
    if carried.dtype != dtype.numpy:
        bounds = np.iinfo(dtype.numpy)
        outside = (carried < bounds.min) | (carried > bounds.max)
        if outside.any():
            index = int(outside.argmax())
            raise InvalidTensor(
                f"input '{tensor}': {right}[{index}] is {carried[index]}, but {dtype.name} takes whole numbers from "
                f"{bounds.min} to {bounds.max}"
            )
    return carried.astype(dtype.numpy, copy=False).reshape(shape)


def _requested(entries: Sequence[Any], limits: Limits) -> tuple[RequestedOutput, ...]:
    _check_count(entries, "outputs", limits)
    requested: dict[str, RequestedOutput] = {}
    for index, entry in enumerate(entries):
        name = _name(entry.name, f"outputs[{index}]", limits)
        if name in requested:
            raise MalformedRequest(f"output '{name}' is asked for twice")
        classes = _parameters(entry.parameters).get(PARAMETER)
        requested[name] = RequestedOutput(name, classes=classes_of(classes, name))
    return tuple(requested.values())


def _check_count(entries: Sequence[Any], key: str, limits: Limits) -> None:
    if len(entries) > limits.max_tensors:
        raise MalformedRequest(f"'{key}' has {len(entries)} entries; at most {limits.max_tensors} are taken")


def _name(name: str, where: str, limits: Limits) -> str:
    if not name:
        raise MalformedRequest(f"the name of {where} is empty")
    if len(name) > limits.max_name_chars:
        raise MalformedRequest(
            f"the name of {where} has {len(name)} characters; at most {limits.max_name_chars} are taken"
        )
    return name


def _shape(dims: Sequence[int], tensor: str, limits: Limits) -> tuple[int, ...]:
    if len(dims) > limits.max_rank:
        raise InvalidTensor(f"input '{tensor}': {len(dims)} dimensions; at most {limits.max_rank} are taken")
    shape = tuple(dims)
    if shape and min(shape) < 1:
        raise InvalidTensor(
            f"input '{tensor}': shape {list(shape)} holds {min(shape)}; each dimension is a whole number of at least 1"
        )
    if prod(shape) > limits.max_elements:
        raise RequestTooLarge(
            f"input '{tensor}': shape {show(list(shape))} has more elements than the {limits.max_elements} taken"
        )
    return shape


def _parameters(parameters: Mapping[str, Any]) -> Mapping[str, bool | int | float | str]:
    chosen = ((key, value, value.WhichOneof(ONEOF)) for key, value in parameters.items())
    return MappingProxyType({key: getattr(value, kind) for key, value, kind in chosen if kind is not None})


def _set_parameter(parameter: Any, key: str, value: object) -> None:
    for kind, field in (
        (bool, "bool_param"),
        (int, "int64_param"),
        (float, "double_param"),
        (str, "string_param"),
    ):
        if isinstance(value, kind):  # bool stands first, for it is an int too
            setattr(parameter, field, value)
            return
    raise TypeError(
        f"parameter '{key}' is a {type(value).__name__}: the protocol has bool, int, float and str"
    )
