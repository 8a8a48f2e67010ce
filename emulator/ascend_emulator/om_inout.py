"""MODEL_INOUT_INFO, the partition that tells inputs, outputs and gears without the graph.

A sequence of blocks `u32 type, u32 length, payload`, little-endian (facts/atc_om_soc.md §3.4). A block with
nothing to say is left out. Output shapes per gear are text, `gear,output,d0,d1,...`, as NetOutput's attribute
`_dynamic_output_dims` has them (GE: multi_batch_copy_graph.cc).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_INPUTS, _OUTPUTS, _BATCH, _OUTPUT_SHAPES, _INPUT_ORDER = 0, 1, 2, 5, 6
_BLOCK = struct.Struct("<II")
_COUNT = struct.Struct("<I")
_TENSOR = struct.Struct("<QiiIIII")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a compiled model.

    Attributes:
        name: input name, or `node:index:tensor` of an output.
        dtype: ACL number (`aclDataType`).
        format: ACL number (`aclFormat`): 0 NCHW, 2 ND, 30 NCDHW.
        dims: shape; -1 at the dynamic axes of an input, an output's shape at the largest gear.
        size: bytes at the largest gear.
    """

    name: str
    dtype: int
    format: int
    dims: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True)
class InOut:
    """What the partition holds; `output_shapes` are the texts, `input_order` the user's order of inputs."""

    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    batch_gears: tuple[int, ...] = ()
    output_shapes: tuple[str, ...] = ()
    input_order: tuple[str, ...] = ()


def _tensors(tensors: Sequence[TensorInfo]) -> bytes:
    out = bytearray(_COUNT.pack(len(tensors)))
    for tensor in tensors:
        name = tensor.name.encode()
        dims = struct.pack(f"<{len(tensor.dims)}q", *tensor.dims)
        # The two dims differ only with AIPP, which is not emulated; the shape range is for truly dynamic
        # shapes.
        out += _TENSOR.pack(tensor.size, tensor.format, tensor.dtype, len(name), len(dims), len(dims), 0)
        out += name + dims + dims
    return bytes(out)


def _texts(texts: Sequence[str]) -> bytes:
    encoded = [text.encode() for text in texts]
    lengths = struct.pack(f"<{len(encoded)}I", *map(len, encoded))
    return _COUNT.pack(len(encoded)) + lengths + b"".join(encoded)


def encode_inout(info: InOut) -> bytes:
    """The partition's bytes."""
    blocks = [
        (_INPUTS, info.inputs, _tensors(info.inputs)),
        (_OUTPUTS, info.outputs, _tensors(info.outputs)),
        (
            _BATCH,
            info.batch_gears,
            struct.pack(f"<I{len(info.batch_gears)}Q", len(info.batch_gears), *info.batch_gears),
        ),
        (_OUTPUT_SHAPES, info.output_shapes, _texts(info.output_shapes)),
        (_INPUT_ORDER, info.input_order, _texts(info.input_order)),
    ]
    return b"".join(_BLOCK.pack(kind, len(payload)) + payload for kind, items, payload in blocks if items)


class _Cursor:
    """Reads one payload from its start; a read past its end is a `struct.error`."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def numbers(self, form: str) -> tuple[int, ...]:
        values = struct.unpack_from("<" + form, self._data, self._at)
        self._at += struct.calcsize("<" + form)
        return values

    def text(self, size: int) -> str:
        if size > len(self._data) - self._at:
            raise struct.error(f"{size} bytes of text at byte {self._at} of {len(self._data)}")
        self._at += size
        return str(self._data[self._at - size : self._at], "utf-8")


def _read_tensors(data: memoryview) -> tuple[TensorInfo, ...]:
    cursor, tensors = _Cursor(data), []
    (count,) = cursor.numbers("I")
    for _ in range(count):
        size, layout, dtype, name_bytes, dims_bytes, dims_v2_bytes, range_bytes = cursor.numbers("QiiIIII")
        name = cursor.text(name_bytes)
        dims = cursor.numbers(f"{dims_bytes // 8}q")
        cursor.numbers(f"{dims_v2_bytes // 8}q{range_bytes // 8}q")
        tensors.append(TensorInfo(name, dtype, layout, dims, size))
    return tuple(tensors)


def _read_texts(data: memoryview) -> tuple[str, ...]:
    cursor = _Cursor(data)
    (count,) = cursor.numbers("I")
    return tuple(cursor.text(size) for size in cursor.numbers(f"{count}I"))


def decode_inout(data: memoryview) -> InOut:
    """Read the partition.

    Raises:
        ValueError: a block, a tensor or a text is cut off, or text is not UTF-8.
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
        gears: tuple[int, ...] = ()
        if _BATCH in blocks:
            cursor = _Cursor(blocks[_BATCH])
            (count,) = cursor.numbers("I")
            gears = cursor.numbers(f"{count}Q")
        return InOut(
            inputs=_read_tensors(blocks[_INPUTS]) if _INPUTS in blocks else (),
            outputs=_read_tensors(blocks[_OUTPUTS]) if _OUTPUTS in blocks else (),
            batch_gears=gears,
            output_shapes=_read_texts(blocks[_OUTPUT_SHAPES]) if _OUTPUT_SHAPES in blocks else (),
            input_order=_read_texts(blocks[_INPUT_ORDER]) if _INPUT_ORDER in blocks else (),
        )
    except struct.error as error:
        raise ValueError(f"MODEL_INOUT_INFO is cut off: {error}") from error
