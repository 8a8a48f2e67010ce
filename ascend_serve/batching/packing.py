"""Where the rows of a batch lie: into a slot's pinned memory on the way in, out of it on the way back.

Each row is copied once in each direction and touched by nothing else (DESIGN, decision 3).

The padding rows of a gear are zeroed, since what they held before belongs to other callers. Their results are
never handed out, but a model whose rows are not quite independent (one that quantises over the whole batch)
would let them shine through, and its answers would hang on who was served before. Only padding rows that may
still hold something are zeroed, at less than the price of copying as many rows; a full gear has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ascend_serve.errors import InvalidTensor
from ascend_serve.spec.model import ModelSpec

Tensors = Mapping[str, NDArray[Any]]
"""Arrays by tensor name."""


class Part(NamedTuple):
    """Rows `start` to `start + rows` of one request, which lie in the slot from row `at` on.

    Attributes:
        inputs: all input rows of the request.
        outputs: room for all its output rows, from `Packer.outputs`.
    """

    inputs: Tensors
    outputs: Tensors
    start: int
    rows: int
    at: int


class Packer:
    """Copies the rows of one model's batches.

    A model that is not batched is treated as one whose only row is the whole set of tensors.

    Args:
        spec: the model's signature.
        slots: how many slots there are.
    """

    def __init__(self, spec: ModelSpec, slots: int) -> None:
        self._spec = spec
        # How many rows of each slot, from row 0 on, may hold something else than zeros: all of them at first,
        # for fresh pinned memory holds anything. Only the thread that packs touches this.
        self._used_rows = [spec.gears.largest] * slots

    def rows(self, inputs: Tensors) -> int:
        """Rows of a request; 1 if the model is not batched.

        The data plane has checked the tensors before. This is the last look before they share a batch with
        others, where a wrong shape would fail all of it, or spread one row over many.

        Raises:
            InvalidTensor: the tensors do not fit the signature, or have no row.
        """
        first = inputs.get(self._spec.inputs[0].name)
        rows = first.shape[0] if self._spec.batched and first is not None and first.ndim else 1
        for tensor in self._spec.inputs:
            given = inputs.get(tensor.name)
            if given is None:
                raise InvalidTensor(f"input '{tensor.name}' is missing")
            if rows < 1 or given.shape != tensor.at(rows) or given.dtype != tensor.dtype.numpy:
                raise InvalidTensor(
                    f"input '{tensor.name}' is {given.dtype}{list(given.shape)}; it must be "
                    f"{tensor.dtype.numpy}{list(tensor.at(max(rows, 1)))}"
                )
        return rows

    def outputs(self, rows: int) -> dict[str, NDArray[Any]]:
        """Room for the results of a request of `rows` rows: one array for each output, not yet written."""
        return {tensor.name: np.empty(tensor.at(rows), tensor.dtype.numpy) for tensor in self._spec.outputs}

    def pack(self, slot: int, gear: int, parts: Sequence[Part], inputs: Tensors) -> None:
        """Write the rows of `parts` into `inputs`, a slot's pinned arrays, and zero the padding up to `gear`.

        The parts lie one after the other from row 0 on. `inputs` has shape (largest gear, *row shape), or the
        tensor's own shape if the model is not batched.
        """
        filled = parts[-1].at + parts[-1].rows
        stale = min(self._used_rows[slot], gear)
        self._used_rows[slot] = max(filled, self._used_rows[slot])
        for tensor in self._spec.inputs:
            room = self._as_rows(inputs[tensor.name])
            for part in parts:
                rows = self._as_rows(part.inputs[tensor.name])[part.start : part.start + part.rows]
                np.copyto(room[part.at : part.at + part.rows], rows)
            if filled < stale:
                room[filled:stale] = 0
        if self._used_rows[slot] <= gear:
            self._used_rows[slot] = filled

    def unpack(self, parts: Sequence[Part], outputs: Tensors) -> None:
        """Copy the rows of `parts` out of `outputs`, a slot's pinned arrays, to the requests' own arrays."""
        for tensor in self._spec.outputs:
            results = self._as_rows(outputs[tensor.name])
            for part in parts:
                rows = self._as_rows(part.outputs[tensor.name])[part.start : part.start + part.rows]
                np.copyto(rows, results[part.at : part.at + part.rows])

    def _as_rows(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array with rows along axis 0."""
        return array if self._spec.batched else array[np.newaxis]
