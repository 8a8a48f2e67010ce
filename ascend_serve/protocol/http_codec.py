"""Open Inference Protocol v2 over HTTP: bytes to messages and back, in JSON and in binary.

Rests on the protocol's REST document and on the binary tensor data extension as KServe and Triton publish
it. A body is a JSON object; where tensors go as bytes, the header `Inference-Header-Content-Length` gives
the object's length, and the bytes follow it in the order of the tensors in the object. Keys and parameters
that nobody knows are ignored, as the protocol asks; `null` counts as absent, since clients write their
empty fields so.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import orjson

from ascend_serve.errors import InvalidTensor, MalformedRequest, RequestError, RequestTooLarge
from ascend_serve.protocol.checking import DeclaredCheck
from ascend_serve.protocol.classification import PARAMETER, classes_of
from ascend_serve.protocol.datatypes import (
    AS_BYTES,
    WireType,
    array_from_binary,
    array_from_json,
    binary_octets,
    datatype_named,
    datatype_of,
    has_json_form,
    json_values,
)
from ascend_serve.protocol.json_numbers import Irregular, NumberList, lifted, list_at
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import (
    Array,
    InferRequest,
    InferResponse,
    RequestedOutput,
)
from ascend_serve.protocol.show import show
from ascend_serve.spec.tensors import TensorSpec

HEADER_LENGTH = b"inference-header-content-length"
JSON_TYPE = (b"content-type", b"application/json")
BINARY_TYPE = (b"content-type", b"application/octet-stream")

Headers = list[tuple[bytes, bytes]]

_CHUNKED_FROM_BYTES = 64 * 1024
"""JSON from which on long lists are read piece by piece (`json_numbers`)."""


def parse_header_length(value: bytes | None) -> int | None:
    """The number in the header `Inference-Header-Content-Length`, or None where it is absent.

    Raises:
        MalformedRequest: not a plain decimal number.
    """
    if value is None:
        return None
    if not value.isdigit() or len(value) > 19:
        raise MalformedRequest(
            f"header Inference-Header-Content-Length is {show(value.decode('latin-1'))}, but must be the "
            "length of the JSON part in bytes, as a whole number"
        )
    return int(value)


def decode_infer(
    body: bytes | bytearray | memoryview,
    header_length: int | None,
    limits: Limits,
    *,
    model_name: str,
    model_version: str | None = None,
    check: DeclaredCheck | None = None,
) -> InferRequest:
    """Read an inference request.

    Args:
        body: the whole body. Binary inputs become read-only views on it, so it must stay unchanged.
        header_length: bytes of the JSON part; None when the whole body is JSON.
        limits: bounds on what the request may hold.
        model_name: the model in the URL.
        model_version: the version in the URL, if any.
        check: of the model: what it refuses is not read.

    Raises:
        MalformedRequest: the body is not such a request: bad JSON, a field of the wrong type, a header length
            or a `binary_data_size` that does not fit the body, bytes left over, a name used twice.
        InvalidTensor: an input's datatype, shape or data breaks the protocol's rules.
        RequestTooLarge: more bytes, or more elements in a tensor, than the limits allow.
    """
    view = memoryview(body).toreadonly()
    if len(view) > limits.max_body_bytes:
        raise RequestTooLarge(f"the body has {len(view)} bytes; at most {limits.max_body_bytes} are taken")
    if header_length is not None and not 0 <= header_length <= len(view):
        raise MalformedRequest(
            f"Inference-Header-Content-Length is {header_length}, but the body has {len(view)} bytes"
        )
    json_part, binary = (
        (view, None) if header_length is None else (view[:header_length], view[header_length:])
    )
    text = bytes(json_part)
    _check_size(text, limits)
    lean, lists = lifted(text) if len(text) > _CHUNKED_FROM_BYTES else (text, [])
    if lists:
        try:
            return _read(lean, lists, binary, limits, model_name, model_version, check)
        except (Irregular, RequestError):
            pass  # reading the whole says what is wrong, in its own words
    return _read(text, [], binary, limits, model_name, model_version, check)


def _read(
    text: bytes,
    lists: list[NumberList],
    binary: memoryview | None,
    limits: Limits,
    model_name: str,
    model_version: str | None,
    check: DeclaredCheck | None,
) -> InferRequest:
    document = _parse(text)
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise MalformedRequest(f"id is {show(request_id)}, but must be a string")
    parameters = _parameters(document, "the request")
    return InferRequest(
        model_name=model_name,
        model_version=model_version,
        id=request_id,
        inputs=_inputs(document, lists, binary, limits, check),
        outputs=_requested(document, limits),
        parameters=parameters,
        binary_output_default=_flag(parameters, "binary_data_output", "the request") or False,
    )


def check_json_outputs(request: InferRequest, outputs: Iterable[TensorSpec]) -> None:
    """Refuse, before anything runs, a request for an output in a form that its datatype does not have.

    Args:
        request: the decoded request.
        outputs: all outputs of the model.

    Raises:
        InvalidTensor: an FP16 output would have to go back as JSON.
    """
    classes = {requested.name: requested.classes for requested in request.outputs}
    for output in outputs:
        returned = not classes or output.name in classes
        if returned and not (
            has_json_form(output.dtype) or classes.get(output.name) or request.wants_binary(output.name)
        ):
            raise InvalidTensor(
                f"output '{output.name}': {output.dtype.name} has no JSON form; ask for it {AS_BYTES}"
            )


def encode_infer(response: InferResponse, request: InferRequest) -> tuple[bytes, Headers]:
    """Write an inference response; each output in the form that the request asks for.

    Returns:
        The body, in which each binary output is copied once, and the headers that describe it
        (`content-type`, and `inference-header-content-length` where a binary output follows the JSON).

    Raises:
        InvalidTensor: an output that JSON cannot carry (FP16, BF16, NaN, infinity, BYTES that are no UTF-8) was asked
            for as JSON.
    """
    outputs: list[dict[str, Any]] = []
    octets: list[memoryview] = []
    for name, array in response.outputs.items():
        entry: dict[str, Any] = {
            "name": name,
            "datatype": datatype_of(array.dtype).name,
            "shape": array.shape,
        }
        if request.wants_binary(name):
            octets.append(binary_octets(array))
            entry["parameters"] = {"binary_data_size": len(octets[-1])}
        else:
            entry["data"] = json_values(array, name)
        outputs.append(entry)
    document: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id is not None:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = dict(response.parameters)
    document["outputs"] = outputs
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not octets:
        return text, [JSON_TYPE]
    return b"".join((text, *octets)), [BINARY_TYPE, (HEADER_LENGTH, str(len(text)).encode())]


def error_body(error: BaseException | str) -> bytes:
    """The protocol's error object, `{"error": "..."}`."""
    # A lone surrogate, which str may hold and JSON may not, must not turn one error into another.
    return orjson.dumps({"error": str(error).encode("utf-8", "backslashreplace").decode()})


