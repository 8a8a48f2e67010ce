"""Tensor data between its two wire forms and numpy.

Rests on the Open Inference Protocol v2 ("Tensor Data", "Tensor Data Types") and on its binary tensor data
extension:

- *Binary*: little-endian, row-major, without padding; a BOOL is one byte, 0 or 1; an element of BYTES is its length in
  four bytes and then its octets.
- *JSON*: a list, either flat in row-major order or nested as the shape says. BOOL takes `true` and `false`,
  integer types take whole numbers in their range, FP32 and FP64 take any finite number in theirs, BYTES takes strings,
  which stand for their UTF-8. Nothing is rounded or wrapped in silence, except that a decimal becomes the nearest
  number of its type.
- FP16 and BF16 have no JSON form in the protocol (Triton refuses them too), so they go as bytes only, both ways.
- JSON has no NaN and no infinity, so an output that holds one goes as bytes only. They are not written as
  `null`, by which a client could not tell them apart.

BYTES and BF16 are datatypes of the protocol alone: no tensor of the accelerator holds strings, and numpy has no BF16.
They are read and written all the same (`WireType`), and who checks a request against a model says that it takes none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from ascend_serve.errors import InvalidTensor
from ascend_serve.protocol.messages import Array
from ascend_serve.protocol.show import show
from ascend_serve.spec.tensors import DataType
from ascend_serve.spec.text import nearest


class WireType(Enum):
    """Datatypes that requests and answers may have and no tensor of a model has.

    BYTES are arrays of objects, each a `bytes`. BF16 are arrays of two octets an element, as they came.
    """

    BYTES = "O"
    BF16 = "V2"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy dtype of its arrays."""
        return np.dtype(self.value)


Datatype = DataType | WireType
"""Every datatype of the protocol; its `name` is the protocol's."""

_NAMED: dict[str, Datatype] = {**DataType.__members__, **WireType.__members__}
_OF_NUMPY: dict[np.dtype[Any], Datatype] = {kind.numpy: kind for kind in _NAMED.values()}
_FLOATS = (DataType.FP32, DataType.FP64)
_LITTLE = {dtype: dtype.numpy.newbyteorder("<") for dtype in (*DataType, WireType.BF16)}
_LENGTH_BYTES = 4
"""What comes before each element of BYTES."""
AS_BYTES = (
    'as binary tensor data (parameters "binary_data_size" on an input, "binary_data": true on an output)'
)


def datatype_named(name: object, tensor: str) -> Datatype:
    """The datatype of a protocol name, such as `FP32`.

    Args:
        name: what the caller wrote under `datatype`.
        tensor: the tensor's name, for the message.

    Raises:
        InvalidTensor: no string, or no name of the protocol.
    """
    if not isinstance(name, str):
        raise InvalidTensor(
            f"input '{tensor}': datatype is {show(name)}, but must be a string such as 'FP32'"
        )
    if name in _NAMED:
        return _NAMED[name]
    raise InvalidTensor(f"input '{tensor}': unknown datatype {show(name)}{nearest(name[:20], _NAMED)}")


def datatype_of(dtype: np.dtype[Any]) -> Datatype:
    """The datatype of a numpy dtype.

    Raises:
        ConfigError: numpy dtype without a counterpart, such as complex64.
    """
    return _OF_NUMPY.get(dtype) or DataType.from_numpy(dtype)


def array_from_binary(raw: memoryview, dtype: Datatype, shape: tuple[int, ...], tensor: str) -> Array:
    """A view on `raw` as an array of `shape`; nothing is copied but the elements of BYTES, and any alignment will do.

    Args:
        raw: exactly the tensor's bytes, little-endian and row-major.
        dtype: element type.
        shape: dimensions, each at least 1.
        tensor: the tensor's name, for the message.

    Raises:
        InvalidTensor: the number of bytes is not that of the shape, or a BOOL byte is neither 0 nor 1.
    """
    if dtype is WireType.BYTES:
        return _objects(_elements(raw, prod(shape), tensor), shape)
    little = _LITTLE[dtype]
    needed = prod(shape) * little.itemsize
    if len(raw) != needed:
        raise InvalidTensor(
            f"input '{tensor}': {len(raw)} bytes of binary data, but shape {list(shape)} of {dtype.name} "
            f"takes {needed}"
        )
    if dtype is DataType.BOOL:
        # numpy trusts a bool's byte to be 0 or 1; any other one makes results that depend on the operation.
        octets = np.frombuffer(raw, np.uint8)
        if octets.max(initial=0) > 1:
            index = int(np.argmax(octets > 1))
            raise InvalidTensor(f"input '{tensor}': byte {index} is {octets[index]}, but a BOOL is 0 or 1")
    array: Array = np.ndarray(shape, little, raw)
    return array


