"""Tensor descriptions (facts/pyacl.md §3).

A description has a shape and a format as the model sees them, the *origin* ones, and as they lie in memory, the
*storage* ones. `set_tensor_shape` and `set_tensor_format` set the storage ones; the getters read the origin ones.
"""

from __future__ import annotations

from operator import index as as_int
from typing import Any

from ascend_emulator.client import handles
from ascend_emulator.client.calling import (
    empty_text,
    function,
    minus_one,
    nothing,
    ret,
    value_ret,
    zero,
)
from ascend_emulator.client.datasets import TensorDescription
from ascend_emulator.codes import INVALID_PARAM, Failure

from acl import _absent

_ABSENT = _absent.functions(__name__, "trans_tensor_desc_format ki vr")
globals().update(_ABSENT)

__all__ = [
    "create_tensor_desc",
    "destroy_tensor_desc",
    "get_tensor_desc_address",
    "get_tensor_desc_by_index",
    "get_tensor_desc_dim",
    "get_tensor_desc_dim_range",
    "get_tensor_desc_dim_v2",
    "get_tensor_desc_element_count",
    "get_tensor_desc_format",
    "get_tensor_desc_name",
    "get_tensor_desc_num_dims",
    "get_tensor_desc_size",
    "get_tensor_desc_type",
    "set_tensor_const",
    "set_tensor_desc_name",
    "set_tensor_dynamic_input",
    "set_tensor_format",
    "set_tensor_origin_format",
    "set_tensor_origin_shape",
    "set_tensor_place_ment",
    "set_tensor_shape",
    "set_tensor_shape_range",
    "set_tensor_storage_format",
    "set_tensor_storage_shape",
    "set_tensor_value_range",
    *_ABSENT,
]

_UNKNOWN_RANK = -2
_UNKNOWN_RANK_COUNT = 0xFFFF_FFFF_FFFF_FFFE
_RANGE_LIMIT = 4096


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
    """Number of dims; 2^64-2 when not even that is known."""
    dims = handles.get(desc, TensorDescription).dims
    return _UNKNOWN_RANK_COUNT if dims[:1] == (_UNKNOWN_RANK,) else len(dims)


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


def _range_ret(code: int) -> tuple[None, int]:
    return None, code


@function("kkk", _range_ret)
def get_tensor_desc_dim_range(desc: int, index: int, count: int) -> tuple[list[int], int]:
    """`(list, ret)`: smallest and largest value of a dim, then zeros up to `count` numbers."""
    ranges = handles.get(desc, TensorDescription).ranges
    if index >= len(ranges):
        text = f"EH0001: index {index} is invalid, the tensor has ranges for {len(ranges)} dims."
        raise Failure(INVALID_PARAM, text)
    if not len(ranges[index]) <= count <= _RANGE_LIMIT:
        raise Failure(
            INVALID_PARAM, f"EH0001: count {count} is invalid, the valid range is [2, {_RANGE_LIMIT}]."
        )
    return [*ranges[index], *[0] * (count - len(ranges[index]))], 0


@function("k", zero)
def get_tensor_desc_address(desc: int) -> int:
    """The tensor's address alone; 0, as nothing that can be called here sets one."""
    handles.get(desc, TensorDescription)
    return 0


@function("kk", zero)
def get_tensor_desc_by_index(desc: int, index: int) -> int:
    """One of an array of descriptions; every description made here is an array of one."""
    handles.get(desc, TensorDescription)
    return 0 if index else desc


@function("kL", ret)
def set_tensor_shape(desc: int, dims: list[int]) -> int:
    """Set the storage shape, as `set_tensor_storage_shape` does."""
    handles.get(desc, TensorDescription).storage_dims = tuple(dims)
    return 0


@function("kL", ret)
def set_tensor_storage_shape(desc: int, dims: list[int]) -> int:
    """Set the storage shape."""
    handles.get(desc, TensorDescription).storage_dims = tuple(dims)
    return 0


@function("kL", ret)
def set_tensor_origin_shape(desc: int, dims: list[int]) -> int:
    """Set the shape that the getters read."""
    handles.get(desc, TensorDescription).dims = tuple(dims)
    return 0


@function("ki", ret)
def set_tensor_format(desc: int, layout: int) -> int:
    """Set the storage format, as `set_tensor_storage_format` does."""
    return _set_storage_layout(desc, layout)


@function("ki", ret)
def set_tensor_storage_format(desc: int, layout: int) -> int:
    """Set the storage format; 0 for a null description too."""
    return _set_storage_layout(desc, layout)


@function("ki", ret)
def set_tensor_origin_format(desc: int, layout: int) -> int:
    """Set the format that the getter reads; 0 for a null description too."""
    if desc:
        handles.get(desc, TensorDescription).layout = layout
    return 0


@function("kO", ret)
def set_tensor_shape_range(desc: int, ranges: object) -> int:
    """Set [smallest, largest] of each dim."""
    pairs = _pairs(ranges, "set_tensor_shape_range")
    handles.get(desc, TensorDescription).ranges = pairs
    return 0


@function("kO", ret)
def set_tensor_value_range(desc: int, ranges: object) -> int:
    """Set [smallest, largest] of each element."""
    pairs = _pairs(ranges, "set_tensor_value_range")
    handles.get(desc, TensorDescription).value_ranges = pairs
    return 0


@function("kkk", ret)
def set_tensor_const(desc: int, address: int, size: int) -> int:
    """Say that the tensor is a constant of `size` bytes; only single operators would read it."""
    description = handles.get(desc, TensorDescription)
    if not address or not size:
        raise Failure(INVALID_PARAM, "EH0002: a constant needs an address and a size.")
    description.constant_bytes = size
    return 0


@function("ks", ret)
def set_tensor_dynamic_input(desc: int, name: str) -> int:
    """Say which dynamic input of a single operator the tensor belongs to."""
    handles.get(desc, TensorDescription).dynamic_input = name
    return 0


@function("ki", ret)
def set_tensor_place_ment(desc: int, memory_type: int) -> int:
    """Say where the tensor lies: 0 device, 1 host, 2 host and its value is not compiled in (facts/pyacl.md §15.6)."""
    handles.get(desc, TensorDescription).placement = memory_type
    return 0


def _set_storage_layout(desc: int, layout: int) -> int:
    if desc:
        handles.get(desc, TensorDescription).storage_layout = layout
    return 0


def _pairs(ranges: object, name: str) -> tuple[tuple[int, int], ...]:
    pairs: list[Any] = ranges if isinstance(ranges, list) else [None]
    if not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise TypeError(f"acl.{name} args parse failed")
    try:
        return tuple((as_int(low), as_int(high)) for low, high in pairs)
    except TypeError:
        raise TypeError(f"acl.{name} args parse failed") from None


def _dim(desc: int, index: int) -> int:
    dims = handles.get(desc, TensorDescription).dims
    if index >= len(dims):
        raise Failure(INVALID_PARAM, f"EH0001: index {index} is invalid, the tensor has {len(dims)} dims.")
    return dims[index]
