"""Dynamic batch, image size and dims (facts/pyacl.md §12)."""

from __future__ import annotations

from typing import Any

from ascend_emulator.client import datasets, models
from ascend_emulator.client.calling import (
    dict_ret,
    function,
    ret,
    value_ret,
)
from ascend_emulator.client.models import Dims
from ascend_emulator.codes import GE_DYNAMIC_BATCH_INVALID, INVALID_PARAM, Failure

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


def _no_such_gears(model_id: int, dataset: int, index: int, wanted: int) -> int:
    models.check_model(model_id)
    if not wanted:
        raise Failure(INVALID_PARAM, "EH0001: a gear of 0 is invalid.")
    datasets.hidden_buffer(dataset, index)
    raise Failure(GE_DYNAMIC_BATCH_INVALID, f"E19999: model {model_id} has no gears of this kind.")