def _check_size(text: bytes, limits: Limits) -> None:
    if len(text) > limits.max_json_bytes:
        raise RequestTooLarge(
            f"the JSON of the request has {len(text)} bytes; at most {limits.max_json_bytes} are taken: send tensors "
            f"{AS_BYTES}"
        )
    if len(text) > limits.max_json_lists:
        lists = text.count(b"[") + text.count(b"{")
        if lists > limits.max_json_lists:
            raise RequestTooLarge(
                f"the JSON of the request has {lists} lists and objects; at most {limits.max_json_lists} are taken: "
                "send tensors flat, or as binary tensor data"
            )


def _parse(text: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the JSON of the request cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise MalformedRequest(f"the request is {show(document)}, but must be a JSON object with 'inputs'")
    return document


def _inputs(
    document: dict[str, Any],
    lists: list[NumberList],
    binary: memoryview | None,
    limits: Limits,
    check: DeclaredCheck | None,
) -> dict[str, Array]:
    entries = _entries(document, "inputs", limits)
    if not entries:
        raise MalformedRequest("the request has no inputs: give them as a list under 'inputs'")
    tensors: dict[str, Array] = {}
    taken = 0
    for index, entry in enumerate(entries):
        name = _name(entry, f"inputs[{index}]", limits)
        if name in tensors:
            raise MalformedRequest(f"input '{name}' is given twice")
        dtype = datatype_named(entry.get("datatype"), name)
        shape = _shape(entry.get("shape"), name, limits)
        if check is not None:
            check(name, dtype, shape)
        size = _binary_size(entry, name, binary is not None)
        data = list_at(entry.get("data"), lists)
        if (size is None) == (data is None):
            found = "neither 'data' nor" if data is None else "both 'data' and"
            raise MalformedRequest(f"input '{name}' has {found} 'binary_data_size': give one of them")
        if size is None or binary is None:
            if isinstance(data, NumberList):
                tensors[name] = data.array(dtype, shape, name)
            else:
                tensors[name] = array_from_json(data, dtype, shape, name)
            continue
        needed = prod(shape) * dtype.numpy.itemsize
        if size != needed and dtype is not WireType.BYTES:
            raise InvalidTensor(
                f"input '{name}': binary_data_size is {size}, but shape {list(shape)} of {dtype.name} "
                f"takes {needed} bytes"
            )
        if taken + size > len(binary):
            raise MalformedRequest(
                f"input '{name}': binary_data_size is {size}, but only {len(binary) - taken} bytes are left "
                "in the body"
            )
        tensors[name] = array_from_binary(binary[taken : taken + size], dtype, shape, name)
        taken += size
    if binary is not None and taken != len(binary):
        raise MalformedRequest(
            f"{len(binary) - taken} bytes of the body belong to no input: {len(binary)} follow the JSON, and "
            f"the inputs' binary_data_size add up to {taken}"
        )
    return tensors


def _requested(document: dict[str, Any], limits: Limits) -> tuple[RequestedOutput, ...]:
    requested: dict[str, RequestedOutput] = {}
    for index, entry in enumerate(_entries(document, "outputs", limits)):
        name = _name(entry, f"outputs[{index}]", limits)
        if name in requested:
            raise MalformedRequest(f"output '{name}' is asked for twice")
        where = f"output '{name}'"
        parameters = _parameters(entry, where)
        binary = _flag(parameters, "binary_data", where)
        requested[name] = RequestedOutput(name, binary, classes_of(parameters.get(PARAMETER), name))
    return tuple(requested.values())


def _entries(document: dict[str, Any], key: str, limits: Limits) -> list[dict[str, Any]]:
    entries = document.get(key)
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise MalformedRequest(f"'{key}' is {show(entries)}, but must be a list")
    if len(entries) > limits.max_tensors:
        raise MalformedRequest(f"'{key}' has {len(entries)} entries; at most {limits.max_tensors} are taken")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise MalformedRequest(f"{key}[{index}] is {show(entry)}, but must be an object")
    return entries


def _name(entry: dict[str, Any], where: str, limits: Limits) -> str:
    name = entry.get("name")
    if not isinstance(name, str) or not name:
        raise MalformedRequest(f"the name of {where} is {show(name)}, but must be a string that is not empty")
    if len(name) > limits.max_name_chars:
        raise MalformedRequest(
            f"the name of {where} has {len(name)} characters; at most {limits.max_name_chars} are taken"
        )
    return name


def _shape(shape: object, tensor: str, limits: Limits) -> tuple[int, ...]:
    if not isinstance(shape, list):
        raise InvalidTensor(f"input '{tensor}': shape is {show(shape)}, but must be a list of whole numbers")
    if len(shape) > limits.max_rank:
        raise InvalidTensor(f"input '{tensor}': {len(shape)} dimensions; at most {limits.max_rank} are taken")
    for dim in shape:
        if type(dim) is not int or dim < 1:
            raise InvalidTensor(
                f"input '{tensor}': shape {show(shape)} holds {show(dim)}; each dimension is a whole number "
                "of at least 1"
            )
    if prod(shape) > limits.max_elements:
        raise RequestTooLarge(
            f"input '{tensor}': shape {show(shape)} has more elements than the {limits.max_elements} taken"
        )
    return tuple(shape)


def _parameters(entry: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise MalformedRequest(f"the parameters of {where} are {show(parameters)}, but must be an object")
    return parameters


def _flag(parameters: dict[str, Any], key: str, where: str) -> bool | None:
    flag = parameters.get(key)
    if flag is not None and not isinstance(flag, bool):
        raise MalformedRequest(f"parameter '{key}' of {where} is {show(flag)}, but must be true or false")
    return flag


def _binary_size(entry: dict[str, Any], tensor: str, has_binary: bool) -> int | None:
    size = _parameters(entry, f"input '{tensor}'").get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise MalformedRequest(
            f"input '{tensor}': binary_data_size is {show(size)}, but must be a whole number of bytes"
        )
    if not has_binary:
        raise MalformedRequest(
            f"input '{tensor}' has binary_data_size {size}, but the request has no header "
            "Inference-Header-Content-Length to say where the JSON ends"
        )
    return size
