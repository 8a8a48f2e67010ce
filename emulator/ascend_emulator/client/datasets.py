"""Data buffers, datasets and tensor descriptions (facts/pyacl.md §3, §10): addresses and sizes, no memory."""

from __future__ import annotations

import ctypes
from math import prod

from ascend_emulator.client import handles
from ascend_emulator.codes import INVALID_PARAM, Failure

_TYPES_BY_SIZE = {
    0: (-1, 13),
    1: (2, 4, 12, 29, 30, 34, 35, 36, 37),
    2: (1, 6, 7, 27),
    4: (0, 3, 8, 33),
    8: (9, 10, 11, 16),
    16: (17,),
}
"""Bytes of an element -> the `aclDataType`s of that size (facts/pyacl.md §15.1)."""

_TYPE_SIZES = {dtype: size for size, dtypes in _TYPES_BY_SIZE.items() for dtype in dtypes}
_OTHER_TYPE_SIZE = 8


class DataBuffer:
    """An address and a size."""

    __slots__ = ("address", "size")

    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self.size = size

    def write_number(self, value: int) -> None:
        """Store an integer at the address, as int64 where that fits and as int32 else."""
        number = ctypes.c_int64 if self.size >= ctypes.sizeof(ctypes.c_int64) else ctypes.c_int32
        number.from_address(self.address).value = value


class TensorDescription:
    """Type, shape and layout of a tensor."""

    def __init__(self, dtype: int, dims: tuple[int, ...], layout: int) -> None:
        self.dtype = dtype
        self.dims = dims
        self.layout = layout
        self.name = ""

    def copy(self) -> TensorDescription:
        """Another one that says the same."""
        twin = TensorDescription(self.dtype, self.dims, self.layout)
        twin.name = self.name
        return twin

    @property
    def elements(self) -> int:
        """Number of elements; 0 while a dim is unknown."""
        return prod(self.dims) if all(dim >= 0 for dim in self.dims) else 0

    @property
    def size(self) -> int:
        """Bytes of the elements."""
        return self.elements * type_size(self.dtype)


class Dataset:
    """Handles of data buffers in order, and a tensor description for some of them."""

    def __init__(self) -> None:
        self.buffers: list[int] = []
        self.descriptions: dict[int, int] = {}


def type_size(dtype: int) -> int:
    """Bytes of one element of an `aclDataType`; 8 for a number that stands for none, as the original's default."""
    return _TYPE_SIZES.get(dtype, _OTHER_TYPE_SIZE)


def add_buffer(dataset: int, buffer: int) -> None:
    """Append a data buffer.

    Raises:
        Failure: 100000, no dataset or no buffer.
    """
    handles.get(buffer, DataBuffer)
    handles.get(dataset, Dataset).buffers.append(buffer)


def destroy(dataset: int) -> None:
    """End a dataset and the descriptions in it, but neither buffers nor memory.

    Raises:
        Failure: 100000, no dataset.
    """
    for description in handles.remove(dataset, Dataset).descriptions.values():
        handles.remove(description, TensorDescription)


def set_description(dataset: int, description: int, index: int) -> None:
    """Keep a copy of a tensor description for one buffer; description 0 drops it.

    Raises:
        Failure: 100000, no dataset, no such buffer, no description.
    """
    holder = handles.get(dataset, Dataset)
    if not 0 <= index < len(holder.buffers):
        raise Failure(INVALID_PARAM, f"EH0001: the dataset has no buffer {index}.")
    copy = handles.add(handles.get(description, TensorDescription).copy()) if description else 0
    former = holder.descriptions.pop(index, 0)
    if former:
        handles.remove(former, TensorDescription)
    if copy:
        holder.descriptions[index] = copy


def buffers_of(dataset: int) -> list[DataBuffer]:
    """The data buffers of a dataset.

    Raises:
        Failure: 100000, no dataset, or one of its buffers was destroyed.
    """
    return [handles.get(buffer, DataBuffer) for buffer in handles.get(dataset, Dataset).buffers]


def hidden_buffer(dataset: int, index: int) -> DataBuffer:
    """The buffer that a gear is written into.

    Raises:
        Failure: 100000, no dataset, no such buffer, or it has no memory.
    """
    buffers = handles.get(dataset, Dataset).buffers
    if not 0 <= index < len(buffers):
        raise Failure(INVALID_PARAM, f"EH0001: the dataset has no buffer {index}.")
    buffer = handles.get(buffers[index], DataBuffer)
    if not buffer.address:
        raise Failure(INVALID_PARAM, f"EH0002: buffer {index} has no memory.")
    return buffer