def array_from_json(data: object, dtype: Datatype, shape: tuple[int, ...], tensor: str) -> Array:
    """An array of `shape` from parsed JSON, flat or nested.

    Args:
        data: what the caller wrote under `data`.
        dtype: element type.
        shape: dimensions, each at least 1.
        tensor: the tensor's name, for the message.

    Raises:
        InvalidTensor: FP16 or BF16; no list; nested otherwise than the shape; too few or too many elements; an
            element that is not of the type or not in its range.
    """
    if not has_json_form(dtype):
        raise InvalidTensor(f"input '{tensor}': {dtype.name} has no JSON form; send it {AS_BYTES}")
    if not isinstance(data, list):
        raise InvalidTensor(
            f"input '{tensor}': data is {show(data)}, but must be a list, flat or nested as {list(shape)}"
        )
    flat = _flattened(data, shape, tensor)
    return numbers(flat, dtype, tensor).reshape(shape)


def numbers(flat: list[Any], dtype: Datatype, tensor: str) -> Array:
    """An array of one axis from parsed JSON values; BYTES and BOOL are such numbers too.

    Raises:
        InvalidTensor: an element that is not of the type or not in its range.
    """
    if dtype is WireType.BYTES:
        _check_each(flat, tensor, {str}, "BYTES takes strings")
        return _objects(_octets_of_each(flat, tensor), (len(flat),))
    if dtype is DataType.BOOL:
        _check_each(flat, tensor, {bool}, "BOOL takes true or false")
        array: Array = np.array(flat, dtype.numpy)
    elif dtype in _FLOATS:
        _check_each(flat, tensor, {int, float}, f"{dtype.name} takes numbers")
        with np.errstate(over="ignore"):  # an overflow is named below
            array = np.array(flat, dtype.numpy)
        if not np.isfinite(array).all():
            index = int(np.argmin(np.isfinite(array)))
            raise InvalidTensor(
                f"input '{tensor}': data[{index}] is {show(flat[index])}, too large for {dtype.name}"
            )
    else:
        bounds = np.iinfo(dtype.numpy)
        low, high = int(bounds.min), int(bounds.max)
        rule = f"{dtype.name} takes whole numbers from {low} to {high}, written without point or exponent"
        _check_each(flat, tensor, {int}, rule)
        if min(flat) < low or max(flat) > high:
            _refuse_first(flat, tensor, lambda value: not low <= value <= high, rule)
        array = np.array(flat, dtype.numpy)
    return array


def has_json_form(dtype: Datatype) -> bool:
    """Whether tensors of the datatype may go as JSON."""
    return dtype is not DataType.FP16 and dtype is not WireType.BF16


def json_values(array: Array, tensor: str) -> Array | list[str]:
    """The array flat, as `orjson` writes it: contiguous and in native order, or strings.

    Raises:
        InvalidTensor: FP16, BF16, NaN, infinity, or BYTES that are no UTF-8, which JSON cannot carry.
    """
    if array.dtype.kind == "O":
        return _strings(array, tensor)
    native = array.dtype.newbyteorder("=")
    if not has_json_form(datatype := datatype_of(native)):
        raise InvalidTensor(f"output '{tensor}': {datatype.name} has no JSON form; ask for it {AS_BYTES}")
    flat: Array = np.require(array, native, ["C", "A"]).reshape(-1)
    if array.dtype.kind == "f" and not np.isfinite(flat).all():
        index = int(np.argmin(np.isfinite(flat)))
        raise InvalidTensor(
            f"output '{tensor}': element {index} is {flat[index]}, which JSON cannot carry; "
            f"ask for it {AS_BYTES}"
        )
    return flat


