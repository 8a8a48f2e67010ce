"""The HTTP codec: requests that other people's clients write, our own round trips, everything malformed."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import InvalidTensor, MalformedRequest, RequestError, RequestTooLarge
from ascend_serve.protocol.http_codec import (
    HEADER_LENGTH,
    Headers,
    check_json_outputs,
    decode_infer,
    encode_infer,
    error_body,
    parse_header_length,
)
from ascend_serve.protocol.http_told import encode_metadata
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import (
    Array,
    InferRequest,
    InferResponse,
    ModelMetadata,
    RequestedOutput,
    ServerMetadata,
    TensorMetadata,
)
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

LIMITS = Limits(max_body_bytes=1 << 16, max_tensors=16, max_rank=4, max_name_chars=20, max_elements=1 << 12)
RECORDED = json.loads(
    (Path(__file__).parent / "data" / "tritonclient_requests.json").read_text(encoding="utf-8")
)


def decode(
    document: object, binary: bytes | None = None, *, limits: Limits = LIMITS, **changes: Any
) -> InferRequest:
    """Decode a JSON document and the bytes after it, with the header that fits or the one in `changes`."""
    text = document if isinstance(document, bytes) else orjson.dumps(document)
    length = changes.pop("header_length", None if binary is None else len(text))
    return decode_infer(text + (binary or b""), length, limits, model_name="m", **changes)


def tensor(**changes: Any) -> dict[str, Any]:
    """A valid input entry, with changes; a change to ... removes the key."""
    entry = {"name": "x", "shape": [2], "datatype": "INT32", "data": [1, 2], **changes}
    return {key: value for key, value in entry.items() if value is not ...}


def binary_tensor(size: int, **changes: Any) -> dict[str, Any]:
    return tensor(data=..., parameters={"binary_data_size": size}, **changes)


def read_response(body: bytes, headers: Headers) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read a response by the letter of the protocol, independently of our encoder."""
    length = dict(headers).get(HEADER_LENGTH)
    document = json.loads(body if length is None else body[: int(length)])
    at = 0 if length is None else int(length)
    arrays = {}
    for output in document["outputs"]:
        dtype = {"FP32": "<f4", "FP16": "<f2", "INT64": "<i8", "BOOL": "?", "INT32": "<i4"}[
            output["datatype"]
        ]
        if "data" in output:
            assert "parameters" not in output
            array = np.array(output["data"], dtype)
        else:
            size = output["parameters"]["binary_data_size"]
            array = np.frombuffer(body[at : at + size], dtype)
            at += size
        arrays[output["name"]] = array.reshape(output["shape"])
    assert length is None or at == len(body)
    return document, arrays


# --- requests of other people's clients -----------------------------------------------------------


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: entry["title"])
def test_requests_recorded_from_tritonclient_are_read_as_it_meant_them(entry: dict[str, Any]) -> None:
    request = decode_infer(base64.b64decode(entry["body"]), entry["header_length"], LIMITS, model_name="m")

    assert list(request.inputs) == list(entry["tensors"])
    for name, meant in entry["tensors"].items():
        array = request.inputs[name]
        assert (array.dtype.name, list(array.shape)) == (meant["dtype"], meant["shape"])
        assert array.tobytes().hex() == meant["hex"]
    assert request.id == entry["request_id"]
    assert [[output.name, output.binary] for output in request.outputs] == (entry["outputs"] or [])
    assert request.binary_output_default is (entry["outputs"] is None)
    assert entry["parameters"].items() <= request.parameters.items()


def test_fields_written_as_null_count_as_absent() -> None:
    request = decode(
        {
            "id": None,
            "parameters": None,
            "outputs": None,
            "inputs": [tensor(parameters=None)],
            "model_name": "q",
        }
    )
    assert request.id is None
    assert request.outputs == ()
    assert request.inputs["x"].tolist() == [1, 2]


def test_unknown_keys_and_parameters_are_ignored() -> None:
    request = decode(
        {
            "inputs": [tensor(extra=[[]], parameters={"content_type": "np"})],
            "parameters": {"a": {"b": 1}},
            "q": 1,
        }
    )
    assert request.parameters == {"a": {"b": 1}}
    assert request.wants_binary("y") is False


