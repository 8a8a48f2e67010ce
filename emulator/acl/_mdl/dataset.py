"""Datasets (facts/pyacl.md §10)."""

from __future__ import annotations

from ascend_emulator.client import datasets, handles
from ascend_emulator.client.calling import (
    function,
    ret,
    value_ret,
    zero,
)
from ascend_emulator.client.datasets import Dataset

__all__ = [
    "add_dataset_buffer",
    "create_dataset",
    "destroy_dataset",
    "get_dataset_buffer",
    "get_dataset_num_buffers",
    "get_dataset_tensor_desc",
    "set_dataset_tensor_desc",
]


@function("", zero)
def create_dataset() -> int:
    """An empty dataset; its handle alone."""
    return handles.add(Dataset())


@function("kk", value_ret)
def add_dataset_buffer(dataset: int, buffer: int) -> tuple[int, int]:
    """`(the same dataset, ret)`."""
    datasets.add_buffer(dataset, buffer)
    return dataset, 0


@function("k", zero)
def get_dataset_num_buffers(dataset: int) -> int:
    """Number of buffers."""
    return len(handles.get(dataset, Dataset).buffers)


@function("kk", zero)
def get_dataset_buffer(dataset: int, index: int) -> int:
    """A buffer's handle; 0 for a bad index."""
    buffers = handles.get(dataset, Dataset).buffers
    return buffers[index] if index < len(buffers) else 0


@function("k", ret)
def destroy_dataset(dataset: int) -> int:
    """End a dataset, neither its buffers nor their memory."""
    datasets.destroy(dataset)
    return 0


@function("kkk", value_ret)
def set_dataset_tensor_desc(dataset: int, desc: int, index: int) -> tuple[int, int]:
    """`(the same dataset, ret)`; keeps a copy of the tensor description."""
    datasets.set_description(dataset, desc, index)
    return dataset, 0


@function("kk", zero)
def get_dataset_tensor_desc(dataset: int, index: int) -> int:
    """The tensor description kept for a buffer, 0 if none; it stays the dataset's."""
    return handles.get(dataset, Dataset).descriptions.get(index, 0)
