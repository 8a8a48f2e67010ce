"""Tensor data in its two wire forms: what is read, what is refused, and that nothing changes on the way."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.errors import ConfigError, InvalidTensor
from ascend_serve.protocol.datatypes import (
    array_from_binary,
    array_from_json,
    binary_octets,
    datatype_named,
    json_values,
)
from ascend_serve.protocol.limits import Limits
from ascend_serve.protocol.messages import Array
from ascend_serve.protocol.show import show
from ascend_serve.spec.tensors import DataType

pytestmark = pytest.mark.unit

INTEGERS = [dtype for dtype in DataType if dtype.numpy.kind in "iu"]
JSON_TYPES = [dtype for dtype in DataType if dtype is not DataType.FP16]
shapes = st.lists(st.integers(1, 4), max_size=4).map(tuple)


@st.composite
def arrays(draw: st.DrawFn, dtype: DataType, shape: tuple[int, ...]) -> Array:
    """An array of any finite values of its type."""
    count = int(np.prod(shape))
    if dtype is DataType.BOOL:
        elements: st.SearchStrategy[object] = st.booleans()
    elif dtype in INTEGERS:
        bounds = np.iinfo(dtype.numpy)
        elements = st.integers(int(bounds.min), int(bounds.max))
    else:
        elements = st.floats(allow_nan=False, allow_infinity=False, width=dtype.itemsize * 8)  # type: ignore[arg-type]  # 16, 32 or 64
    flat = draw(st.lists(elements, min_size=count, max_size=count))
    return np.array(flat, dtype.numpy).reshape(shape)


@given(st.data(), st.sampled_from(JSON_TYPES), shapes, st.booleans())
def test_json_there_and_back_keeps_every_bit(
    data: st.DataObject, dtype: DataType, shape: tuple[int, ...], nested: bool
) -> None:
    array = data.draw(arrays(dtype, shape))
    values = array.tolist() if nested and shape else json_values(array, "x")
    text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)

    back = array_from_json(orjson.loads(text), dtype, shape, "x")

    assert back.dtype == dtype.numpy
    assert back.shape == shape
    assert back.tobytes() == array.tobytes()


@given(st.data(), st.sampled_from(list(DataType)), shapes, st.integers(0, 7))
def test_binary_is_a_read_only_view_at_any_alignment(
    data: st.DataObject, dtype: DataType, shape: tuple[int, ...], offset: int
) -> None:
    array = data.draw(arrays(dtype, shape))
    body = bytes(offset) + bytes(binary_octets(array))

    back = array_from_binary(memoryview(body)[offset:], dtype, shape, "x")

    assert back.tobytes() == array.tobytes()
    assert back.shape == shape
    assert np.shares_memory(back, np.frombuffer(body, np.uint8))
    assert not back.flags.writeable


@pytest.mark.parametrize("layout", ["transposed", "strided", "big-endian", "unaligned"])
def test_an_output_of_any_layout_is_written_row_major_and_little_endian(layout: str) -> None:
    plain = np.arange(6, dtype=np.int32).reshape(2, 3)
    array = {
        "transposed": np.ascontiguousarray(plain.T).T,
        "strided": np.repeat(plain, 2, axis=1)[:, ::2],
        "big-endian": plain.astype(">i4"),
        "unaligned": np.frombuffer(b"\0" + plain.tobytes(), "<i4", offset=1).reshape(2, 3),
    }[layout]

    assert bytes(binary_octets(array)) == plain.tobytes()
    assert orjson.dumps(json_values(array, "y"), option=orjson.OPT_SERIALIZE_NUMPY) == b"[0,1,2,3,4,5]"


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_checked_against_the_ends_of_their_range(dtype: DataType) -> None:
    bounds = np.iinfo(dtype.numpy)
    low, high = int(bounds.min), int(bounds.max)

    assert array_from_json([low, high], dtype, (2,), "x").tolist() == [low, high]
    for wrong in (low - 1, high + 1):
        with pytest.raises(InvalidTensor, match=rf"'x': data\[1\] is {wrong}, but {dtype.name} takes whole"):
            array_from_json([0, wrong], dtype, (2,), "x")


@pytest.mark.parametrize(
    ("data", "dtype", "message"),
    [
        ([0, 1.0], DataType.INT32, r"data\[1\] is 1.0, but INT32 takes whole numbers"),
        ([0, True], DataType.INT32, r"data\[1\] is True, but INT32"),
        ([0, "1"], DataType.UINT8, r"data\[1\] is '1', but UINT8"),
        ([0, None], DataType.FP32, r"data\[1\] is None, but FP32 takes numbers"),
        ([0, False], DataType.FP64, r"data\[1\] is False, but FP64 takes numbers"),
        ([0.0, 1e39], DataType.FP32, r"data\[1\] is 1e\+39, too large for FP32"),
        ([True, 1], DataType.BOOL, r"data\[1\] is 1, but BOOL takes true or false"),
        ([0.5, 1], DataType.FP16, "FP16 has no JSON form; send it as binary"),
        ([1], DataType.FP32, r"data holds 1 elements, but shape \[2\] takes 2"),
        ([1, 2, 3], DataType.FP32, r"data holds 3 elements, but shape \[2\] takes 2"),
        ([1, [2]], DataType.FP32, r"data\[1\] is \[2\], but FP32"),
        ("abc", DataType.FP32, "data is 'abc', but must be a list"),
        ({"0": 1}, DataType.FP32, "but must be a list"),
        (5, DataType.FP32, "data is 5, but must be a list"),
    ],
)
def test_json_that_does_not_fit_is_refused(data: object, dtype: DataType, message: str) -> None:
    with pytest.raises(InvalidTensor, match=message):
        array_from_json(data, dtype, (2,), "x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([[1, 2], [3]], r"a list of 1 at axis 1, but shape \[2, 2\] takes lists of 2"),
        ([[1, 2]], r"a list of 1 at axis 0"),
        ([[1, 2], 3], r"has 3 at axis 1"),
        ([[[1], [2]], [[3], [4]]], r"data\[0\] is \[1\], but INT32"),
        ([[1, 2, 3, 4]], r"a list of 1 at axis 0"),
    ],
)
def test_nesting_other_than_the_shape_is_refused(data: object, message: str) -> None:
    with pytest.raises(InvalidTensor, match=message):
        array_from_json(data, DataType.INT32, (2, 2), "x")


def test_a_scalar_is_a_list_of_one() -> None:
    assert array_from_json([7], DataType.INT8, (), "x").shape == ()


@pytest.mark.parametrize("size", [0, 7, 9])
def test_binary_data_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(InvalidTensor, match=rf"'x': {size} bytes .* shape \[2\] of FP32 takes 8"):
        array_from_binary(memoryview(bytes(size)), DataType.FP32, (2,), "x")


def test_a_boolean_byte_is_zero_or_one() -> None:
    with pytest.raises(InvalidTensor, match="byte 2 is 255, but a BOOL is 0 or 1"):
        array_from_binary(memoryview(b"\x00\x01\xff"), DataType.BOOL, (3,), "x")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_json_output_refuses_what_json_cannot_carry(value: float, dtype: type) -> None:
    with pytest.raises(InvalidTensor, match=rf"output 'y': element 3 is {value}, which JSON cannot carry"):
        json_values(np.array([[0, 1], [2, value]], dtype), "y")


def test_json_output_refuses_fp16() -> None:
    with pytest.raises(InvalidTensor, match="output 'y': FP16 has no JSON form"):
        json_values(np.ones(2, np.float16), "y")


@pytest.mark.parametrize("dtype", DataType)
def test_datatypes_are_found_by_their_protocol_names(dtype: DataType) -> None:
    assert datatype_named(dtype.name, "x") is dtype


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FP31", "unknown datatype 'FP31'; did you mean 'FP32'"),
        ("float32", "unknown datatype 'float32'"),
        ("numpy", "unknown datatype 'numpy'; known: BF16, BOOL"),
        (None, "datatype is None, but must be a string"),
        (["FP32"], "but must be a string"),
    ],
)
def test_other_datatypes_are_refused_by_name(name: object, message: str) -> None:
    with pytest.raises(InvalidTensor, match=message):
        datatype_named(name, "x")


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_body_bytes is 0"):
        Limits(max_body_bytes=0)
    with pytest.raises(ConfigError, match="max_rank is 33"):
        Limits(max_rank=33)


def test_show_is_short_whatever_the_value() -> None:
    deep: object = 1
    for _ in range(5000):
        deep = [deep]
    assert len(show(deep)) < 50
    assert len(show("x" * 10_000)) <= 80
    assert len(show({str(key): list(range(100)) for key in range(100)})) < 300
