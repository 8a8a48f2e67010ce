"""The `.om` file around its contents: header, partition tables, partitions.

Reads every generation (facts: ATC §3.1–3.3, §3.10): version 1 and 2 headers, small and big tables, one or several
sub-models, tables with gaps, and the files of 2018/19 that have no table at all. What is no such file is refused
in words that say what it is instead.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ascend_serve.artifacts.om.foreign import what_it_is
from ascend_serve.errors import NotAnOm

HEADER_BYTES = 256
MODEL_DEF = 0
WEIGHTS = 1
SO_BINS = 5
FLOW_MODEL = 6
"""On files of the HiSilicon SS928 tools this number carries `INOUT_INFO` instead."""
FLOW_SUB_MODEL = 7
INOUT_INFO = 8
NANO_MODEL = 20
BUNDLE_MODEL = 24

IR_TYPE = 0
FLOW_TYPE = 3
BUNDLE_TYPE = 5

_MAGIC = b"IMOD"
_VERSION_1 = 0x1000_0000
_VERSION_2 = 0x2000_0000
_MOST_PARTITIONS = 4096
_LARGEST_ALIGNMENT = 4096
_SMALL, _BIG = struct.Struct("<III"), struct.Struct("<I4xQQ")


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition.

    Attributes:
        kind: its type's number, such as `MODEL_DEF`.
        data: its bytes, a view into the file.
    """

    kind: int
    data: memoryview


Partitions = tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class Container:
    """The parts of an `.om`.

    Attributes:
        version: 1 or 2, of the header.
        table: `big` or `small`, by the size of the table's entries; `none` in files of 2018/19.
        model_type: `modeltype` of the header: 0 for what ATC writes.
        name: the output stem it was compiled to, cut at 31 characters.
        vendor_note: the header's `userdefineinfo`: empty in CANN's own files.
        bound_to_host: whether it holds libraries for one OS and CPU, which the loader checks.
        dynamic: whether shapes are open at run time (neither static nor gears).
        sub_models: per sub-model its partitions in the order of the table; none without a table.
        raw: all that follows the header.
    """

    version: int
    table: str
    model_type: int
    name: str
    vendor_note: str
    bound_to_host: bool
    dynamic: bool
    sub_models: tuple[Partitions, ...]
    raw: memoryview

    def first(self, kind: int) -> memoryview | None:
        """The root's first partition of a type; None where it has none."""
        root = self.sub_models[0] if self.sub_models else ()
        return next((partition.data for partition in root if partition.kind == kind), None)

    def all(self, kind: int) -> Partitions:
        """The partitions of a type, of all sub-models."""
        return tuple(part for partitions in self.sub_models for part in partitions if part.kind == kind)


def read_container(data: memoryview) -> Container:
    """Take an `.om` apart; nothing is copied.

    Raises:
        NotAnOm: the bytes are another kind of file, encrypted, cut off, or too long.
    """
    if data[:4] != _MAGIC:
        raise NotAnOm(f"no offline model: {what_it_is(data)}")
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
    count = struct.unpack_from("<I", data, 156)[0] if second else 1
    long_length = struct.unpack_from("<Q", data, 184)[0] if second else 0
    model_type = data[82]
    _check_length(long_length or struct.unpack_from("<I", data, 76)[0], len(data), model_type)
    big = long_length != 0 or model_type == FLOW_TYPE
    raw = version <= _VERSION_1 and _has_no_table(data)
    if raw:
        sub_models: tuple[Partitions, ...] = ()
    else:
        sub_models = _read_sub_models(data, 1 if model_type == BUNDLE_TYPE else max(1, count), big)
    return Container(
        version=2 if second else 1,
        table="none" if raw else "big" if big else "small",
        model_type=model_type,
        name=_text(data[84:116]),
        vendor_note=_text(data[120:152]),
        bound_to_host=second and data[192] == 1,
        dynamic=second and model_type != BUNDLE_TYPE and (count > 1 or data[193] == 1),
        sub_models=sub_models,
        raw=data[HEADER_BYTES:],
    )


def _check_length(stated: int, size: int, model_type: int) -> None:
    # A bundle's length counts its header too.
    expected = stated if model_type == BUNDLE_TYPE and stated == size else HEADER_BYTES + stated
    if expected != size:
        fault = "cut off" if size < expected else "longer than it should be"
        raise NotAnOm(
            f"{fault}: its header says {expected} bytes, the file has {size}; copy or compile it again"
        )


def _has_no_table(data: memoryview) -> bool:
    """Whether a model follows the header at once: its name, as a protobuf string, where a table has its count."""
    if len(data) < HEADER_BYTES + 4 or data[HEADER_BYTES] != 0x0A:
        return False
    (count,) = struct.unpack_from("<I", data, HEADER_BYTES)
    return bool(count > _MOST_PARTITIONS)


def _read_sub_models(data: memoryview, count: int, big: bool) -> tuple[Partitions, ...]:
    """All sub-models, which together fill the file."""
    try:
        return _back_to_back(data, count, big)
    except NotAnOm:
        aligned = _aligned(data, big) if count == 1 else None
        if aligned is None:
            raise
        return (aligned,)


def _back_to_back(data: memoryview, count: int, big: bool) -> tuple[Partitions, ...]:
    sub_models = []
    at = HEADER_BYTES
    for _ in range(count):
        entries, at = _read_table(data, at, big)
        partitions = []
        for kind, _, size in entries:
            # CANN's loader places partitions by adding up their sizes and ignores the table's offsets.
            if at + size > len(data):
                raise NotAnOm(f"partition {kind} of {size} bytes at byte {at} runs past the end, {len(data)}")
            partitions.append(Partition(kind, data[at : at + size]))
            at += size
        sub_models.append(tuple(partitions))
    if at != len(data):
        raise NotAnOm(f"its partitions end at byte {at}, the file at {len(data)}")
    return tuple(sub_models)


def _aligned(data: memoryview, big: bool) -> Partitions | None:
    """The partitions by their offsets, as files for nano chips have them; None where those don't fit.

    GE pads the table and every partition (GE: base/common/helper/om_file_helper.cc, `is_partition_align`).
    """
    entries, table_end = _read_table(data, HEADER_BYTES, big)
    partitions = []
    at = table_end
    for kind, offset, size in entries:
        start = table_end + offset
        if not at <= start < at + _LARGEST_ALIGNMENT or start + size > len(data):
            return None
        partitions.append(Partition(kind, data[start : start + size]))
        at = start + size
    return tuple(partitions) if len(data) - at < _LARGEST_ALIGNMENT else None


def _read_table(data: memoryview, at: int, big: bool) -> tuple[list[tuple[int, int, int]], int]:
    """The entries (type, offset, size) of the table at `at`, and the offset past it."""
    head, entry = (8, _BIG) if big else (4, _SMALL)
    if at + head > len(data):
        raise NotAnOm(f"a sub-model's table at byte {at} lies past the end, {len(data)}")
    (count,) = struct.unpack_from("<I", data, at)
    table_end = at + head + count * entry.size
    if not 0 < count <= _MOST_PARTITIONS or table_end > len(data):
        raise NotAnOm(f"no partition table at byte {at} (it would count {count}): the file is damaged")
    return list(entry.iter_unpack(data[at + head : table_end])), table_end


def _text(field: memoryview) -> str:
    return bytes(field).split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
