"""Remembered JSON parts: from memory or not, a request is read and an answer written the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import AscendServeError, InvalidTensor, MalformedRequest
from ascend_serve.protocol import http_heads
from ascend_serve.protocol.http_codec import decode_infer, encode_infer
from ascend_serve.protocol.http_heads import RequestReader, ResponseWriter, with_length
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import Array, InferRequest, InferResponse, RequestedOutput

pytestmark = pytest.mark.unit

LIMITS = Limits(max_body_bytes=1 << 16, max_elements=1 << 12)
DTYPES = {"FP32": "<f4", "INT8": "i1", "BOOL": "?", "FP16": "<f2", "INT64": "<i8"}


def entry(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    size = int(np.prod(shape)) * np.dtype(DTYPES[datatype]).itemsize
    return {
        "name": name,
        "datatype": datatype,
        "shape": shape,
        "parameters": {"binary_data_size": size},
    }


def binary(*entries: Mapping[str, Any], fill: int = 1, **document: Any) -> tuple[bytes, int]:
    """A body whose inputs are bytes of `fill`, and the length of its JSON."""
    text = orjson.dumps({"inputs": list(entries), **document})
    return text + bytes([fill]) * sum(e["parameters"]["binary_data_size"] for e in entries), len(text)


def same(one: InferRequest, other: InferRequest) -> None:
    for name in ("model_name", "model_version", "id", "outputs", "binary_output_default"):
        assert getattr(one, name) == getattr(other, name)
    assert dict(one.parameters) == dict(other.parameters)
    assert list(one.inputs) == list(other.inputs)
    for name, array in one.inputs.items():
        assert array.dtype == other.inputs[name].dtype
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, other.inputs[name])


shapes = st.lists(st.integers(1, 5), min_size=0, max_size=3)
entries = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(list(DTYPES)), shapes),
    min_size=1,
    max_size=3,
    unique_by=lambda each: each[0],
)


@given(entries, st.booleans(), st.sampled_from([None, "7"]))
def test_a_request_reads_the_same_the_second_time(
    given_entries: list[tuple[str, str, list[int]]], flag: bool, mark: str | None
) -> None:
    document: dict[str, Any] = {"parameters": {"binary_data_output": flag, "priority": 1}}
    if mark is not None:
        document["id"] = mark
    reader = RequestReader(LIMITS)
    for fill in (1, 0, 1):
        body, length = binary(*[entry(*each) for each in given_entries], fill=fill, **document)
        read = reader.read(body, length, model_name="m", model_version="1")
        same(read, decode_infer(body, length, LIMITS, model_name="m", model_version="1"))


def test_what_is_read_is_a_view_on_the_body() -> None:
    body, length = binary(entry("x", "FP32", [2, 3]))
    reader = RequestReader(LIMITS)
    for _ in range(2):
        array = reader.read(body, length, model_name="m").inputs["x"]
        assert np.shares_memory(array, np.frombuffer(body, np.uint8))


@pytest.mark.parametrize("wrong", [b"", b"more than the JSON says"])
def test_a_body_of_another_length_is_refused_though_its_json_is_known(wrong: bytes) -> None:
    body, length = binary(entry("x", "FP32", [2, 3]))
    reader = RequestReader(LIMITS)
    reader.read(body, length, model_name="m")
    with pytest.raises((MalformedRequest, InvalidTensor)):
        reader.read((body + wrong) if wrong else body[:-1], length, model_name="m")
    with pytest.raises(MalformedRequest):
        reader.read(body[:length], length + 1, model_name="m")


def test_each_bool_is_looked_at() -> None:
    reader = RequestReader(LIMITS)
    good, length = binary(entry("x", "BOOL", [4]), fill=1)
    reader.read(good, length, model_name="m")
    bad, length = binary(entry("x", "BOOL", [4]), fill=2)
    with pytest.raises(InvalidTensor, match="a BOOL is 0 or 1"):
        reader.read(bad, length, model_name="m")


def test_inputs_in_json_are_never_taken_from_memory() -> None:
    reader = RequestReader(LIMITS)
    for value in (1, 2):
        in_json = {"name": "y", "datatype": "FP32", "shape": [1], "data": [value]}
        text = orjson.dumps({"inputs": [entry("x", "FP32", [1]), in_json]})
        assert reader.read(text + bytes(4), len(text), model_name="m").inputs["y"] == [value]
        whole = orjson.dumps({"inputs": [in_json]})
        assert reader.read(whole, None, model_name="m").inputs["y"] == [value]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def counting(*args: Any, **options: Any) -> InferRequest:
        decoded.append(args)
        return decode_infer(*args, **options)

    monkeypatch.setattr(http_heads, "decode_infer", counting)
    monkeypatch.setattr(http_heads, "_MOST_HEADS", 2)
    reader = RequestReader(LIMITS)
    for name in ("a", "b", "a", "b", "c", "c", "a"):
        reader.read(*binary(entry(name, "FP32", [1])), model_name="m")
    assert len(decoded) == 4  # a, b, c, which drops both, and a again
    long = {"note": "x" * 5000}
    for _ in range(2):
        reader.read(*binary(entry("d", "FP32", [1]), parameters=long), model_name="m")
    assert len(decoded) == 6


def written(writer: ResponseWriter, response: InferResponse, request: InferRequest) -> Any:
    try:
        return writer.write(response, request)
    except AscendServeError as error:
        return str(error)


def encoded(response: InferResponse, request: InferRequest) -> Any:
    try:
        body, headers = encode_infer(response, request)
    except AscendServeError as error:
        return str(error)
    return body, with_length(headers, body)


def _strided(rows: int) -> Array:
    return np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)[:, ::2]


arrays = st.one_of(
    st.integers(1, 4).map(lambda rows: np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)),
    st.integers(1, 4).map(_strided),
    st.integers(1, 4).map(lambda rows: np.arange(rows, dtype=">f4")),
    st.integers(1, 4).map(lambda rows: np.ones(rows, np.float16)),
    st.integers(1, 4).map(lambda rows: np.array([[True]] * rows)),
    st.just(np.array([np.nan], np.float32)),
)
asked = st.sampled_from(
    [(), (RequestedOutput("y", True),), (RequestedOutput("y", False),), (RequestedOutput("y"),)]
)


@given(
    st.lists(st.tuples(arrays, asked, st.booleans(), st.sampled_from([None, "7"])), min_size=1, max_size=12)
)
def test_an_answer_is_written_as_the_codec_writes_it_whatever_was_written_before(
    answers: list[tuple[Array, tuple[RequestedOutput, ...], bool, str | None]],
) -> None:
    writer = ResponseWriter()
    for array, outputs, default, mark in answers * 2:
        request = InferRequest("m", {}, outputs=outputs, binary_output_default=default, id=mark)
        response = InferResponse("m", "1", {"y": array}, mark)
        assert written(writer, response, request) == encoded(response, request)
