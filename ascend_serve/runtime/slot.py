"""A slot: preallocated room for one batch, and the states it goes through.

    FREE ──begin──▶ PACKING ──enqueue──▶ IN_FLIGHT ──wait──▶ UNPACKING
      ▲                │ pack failed         │ the run failed     │
      └────────────────┴──────── release ────┴────────────────────┘

Two house rules. An illegal move raises and changes nothing. While a slot is IN_FLIGHT the device reads its
inputs and writes its outputs, so nobody else may look at either.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]
"""Tensors by name."""


class SlotState(Enum):
    """Who may touch a slot's memory."""

    FREE = "free"
    PACKING = "packing"
    IN_FLIGHT = "in flight"
    UNPACKING = "unpacking"


_MOVES = frozenset(
    {
        (SlotState.FREE, SlotState.PACKING),
        (SlotState.PACKING, SlotState.IN_FLIGHT),
        (SlotState.PACKING, SlotState.FREE),
        (SlotState.IN_FLIGHT, SlotState.UNPACKING),
        (SlotState.IN_FLIGHT, SlotState.FREE),
        (SlotState.UNPACKING, SlotState.FREE),
    }
)


class Slot:
    """Room for one batch at the largest gear.

    Attributes:
        index: its number in the session, from 0.
        state: who may touch it now.
        inputs: per input an array of shape (largest gear, *row shape), or of the tensor's own shape when the
            model is not batched, in the memory that the device copies from.
        outputs: likewise, in the memory that the device copies to.
    """

    def __init__(self, index: int, inputs: Arrays, outputs: Arrays) -> None:
        self.index = index
        self.inputs = inputs
        self.outputs = outputs
        self.state = SlotState.FREE

    def move(self, to: SlotState) -> None:
        """Go to another state.

        Raises:
            RuntimeError: there is no such move.
        """
        if (self.state, to) not in _MOVES:
            raise RuntimeError(f"slot {self.index} is {self.state.value} and cannot become {to.value}")
        self.state = to

    def begin(self) -> None:
        """FREE to PACKING: the inputs may be written."""
        self.move(SlotState.PACKING)

    def release(self) -> None:
        """Back to FREE: the batch is over, well or badly."""
        self.move(SlotState.FREE)
