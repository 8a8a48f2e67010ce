"""Loading and unloading models (facts/pyacl.md §9.1)."""

from __future__ import annotations

import ctypes

from ascend_emulator.client import models
from ascend_emulator.client.calling import (
    function,
    ret,
    two_values_ret,
    value_ret,
)
from ascend_emulator.codes import INVALID_PARAM, Failure

__all__ = [
    "load_from_file",
    "load_from_mem",
    "query_size",
    "unload",
]


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