def test_binary_and_json_inputs_mix_in_any_order() -> None:
    request = decode(
        {
            "inputs": [
                binary_tensor(8, name="a"),
                tensor(name="b", data=[3, 4]),
                binary_tensor(3, name="c", shape=[3], datatype="BOOL"),
            ]
        },
        np.array([1, 2], "<i4").tobytes() + b"\x00\x01\x00",
    )
    assert request.inputs["a"].tolist() == [1, 2]
    assert request.inputs["b"].tolist() == [3, 4]
    assert request.inputs["c"].tolist() == [False, True, False]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_binary_inputs_are_read_only_views_on_the_body(kind: type) -> None:
    text = orjson.dumps({"inputs": [binary_tensor(8)]})
    body = kind(text + bytes(8))
    request = decode_infer(body, len(text), LIMITS, model_name="m")
    assert np.shares_memory(request.inputs["x"], np.frombuffer(body, np.uint8))
    assert not request.inputs["x"].flags.writeable


# --- our own round trips ----------------------------------------------------------------------------


@given(st.data())
def test_responses_are_read_back_in_the_form_that_was_asked_for(data: st.DataObject) -> None:
    default = data.draw(st.booleans())
    outputs, requested = {}, []
    for name in data.draw(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)):
        dtype = data.draw(st.sampled_from(["float32", "int64", "bool", "int32"]))
        shape = data.draw(st.lists(st.integers(1, 3), max_size=3))
        outputs[name] = (np.arange(np.prod(shape, dtype=int)) % 2).astype(dtype).reshape(shape)
        requested.append(RequestedOutput(name, data.draw(st.sampled_from([None, True, False]))))
    request = InferRequest("m", {}, outputs=tuple(requested), binary_output_default=default)

    body, headers = encode_infer(InferResponse("m", "1", outputs, id="é", parameters={"p": 1}), request)
    document, back = read_response(body, headers)

    assert (document["model_name"], document["model_version"], document["id"]) == ("m", "1", "é")
    assert document["parameters"] == {"p": 1}
    assert list(back) == list(outputs)
    for name, array in outputs.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype
    asked_binary = {
        output.name for output in requested if (default if output.binary is None else output.binary)
    }
    assert {output["name"] for output in document["outputs"] if "parameters" in output} == asked_binary
    kind = b"application/octet-stream" if asked_binary else b"application/json"
    assert dict(headers)[b"content-type"] == kind
    assert (HEADER_LENGTH in dict(headers)) is bool(asked_binary)


def test_an_answer_to_a_request_without_id_has_none() -> None:
    body, _ = encode_infer(InferResponse("m", "1", {"y": np.ones(1, np.float32)}), InferRequest("m", {}))
    assert json.loads(body) == {
        "model_name": "m",
        "model_version": "1",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [1.0]}],
    }


@pytest.mark.parametrize(
    ("outputs", "default", "refused"),
    [
        ((), False, True),
        ((), True, False),
        ((RequestedOutput("half"),), False, True),
        ((RequestedOutput("half", True),), False, False),
        ((RequestedOutput("half", False),), True, True),
        ((RequestedOutput("single"),), False, False),
    ],
)
def test_fp16_outputs_in_json_are_refused_before_anything_runs(
    outputs: tuple[RequestedOutput, ...], default: bool, refused: bool
) -> None:
    specs = [TensorSpec("half", DataType.FP16, (-1, 2)), TensorSpec("single", DataType.FP32, (-1, 2))]
    request = InferRequest("m", {}, outputs=outputs, binary_output_default=default)
    if refused:
        with pytest.raises(InvalidTensor, match="output 'half': FP16 has no JSON form"):
            check_json_outputs(request, specs)
    else:
        check_json_outputs(request, specs)


def test_metadata_is_written_as_the_protocol_names_it() -> None:
    inputs = (TensorMetadata("x", "FP32", (-1, 3)),)
    model = ModelMetadata("m", ("1",), "ascend_om", inputs, (TensorMetadata("y", "INT64", (-1,)),))
    assert json.loads(encode_metadata(model)) == {
        "name": "m",
        "versions": ["1"],
        "platform": "ascend_om",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "y", "datatype": "INT64", "shape": [-1]}],
    }
    server = json.loads(encode_metadata(ServerMetadata("s", "0.1", ("binary_tensor_data",))))
    assert server == {"name": "s", "version": "0.1", "extensions": ["binary_tensor_data"]}


def test_an_error_body_survives_text_that_json_cannot_hold() -> None:
    assert json.loads(error_body(MalformedRequest("bad \ud800 \u00e9"))) == {"error": "bad \\ud800 é"}


