"""Model descriptions (facts/pyacl.md §9.2)."""

from __future__ import annotations

from ascend_emulator.client import handles, models
from ascend_emulator.client.calling import (
    dict_ret,
    empty_text,
    function,
    minus_one,
    ret,
    value_ret,
    zero,
)
from ascend_emulator.client.models import Description, Dims

__all__ = [
    "create_desc",
    "destroy_desc",
    "get_cur_output_dims",
    "get_desc",
    "get_input_data_type",
    "get_input_dims",
    "get_input_dims_v2",
    "get_input_format",
    "get_input_index_by_name",
    "get_input_name_by_index",
    "get_input_size_by_index",
    "get_num_inputs",
    "get_num_outputs",
    "get_output_data_type",
    "get_output_dims",
    "get_output_format",
    "get_output_index_by_name",
    "get_output_name_by_index",
    "get_output_size_by_index",
    "get_tensor_real_name",
]


@function("", zero)
def create_desc() -> int:
    """An empty description; its handle alone."""
    return handles.add(Description())


@function("kI", ret)
def get_desc(desc: int, model_id: int) -> int:
    """Fill a description."""
    models.describe(desc, model_id)
    return 0


@function("k", ret)
def destroy_desc(desc: int) -> int:
    """End a description."""
    handles.remove(desc, Description)
    return 0


@function("k", zero)
def get_num_inputs(desc: int) -> int:
    """Number of inputs, the hidden one included."""
    return len(models.described(desc).inputs)


@function("k", zero)
def get_num_outputs(desc: int) -> int:
    """Number of outputs."""
    return len(models.described(desc).outputs)


@function("kk", zero)
def get_input_size_by_index(desc: int, index: int) -> int:
    """Bytes of an input at the largest gear."""
    return models.tensor(desc, index, output=False).size


@function("kk", zero)
def get_output_size_by_index(desc: int, index: int) -> int:
    """Bytes of an output at the largest gear."""
    return models.tensor(desc, index, output=True).size


@function("kk", dict_ret)
def get_input_dims(desc: int, index: int) -> tuple[Dims, int]:
    """`(dims, ret)`; -1 where dynamic."""
    return models.dims(desc, index, output=False), 0


@function("kk", dict_ret)
def get_input_dims_v2(desc: int, index: int) -> tuple[Dims, int]:
    """`(dims, ret)`; as `get_input_dims`, since no model here has static AIPP."""
    return models.dims(desc, index, output=False), 0


@function("kk", dict_ret)
def get_output_dims(desc: int, index: int) -> tuple[Dims, int]:
    """`(dims, ret)` at the largest gear."""
    return models.dims(desc, index, output=True), 0


@function("kk", dict_ret)
def get_cur_output_dims(desc: int, index: int) -> tuple[Dims, int]:
    """`(dims, ret)` at the gear set last on the model."""
    return models.current_output_dims(desc, index), 0


@function("kk", empty_text)
def get_input_name_by_index(desc: int, index: int) -> str:
    """An input's name."""
    return models.shown_name(desc, index, output=False)


@function("kk", empty_text)
def get_output_name_by_index(desc: int, index: int) -> str:
    """An output's name, `node:index:tensor`."""
    return models.shown_name(desc, index, output=True)


@function("ks", value_ret)
def get_input_index_by_name(desc: int, name: str) -> tuple[int, int]:
    """`(index, ret)`."""
    return models.index_of(desc, name, output=False), 0


@function("ks", value_ret)
def get_output_index_by_name(desc: int, name: str) -> tuple[int, int]:
    """`(index, ret)`."""
    return models.index_of(desc, name, output=True), 0


@function("kk", minus_one)
def get_input_format(desc: int, index: int) -> int:
    """An input's `aclFormat`."""
    return models.tensor(desc, index, output=False).format


@function("kk", minus_one)
def get_output_format(desc: int, index: int) -> int:
    """An output's `aclFormat`."""
    return models.tensor(desc, index, output=True).format


@function("kk", minus_one)
def get_input_data_type(desc: int, index: int) -> int:
    """An input's `aclDataType`."""
    return models.tensor(desc, index, output=False).dtype


@function("kk", minus_one)
def get_output_data_type(desc: int, index: int) -> int:
    """An output's `aclDataType`."""
    return models.tensor(desc, index, output=True).dtype


@function("ks", empty_text)
def get_tensor_real_name(desc: int, name: str) -> str:
    """The full name behind a generated one."""
    return models.real_name(desc, name)
