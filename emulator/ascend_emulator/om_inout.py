"""MODEL_INOUT_INFO, the partition that tells inputs, outputs and gears without the graph.

A sequence of blocks `u32 type, u32 length, payload`, little-endian (facts/atc_om_soc.md §3.4; GE:
base/common/model/model_introduction.cc and tlv/). A block with nothing to say is left out. Output shapes per
gear are text, `gear,output,d0,d1,...`, as NetOutput's attribute `_dynamic_output_dims` has them (GE:
multi_batch_copy_graph.cc).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ascend_emulator.gears import GearKind, Gears

_INPUTS, _OUTPUTS, _BATCH, _IMAGE_SIZE, _DIMS, _OUTPUT_SHAPES, _INPUT_ORDER = range(7)
_BLOCK = struct.Struct("<II")
_COUNT = struct.Struct("<I")
_TENSOR = struct.Struct("<QiiIIII")
_INT64 = 8


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a compiled model.

    Attributes:
        name: input name, or `node:index:tensor` of an output.
        dtype: ACL number (`aclDataType`).
        format: ACL number (`aclFormat`): 0 NCHW, 1 NHWC, 2 ND, 27 NDHWC, 30 NCDHW.
        dims: shape as `get_input_dims` tells it: -1 at the dynamic axes of an input, an output's shape at the
            largest gear, the image's n, h, w, c of an input with static AIPP, -1 where a truly dynamic shape
            is open.
        size: bytes at the largest gear; of a truly dynamic tensor the bytes at the upper ends of its ranges,
            0 where one has none.
        dims_v2: shape as `get_input_dims_v2` tells it, which is the one in memory; () where it is `dims`.
        ranges: lowest and highest size of each axis of a truly dynamic tensor, -1 for no upper end; () of
            every other.
    """

    name: str
    dtype: int
    format: int
    dims: tuple[int, ...]
    size: int
    dims_v2: tuple[int, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def physical_dims(self) -> tuple[int, ...]:
        """The shape in memory: `dims_v2` where it differs from `dims`."""
        return self.dims_v2 or self.dims


@dataclass(frozen=True, slots=True)
class InOut:
    """What the partition holds; `output_shapes` are the texts, `input_order` the user's order of inputs."""

    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    gears: Gears | None = None
    output_shapes: tuple[str, ...] = ()
    input_order: tuple[str, ...] = ()


def _tensors(tensors: Sequence[TensorInfo]) -> bytes:
    out = bytearray(_COUNT.pack(len(tensors)))
    for tensor in tensors:
        name = tensor.name.encode()
        dims = struct.pack(f"<{len(tensor.dims)}q", *tensor.dims)
        physical = struct.pack(f"<{len(tensor.physical_dims)}q", *tensor.physical_dims)
        ends = [end for pair in tensor.ranges for end in pair]
        ranges = struct.pack(f"<{len(ends)}q", *ends)
        sizes = len(name), len(dims), len(physical), len(ranges)
        out += _TENSOR.pack(tensor.size, tensor.format, tensor.dtype, *sizes)
        out += name + dims + physical + ranges
    return bytes(out)


def _texts(texts: Sequence[str]) -> bytes:
    encoded = [text.encode() for text in texts]
    lengths = struct.pack(f"<{len(encoded)}I", *map(len, encoded))
    return _COUNT.pack(len(encoded)) + lengths + b"".join(encoded)


def _gears(gears: Gears) -> tuple[int, bytes]:
    """Block type and payload; only batch gears go without the count of numbers of each gear."""
    numbers = [number for value in gears.values for number in value]
    payload = _COUNT.pack(len(gears.values))
    if gears.kind is GearKind.BATCH:
        return _BATCH, payload + struct.pack(f"<{len(numbers)}Q", *numbers)
    counts = struct.pack(f"<{len(gears.values)}I", *map(len, gears.values))
    kind = _IMAGE_SIZE if gears.kind is GearKind.IMAGE_SIZE else _DIMS
    return kind, payload + counts + struct.pack(f"<{len(numbers)}Q", *numbers)


def encode_inout(info: InOut) -> bytes:
    """The partition's bytes."""
    blocks = []
    if info.inputs:
        blocks.append((_INPUTS, _tensors(info.inputs)))
    if info.outputs:
        blocks.append((_OUTPUTS, _tensors(info.outputs)))
    if info.gears is not None:
        blocks.append(_gears(info.gears))
    if info.output_shapes:
        blocks.append((_OUTPUT_SHAPES, _texts(info.output_shapes)))
    if info.input_order:
        blocks.append((_INPUT_ORDER, _texts(info.input_order)))
    return b"".join(_BLOCK.pack(kind, len(payload)) + payload for kind, payload in blocks)


class _Cursor:
    """Reads one payload from its start; a read past its end is a `struct.error`."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def numbers(self, count: int, code: str) -> tuple[int, ...]:
        # Before the format is made: a damaged count would ask for a format of gigabytes.
        size = count * struct.calcsize("<" + code)
        if size > len(self._data) - self._at:
            raise struct.error(f"{size} bytes of numbers at byte {self._at} of {len(self._data)}")
        values = struct.unpack_from(f"<{count}{code}", self._data, self._at)
        self._at += size
        return values

    def count(self) -> int:
        return self.numbers(1, "I")[0]

    def tensor(self) -> tuple[int, ...]:
        values = _TENSOR.unpack_from(self._data, self._at)
        self._at += _TENSOR.size
        return values

    def text(self, size: int) -> str:
        if size > len(self._data) - self._at:
            raise struct.error(f"{size} bytes of text at byte {self._at} of {len(self._data)}")
        self._at += size
        return str(self._data[self._at - size : self._at], "utf-8")


def _read_tensors(data: memoryview) -> tuple[TensorInfo, ...]:
    cursor, tensors = _Cursor(data), []
    for _ in range(cursor.count()):
        size, layout, dtype, name_bytes, dims_bytes, physical_bytes, range_bytes = cursor.tensor()
        name = cursor.text(name_bytes)
        dims = cursor.numbers(dims_bytes // _INT64, "q")
        physical = cursor.numbers(physical_bytes // _INT64, "q")
        ends = cursor.numbers(range_bytes // _INT64, "q")
        if len(ends) % 2:
            raise ValueError(f"tensor {name!r} has a range without an upper end")
        ranges = tuple(zip(ends[::2], ends[1::2], strict=True))
        different = () if physical == dims else physical
        tensors.append(TensorInfo(name, dtype, layout, dims, size, different, ranges))
    return tuple(tensors)


def _read_texts(data: memoryview) -> tuple[str, ...]:
    cursor = _Cursor(data)
    return tuple(cursor.text(size) for size in cursor.numbers(cursor.count(), "I"))


def _read_gears(kind: GearKind, data: memoryview) -> Gears:
    cursor = _Cursor(data)
    count = cursor.count()
    if kind is GearKind.BATCH:
        return Gears(kind, tuple((number,) for number in cursor.numbers(count, "Q")))
    counts = cursor.numbers(count, "I")
    return Gears(kind, tuple(cursor.numbers(each, "Q") for each in counts))


def decode_inout(data: memoryview) -> InOut:
    """Read the partition.

    Raises:
        ValueError: a block, a tensor or a text is cut off, text is not UTF-8, or gears are of two kinds.
    """
    blocks: dict[int, memoryview] = {}
    at = 0
    try:
        while at < len(data):
            kind, size = _BLOCK.unpack_from(data, at)
            at += _BLOCK.size
            if size > len(data) - at:
                raise struct.error(f"block {kind} wants {size} bytes at byte {at} of {len(data)}")
            blocks[kind] = data[at : at + size]
            at += size
        found = [
            _read_gears(kind, blocks[number])
            for number, kind in (
                (_BATCH, GearKind.BATCH),
                (_IMAGE_SIZE, GearKind.IMAGE_SIZE),
                (_DIMS, GearKind.DIMS),
            )
            if number in blocks
        ]
        if len(found) > 1:
            raise ValueError(f"gears of two kinds: {', '.join(gears.kind.name for gears in found)}")
        return InOut(
            inputs=_read_tensors(blocks[_INPUTS]) if _INPUTS in blocks else (),
            outputs=_read_tensors(blocks[_OUTPUTS]) if _OUTPUTS in blocks else (),
            gears=found[0] if found and found[0].values else None,
            output_shapes=_read_texts(blocks[_OUTPUT_SHAPES]) if _OUTPUT_SHAPES in blocks else (),
            input_order=_read_texts(blocks[_INPUT_ORDER]) if _INPUT_ORDER in blocks else (),
        )
    except struct.error as error:
        raise ValueError(f"MODEL_INOUT_INFO is cut off: {error}") from error