def binary_octets(array: Array) -> memoryview:
    """The array's bytes as the binary extension wants them; copied only where they do not lie so already."""
    if array.dtype.kind == "O":
        parts: list[bytes] = []
        for element in array.flat:
            parts += (len(element).to_bytes(_LENGTH_BYTES, "little"), element)
        return memoryview(b"".join(parts))
    little: Array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data


def array_from_octets(elements: Iterable[bytes], shape: tuple[int, ...]) -> Array:
    """BYTES of `shape`; there are as many elements as it says."""
    return _objects(list(elements), shape)


def _objects(elements: list[bytes], shape: tuple[int, ...]) -> Array:
    # Elements that are sequences are not to become axes, which np.array would make of them.
    array: Array = np.empty(len(elements), object)
    array[:] = elements
    array.flags.writeable = False
    return array.reshape(shape)


def _elements(raw: memoryview, count: int, tensor: str) -> list[bytes]:
    """The elements of BYTES in their binary form."""
    if len(raw) < count * _LENGTH_BYTES:
        raise InvalidTensor(
            f"input '{tensor}': {len(raw)} bytes of binary data are too few for {count} elements; an element of BYTES "
            "is its length in 4 bytes, little-endian, and then its octets"
        )
    elements: list[bytes] = []
    position = 0
    for index in range(count):
        start = position + _LENGTH_BYTES
        end = start + int.from_bytes(raw[position:start], "little")
        if max(start, end) > len(raw):
            raise InvalidTensor(
                f"input '{tensor}': {len(raw)} bytes of binary data end within element {index} of {count}; an element "
                "of BYTES is its length in 4 bytes, little-endian, and then its octets"
            )
        elements.append(bytes(raw[start:end]))
        position = end
    if position != len(raw):
        raise InvalidTensor(
            f"input '{tensor}': {len(raw) - position} of {len(raw)} bytes of binary data are left after the last of "
            f"{count} elements"
        )
    return elements


def _octets_of_each(strings: list[str], tensor: str) -> list[bytes]:
    try:
        return [string.encode() for string in strings]
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can spell
        raise InvalidTensor(f"input '{tensor}': {show(error.object)} has no UTF-8: {error.reason}") from None


def _strings(array: Array, tensor: str) -> list[str]:
    try:
        return [element.decode() for element in array.flat]
    except UnicodeDecodeError as error:
        raise InvalidTensor(
            f"output '{tensor}': {show(error.object)} is no UTF-8, which JSON needs; ask for it {AS_BYTES}"
        ) from None


def _flattened(data: list[Any], shape: tuple[int, ...], tensor: str) -> list[Any]:
    nested = len(shape) > 1 and bool(data) and isinstance(data[0], list)
    if not nested:
        if len(data) != prod(shape):
            raise InvalidTensor(
                f"input '{tensor}': data holds {len(data)} elements, but shape {list(shape)} takes "
                f"{prod(shape)}"
            )
        return data
    level: list[Any] = [data]
    for axis, dim in enumerate(shape):
        # Sets over map() keep the common case out of the Python loop: data may have millions of elements.
        if set(map(type, level)) != {list} or set(map(len, level)) != {dim}:
            wrong = next(item for item in level if not isinstance(item, list) or len(item) != dim)
            found = f"a list of {len(wrong)}" if isinstance(wrong, list) else show(wrong)
            raise InvalidTensor(
                f"input '{tensor}': nested data has {found} at axis {axis}, "
                f"but shape {list(shape)} takes lists of {dim} there"
            )
        level = list(chain.from_iterable(level))
    return level


def _check_each(flat: list[Any], tensor: str, types: set[type], rule: str) -> None:
    if not set(map(type, flat)) <= types:
        _refuse_first(flat, tensor, lambda value: type(value) not in types, rule)


def _refuse_first(flat: list[Any], tensor: str, wrong: Callable[[Any], bool], rule: str) -> None:
    index, value = next((index, value) for index, value in enumerate(flat) if wrong(value))
    raise InvalidTensor(f"input '{tensor}': data[{index}] is {show(value)}, but {rule}")