# --- malformed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "cannot be read: .*empty document"),
        (b'{"inputs": [}', r"cannot be read: .*line 1 column 13 \(char 12\)"),
        (b'{"inputs": [NaN]}', r"cannot be read: .*char 12"),
        (b"\xff", "cannot be read"),
        (b"[" * 2000 + b"]" * 2000, "depth limit exceeded"),
        ([1], r"the request is \[1\], but must be a JSON object"),
        ("x", "but must be a JSON object"),
        ({}, "the request has no inputs"),
        ({"inputs": []}, "the request has no inputs"),
        ({"inputs": {}}, r"'inputs' is \{\}, but must be a list"),
        ({"inputs": [1]}, r"inputs\[0\] is 1, but must be an object"),
        ({"inputs": [tensor()] * 17}, "'inputs' has 17 entries; at most 16"),
        ({"inputs": [tensor(), tensor()]}, "input 'x' is given twice"),
        ({"inputs": [tensor(name=...)]}, r"name of inputs\[0\] is None"),
        ({"inputs": [tensor(name="")]}, r"name of inputs\[0\] is ''"),
        ({"inputs": [tensor(name=3)]}, r"name of inputs\[0\] is 3"),
        ({"inputs": [tensor(name="n" * 21)]}, "has 21 characters; at most 20"),
        ({"inputs": [tensor()], "id": 7}, "id is 7, but must be a string"),
        ({"inputs": [tensor()], "parameters": []}, r"parameters of the request are \[\], but must be an obj"),
        ({"inputs": [tensor(parameters=1)]}, "parameters of input 'x' are 1"),
        (
            {"inputs": [tensor()], "parameters": {"binary_data_output": 1}},
            "'binary_data_output' of the .* is 1",
        ),
        ({"inputs": [tensor()], "outputs": "y"}, "'outputs' is 'y', but must be a list"),
        ({"inputs": [tensor()], "outputs": ["y"]}, r"outputs\[0\] is 'y', but must be an object"),
        ({"inputs": [tensor()], "outputs": [{}]}, r"name of outputs\[0\] is None"),
        ({"inputs": [tensor()], "outputs": [{"name": "y"}] * 2}, "output 'y' is asked for twice"),
        (
            {"inputs": [tensor()], "outputs": [{"name": "y", "parameters": {"binary_data": "yes"}}]},
            "'binary_data' of output 'y' is 'yes', but must be true or false",
        ),
        ({"inputs": [tensor(data=...)]}, "neither 'data' nor 'binary_data_size'"),
        ({"inputs": [binary_tensor(8)]}, "no header Inference-Header-Content-Length"),
    ],
)
def test_a_malformed_document_is_named(document: object, message: str) -> None:
    with pytest.raises(MalformedRequest, match=message):
        decode(document)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (tensor(datatype="INT31"), "unknown datatype 'INT31'"),
        (tensor(datatype=...), "datatype is None"),
        (tensor(shape=...), "shape is None, but must be a list"),
        (tensor(shape=2), "shape is 2, but must be a list"),
        (tensor(shape=[-1]), r"shape \[-1\] holds -1; each dimension is a whole number of at least 1"),
        (tensor(shape=[0], data=[]), r"shape \[0\] holds 0"),
        (tensor(shape=[2.0]), "holds 2.0"),
        (tensor(shape=[True]), "holds True"),
        (tensor(shape=["2"]), "holds '2'"),
        (tensor(shape=[1, 1, 1, 1, 2]), "5 dimensions; at most 4"),
        (tensor(shape=[3]), "data holds 2 elements"),
    ],
)
def test_a_wrong_tensor_is_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidTensor, match=message):
        decode({"inputs": [entry]})


@pytest.mark.parametrize("shape", [[4097], [2**63, 2**63], [2**64 - 1, 1], [64, 65]])
def test_a_huge_shape_is_refused_before_its_data_is_looked_at(shape: list[int]) -> None:
    with pytest.raises(RequestTooLarge, match="has more elements than the 4096 taken"):
        decode({"inputs": [tensor(shape=shape)]})


def test_a_huge_body_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(RequestTooLarge, match="the body has 65537 bytes; at most 65536"):
        decode(b"{" * 65537)


