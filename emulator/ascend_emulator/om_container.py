"""The container of an `.om`: header, partition table and partitions (facts/atc_om_soc.md §3.1-3.3, §3.9).

Written: a 256-byte header `IMOD` of version 2 and the wide table, with the partitions back to back. The header
field `userdefineinfo`, zero in every real file, names the emulator. Read: every generation that has a
partition table.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

HEADER_SIZE = 256
MODEL_DEF, WEIGHTS, TASK_INFO, TBE_KERNELS, SO_BINS, INOUT_INFO = 0, 1, 2, 3, 5, 8
BUNDLE_MODEL, BUNDLE_VARIABLES = 24, 25
IR_MODEL, BUNDLE = 0, 5
IR_VERSION = "1.11.z.0"
"""The IR version text that every real file carries, in the header and in MODEL_DEF (§3.2, §3.5)."""

_MAGIC = 0x444F4D49
_V1, _V2 = 0x10000000, 0x20000000
_NAME_BYTES = 31
_TOOLCHAIN_BYTES = 32
_OM_IR_VERSION = 2
_PLATFORM_MINI = 1
_MOST_PARTITIONS = 4096
"""The most that a flow model has (§3.3); more means that this is no table."""

_HEAD = struct.Struct("<III64xIBBBB32sI32sI")
_TAIL_V2 = struct.Struct("<I20sB3xQBB62x")
_WIDE, _NARROW = struct.Struct("<I4xQQ"), struct.Struct("<III")
_WIDE_COUNT, _NARROW_COUNT = struct.Struct("<I4x"), struct.Struct("<I")

_FOREIGN = {
    b"PK": "it begins like a zip archive: an OM2 model (atc --mode=7), which cannot be read here",
    b"PICO": "it begins with 'PICO': a model for HiSilicon's SVP-NNN, not for Ascend",
    b"version https://git-lfs": "it is a Git LFS pointer, not the model: fetch it with `git lfs pull`",
}
_KINDS = {1: "a standard model", 2: "a tiny model", 3: "a flow model", 4: "a lite model"}

Partitions = Sequence[tuple[int, bytes]]
"""Type and payload, in the order of the file."""


class OmError(ValueError):
    """The bytes are no whole offline model that can be read here, or a model that cannot be written."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is read of a header.

    Attributes:
        kind: `modeltype`: 0 a model of one network, 5 a bundle.
        name: of the model, cut at 31 bytes.
        toolchain: `userdefineinfo`; empty in CANN's files.
        models: number of sub-models, 1 in files of version 1.
        length: bytes behind the header, as it states them; a bundle counts its header too.
        wide: whether the partition table is the wide one.
        dynamic: whether the model is of truly dynamic shape (§3.3).
    """

    kind: int
    name: str
    toolchain: str
    models: int
    length: int
    wide: bool
    dynamic: bool


@dataclass(frozen=True, slots=True)
class Container:
    """A file's header and the partitions of its first sub-model, by type."""

    header: Header
    partitions: dict[int, memoryview]


# --- writing --------------------------------------------------------------------------------------


def pack_table(partitions: Partitions, *, from_table: bool = False) -> bytes:
    """The wide table and the partitions behind it.

    Args:
        partitions: in the order of the file.
        from_table: whether offsets count from the start of the table, as in a bundle, and not from its end.
    """
    table = bytearray(_WIDE_COUNT.pack(len(partitions)))
    offset = _WIDE_COUNT.size + _WIDE.size * len(partitions) if from_table else 0
    for kind, payload in partitions:
        table += _WIDE.pack(kind, offset, len(payload))
        offset += len(payload)
    return b"".join([table, *(payload for _, payload in partitions)])


def write_container(name: str, toolchain: str, partitions: Partitions, *, dynamic: bool) -> bytes:
    """A whole file.

    Args:
        name: of the model; the header holds its first 31 bytes.
        toolchain: who made it, 1 to 32 bytes.
        partitions: in the order of the file.
        dynamic: whether it is of truly dynamic shape, which binds it to an OS and a CPU.

    Raises:
        OmError: `toolchain` is empty or too long.
    """
    marked = toolchain.encode()
    if not 0 < len(marked) <= _TOOLCHAIN_BYTES:
        raise OmError(
            f"toolchain {toolchain!r} must take 1 to {_TOOLCHAIN_BYTES} bytes: the header field's room"
        )
    body = pack_table(partitions)
    cut = name.encode()[:_NAME_BYTES]
    head = _HEAD.pack(_MAGIC, HEADER_SIZE, _V2, 0, 0, 0, IR_MODEL, 0, cut, 0, marked, _OM_IR_VERSION)
    return head + _TAIL_V2.pack(1, IR_VERSION.encode(), _PLATFORM_MINI, len(body), dynamic, dynamic) + body


