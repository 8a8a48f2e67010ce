"""A slot: preallocated room for one batch, and the states it goes through.

    FREE ──begin──▶ PACKING ──enqueue──▶ IN_FLIGHT ──wait──▶ UNPACKING
      ▲                │ pack failed         │ the run failed     │
      └────────────────┴──────── release ────┴────────────────────┘

Two house rules. An illegal move raises and changes nothing. While a slot is IN_FLIGHT the device reads its
inputs and writes its outputs, so nobody else may look at either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """Room for one batch at the largest gear of any bucket.

    The arrays of all buckets lie in the same memory, each from its first byte on.

    Args:
        index: its number in the session, from 0.
        inputs: input arrays of each bucket.
        outputs: output arrays of each bucket.

    Attributes:
        index: its number in the session, from 0.
        state: who may touch it now.
    """

    def __init__(self, index: int, inputs: Sequence[Arrays], outputs: Sequence[Arrays]) -> None:
        self.index = index
        self.state = SlotState.FREE
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)

    def inputs_at(self, bucket: int) -> Arrays:
        """The inputs at a bucket's row shapes, in the memory that the device copies from.

        Per input an array of shape (largest gear of the bucket, *row shape), or the tensor's own shape when the
        model is not batched.
        """
        return self._inputs[bucket]

    def outputs_at(self, bucket: int) -> Arrays:
        """The outputs at a bucket's row shapes, in the memory that the device copies to; shapes as `inputs_at`."""
        return self._outputs[bucket]

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
