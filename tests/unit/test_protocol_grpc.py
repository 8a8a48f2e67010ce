"""The gRPC codec: what a stock client writes, what protobuf itself reads, typed contents, everything malformed."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ascend_serve.errors import InvalidTensor, MalformedRequest, RequestError, RequestTooLarge
from ascend_serve.protocol import grpc_codec, grpc_told
from ascend_serve.protocol._pb import messages
from ascend_serve.protocol._pb.messages import DATA_TYPES, SCHEMA, message_class
from ascend_serve.protocol._pb.wire import with_field, without_field
from ascend_serve.protocol.checking import DeclaredCheck
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
from ascend_serve.serving.doors.grpc import RPCS, STREAMED_RPC
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import DataType, TensorSpec

pytestmark = pytest.mark.unit

Request = message_class("ModelInferRequest")
Response = message_class("ModelInferResponse")
LIMITS = Limits(max_body_bytes=1 << 16, max_tensors=16, max_rank=4, max_name_chars=20, max_elements=1 << 12)

# ModelInfer as tritonclient 2.73 sends it: two raw inputs, one output, `timeout`, `priority` and three parameters.
RECORDED = (
    b'\n\x06resnet\x12\x011\x1a\x03a-1"\n\n\x04flag\x12\x02\x08\x01"\x11\n\x04half\x12\t!\x00\x00\x00\x00\x00\x00\xe0?'
    b'"\x0e\n\x08priority\x12\x02(\x01"\n\n\x03tag\x12\x03\x1a\x01x"\x0f\n\x07timeout\x12\x04\x10\xa8\xc3\x01'
    b"*\x11\n\x05image\x12\x04FP32\x1a\x02\x02\x03*\x10\n\x04mask\x12\x04BOOL\x1a\x02\x02\x01"
    b"2\x08\n\x06logits:\x18\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x00@\x00\x00@@\x00\x00\x80@\x00\x00\xa0@:\x02\x01\x00"
)


def decode(request: Any, limits: Limits = LIMITS) -> InferRequest:
    return grpc_codec.decode_infer(request.SerializeToString(), limits)


def request(
    *raw: bytes,
    name: str = "x",
    datatype: str = "INT32",
    shape: tuple[int, ...] = (2,),
    **contents: list[Any],
) -> Any:
    """A request with one input, whose elements are raw or typed."""
    message = Request(model_name="m", raw_input_contents=raw)
    message.inputs.add(name=name, datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(message.inputs[0].contents, field).extend(values)
    return message


INT32_PAIR = np.array([1, 2], "<i4").tobytes()


def test_a_stock_clients_request() -> None:
    decoded = grpc_codec.decode_infer(RECORDED, LIMITS)
    assert (decoded.model_name, decoded.model_version, decoded.id) == ("resnet", "1", "a-1")
    assert decoded.parameters == {"flag": True, "half": 0.5, "priority": 1, "tag": "x", "timeout": 25000}
    assert decoded.outputs == (RequestedOutput("logits"),)
    assert decoded.wants_binary("logits")
    assert list(decoded.inputs) == ["image", "mask"]
    np.testing.assert_array_equal(decoded.inputs["image"], np.arange(6, dtype=np.float32).reshape(2, 3))
    np.testing.assert_array_equal(decoded.inputs["mask"], np.array([[True], [False]]))


def test_raw_inputs_are_read_only_views_of_the_message() -> None:
    decoded = grpc_codec.decode_infer(RECORDED, LIMITS)
    everything = np.frombuffer(RECORDED, np.uint8)
    for array in decoded.inputs.values():
        assert np.shares_memory(array, everything)
        assert not array.flags.writeable


def test_requests_that_differ_in_their_elements_alone_keep_their_own() -> None:
    first, second = (decode(request(np.array([n, n], "<i4").tobytes())) for n in (1, 2))
    assert first.inputs["x"].tolist() == [1, 1]
    assert second.inputs["x"].tolist() == [2, 2]


def test_what_requests_share_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        grpc_codec.decode_infer(RECORDED, LIMITS).parameters["timeout"] = 0  # type: ignore[index]  # that is the point


def test_limits_are_those_of_the_call_whatever_was_read_before() -> None:
    message = request(INT32_PAIR)
    assert decode(message).inputs["x"].shape == (2,)
    with pytest.raises(RequestTooLarge, match="more elements than the 1 taken"):
        decode(message, Limits(max_elements=1))


def test_empty_strings_and_unset_parameters_count_as_absent() -> None:
    message = request(INT32_PAIR)
    message.parameters["unset"].SetInParent()
    decoded = decode(message)
    assert (decoded.model_version, decoded.id, decoded.outputs, decoded.parameters) == (None, None, (), {})


# --- typed contents ---------------------------------------------------------------------------------

TYPED = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


@given(st.data(), st.sampled_from(sorted(TYPED)))
def test_typed_contents_carry_every_value_of_their_type(data: st.DataObject, datatype: str) -> None:
    array = data.draw(
        npst.arrays(DataType[datatype].numpy, npst.array_shapes(max_dims=3, max_side=4)), label="array"
    )
    contents = {TYPED[datatype]: array.ravel().tolist()}
    decoded = decode(request(datatype=datatype, shape=array.shape, **contents)).inputs["x"]
    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize(
    ("datatype", "contents", "said"),
    [
        ("INT8", {"int_contents": [0, 128]}, r"int_contents\[1\] is 128.*INT8 .* from -128 to 127"),
        ("INT8", {"int_contents": [-129, 0]}, r"int_contents\[0\] is -129"),
        ("UINT16", {"uint_contents": [0, 65536]}, "UINT16 .* from 0 to 65535"),
        ("INT32", {"int64_contents": [1, 2]}, "INT32 goes in int_contents, but int64_contents is filled"),
        ("INT32", {"int_contents": [1, 2], "fp32_contents": [1.0]}, "but fp32_contents is filled"),
        ("INT32", {"int_contents": [1, 2, 3]}, r"holds 3 elements, but shape \[2\] takes 2"),
        ("INT32", {}, "holds 0 elements"),
        ("FP16", {"fp32_contents": [1.0, 2.0]}, "FP16 has no typed contents; send it as raw_input_contents"),
        ("BYTES", {"bytes_contents": [b"a"]}, r"bytes_contents holds 1 elements, but shape \[2\] takes 2"),
        ("BF16", {"fp32_contents": [1.0, 2.0]}, "BF16 has no typed contents"),
    ],
)
def test_typed_contents_that_do_not_fit(datatype: str, contents: dict[str, list[Any]], said: str) -> None:
    with pytest.raises(InvalidTensor, match=said):
        decode(request(datatype=datatype, **contents))


def test_fp16_comes_raw() -> None:
    halves = np.array([0.5, -2.0], "<f2")
    np.testing.assert_array_equal(decode(request(halves.tobytes(), datatype="FP16")).inputs["x"], halves)


# --- wrong requests ---------------------------------------------------------------------------------


def two_inputs(*raw: bytes) -> Any:
    message = request(*raw)
    message.inputs.add(name="y", datatype="INT32", shape=[2])
    return message


def with_outputs(*names: str) -> Any:
    message = request(INT32_PAIR)
    for name in names:
        message.outputs.add(name=name)
    return message


def both_forms() -> Any:
    return request(INT32_PAIR, int_contents=[1, 2])


@pytest.mark.parametrize(
    ("message", "error", "said"),
    [
        (Request(model_name="m"), MalformedRequest, "no inputs"),
        (two_inputs(INT32_PAIR), MalformedRequest, "raw_input_contents has 1 entries for 2 inputs"),
        (both_forms(), MalformedRequest, "contents besides the request's raw_input_contents"),
        (request(INT32_PAIR, name=""), MalformedRequest, r"the name of inputs\[0\] is empty"),
        (request(INT32_PAIR, name="n" * 21), MalformedRequest, "21 characters; at most 20"),
        (with_outputs("a", "a"), MalformedRequest, "output 'a' is asked for twice"),
        (with_outputs(""), MalformedRequest, r"the name of outputs\[0\] is empty"),
        (with_outputs(*"abcdefghijklmnopq"), MalformedRequest, "'outputs' has 17 entries; at most 16"),
        (request(INT32_PAIR, datatype=""), InvalidTensor, "unknown datatype ''"),
        (request(INT32_PAIR, datatype="FP33"), InvalidTensor, "did you mean 'FP32'"),
        (request(INT32_PAIR[:-1]), InvalidTensor, r"7 bytes .* \[2\] of INT32 takes 8"),
        (request(b"\1\2", datatype="BOOL"), InvalidTensor, "byte 1 is 2, but a BOOL is 0 or 1"),
        (request(b"", shape=(0,)), InvalidTensor, "each dimension is a whole number of at least 1"),
        (request(INT32_PAIR, shape=(-1, 2)), InvalidTensor, "holds -1"),
        (request(INT32_PAIR, shape=(1, 1, 1, 1, 2)), InvalidTensor, "5 dimensions; at most 4"),
        (request(INT32_PAIR, shape=(2**62, 2)), RequestTooLarge, "more elements than the 4096 taken"),
        (request(bytes(1 << 16)), RequestTooLarge, "65558 bytes; at most 65536"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(message: Any, error: type[RequestError], said: str) -> None:
    with pytest.raises(error, match=said):
        decode(message)


def test_a_name_given_twice() -> None:
    message = two_inputs(INT32_PAIR, INT32_PAIR)
    message.inputs[1].name = "x"
    with pytest.raises(MalformedRequest, match="input 'x' is given twice"):
        decode(message)


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (RECORDED[:-1], "ends at byte 168, within the protobuf field that begins at 165"),
        (b"\x0a", "ends at byte 1"),
        (b"\xff" * 11, "longer than protobuf's 10 bytes"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x0a\x01\xff", "no inference.ModelInferRequest in protobuf"),
        (b"\x38\x01" * 400, "more than the 304 protobuf fields"),
    ],
)
def test_bytes_that_are_no_request(octets: bytes, said: str) -> None:
    with pytest.raises(MalformedRequest, match=said):
        grpc_codec.decode_infer(octets, LIMITS)


@given(st.data())
def test_a_damaged_request_is_refused_or_read(data: st.DataObject) -> None:
    octets = bytearray(RECORDED)
    for position in data.draw(st.lists(st.integers(0, len(octets) - 1), min_size=1, max_size=4)):
        octets[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(octets)))
    with contextlib.suppress(RequestError):
        grpc_codec.decode_infer(bytes(octets[:cut]), LIMITS)


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_refused_or_read(octets: bytes) -> None:
    with contextlib.suppress(RequestError):
        grpc_codec.decode_infer(octets, LIMITS)


# --- the wire format, held against protobuf itself -----------------------------------------------------

FIELDS = st.lists(
    st.one_of(
        st.builds(lambda value: Request(model_name=value), st.text(max_size=3)),
        st.builds(lambda value: Request(id=value), st.text(max_size=3)),
        st.builds(
            lambda value: Request(inputs=[{"name": value, "shape": [1, 2]}]), st.text(min_size=1, max_size=3)
        ),
        st.builds(lambda value: Request(raw_input_contents=[value]), st.binary(max_size=200)),
    ).map(lambda message: message.SerializeToString())
    | st.sampled_from(
        [b"\x38\x05", b"\x61" + bytes(8), b"\x65" + bytes(4), b"\xf8\x07\x81\x01"]
    ),  # unknown fields
    max_size=12,
)


@given(FIELDS)
def test_fields_in_any_order_are_taken_out_as_protobuf_reads_them(fields: list[bytes]) -> None:
    octets = b"".join(fields)
    whole = Request.FromString(octets)
    rest, raw = without_field(octets, 7, max_fields=12)
    assert [bytes(value) for value in raw] == list(whole.raw_input_contents)
    whole.ClearField("raw_input_contents")
    assert Request.FromString(rest) == whole


@given(st.binary(max_size=40))
def test_what_protobuf_refuses_is_never_read_as_a_request(octets: bytes) -> None:
    try:
        Request.FromString(octets)
    except DecodeError:
        with pytest.raises(RequestError):
            grpc_codec.decode_infer(octets, LIMITS)


@given(st.lists(st.binary(max_size=400), max_size=4))
def test_a_field_put_in_is_read_by_protobuf(values: list[bytes]) -> None:
    octets = with_field(Response(model_name="m").SerializeToString(), 6, map(memoryview, values))
    assert Response.FromString(octets) == Response(model_name="m", raw_output_contents=values)


# --- answers ------------------------------------------------------------------------------------------


def read(octets: bytes) -> tuple[Any, dict[str, Array]]:
    message = Response.FromString(octets)
    return message, {
        output.name: np.frombuffer(raw, DataType[output.datatype].numpy.newbyteorder("<")).reshape(
            output.shape
        )
        for output, raw in zip(message.outputs, message.raw_output_contents, strict=True)
    }


@given(st.data(), st.sampled_from(DataType))
def test_outputs_of_every_type_and_layout_come_back_the_same(data: st.DataObject, dtype: DataType) -> None:
    array = data.draw(npst.arrays(dtype.numpy, npst.array_shapes(max_dims=3, max_side=6)))
    array = data.draw(st.sampled_from([array, array.T, array[::-1], array[..., :1]]))
    message, outputs = read(grpc_codec.encode_infer(InferResponse("m", "1", {"y": array, "z": array})))
    assert [(output.name, output.datatype) for output in message.outputs] == [
        ("y", dtype.name),
        ("z", dtype.name),
    ]
    np.testing.assert_array_equal(outputs["y"], array)
    np.testing.assert_array_equal(outputs["z"], array)


def test_an_answer_says_for_what_it_is() -> None:
    outputs = {"y": np.zeros((3, 300), np.float32)}
    parameters = {"sure": True, "rows": 3, "share": 0.5, "note": "ok"}
    message, arrays = read(
        grpc_codec.encode_infer(InferResponse("m", "7", outputs, id="a", parameters=parameters))
    )
    assert (message.model_name, message.model_version, message.id) == ("m", "7", "a")
    told = {
        key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in message.parameters.items()
    }
    assert told == parameters
    assert type(told["sure"]) is bool
    assert not message.outputs[0].HasField("contents")
    assert arrays["y"].shape == (3, 300)


def test_metadata_and_states() -> None:
    tensor = TensorMetadata("x", "FP32", (-1, 3))
    model = ModelMetadata("m", ("1",), "ascend_om", (tensor,), (tensor, tensor))
    message = message_class("ModelMetadataResponse").FromString(grpc_told.encode_model_metadata(model))
    assert (message.name, list(message.versions), message.platform) == ("m", ["1"], "ascend_om")
    assert [(t.name, t.datatype, list(t.shape)) for t in message.inputs] == [("x", "FP32", [-1, 3])]
    assert len(message.outputs) == 2
    server = message_class("ServerMetadataResponse").FromString(
        grpc_told.encode_server_metadata(ServerMetadata("s", "2", ("e",)))
    )
    assert (server.name, server.version, list(server.extensions)) == ("s", "2", ["e"])
    for state in (True, False):
        assert (
            message_class("ServerLiveResponse").FromString(grpc_told.encode_server_live(state)).live is state
        )
        ready = message_class("ServerReadyResponse").FromString(grpc_told.encode_server_ready(state))
        assert ready.ready is state
        ready = message_class("ModelReadyResponse").FromString(grpc_told.encode_model_ready(state))
        assert ready.ready is state


def test_a_model_is_named_with_or_without_version() -> None:
    for name in ("ModelReadyRequest", "ModelMetadataRequest"):
        message = message_class(name)
        assert grpc_told.decode_model(message(name="m").SerializeToString()) == ("m", None)
        assert grpc_told.decode_model(message(name="m", version="1").SerializeToString()) == ("m", "1")
    with pytest.raises(MalformedRequest, match="protobuf"):
        grpc_told.decode_model(b"\xff")


# --- the schema -----------------------------------------------------------------------------------------


def schema_of(proto: str) -> dict[str, dict[str, tuple[int, str]]]:
    """The messages of a .proto file in the form of `SCHEMA`, with type names as the file writes them."""
    enums = set(re.findall(r"^enum (\w+) \{", proto, re.MULTILINE))
    proto = re.sub(r"^enum \w+ \{.*?^\}", "", proto, flags=re.MULTILINE | re.DOTALL)
    found: dict[str, dict[str, tuple[int, str]]] = {}
    inside: list[str] = []
    for line in (line.strip() for line in proto.splitlines()):
        if opened := re.fullmatch(r"(message|oneof|service) (\w+) \{", line):
            inside.append("oneof" if opened[1] == "oneof" else opened[2])
            if opened[1] == "message":
                found[".".join(inside)] = {}
        elif line == "}":
            inside.pop()
        elif field := re.fullmatch(r"(map<string, (\w+)>|(repeated )?(\w+)) (\w+) = (\d+);", line):
            how = "oneof " if inside[-1] == "oneof" else field[3] or ("enum " if field[4] in enums else "")
            kind = f"map {field[2]}" if field[2] else how + field[4]
            found[".".join(name for name in inside if name != "oneof")][field[5]] = (int(field[6]), kind)
    found.pop("GRPCInferenceService", None)
    return found


PROTO = Path(messages.__file__).with_name("open_inference.proto").read_text(encoding="utf-8")


def test_the_proto_file_says_what_the_table_says() -> None:
    written = schema_of(PROTO)
    table = {
        name: {field: (number, kind.replace(f"{name}.", "")) for field, (number, kind) in fields.items()}
        for name, fields in SCHEMA.items()
    }
    assert written == table
    kinds = dict(re.findall(r"^  TYPE_(\w+) = (\d+);", PROTO, re.MULTILINE))
    assert kinds == {name: str(number) for number, name in enumerate(DATA_TYPES)}


def test_the_proto_file_has_every_rpc_that_is_served() -> None:
    unary = re.findall(r"rpc (\w+)\((\w+)\) returns \((\w+)\)", PROTO)
    assert [(rpc, f"{rpc}Request", f"{rpc}Response") for rpc, _, _ in unary] == unary
    streamed = re.findall(r"rpc (\w+)\(stream ModelInferRequest\) returns \(stream (\w+)\)", PROTO)
    assert streamed == [(STREAMED_RPC, "ModelStreamInferResponse")]
    assert {rpc for rpc, _, _ in unary} == set(RPCS)


def test_other_clients_messages_of_the_same_names_can_be_loaded_beside_ours() -> None:
    pool = descriptor_pool.Default()
    with pytest.raises(KeyError):
        pool.FindMessageTypeByName("inference.ModelInferRequest")


# --- what is read before the model is known to take it ------------------------------------------------


ROWS = ModelSpec(
    "m",
    (TensorSpec("x", DataType.INT32, (-1, 2)),),
    (TensorSpec("y", DataType.INT32, (-1, 2)),),
    Gears((1, 4)),
)
WHOLE = ModelSpec(
    "m",
    (TensorSpec("x", DataType.INT32, (3,)),),
    (TensorSpec("y", DataType.INT32, (3,)),),
    Gears((1,)),
)


@pytest.mark.parametrize(
    ("sent", "error", "words"),
    [
        (request(b"junk", datatype="BYTES"), InvalidTensor, "which is BYTES"),
        (request(datatype="BYTES", bytes_contents=[b"a"]), InvalidTensor, "which is BYTES"),
        (request(datatype="INT64", int64_contents=[1]), InvalidTensor, "the model takes INT32"),
        (request(name="z", int_contents=[1]), InvalidTensor, "has no input 'z'"),
        (request(shape=(9000,), int_contents=[1]), RequestTooLarge, "at most 4096 rows of 2 are taken"),
    ],
)
def test_no_element_is_read_of_what_the_model_does_not_take(
    sent: Any, error: type[Exception], words: str
) -> None:
    limits = Limits(max_name_chars=20)
    with pytest.raises(error, match=words):
        grpc_codec.decode_infer(sent.SerializeToString(), limits, DeclaredCheck(ROWS, lambda: 4096))


def test_a_model_without_rows_takes_one() -> None:
    check = DeclaredCheck(WHOLE, lambda: 0)
    sent = request(shape=(3,), int_contents=[1, 2, 3]).SerializeToString()
    assert grpc_codec.decode_infer(sent, Limits(), check).inputs["x"].tolist() == [1, 2, 3]
    with pytest.raises(RequestTooLarge, match="at most 1 rows of 3 are taken"):
        check("x", DataType.INT32, (5000,))


def test_contents_that_take_more_bytes_than_their_elements_are_not_parsed() -> None:
    with pytest.raises(InvalidTensor, match="its contents have 104 bytes, too many for shape"):
        decode(request(shape=(2,), int_contents=[1] * 102))


def test_what_a_request_has_besides_elements_is_bounded() -> None:
    sent = request(b"\0" * 8)
    sent.outputs.add(name="y").parameters["long"].string_param = "x" * (1 << 18)
    with pytest.raises(RequestTooLarge, match="besides its tensors' elements; at most 262144 are taken"):
        decode(sent, Limits())
    assert grpc_codec.request_id(sent.SerializeToString(), Limits()) is None


def test_typed_contents_are_read_wherever_they_stand_and_in_any_number_of_pieces() -> None:
    values = [*range(-10_000, 10_000)]
    whole = request(shape=(20_000,), int_contents=values)
    limits = Limits()
    np.testing.assert_array_equal(decode(whole, limits).inputs["x"], values)
    head, first, second = request(shape=(4,)), request(int_contents=[1, 2]), request(int_contents=[3, 4])
    contents = [each.inputs[0].contents.SerializeToString() for each in (first, second)]
    own = head.inputs[0].SerializeToString()
    entry = b"\x2a" + bytes([len(contents[0])]) + contents[0] + own
    entry += b"\x2a" + bytes([len(contents[1])]) + contents[1]
    message = b"\x2a" + bytes([len(entry)]) + entry + b"\x0a\x01m"
    found = grpc_codec.decode_infer(message, LIMITS)
    assert (found.model_name, found.inputs["x"].tolist()) == ("m", [1, 2, 3, 4])
