"""Data buffers, datasets and tensor descriptions (facts/pyacl.md §3, §10): addresses and sizes, no memory."""

from __future__ import annotations

from copy import copy
from itertools import count
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


class Changes:
    """Which change of any data buffer or dataset was the last: what was worked out before it is out of date.

    Attributes:
        last: its number; another one after each change, whatever threads make them.
    """

    __slots__ = ("_numbers", "last")

    def __init__(self) -> None:
        self._numbers = count(1)
        self.last = 0

    def note(self) -> None:
        """Something has changed."""
        self.last = next(self._numbers)


changes = Changes()


class DataBuffer:
    """An address and a size; read them, and change them with `update` only."""

    __slots__ = ("address", "size")

    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self.size = size

    def update(self, address: int, size: int) -> None:
        """Let it name other memory."""
        self.address = address
        self.size = size
        changes.note()


class TensorDescription:
    """Type, shape and layout of a tensor.

    Attributes:
        dtype: `aclDataType`.
        dims: its shape as the model sees it; -1 where a dim is unknown.
        layout: `aclFormat` as the model sees it.
        name: of the tensor.
        storage_dims: its shape as it lies in memory.
        storage_layout: `aclFormat` as it lies in memory; -1 while nobody said so.
        ranges: smallest and largest value of each dim.
        value_ranges: smallest and largest value of each element.
        constant_bytes: size of its constant value; 0 when it is none.
        dynamic_input: the dynamic input of a single operator that it belongs to.
        placement: `aclMemType` of the memory it lies in.
    """

    def __init__(self, dtype: int, dims: tuple[int, ...], layout: int) -> None:
        self.dtype = dtype
        self.dims = dims
        self.layout = layout
        self.name = ""
        self.storage_dims = dims
        self.storage_layout = -1
        self.ranges: tuple[tuple[int, int], ...] = ()
        self.value_ranges: tuple[tuple[int, int], ...] = ()
        self.constant_bytes = 0
        self.dynamic_input = ""
        self.placement = 0

    def copy(self) -> TensorDescription:
        """Another one that says the same."""
        return copy(self)

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
    changes.note()


def destroy_buffer(buffer: int) -> None:
    """End a data buffer, never the memory it names.

    Raises:
        Failure: 100000, no data buffer.
    """
    handles.remove(buffer, DataBuffer)
    changes.note()


def destroy(dataset: int) -> None:
    """End a dataset and the descriptions in it, but neither buffers nor memory.

    Raises:
        Failure: 100000, no dataset.
    """
    gone = handles.remove(dataset, Dataset)
    changes.note()
    for description in gone.descriptions.values():
        # A program that ended it itself has left a dangling pointer on hardware.
        if isinstance(handles.find(description), TensorDescription):
            handles.remove(description, TensorDescription)


def set_description(dataset: int, description: int, index: int) -> None:
    """Keep a copy of a tensor description for one buffer; description 0 drops it.

    Raises:
        Failure: 100000, no dataset, no such buffer, no description.
    """
    holder = handles.get(dataset, Dataset)
    if not 0 <= index < len(holder.buffers):
        raise Failure(INVALID_PARAM, f"EH0001: the dataset has no buffer {index}.")
    twin = handles.get(description, TensorDescription).copy() if description else None
    _keep(holder, index, twin)


def describe(dataset: int, index: int, dtype: int, dims: tuple[int, ...], layout: int) -> None:
    """Let a dataset describe one of its buffers, as an execution of truly dynamic shape does with its outputs.

    Raises:
        Failure: 100000, no dataset.
    """
    _keep(handles.get(dataset, Dataset), index, TensorDescription(dtype, dims, layout))


def description_of(dataset: int, index: int) -> TensorDescription | None:
    """The tensor description kept for a buffer.

    Raises:
        Failure: 100000, no dataset.
    """
    handle = handles.get(dataset, Dataset).descriptions.get(index, 0)
    found = handles.find(handle)
    return found if isinstance(found, TensorDescription) else None


def _keep(holder: Dataset, index: int, description: TensorDescription | None) -> None:
    former = holder.descriptions.pop(index, 0)
    if isinstance(handles.find(former), TensorDescription):
        handles.remove(former, TensorDescription)
    if description is not None:
        holder.descriptions[index] = handles.add(description)


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
