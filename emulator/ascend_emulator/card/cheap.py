"""`ASCEND_EMULATOR_VALUES=cheap`: a checksum of each row in place of the network.

For load experiments on few cores. A row's outputs depend on all bytes of that row's inputs and on nothing
else, so a row that ends up in another's answer is caught, while hundreds of thousands of rows a second are
possible.

`row_sums` of an input: its row's bytes as little-endian uint64 words (the tail padded with zeros), each times
an odd weight that depends on its position, summed modulo 2^64. The sums of all inputs are added, each rotated
by its index, and mixed. Element j of an output's row is then, with u = the mixed sum's top 24 bits / 2^24:
for floating types frac(u + j x 0.6180339887), for integer types floor(100 x that), for bool whether that is
at least 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_STRIDE = 0.6180339887


def row_sums(inputs: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint64]:
    """The mixed checksum of each row.

    Args:
        inputs: one array per model input, uint8 of shape (rows, bytes per row).

    Returns:
        uint64 of shape (rows,).
    """
    total = np.zeros(inputs[0].shape[0], np.uint64)
    for index, rows in enumerate(inputs):
        tail = -rows.shape[1] % 8
        words = np.pad(rows, ((0, 0), (0, tail))) if tail else np.ascontiguousarray(rows)
        sums = words.view(np.uint64) @ _weights(words.shape[1] // 8)
        turn = np.uint64(index * 7 % 63 + 1)
        total += (sums << turn) | (sums >> (np.uint64(64) - turn))
    total ^= total >> np.uint64(31)
    total *= np.uint64(_GOLDEN)
    total ^= total >> np.uint64(29)
    return total


def fill_output(sums: NDArray[np.uint64], output: NDArray[np.generic]) -> None:
    """Write the values that belong to `sums` into an output.

    Args:
        sums: what `row_sums` returned, one per row.
        output: any dtype of the emulator, shape (rows, elements per row); overwritten.
    """
    start = (sums >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
    values = start[:, None] + _ramp(output.shape[1])[None, :]
    values -= np.floor(values)
    kind = output.dtype.kind
    if kind in "iu":
        values *= 100
    output[...] = values >= 0.5 if kind == "b" else values


@lru_cache(maxsize=64)
def _weights(count: int) -> NDArray[np.uint64]:
    weights: NDArray[np.uint64] = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN) | np.uint64(1)
    return weights


@lru_cache(maxsize=64)
def _ramp(count: int) -> NDArray[np.float32]:
    ramp: NDArray[np.float32] = np.modf(np.arange(count) * _STRIDE)[0].astype(np.float32)
    return ramp
