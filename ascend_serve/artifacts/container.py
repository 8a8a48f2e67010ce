"""The `.om` file around its contents: header, partition tables, partitions.

Reads every generation since 2020 (facts: ATC §3.1–3.3): version 1 and 2 headers, small and big tables, one or
several sub-models. What is no such file is refused in words that say what it is instead.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ascend_serve.errors import NotAnOm

HEADER_BYTES = 256
MODEL_DEF = 0
WEIGHTS = 1
FLOW_MODEL = 6
"""On files of the HiSilicon SS928 tools this number carries `INOUT_INFO` instead."""
INOUT_INFO = 8

_MAGIC = b"IMOD"
_VERSION_2 = 0x2000_0000
_FLOW_MODEL_TYPE = 3
_MOST_PARTITIONS = 4096
_FOREIGN = (
    (b"PK", "it is a zip, as `atc --mode=7` writes for OM2; compile with the default mode instead"),
    (b"PICO", "it is a HiSilicon SVP-NNN model, made by another compiler for other chips"),
    (b"version https://git-lfs", "it is a Git LFS pointer, not the model; run `git lfs pull`"),
)


@dataclass(frozen=True, slots=True)
class Container:
    """The parts of an `.om`.

    Attributes:
        version: 1 or 2, of the header.
        name: the output stem it was compiled to, cut at 31 characters.
        vendor_note: the header's `userdefineinfo`: empty in CANN's own files.
        dynamic: whether shapes are open at run time (neither static nor gears).
        sub_models: per sub-model, its partitions by type, as views into the file.
    """

    version: int
    name: str
    vendor_note: str
    dynamic: bool
    sub_models: tuple[dict[int, memoryview], ...]


def read_container(data: memoryview) -> Container:
    """Take an `.om` apart; nothing is copied.

    Raises:
        NotAnOm: the bytes are another kind of file, encrypted, cut off, or too long.
    """
    for start, what in _FOREIGN:
        if data[: len(start)] == start:
            raise NotAnOm(f"no offline model: {what}")
    if data[:4] != _MAGIC:
        raise NotAnOm(
            f"no offline model: it begins with {bytes(data[:4])!r} where an .om has {_MAGIC!r}; it is "
            "another kind of file, or encrypted as a whole"
        )
    if len(data) < HEADER_BYTES:
        raise NotAnOm(
            f"cut off: {len(data)} bytes, less than the {HEADER_BYTES} of the header; copy it again"
        )
    header_bytes, version = struct.unpack_from("<II", data, 4)
    if header_bytes != HEADER_BYTES:
        raise NotAnOm(f"unknown header of {header_bytes} bytes, where every known .om has {HEADER_BYTES}")
    if data[80] == 1:
        raise NotAnOm("encrypted; the loader takes plain models only, so compile it without encryption")

    # A version 1 header has text where version 2 counts sub-models, so the version decides what is read at all.
    second = version >= _VERSION_2
    sub_model_count = struct.unpack_from("<I", data, 156)[0] if second else 1
    long_length = struct.unpack_from("<Q", data, 184)[0] if second else 0
    length = HEADER_BYTES + (long_length or struct.unpack_from("<I", data, 76)[0])
    if length != len(data):
        fault = "cut off" if len(data) < length else "longer than it should be"
        raise NotAnOm(
            f"{fault}: its header says {length} bytes, the file has {len(data)}; copy or compile it again"
        )

    big = long_length != 0 or data[82] == _FLOW_MODEL_TYPE
    sub_models = []
    at = HEADER_BYTES
    for _ in range(max(1, sub_model_count)):
        partitions, at = _read_sub_model(data, at, big)
        sub_models.append(partitions)
    if at != len(data):
        raise NotAnOm(f"its partitions end at byte {at}, the file at {len(data)}")
    return Container(
        version=2 if second else 1,
        name=_text(data[84:116]),
        vendor_note=_text(data[120:152]),
        dynamic=second and (sub_model_count > 1 or data[193] == 1),
        sub_models=tuple(sub_models),
    )


def _read_sub_model(data: memoryview, at: int, big: bool) -> tuple[dict[int, memoryview], int]:
    """Partitions of the sub-model whose table is at `at`, and the offset past them."""
    head, entry = (8, struct.Struct("<I4xQQ")) if big else (4, struct.Struct("<III"))
    if at + head > len(data):
        raise NotAnOm(f"a sub-model's table at byte {at} lies past the end, {len(data)}")
    (count,) = struct.unpack_from("<I", data, at)
    table_end = at + head + count * entry.size
    if not 0 < count <= _MOST_PARTITIONS or table_end > len(data):
        raise NotAnOm(
            f"no partition table at byte {at} (it would count {count}); models of the 2018 tools have none: "
            "compile the network again"
        )
    partitions: dict[int, memoryview] = {}
    start = table_end
    for index in range(count):
        kind, _, size = entry.unpack_from(data, at + head + index * entry.size)
        # CANN's loader places partitions by adding up their sizes and ignores the table's offsets.
        if start + size > len(data):
            raise NotAnOm(f"partition {kind} of {size} bytes at byte {start} runs past the end, {len(data)}")
        partitions[kind] = data[start : start + size]
        start += size
    return partitions, start


def _text(field: memoryview) -> str:
    return bytes(field).split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
