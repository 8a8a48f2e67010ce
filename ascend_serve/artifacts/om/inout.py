"""The input and output summary of an `.om`, which saves reading its graph.

CANN 7 and later write it (facts: ATC §3.4). It is a sequence of blocks `u32 type, u32 length, payload`.
Element types and formats are numbered as in ACL here, other than in the graph.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ascend_serve.errors import NotAnOm

_INPUTS, _OUTPUTS, _BATCH, _IMAGE, _DIMS, _OUTPUT_DIMS, _INPUT_ORDER = range(7)
_TENSOR = struct.Struct("<QiiIIII")
_FORMATS = dict(
    [
        *[(0, "NCHW"), (1, "NHWC"), (2, "ND"), (3, "NC1HWC0"), (4, "FRACTAL_Z"), (12, "NC1HWC0_C04")],
        *[(16, "HWCN"), (27, "NDHWC"), (29, "FRACTAL_NZ"), (30, "NCDHW"), (32, "NDC1HWC0")],
        *[(33, "FRACTAL_Z_3D"), (35, "NC"), (47, "NCL")],
    ]
)
"""Text of a format by ACL's number (`aclFormat`), as the graph and `atc` spell it."""


@dataclass(frozen=True, slots=True)
class OmTensor:
    """One input or output as the file describes it.

    Attributes:
        name: the user's name of the tensor.
        dtype: element type as ACL numbers it; negative is the graph's own number of one that ACL has none for.
        dims: shape; -1 on the axes that gears set. Outputs have the shape of the largest gear.
        format: layout, such as `NCHW`; empty when the file does not tell.
        size: bytes, at the largest gear; 0 when the file does not tell.
        memory_dims: shape in memory where that is another than `dims`, as with image preprocessing; else empty.
        ranges: lowest and highest size of each axis of an open shape, -1 for no upper end; empty when the file
            has none.
    """

    name: str
    dtype: int
    dims: tuple[int, ...]
    format: str = ""
    size: int = 0
    memory_dims: tuple[int, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def sent_dims(self) -> tuple[int, ...]:
        """The shape of what is sent: that in memory, which the device tells too (`aclmdlGetInputDimsV2`)."""
        return self.memory_dims or self.dims


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
        input_order: input names in the order in which the user gave their shapes; empty when not recorded.
    """

    inputs: tuple[OmTensor, ...]
    outputs: tuple[OmTensor, ...]
    gears: tuple[tuple[int, ...], ...]
    gear_kind: str
    output_dims: dict[tuple[int, int], tuple[int, ...]]
    input_order: tuple[str, ...] = ()


def format_name(number: int) -> str:
    """Text of a format by ACL's number; `format <n>` for one that no input or output has in practice."""
    return _FORMATS.get(number, f"format {number}")


def is_inout(partition: memoryview) -> bool:
    """Whether a partition begins like a summary: a block of inputs that fits in it."""
    if len(partition) < 8:
        return False
    kind, length = struct.unpack_from("<II", partition)
    return bool(kind == _INPUTS and 4 <= length <= len(partition) - 8)


def read_inout(partition: memoryview) -> InOut:
    """Read the summary.

    Raises:
        NotAnOm: a block runs past the end of the partition, or what is in it past the block's.
    """
    inputs: tuple[OmTensor, ...] = ()
    outputs: tuple[OmTensor, ...] = ()
    gears: tuple[tuple[int, ...], ...] = ()
    gear_kind = ""
    output_dims: dict[tuple[int, int], tuple[int, ...]] = {}
    order: tuple[str, ...] = ()
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
            elif kind == _INPUT_ORDER:
                order = tuple(_strings(payload))
    except struct.error as error:
        raise NotAnOm(f"its input/output summary is damaged: {error}") from error
    return InOut(inputs, outputs, gears, gear_kind if gears else "", output_dims, order)


def gear_output_dims(items: list[str]) -> dict[tuple[int, int], tuple[int, ...]]:
    """Output shapes per gear from items `gear,output,d0,d1,…`, as the graph and the summary write them.

    Raises:
        NotAnOm: an item that is no such list of numbers.
    """
    table = {}
    for item in items:
        try:
            gear, output, *dims = (int(part) for part in item.split(",") if part)
        except ValueError as error:
            raise NotAnOm(f"an output's shapes are given as {item!r}, which is no list of numbers") from error
        table[gear, output] = tuple(dims)
    return table


def _tensors(payload: memoryview) -> tuple[OmTensor, ...]:
    (count,) = struct.unpack_from("<I", payload)
    at = 4
    tensors = []
    for _ in range(count):
        size, layout, dtype, name_bytes, *parts = _TENSOR.unpack_from(payload, at)
        at += _TENSOR.size
        name = _text(payload, at, name_bytes)
        at += name_bytes
        numbers = []
        for length in parts:
            numbers.append(struct.unpack_from(f"<{length // 8}q", payload, at))
            at += length
        dims, memory_dims, ends = numbers
        tensors.append(
            OmTensor(
                name,
                dtype,
                dims,
                format_name(layout),
                size,
                () if memory_dims == dims else memory_dims,
                tuple(zip(ends[::2], ends[1::2], strict=False)),
            )
        )
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
        items.append(_text(payload, at, length))
        at += length
    return items


def _text(payload: memoryview, at: int, length: int) -> str:
    if at + length > len(payload):
        raise struct.error(f"a text of {length} bytes at byte {at} of {len(payload)}")
    return str(payload[at : at + length], "utf-8", "backslashreplace")
