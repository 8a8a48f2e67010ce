"""`acl.mdl`: models, their descriptions, datasets and execution (facts/pyacl.md §9-§12)."""

from __future__ import annotations

import ctypes
from typing import Any

from ascend_emulator.client import datasets, handles, models
from ascend_emulator.client.calling import (
    dict_ret,
    empty_text,
    function,
    minus_one,
    ret,
    two_values_ret,
    value_ret,
    zero,
)
from ascend_emulator.client.datasets import Dataset
from ascend_emulator.client.models import Description, Dims
from ascend_emulator.codes import GE_DYNAMIC_BATCH_INVALID, INVALID_PARAM, Failure

__all__ = [
    "add_dataset_buffer",
    "create_dataset",
    "create_desc",
    "destroy_dataset",
    "destroy_desc",
    "execute",
    "execute_async",
    "get_cur_output_dims",
    "get_dataset_buffer",
    "get_dataset_num_buffers",
    "get_dataset_tensor_desc",
    "get_desc",
    "get_dynamic_batch",
    "get_dynamic_hw",
    "get_input_data_type",
    "get_input_dims",
    "get_input_dims_v2",
    "get_input_dynamic_dims",
    "get_input_dynamic_gear_count",
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
    "load_from_file",
    "load_from_mem",
    "query_size",
    "set_dataset_tensor_desc",
    "set_dynamic_batch_size",
    "set_dynamic_hw_size",
    "set_input_dynamic_dims",
    "unload",
]

_MOST_GEARS_ASKED = 4096

# --- loading ---------------------------------------------------------------------------------------


@function("s", value_ret)
def load_from_file(path: str) -> tuple[int, int]:
    """`(model_id, ret)`."""
    return models.load_file(path), 0


@function("kk", value_ret)
def load_from_mem(address: int, size: int) -> tuple[int, int]:
    """`(model_id, ret)`; the memory may go right after the call."""
    if not address or not size:
        raise Failure(INVALID_PARAM, "EH0002: the model's memory must not be null or empty.")
    return models.load_bytes(ctypes.string_at(address, size)), 0


@function("I", ret)
def unload(model_id: int) -> int:
    """Unload a model."""
    models.unload(model_id)
    return 0


@function("s", two_values_ret)
def query_size(path: str) -> tuple[int, int, int]:
    """`(work bytes, weight bytes, ret)` that a model will take."""
    om = models.read_file(path)
    return om.memory_size, om.weight_size, 0


# --- descriptions ----------------------------------------------------------------------------------


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


# --- gears -----------------------------------------------------------------------------------------


@function("k", dict_ret)
def get_dynamic_batch(desc: int) -> tuple[dict[str, Any], int]:
    """`({"batchCount": n, "batch": [...]}, ret)`."""
    gears = models.described(desc).batch_gears
    return {"batchCount": len(gears), "batch": list(gears)}, 0


@function("ki", dict_ret)
def get_dynamic_hw(desc: int, index: int) -> tuple[dict[str, Any], int]:
    """`({"hwCount": n, "hw": [...]}, ret)`; no model here has resolution gears."""
    models.described(desc)
    return {"hwCount": 0, "hw": []}, 0


@function("ki", value_ret)
def get_input_dynamic_gear_count(desc: int, index: int) -> tuple[int, int]:
    """`(count, ret)`; no model here has gears of arbitrary dims."""
    models.described(desc)
    if index != -1:
        raise Failure(INVALID_PARAM, f"EH0001: index {index} is invalid, it must be -1.")
    return 0, 0


@function("kik", lambda code: (None, code))
def get_input_dynamic_dims(desc: int, index: int, gear_count: int) -> tuple[list[Dims], int]:
    """`(list of dims, ret)`; no model here has gears of arbitrary dims."""
    models.described(desc)
    if gear_count > _MOST_GEARS_ASKED:
        raise Failure(
            INVALID_PARAM, f"EH0001: gear count {gear_count} is invalid, the most is {_MOST_GEARS_ASKED}."
        )
    return [], 0


@function("Ikkk", ret)
def set_dynamic_batch_size(model_id: int, dataset: int, index: int, batch: int) -> int:
    """Choose the gear of the next executions with this dataset."""
    models.set_gear(model_id, dataset, index, batch)
    return 0


@function("Ikkkk", ret)
def set_dynamic_hw_size(model_id: int, dataset: int, index: int, height: int, width: int) -> int:
    """Choose a resolution gear, which no model here has."""
    return _no_such_gears(model_id, dataset, index, height and width)


@function("IkkD", ret)
def set_input_dynamic_dims(model_id: int, dataset: int, index: int, dims: dict[str, Any]) -> int:
    """Choose a gear of arbitrary dims, which no model here has."""
    return _no_such_gears(model_id, dataset, index, dims.get("dimCount", 0))


# --- datasets --------------------------------------------------------------------------------------


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


# --- execution -------------------------------------------------------------------------------------


@function("Ikk", ret)
def execute(model_id: int, inputs: int, outputs: int) -> int:
    """Run a model; keeps the GIL until the outputs are complete."""
    models.execute(model_id, inputs, outputs)
    return 0


@function("Ikkk", ret)
def execute_async(model_id: int, inputs: int, outputs: int, stream: int) -> int:
    """Queue one run on a stream."""
    models.execute_async(model_id, inputs, outputs, stream)
    return 0


def _no_such_gears(model_id: int, dataset: int, index: int, wanted: int) -> int:
    models.check_model(model_id)
    if not wanted:
        raise Failure(INVALID_PARAM, "EH0001: a gear of 0 is invalid.")
    datasets.hidden_buffer(dataset, index)
    raise Failure(GE_DYNAMIC_BATCH_INVALID, f"E19999: model {model_id} has no gears of this kind.")
