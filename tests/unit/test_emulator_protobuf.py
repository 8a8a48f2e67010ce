from __future__ import annotations

import contextlib

import onnx
import pytest
from ascend_emulator.protobuf import Message, WireError, fields, float32, signed, varints
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

numbers = st.integers(1, 2**29 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.tuples(numbers, int64 | st.binary(max_size=20))))
def test_fields_come_back_in_order(written: list[tuple[int, int | bytes]]) -> None:
    message = Message()
    for number, value in written:
        if isinstance(value, bytes):
            message.data(number, value)
        else:
            message.integer(number, value)
    read = [
        (number, bytes(value) if isinstance(value, memoryview) else signed(value))
        for number, value in fields(memoryview(bytes(message)))
    ]
    assert read == written


@given(st.lists(int64, min_size=1))
def test_packed_lists_come_back(values: list[int]) -> None:
    ((number, payload),) = fields(memoryview(bytes(Message().packed(7, values))))
    assert number == 7
    assert isinstance(payload, memoryview)
    assert [signed(value) for value in varints(payload)] == values


def test_an_empty_packed_list_leaves_no_trace() -> None:
    assert bytes(Message().packed(7, [])) == b""


@given(st.text(), int64, st.lists(int64))
def test_another_implementation_reads_it(name: str, number: int, values: list[int]) -> None:
    written = Message().data(1, name).integer(3, number).packed(8, values)
    attribute = onnx.AttributeProto.FromString(bytes(written))
    assert (attribute.name, attribute.i, list(attribute.ints)) == (name, number, values)


@given(st.binary(max_size=40))
def test_garbage_is_a_wire_error_or_fields(data: bytes) -> None:
    with contextlib.suppress(WireError):
        assert all(number > 0 for number, _ in fields(memoryview(data)))


@pytest.mark.parametrize(
    "data", [b"\x08", b"\x08\x80", b"\x0a\x05ab", b"\x0b", b"\x00\x01", b"\x08" + b"\xff" * 11, b"\x09\x01"]
)
def test_broken_messages_are_wire_errors(data: bytes) -> None:
    with pytest.raises(WireError):
        list(fields(memoryview(data)))


def test_fixed_size_numbers_are_read() -> None:
    data = b"\x09" + (7).to_bytes(8, "little") + b"\x15" + (9).to_bytes(4, "little")
    assert list(fields(memoryview(data))) == [(1, 7), (2, 9)]


@given(st.floats(width=32, allow_nan=False))
def test_floats_come_back_and_another_implementation_reads_them(number: float) -> None:
    written = bytes(Message().single(2, number))
    ((field, bits),) = fields(memoryview(written))
    assert isinstance(bits, int)
    assert (field, float32(bits)) == (2, number)
    assert onnx.AttributeProto.FromString(written).f == number


def test_a_float_past_32_bits_is_refused() -> None:
    with pytest.raises(OverflowError):
        Message().single(2, 1e39)
