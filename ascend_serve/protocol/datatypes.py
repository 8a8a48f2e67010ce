"""Tensor data between its two wire forms and numpy.

Rests on the Open Inference Protocol v2 ("Tensor Data", "Tensor Data Types") and on its binary tensor data
extension:

- *Binary*: little-endian, row-major, without padding; a BOOL is one byte, 0 or 1.
- *JSON*: a list, either flat in row-major order or nested as the shape says. BOOL takes `true` and `false`,
  integer types take whole numbers in their range, FP32 and FP64 take any finite number in theirs. Nothing is
  rounded or wrapped in silence, except that a decimal becomes the nearest number of its type.
- FP16 has no JSON form in the protocol (Triton refuses it too), so it goes as bytes only, both ways.
- JSON has no NaN and no infinity, so an output that holds one goes as bytes only. They are not written as
  `null`, by which a client could not tell them apart.
- BYTES and BF16 are not served: the accelerator's tensors hold numbers, and numpy has no BF16.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from ascend_serve.errors import InvalidTensor
from ascend_serve.protocol.messages import Array
from ascend_serve.protocol.show import show
from ascend_serve.spec.tensors import DataType
from ascend_serve.spec.text import nearest

_NOT_SERVED = {
    "BYTES": "tensors here hold numbers; decode text or images on the client side",
    "BF16": "send FP32 or FP16, as the model's metadata says",
}
_FLOATS = (DataType.FP32, DataType.FP64)
_LITTLE = {dtype: dtype.numpy.newbyteorder("<") for dtype in DataType}
AS_BYTES = (
    'as binary tensor data (parameters "binary_data_size" on an input, "binary_data": true on an output)'
)


def datatype_named(name: object, tensor: str) -> DataType:
    """The datatype of a protocol name, such as `FP32`.

    Args:
        name: what the caller wrote under `datatype`.
        tensor: the tensor's name, for the message.

    Raises:
        InvalidTensor: no string, no name of the protocol, or one that is not served (BYTES, BF16).
    """
    if not isinstance(name, str):
        raise InvalidTensor(
            f"input '{tensor}': datatype is {show(name)}, but must be a string such as 'FP32'"
        )
    if name in DataType.__members__:
        return DataType[name]
    if name in _NOT_SERVED:
        raise InvalidTensor(f"input '{tensor}': datatype {name} is not served: {_NOT_SERVED[name]}")
    raise InvalidTensor(
        f"input '{tensor}': unknown datatype {show(name)}{nearest(name[:20], DataType.__members__)}"
    )


def array_from_binary(raw: memoryview, dtype: DataType, shape: tuple[int, ...], tensor: str) -> Array:
    """A view on `raw` as an array of `shape`; nothing is copied, and any alignment will do.

    Args:
        raw: exactly the tensor's bytes, little-endian and row-major.
        dtype: element type.
        shape: dimensions, each at least 1.
        tensor: the tensor's name, for the message.

    Raises:
        InvalidTensor: the number of bytes is not that of the shape, or a BOOL byte is neither 0 nor 1.
    """
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


def array_from_json(data: object, dtype: DataType, shape: tuple[int, ...], tensor: str) -> Array:
    """An array of `shape` from parsed JSON, flat or nested.

    Args:
        data: what the caller wrote under `data`.
        dtype: element type.
        shape: dimensions, each at least 1.
        tensor: the tensor's name, for the message.

    Raises:
        InvalidTensor: FP16; no list; nested otherwise than the shape; too few or too many elements; an
            element that is not of the type or not in its range.
    """
    if dtype is DataType.FP16:
        raise InvalidTensor(f"input '{tensor}': FP16 has no JSON form; send it {AS_BYTES}")
    if not isinstance(data, list):
        raise InvalidTensor(
            f"input '{tensor}': data is {show(data)}, but must be a list, flat or nested as {list(shape)}"
        )
    flat = _flattened(data, shape, tensor)
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
    return array.reshape(shape)


def json_values(array: Array, tensor: str) -> Array:
    """The array flat, contiguous and in native order, checked to be writable as JSON numbers or booleans.

    Raises:
        InvalidTensor: FP16, NaN or infinity, which JSON cannot carry.
    """
    if array.dtype == np.float16:
        raise InvalidTensor(f"output '{tensor}': FP16 has no JSON form; ask for it {AS_BYTES}")
    flat: Array = np.require(array, array.dtype.newbyteorder("="), ["C", "A"]).reshape(-1)
    if array.dtype.kind == "f" and not np.isfinite(flat).all():
        index = int(np.argmin(np.isfinite(flat)))
        raise InvalidTensor(
            f"output '{tensor}': element {index} is {flat[index]}, which JSON cannot carry; "
            f"ask for it {AS_BYTES}"
        )
    return flat


def binary_octets(array: Array) -> memoryview:
    """The array's bytes as the binary extension wants them; copied only where they do not lie so already."""
    little: Array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data


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
