"""Buffers of an execution as arrays, and buffers bound to a network."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ascend_emulator import libc
from ascend_emulator.card.cheap import fill_output, row_sums
from ascend_emulator.codes import GE_PARAM_INVALID, Failure

if TYPE_CHECKING:
    from ascend_emulator.card.models.network import Network

Buffer = tuple[int, int]
"""Address in this process and bytes."""


def view(buffer: Buffer, dims: Sequence[int], dtype: str) -> NDArray[Any]:
    """A buffer's first bytes as an array.

    Raises:
        Failure: 145000, the buffer ends before the array does.
    """
    address, size = buffer
    array_bytes = prod(dims) * np.dtype(dtype).itemsize
    if array_bytes > size:
        text = f"E13025: a buffer of {size} bytes is too small for {list(dims)} of {dtype}."
        raise Failure(GE_PARAM_INVALID, text)
    memory = memoryview((ctypes.c_uint8 * array_bytes).from_address(address)).cast("B")
    array: NDArray[Any] = np.ndarray(tuple(dims), dtype, memory)
    return array


def integers(buffer: Buffer, count: int, itemsize: int) -> tuple[int, ...]:
    """The first `count` integers of 4 or 8 bytes in a buffer that has them."""
    number = ctypes.c_int64 if itemsize == 8 else ctypes.c_int32
    return tuple((number * count).from_address(buffer[0]))


class Batch:
    """Buffers bound to a network: made once per set of buffers, since programs use the same ones again and again.

    Args:
        network: what computes; None when values are cheap.
        inputs: views of the input buffers.
        outputs: type and dims of each output.
        buffers: where the outputs go; a shorter one gets as much as it holds.
        rows: rows of a batch when values are cheap, see `cheap_outputs`.
    """

    def __init__(
        self,
        network: Network | None,
        inputs: list[NDArray[Any]],
        outputs: Sequence[tuple[str, Sequence[int]]],
        buffers: Sequence[Buffer],
        rows: int,
    ) -> None:
        self._network = network
        self._inputs = inputs
        self._outputs: list[NDArray[Any]] = []
        self._short: list[tuple[int, NDArray[Any], int]] = []
        self._rows = rows
        self._binding: Any = None
        for (dtype, dims), (address, size) in zip(outputs, buffers, strict=True):
            if prod(dims) * np.dtype(dtype).itemsize > size:
                self._outputs.append(np.empty(dims, dtype))
                self._short.append((address, self._outputs[-1], size))
            else:
                self._outputs.append(view((address, size), dims, dtype))
        if network is not None:
            self._binding = network.session.io_binding()
            for name, array in zip(network.input_names, inputs, strict=True):
                self._binding.bind_input(*_bound(name, array))
            for name, array in zip(network.output_names, self._outputs, strict=True):
                self._binding.bind_output(*_bound(name, array))

    def compute(self) -> None:
        """Run on the bound buffers.

        Raises:
            Failure: 507011, the network failed on these values.
        """
        if self._network is None:
            cheap_outputs(self._inputs, self._outputs, self._rows)
        else:
            self._network.run_bound(self._binding)
        for address, result, size in self._short:
            libc.move_freeing_gil(address, result.ctypes.data, size)


def _bound(name: str, array: NDArray[Any]) -> tuple[str, str, int, type[Any], list[int], int]:
    return name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data


def cheap_outputs(inputs: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], rows: int) -> None:
    """Write cheap values (`card.cheap`) into the outputs.

    Args:
        inputs: the model's inputs.
        outputs: its outputs.
        rows: rows of the batch where the model says; 0: the leading dim that inputs and outputs share, one row
            where they share none.
    """
    if not rows:
        leading = {array.shape[:1] for array in (*inputs, *outputs)}
        rows = leading.pop()[0] if len(leading) == 1 and leading != {()} else 1
    if not rows:
        return  # every tensor is empty
    # An input that every row shares, such as a table beside a batched input, cannot be told from another's row.
    batched = [array for array in inputs if array.shape[:1] == (rows,)]
    batched = batched or [array for array in inputs[:1] if array.size % rows == 0]
    parts = [array.reshape(rows, array.size // rows).view(np.uint8) for array in batched if array.size]
    sums = row_sums(parts) if parts else np.zeros(rows, np.uint64)
    for array in outputs:
        if not array.size:
            continue
        if array.size % rows == 0:
            fill_output(sums, array.reshape(rows, -1))
        else:
            fill_output(sums[:1], array.reshape(1, -1))
