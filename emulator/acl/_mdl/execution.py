"""Running models (facts/pyacl.md §11)."""

from __future__ import annotations

from ascend_emulator.client.calling import function, ret
from ascend_emulator.client.models import execution

__all__ = [
    "execute",
    "execute_async",
    "execute_v2",
]


@function("Ikk", ret)
def execute(model_id: int, inputs: int, outputs: int) -> int:
    """Run a model; keeps the GIL until the outputs are complete."""
    execution.execute(model_id, inputs, outputs)
    return 0


@function("Ikkk", ret)
def execute_async(model_id: int, inputs: int, outputs: int, stream: int) -> int:
    """Queue one run on a stream."""
    execution.execute_async(model_id, inputs, outputs, stream)
    return 0


@function("Ikkkk", ret)
def execute_v2(model_id: int, inputs: int, outputs: int, stream: int, config: int) -> int:
    """Run a model on a stream and wait for it as long as a configuration says; keeps the GIL."""
    execution.execute_within(model_id, inputs, outputs, stream, config)
    return 0
