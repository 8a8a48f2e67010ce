"""BYTES and BF16, classification, and what is told of models: read and written as Triton's extensions have them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ascend_serve.errors import InvalidTensor, MalformedRequest
from ascend_serve.protocol import grpc_told, http_told
from ascend_serve.protocol._pb.messages import message_class
from ascend_serve.protocol.classification import classes_of, top_classes
from ascend_serve.protocol.datatypes import (
    WireType,
    array_from_binary,
    array_from_json,
    array_from_octets,
    binary_octets,
    datatype_of,
    json_values,
)
from ascend_serve.protocol.messages import (
    Array,
    BatchStatistics,
    Duration,
    IndexEntry,
    InferStatistics,
    ModelConfig,
    ModelStatistics,
    TensorMetadata,
)

pytestmark = pytest.mark.unit

# --- BYTES and BF16 ------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=12))
def test_bytes_come_back_from_their_binary_form(elements: list[bytes]) -> None:
    array = array_from_octets(elements, (len(elements), 1))
    assert datatype_of(array.dtype) is WireType.BYTES
    octets = binary_octets(array)
    again = array_from_binary(octets, WireType.BYTES, array.shape, "x")
    assert again.tolist() == [[element] for element in elements]
    assert not again.flags.writeable


@given(st.binary(max_size=40), st.integers(1, 5))
def test_any_octets_are_elements_of_bytes_or_refused(octets: bytes, count: int) -> None:
    try:
        array = array_from_binary(memoryview(octets), WireType.BYTES, (count,), "x")
    except InvalidTensor:
        return
    assert bytes(binary_octets(array)) == octets


@given(st.lists(st.text(max_size=10), min_size=1, max_size=6))
def test_strings_of_json_are_their_utf8_and_come_back(strings: list[str]) -> None:
    array = array_from_json(strings, WireType.BYTES, (len(strings),), "x")
    assert array.tolist() == [string.encode() for string in strings]
    assert json_values(array, "x") == strings


def test_what_is_no_text_goes_as_bytes_alone() -> None:
    with pytest.raises(InvalidTensor, match="no UTF-8, which JSON needs; ask for it as binary"):
        json_values(array_from_octets([b"\xff"], (1,)), "y")
    with pytest.raises(InvalidTensor, match="has no UTF-8"):
        array_from_json(["\ud800"], WireType.BYTES, (1,), "x")
    with pytest.raises(InvalidTensor, match=r"data\[1\] is 1, but BYTES takes strings"):
        array_from_json(["a", 1], WireType.BYTES, (2,), "x")


def test_bf16_goes_as_bytes_alone_and_unchanged() -> None:
    octets = memoryview(bytes(range(8)))
    array = array_from_binary(octets, WireType.BF16, (2, 2), "x")
    assert datatype_of(array.dtype) is WireType.BF16
    assert bytes(binary_octets(array)) == octets
    with pytest.raises(InvalidTensor, match="BF16 has no JSON form"):
        json_values(array, "y")
    with pytest.raises(InvalidTensor, match="BF16 has no JSON form"):
        array_from_json([1, 2], WireType.BF16, (2,), "x")


# --- classification ------------------------------------------------------------------------------------


def test_the_example_of_the_extension() -> None:
    array = np.array([[1, 5, 10, 4]], np.float32)
    assert top_classes(array, 2, batched=True).tolist() == [[b"10.0:2", b"5.0:1"]]
    labels = ["zero", "one", "apple"]
    assert top_classes(array[0], 2, batched=False, labels=labels).tolist() == [b"10.0:2:apple", b"5.0:1:one"]


def test_equals_stand_in_order_and_nan_stands_last() -> None:
    array = np.array([[3, np.nan, 3, 1]], np.float32)
    assert top_classes(array, 9, batched=True).tolist() == [[b"3.0:0", b"3.0:2", b"1.0:3", b"nan:1"]]


@given(
    npst.arrays(
        st.sampled_from(["i1", "u1", "i8", "u8", "f4", "?"]).map(np.dtype),
        npst.array_shapes(min_dims=2, max_dims=3, max_side=5),
    ),
    st.integers(1, 8),
)
def test_the_largest_of_each_row_are_told_with_their_places(array: Array, classes: int) -> None:
    told = top_classes(array, classes, batched=True)
    rows = array.reshape(len(array), -1)
    assert told.shape == (len(rows), min(classes, rows.shape[1]))
    for row, named in zip(rows, told.tolist(), strict=True):
        places = [int(each.split(b":")[1]) for each in named]
        assert len(set(places)) == len(places)
        best = sorted((value for value in row.tolist() if value == value), reverse=True)[: len(places)]
        assert [row.tolist()[place] for place in places][: len(best)] == best


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", 2**31])
def test_a_number_of_classes_that_is_none(value: object) -> None:
    with pytest.raises(InvalidTensor, match=r"output 'y': classification is .* at least 1"):
        classes_of(value, "y")


# --- what is told --------------------------------------------------------------------------------------

CONFIG = ModelConfig(
    "digits",
    "3",
    "ascend_om",
    64,
    (TensorMetadata("image", "FP32", (1, 32, 32)), TensorMetadata("ids", "INT64", (-1,))),
    (TensorMetadata("logits", "FP16", (10,)),),
    (1, 4, 16),
    3,
)
STATISTICS = ModelStatistics(
    "digits",
    "3",
    1_700_000_000_123,
    9,
    2,
    InferStatistics(
        Duration(5, 10), Duration(1, 2), Duration(5, 3), Duration(5, 1), Duration(5, 4), Duration(5, 2)
    ),
    (BatchStatistics(4, Duration(1, 1), Duration(1, 2), Duration(1, 3)),),
)


def told(name: str, octets: bytes) -> Any:
    return message_class(name).FromString(octets)


def test_the_configuration_is_the_same_over_both_doors() -> None:
    document = json.loads(http_told.encode_model_config(CONFIG))
    message = told("ModelConfigResponse", grpc_told.encode_model_config(CONFIG)).config
    assert document == {
        "name": "digits",
        "platform": "ascend_om",
        "version_policy": {"specific": {"versions": [3]}},
        "max_batch_size": 64,
        "input": [
            {"name": "image", "data_type": "TYPE_FP32", "dims": [1, 32, 32]},
            {"name": "ids", "data_type": "TYPE_INT64", "dims": [-1]},
        ],
        "output": [{"name": "logits", "data_type": "TYPE_FP16", "dims": [10]}],
        "dynamic_batching": {"preferred_batch_size": [1, 4, 16], "priority_levels": 3},
    }
    assert (message.name, message.max_batch_size) == ("digits", 64)
    assert list(message.version_policy.specific.versions) == [3]
    assert [(each.name, each.data_type, list(each.dims)) for each in message.input] == [
        ("image", 11, [1, 32, 32]),  # Triton's numbers of the datatypes
        ("ids", 9, [-1]),
    ]
    assert [(each.name, each.data_type) for each in message.output] == [("logits", 10)]
    assert list(message.dynamic_batching.preferred_batch_size) == [1, 4, 16]
    assert message.dynamic_batching.priority_levels == 3


def test_the_statistics_are_the_same_over_both_doors() -> None:
    (document,) = json.loads(http_told.encode_statistics([STATISTICS]))["model_stats"]
    (message,) = told("ModelStatisticsResponse", grpc_told.encode_statistics([STATISTICS])).model_stats
    for field in ("name", "version", "last_inference", "inference_count", "execution_count"):
        assert document[field] == getattr(message, field) == getattr(STATISTICS, field)
    for name, duration in document["inference_stats"].items():
        of_message = getattr(message.inference_stats, name)
        assert message.inference_stats.HasField(name)
        assert duration == {"count": of_message.count, "ns": of_message.ns}
    assert document["inference_stats"]["success"] == {"count": 5, "ns": 10}
    assert document["batch_stats"][0]["compute_output"] == {"count": 1, "ns": 3}
    assert (message.batch_stats[0].batch_size, message.batch_stats[0].compute_output.ns) == (4, 3)


def test_the_index_is_the_same_over_both_doors() -> None:
    entries = [IndexEntry("a", "1", "READY"), IndexEntry("b", "2", "UNAVAILABLE", "why")]
    documents = json.loads(http_told.encode_index(entries))
    messages = told("RepositoryIndexResponse", grpc_told.encode_index(entries)).models
    for document, message in zip(documents, messages, strict=True):
        assert document == {name: getattr(message, name) for name in ("name", "version", "state", "reason")}


def test_requests_for_the_index_and_for_models() -> None:
    assert not http_told.decode_index(b"")
    assert not http_told.decode_index(b"{}")
    assert http_told.decode_index(b'{"ready": true}')
    for body in (b"[]", b"{", b'{"ready": 1}'):
        with pytest.raises(MalformedRequest):
            http_told.decode_index(body)
    assert grpc_told.decode_index(message_class("RepositoryIndexRequest")(ready=True).SerializeToString())
    model = message_class("ModelConfigRequest")(name="m", version="2").SerializeToString()
    assert grpc_told.decode_model(model) == ("m", "2")
    assert orjson.loads(http_told.encode_index([])) == []
