"""Tensor descriptions (facts/pyacl.md §3)."""

from __future__ import annotations

from ascend_emulator.client import handles
from ascend_emulator.client.calling import (
    empty_text,
    function,
    minus_one,
    nothing,
    value_ret,
    zero,
)
from ascend_emulator.client.datasets import TensorDescription
from ascend_emulator.codes import (
    INVALID_PARAM,
    Failure,
)

__all__ = [
    "create_tensor_desc",
    "destroy_tensor_desc",
    "get_tensor_desc_dim",
    "get_tensor_desc_dim_v2",
    "get_tensor_desc_element_count",
    "get_tensor_desc_format",
    "get_tensor_desc_name",
    "get_tensor_desc_num_dims",
    "get_tensor_desc_size",
    "get_tensor_desc_type",
    "set_tensor_desc_name",
]


@function("iLi", zero)
def create_tensor_desc(dtype: int, dims: list[int], layout: int) -> int:
    """A tensor description; its handle alone, no ret."""
    return handles.add(TensorDescription(dtype, tuple(dims), layout))


@function("k", nothing)
def destroy_tensor_desc(desc: int) -> None:
    """End a tensor description."""
    handles.remove(desc, TensorDescription)


@function("k", minus_one)
def get_tensor_desc_type(desc: int) -> int:
    """Its `aclDataType`."""
    return handles.get(desc, TensorDescription).dtype


@function("k", minus_one)
def get_tensor_desc_format(desc: int) -> int:
    """Its `aclFormat`."""
    return handles.get(desc, TensorDescription).layout


@function("k", zero)
def get_tensor_desc_size(desc: int) -> int:
    """Bytes of the tensor."""
    return handles.get(desc, TensorDescription).size


@function("k", zero)
def get_tensor_desc_element_count(desc: int) -> int:
    """Elements of the tensor."""
    return handles.get(desc, TensorDescription).elements


@function("k", zero)
def get_tensor_desc_num_dims(desc: int) -> int:
    """Number of dims."""
    return len(handles.get(desc, TensorDescription).dims)


@function("kk", minus_one)
def get_tensor_desc_dim(desc: int, index: int) -> int:
    """One dim (deprecated)."""
    return _dim(desc, index)


@function("kk", value_ret)
def get_tensor_desc_dim_v2(desc: int, index: int) -> tuple[int, int]:
    """`(dim, ret)`."""
    return _dim(desc, index), 0


@function("k", empty_text)
def get_tensor_desc_name(desc: int) -> str:
    """Its name."""
    return handles.get(desc, TensorDescription).name


@function("ks", nothing)
def set_tensor_desc_name(desc: int, name: str) -> None:
    """Name it."""
    handles.get(desc, TensorDescription).name = name


def _dim(desc: int, index: int) -> int:
    dims = handles.get(desc, TensorDescription).dims
    if index >= len(dims):
        raise Failure(INVALID_PARAM, f"EH0001: index {index} is invalid, the tensor has {len(dims)} dims.")
    return dims[index]
