"""The input and output summary of an `.om`, which saves reading its graph.

CANN 7 and later write it (facts: ATC §3.4). It is a sequence of blocks `u32 type, u32 length, payload`.
Element types and formats are numbered as in ACL here, other than in the graph.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ascend_serve.errors import NotAnOm

_INPUTS, _OUTPUTS, _BATCH, _IMAGE, _DIMS, _OUTPUT_DIMS = range(6)
_TENSOR = struct.Struct("<QiiIIII")


@dataclass(frozen=True, slots=True)
class OmTensor:
    """One input or output as the file describes it.

    Attributes:
        name: the user's name of the tensor.
        dtype: element type as ACL numbers it.
        dims: shape; -1 on the axes that gears set. Outputs have the shape of the largest gear.
    """

    name: str
    dtype: int
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class InOut:
    """What the summary, or the graph in its place, tells.

    Attributes:
        inputs: all inputs, the hidden one that selects the gear included.
        outputs: all outputs, under the names that the file gives them.
        gears: one tuple of sizes per gear, in the file's order; empty when there are none.
        gear_kind: `batch`, `image` or `dims`; empty when there are no gears.
        output_dims: `(gear index, output index) -> dims`; gear index -1 for an output that is the same at
        all.
    """

    inputs: tuple[OmTensor, ...]
    outputs: tuple[OmTensor, ...]
    gears: tuple[tuple[int, ...], ...]
    gear_kind: str
    output_dims: dict[tuple[int, int], tuple[int, ...]]


def is_inout(partition: memoryview) -> bool:
    """Whether a partition begins like a summary: a block of inputs that fits in it."""
    if len(partition) < 8:
        return False
    kind, length = struct.unpack_from("<II", partition)
    return bool(kind == _INPUTS and 4 <= length <= len(partition) - 8)


def read_inout(partition: memoryview) -> InOut:
    """Read the summary.

    Raises:
        NotAnOm: a block runs past the end of the partition.
    """
    inputs: tuple[OmTensor, ...] = ()
    outputs: tuple[OmTensor, ...] = ()
    gears: tuple[tuple[int, ...], ...] = ()
    gear_kind = ""
    output_dims: dict[tuple[int, int], tuple[int, ...]] = {}
    at = 0
    try:
        while at < len(partition):
            kind, length = struct.unpack_from("<II", partition, at)
            payload = partition[at + 8 : at + 8 + length]
            at += 8 + length
            if at > len(partition):
                raise NotAnOm(f"block {kind} of its input/output summary is cut off")
            if kind == _INPUTS:
                inputs = _tensors(payload)
            elif kind == _OUTPUTS:
                outputs = _tensors(payload)
            elif kind == _BATCH:
                (count,) = struct.unpack_from("<I", payload)
                gears, gear_kind = tuple((n,) for n in struct.unpack_from(f"<{count}Q", payload, 4)), "batch"
            elif kind in (_IMAGE, _DIMS):
                gears, gear_kind = _groups(payload), "image" if kind == _IMAGE else "dims"
            elif kind == _OUTPUT_DIMS:
                output_dims = gear_output_dims(_strings(payload))
    except struct.error as error:
        raise NotAnOm(f"its input/output summary is damaged: {error}") from error
    return InOut(inputs, outputs, gears, gear_kind, output_dims)


def gear_output_dims(items: list[str]) -> dict[tuple[int, int], tuple[int, ...]]:
    """Output shapes per gear from items `gear,output,d0,d1,…`, as the graph and the summary write them.

    Raises:
        NotAnOm: an item that is no such list of numbers.
    """
    table = {}
    for item in items:
        try:
            gear, output, *dims = (int(part) for part in item.split(","))
        except ValueError as error:
            raise NotAnOm(f"an output's shapes are given as {item!r}, which is no list of numbers") from error
        table[gear, output] = tuple(dims)
    return table


def _tensors(payload: memoryview) -> tuple[OmTensor, ...]:
    (count,) = struct.unpack_from("<I", payload)
    at = 4
    tensors = []
    for _ in range(count):
        _, _, dtype, name_bytes, dims_bytes, seen_bytes, range_bytes = _TENSOR.unpack_from(payload, at)
        at += _TENSOR.size
        name = bytes(payload[at : at + name_bytes]).decode("utf-8", "backslashreplace")
        dims = struct.unpack_from(f"<{dims_bytes // 8}q", payload, at + name_bytes)
        at += name_bytes + dims_bytes + seen_bytes + range_bytes
        tensors.append(OmTensor(name, dtype, dims))
    return tuple(tensors)


def _groups(payload: memoryview) -> tuple[tuple[int, ...], ...]:
    (count,) = struct.unpack_from("<I", payload)
    sizes = struct.unpack_from(f"<{count}I", payload, 4)
    at = 4 + 4 * count
    groups = []
    for size in sizes:
        groups.append(struct.unpack_from(f"<{size}Q", payload, at))
        at += 8 * size
    return tuple(groups)


def _strings(payload: memoryview) -> list[str]:
    (count,) = struct.unpack_from("<I", payload)
    lengths = struct.unpack_from(f"<{count}I", payload, 4)
    at = 4 + 4 * count
    items = []
    for length in lengths:
        items.append(bytes(payload[at : at + length]).decode("utf-8", "backslashreplace"))
        at += length
    return items