def bundle_header(models: int, file_size: int) -> bytes:
    """The header of a bundle, which leaves at zero what it does not need (GE: model_helper.cc)."""
    head = _HEAD.pack(_MAGIC, HEADER_SIZE, _V2, 0, 0, 0, BUNDLE, 0, b"", 0, b"", 0)
    return head + _TAIL_V2.pack(models, b"", 0, file_size, 0, 0)


# --- reading --------------------------------------------------------------------------------------


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")


def read_header(data: memoryview) -> Header:
    """Check and read the header of a model or a bundle.

    Raises:
        OmError: no `.om`, or an encrypted one.
    """
    for prefix, reason in _FOREIGN.items():
        if bytes(data[: len(prefix)]) == prefix:
            raise OmError(reason)
    if len(data) < HEADER_SIZE:
        raise OmError(f"{len(data)} bytes: an .om has a header of {HEADER_SIZE}")
    magic, head_size, version, length, encrypted, _, kind, _, name, _, user, _ = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise OmError(
            f"the first bytes are {bytes(data[:4])!r}: an .om begins with b'IMOD'; this is another file, "
            "or an encrypted one"
        )
    if head_size != HEADER_SIZE or version not in (_V1, _V2):
        raise OmError(
            f"header size {head_size} and version {version:#x}: known are 256 with 0x10000000 or 0x20000000"
        )
    if encrypted:
        raise OmError("the model is encrypted; only plain ones can be read")
    models, wide_length, unknown_shape = 1, 0, 0
    if version == _V2:
        models, _, _, wide_length, _, unknown_shape = _TAIL_V2.unpack_from(data, _HEAD.size)
    return Header(
        kind=kind,
        name=_text(name),
        toolchain=_text(user),
        models=models,
        length=wide_length or length,
        wide=wide_length != 0,
        dynamic=models > 1 or unknown_shape == 1,
    )


def read_table(data: memoryview, *, wide: bool) -> list[tuple[int, memoryview]]:
    """The partitions of the first sub-model, placed by their sizes as the loader does (§3.3).

    Args:
        data: the file behind its header.
        wide: whether the table is the wide one.

    Raises:
        OmError: no table, or a partition that reaches past the end.
    """
    counter, entry = (_WIDE_COUNT, _WIDE) if wide else (_NARROW_COUNT, _NARROW)
    if len(data) < counter.size:
        raise OmError(f"the file ends before its partition table: {len(data)} bytes after the header")
    (count,) = counter.unpack_from(data)
    at = counter.size + count * entry.size
    if not 0 < count <= _MOST_PARTITIONS or at > len(data):
        raise OmError(f"no partition table after the header: it would have {count} entries")
    found = []
    for place in range(count):
        kind, _, size = entry.unpack_from(data, counter.size + place * entry.size)
        if size > len(data) - at:
            raise OmError(
                f"partition {kind} wants {size} bytes where {len(data) - at} are left: the file is cut off"
            )
        found.append((kind, data[at : at + size]))
        at += size
    return found


def read_container(data: bytes | memoryview) -> Container:
    """Header and partitions of a model that ATC compiled from one network.

    The checks are those of the loader (facts/atc_om_soc.md §3.2): at least 256 bytes, magic, header size, the
    size that the header states, every partition inside the file, a MODEL_DEF.

    Raises:
        OmError: no such model, cut off, or encrypted.
    """
    view = memoryview(data)
    header = read_header(view)
    if header.kind == BUNDLE:
        raise OmError(
            f"a bundle of {header.models} models: acl.mdl.bundle_load_from_file loads it, and read_bundle "
            "takes it apart"
        )
    if header.kind != IR_MODEL:
        what = _KINDS.get(header.kind, "of no known kind")
        raise OmError(
            f"model type {header.kind}, {what}: only type 0, a model that ATC compiled from one network, "
            "can be read"
        )
    stated = HEADER_SIZE + header.length
    if stated != len(view):
        raise OmError(f"the header states {stated} bytes, the file has {len(view)}: copy it again")
    partitions = dict(read_table(view[HEADER_SIZE:], wide=header.wide))
    if MODEL_DEF not in partitions:
        raise OmError(f"no MODEL_DEF among the partitions {sorted(partitions)}")
    return Container(header, partitions)
