"""Model descriptions (facts/pyacl.md §9.2)."""

from __future__ import annotations

from typing import Any

from ascend_emulator.client import handles
from ascend_emulator.client.calling import (
    dict_ret,
    empty_text,
    function,
    minus_one,
    nothing,
    ret,
    value_ret,
    zero,
)
from ascend_emulator.client.models import content, description
from ascend_emulator.client.models.description import Description, Dims
from ascend_emulator.codes import GE_FAILURE, INVALID_PARAM, Failure

__all__ = [
    "create_and_get_op_desc",
    "create_desc",
    "destroy_desc",
    "get_cur_output_dims",
    "get_desc",
    "get_desc_from_file",
    "get_desc_from_mem",
    "get_input_data_type",
    "get_input_dims",
    "get_input_dims_range",
    "get_input_dims_v2",
    "get_input_format",
    "get_input_index_by_name",
    "get_input_name_by_index",
    "get_input_size_by_index",
    "get_num_inputs",
    "get_num_outputs",
    "get_op_attr",
    "get_output_data_type",
    "get_output_dims",
    "get_output_format",
    "get_output_index_by_name",
    "get_output_name_by_index",
    "get_output_size_by_index",
    "get_tensor_real_name",
]

_LONGEST_OPERATOR_NAME = 4096


@function("", zero)
def create_desc() -> int:
    """An empty description; its handle alone."""
    return handles.add(Description())


@function("kI", ret)
def get_desc(desc: int, model_id: int) -> int:
    """Fill a description."""
    description.fill(desc, model_id)
    return 0


@function("ks", ret)
def get_desc_from_file(desc: int, path: str) -> int:
    """Fill a description from a file, which is not loaded."""
    description.fill_from(desc, content.of_file(path))
    return 0


@function("kkk", ret)
def get_desc_from_mem(desc: int, address: int, size: int) -> int:
    """Fill a description from a model in memory, which is not loaded."""
    description.fill_from(desc, content.of_memory(address, size))
    return 0


@function("k", ret)
def destroy_desc(desc: int) -> int:
    """End a description."""
    handles.remove(desc, Description)
    return 0


@function("k", zero)
def get_num_inputs(desc: int) -> int:
    """Number of inputs, the hidden one included."""
    return len(handles.get(desc, Description).tensors(output=False))


@function("k", zero)
def get_num_outputs(desc: int) -> int:
    """Number of outputs."""
    return len(handles.get(desc, Description).tensors(output=True))


@function("kk", zero)
def get_input_size_by_index(desc: int, index: int) -> int:
    """Bytes of an input at the largest gear or the upper ends of its ranges."""
    return description.size(desc, index, output=False)


@function("kk", zero)
def get_output_size_by_index(desc: int, index: int) -> int:
    """Bytes of an output at the largest gear or the upper ends of its ranges."""
    return description.size(desc, index, output=True)


@function("kk", dict_ret)
def get_input_dims(desc: int, index: int) -> tuple[Dims, int]:
    """`(dims, ret)`; -1 where dynamic."""
    return description.dims(desc, index, output=False), 0


@function("kk", dict_ret)
def get_input_dims_v2(desc: int, index: int) -> tuple[Dims, int]:
    """`(dims, ret)` in memory: those of `get_input_dims` but for an input with static AIPP."""
    return description.dims(desc, index, output=False, in_memory=True), 0


@function("kk", lambda code: ({"rangeCount": 0, "range": []}, code))
def get_input_dims_range(desc: int, index: int) -> tuple[dict[str, Any], int]:
    """`({"rangeCount": n, "range": [[lowest, highest], ...]}, ret)`; none of a model with gears."""
    found = description.dims_range(desc, index)
    return {"rangeCount": len(found), "range": found}, 0


@function("kk", dict_ret)
def get_output_dims(desc: int, index: int) -> tuple[Dims, int]:
    """`(dims, ret)` at the largest gear."""
    return description.dims(desc, index, output=True), 0


@function("kk", dict_ret)
def get_cur_output_dims(desc: int, index: int) -> tuple[Dims, int]:
    """`(dims, ret)` at the gear set last on the model."""
    return description.current_output_dims(desc, index), 0


@function("kk", empty_text)
def get_input_name_by_index(desc: int, index: int) -> str:
    """An input's name."""
    return description.tensor(desc, index, output=False).name


@function("kk", empty_text)
def get_output_name_by_index(desc: int, index: int) -> str:
    """An output's name, `node:index:tensor`."""
    return description.tensor(desc, index, output=True).name


@function("ks", value_ret)
def get_input_index_by_name(desc: int, name: str) -> tuple[int, int]:
    """`(index, ret)`."""
    return description.index_of(desc, name, output=False), 0


@function("ks", value_ret)
def get_output_index_by_name(desc: int, name: str) -> tuple[int, int]:
    """`(index, ret)`."""
    return description.index_of(desc, name, output=True), 0


@function("kk", minus_one)
def get_input_format(desc: int, index: int) -> int:
    """An input's `aclFormat`."""
    return description.tensor(desc, index, output=False).format


@function("kk", minus_one)
def get_output_format(desc: int, index: int) -> int:
    """An output's `aclFormat`."""
    return description.tensor(desc, index, output=True).format


@function("kk", minus_one)
def get_input_data_type(desc: int, index: int) -> int:
    """An input's `aclDataType`."""
    return description.tensor(desc, index, output=False).dtype


@function("kk", minus_one)
def get_output_data_type(desc: int, index: int) -> int:
    """An output's `aclDataType`."""
    return description.tensor(desc, index, output=True).dtype


@function("ks", nothing)
def get_tensor_real_name(desc: int, name: str) -> str | None:
    """The full name behind a generated one; None for what is no name."""
    return description.real_name(desc, name)


@function("kss", nothing)
def get_op_attr(desc: int, operator: str, attribute: str) -> str | None:
    """An operator's attribute as a text; None for any but `_datadump_original_op_names`."""
    return description.op_attribute(desc, attribute)


@function("IIIk", lambda code: ("", 0, 0, 0, 0, code))
def create_and_get_op_desc(
    device: int, stream: int, task: int, name_bytes: int
) -> tuple[str, int, int, int, int, int]:
    """`(name, inputs, their number, outputs, their number, ret)` of the operator behind a task; none is known here."""
    if name_bytes > _LONGEST_OPERATOR_NAME:
        raise Failure(INVALID_PARAM, f"EH0001: {name_bytes} bytes for a name are too many.")
    text = f"E19999: no exception info of device {device}, stream {stream}, task {task}."
    raise Failure(GE_FAILURE, text)
