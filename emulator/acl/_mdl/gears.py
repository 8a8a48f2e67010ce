"""Dynamic batch, image size and dims (facts/pyacl.md §12)."""

from __future__ import annotations

from typing import Any

from ascend_emulator.client import handles
from ascend_emulator.client.calling import dict_ret, function, ret, value_ret
from ascend_emulator.client.models import description, gears
from ascend_emulator.client.models.description import Description, Dims
from ascend_emulator.codes import INVALID_PARAM, Failure
from ascend_emulator.gears import GearKind

__all__ = [
    "get_dynamic_batch",
    "get_dynamic_hw",
    "get_input_dynamic_dims",
    "get_input_dynamic_gear_count",
    "set_dynamic_batch_size",
    "set_dynamic_hw_size",
    "set_input_dynamic_dims",
]

_MOST_GEARS_ASKED = 4096
_ANY_INDEX = 0xFFFF_FFFF_FFFF_FFFF


@function("k", dict_ret)
def get_dynamic_batch(desc: int) -> tuple[dict[str, Any], int]:
    """`({"batchCount": n, "batch": [...]}, ret)`; none of a model without batch gears."""
    values = handles.get(desc, Description).gears_of(GearKind.BATCH)
    return {"batchCount": len(values), "batch": [value[0] for value in values]}, 0


@function("kk", dict_ret)
def get_dynamic_hw(desc: int, index: int) -> tuple[dict[str, Any], int]:
    """`({"hwCount": n, "hw": [[h, w], ...]}, ret)`; none of a model without image gears. The index says nothing."""
    values = handles.get(desc, Description).gears_of(GearKind.IMAGE_SIZE)
    return {"hwCount": len(values), "hw": [list(value) for value in values]}, 0


@function("kk", value_ret)
def get_input_dynamic_gear_count(desc: int, index: int) -> tuple[int, int]:
    """`(count, ret)` of gears of arbitrary dims; the index must be -1."""
    holder = handles.get(desc, Description)
    _check_index(index)
    return len(holder.gears_of(GearKind.DIMS)), 0


@function("kkk", lambda code: ([], code))
def get_input_dynamic_dims(desc: int, index: int, gear_count: int) -> tuple[list[Dims] | None, int]:
    """`(list of dims, ret)`: of each gear all inputs' shapes one after another, then empty ones up to the count."""
    if gear_count > _MOST_GEARS_ASKED:
        return None, INVALID_PARAM
    handles.get(desc, Description)
    _check_index(index)
    found = description.gear_dims(desc)
    if gear_count < len(found):
        text = f"EH0001: gear count {gear_count} is smaller than the model's {len(found)} gears."
        raise Failure(INVALID_PARAM, text)
    found += [{"name": "", "dimCount": 0, "dims": []} for _ in range(gear_count - len(found))]
    return found, 0


@function("Ikkk", ret)
def set_dynamic_batch_size(model_id: int, dataset: int, index: int, batch: int) -> int:
    """Choose the batch size of the next executions with this dataset."""
    gears.set_gear(model_id, dataset, index, GearKind.BATCH, (batch,))
    return 0


@function("Ikkkk", ret)
def set_dynamic_hw_size(model_id: int, dataset: int, index: int, height: int, width: int) -> int:
    """Choose the image size of the next executions with this dataset."""
    gears.set_gear(model_id, dataset, index, GearKind.IMAGE_SIZE, (height, width))
    return 0


@function("IkkD", ret)
def set_input_dynamic_dims(model_id: int, dataset: int, index: int, dims: dict[str, Any]) -> int:
    """Choose all inputs' shapes for the next executions, by a dict as `get_input_dynamic_dims` has it."""
    count, numbers = dims.get("dimCount"), dims.get("dims")
    if not isinstance(count, int) or not isinstance(numbers, list):
        raise TypeError("The dims of parameter 4 is not a list.")
    chosen = numbers[:count] if count >= 0 else []
    if len(chosen) != count or not all(isinstance(number, int) for number in chosen):
        raise TypeError("the dims of fourth parameter is not list of int")
    gears.set_dims(model_id, dataset, index, chosen)
    return 0


def _check_index(index: int) -> None:
    if index != _ANY_INDEX:
        raise Failure(INVALID_PARAM, f"EH0001: index {index} is invalid, it must be -1.")