@pytest.mark.parametrize(
    ("entries", "binary", "error", "message"),
    [
        ([binary_tensor(8)], bytes(7), MalformedRequest, "binary_data_size is 8, but only 7 bytes are left"),
        ([binary_tensor(8)], bytes(9), MalformedRequest, "1 bytes of the body belong to no input: 9 follow"),
        ([tensor()], b"z", MalformedRequest, "1 bytes of the body belong to no input"),
        (
            [binary_tensor(8), binary_tensor(8, name="w")],
            bytes(12),
            MalformedRequest,
            "'w': binary_data_size is 8, but only 4",
        ),
        ([binary_tensor(9)], bytes(9), InvalidTensor, r"size is 9, but shape \[2\] of INT32 takes 8 bytes"),
        ([binary_tensor(0)], b"", InvalidTensor, "size is 0, but shape"),
        ([binary_tensor(-8)], bytes(8), MalformedRequest, "binary_data_size is -8, but must be a whole"),
        ([tensor(data=..., parameters={"binary_data_size": True})], b"", MalformedRequest, "size is True"),
        ([tensor(data=..., parameters={"binary_data_size": "8"})], b"", MalformedRequest, "size is '8'"),
        ([tensor(parameters={"binary_data_size": 8})], bytes(8), MalformedRequest, "both 'data' and"),
        (
            [binary_tensor(2, datatype="BOOL")],
            b"\x00\x02",
            InvalidTensor,
            "byte 1 is 2, but a BOOL is 0 or 1",
        ),
        (
            [binary_tensor(9, datatype="BYTES")],
            bytes(9),
            InvalidTensor,
            "1 of 9 bytes .* are left after the last",
        ),
        (
            [binary_tensor(8, datatype="BYTES")],
            b"\5" + bytes(7),
            InvalidTensor,
            "8 bytes of binary data end within element 0 of 2",
        ),
    ],
)
def test_a_binary_part_that_does_not_fit_is_named(
    entries: list[dict[str, Any]], binary: bytes, error: type[RequestError], message: str
) -> None:
    with pytest.raises(error, match=message):
        decode({"inputs": entries}, binary)


@pytest.mark.parametrize("length", [-1, 10**6])
def test_a_header_length_outside_the_body_is_refused(length: int) -> None:
    with pytest.raises(MalformedRequest, match=f"Content-Length is {length}, but the body has"):
        decode({"inputs": [tensor()]}, b"", header_length=length)


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1.0", b"0x10", b" 1", b"1_0", b"9" * 20, b"\xb2"])
def test_a_header_length_that_is_no_number_is_refused(value: bytes) -> None:
    with pytest.raises(MalformedRequest, match="header Inference-Header-Content-Length is"):
        parse_header_length(value)


def test_a_header_length_is_read() -> None:
    assert parse_header_length(None) is None
    assert parse_header_length(b"0123") == 123


# --- garbage ----------------------------------------------------------------------------------------

_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=8)
)
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)
_entries = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("x") | _json,
        "shape": st.lists(st.integers(-1, 3), max_size=5) | _json,
        "datatype": st.sampled_from([*DataType.__members__, "BYTES"]) | _json,
        "data": _json,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 12) | _json})
        | _json,
    },
)
_documents = st.fixed_dictionaries(
    {"inputs": st.lists(_entries | _json, max_size=3) | _json},
    optional={"id": _json, "outputs": st.lists(_entries | _json, max_size=3) | _json, "parameters": _json},
)


def _only_request_errors(body: bytes, header_length: int | None) -> None:
    with contextlib.suppress(RequestError):
        assert decode_infer(body, header_length, LIMITS, model_name="m").inputs


@given(_documents, st.binary(max_size=24), st.none() | st.integers(-3, 3))
def test_well_formed_nonsense_raises_nothing_but_request_errors(
    document: object, binary: bytes, shift: int | None
) -> None:
    text = orjson.dumps(document)
    _only_request_errors(text + binary, None if shift is None else len(text) + shift)


@given(
    st.sampled_from(RECORDED),
    st.integers(0, 5000),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4),
    st.none() | st.integers(-2, 5000),
)
def test_mutated_requests_raise_nothing_but_request_errors(
    entry: dict[str, Any], cut: int, edits: list[tuple[int, int]], length: int | None
) -> None:
    body = bytearray(base64.b64decode(entry["body"]))
    for at, value in edits:
        body[at % len(body)] = value
    if cut < len(body):
        del body[cut:]
    _only_request_errors(bytes(body), entry["header_length"])
    _only_request_errors(bytes(body), length)


@given(st.binary(max_size=64), st.none() | st.integers(-1, 70))
def test_random_bytes_raise_nothing_but_request_errors(body: bytes, length: int | None) -> None:
    _only_request_errors(body, length)
