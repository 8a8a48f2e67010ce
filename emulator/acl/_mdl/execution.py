"""Running models (facts/pyacl.md §11)."""

from __future__ import annotations

from ascend_emulator.client import models
from ascend_emulator.client.calling import (
    function,
    ret,
)

__all__ = [
    "execute",
    "execute_async",
]


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
