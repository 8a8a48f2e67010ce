"""What else may lie in an `.om`: the models of a bundle or a flow model, and shared libraries.

Rests on GE's writers and loaders (facts: ATC §3.3; GE: base/common/helper/model_helper.cc for bundles,
graph_metadef/proto/flow_model.proto for flow models). No real bundle and no real file with libraries is public.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from ascend_serve.artifacts.om.container import BUNDLE_MODEL, FLOW_SUB_MODEL, Partition
from ascend_serve.artifacts.om.facts import Library
from ascend_serve.artifacts.om.wire import fields, message, text

_RECORD = struct.Struct("<IHHII")
_RECORD_MAGIC = 0x5D77_6EFD


@dataclass(frozen=True, slots=True)
class FlowModel:
    """One sub-model of a flow model: its name, its kind and its `.om`, which may be empty or in a file elsewhere."""

    name: str
    kind: str
    data: memoryview


def bundle_models(partitions: Iterable[Partition]) -> list[memoryview]:
    """The models of a bundle, each a whole `.om`, in the order of the file."""
    return [partition.data for partition in partitions if partition.kind == BUNDLE_MODEL]


def flow_models(partitions: Iterable[Partition]) -> list[FlowModel]:
    """The sub-models of a flow model.

    Raises:
        WireError: a partition is no protobuf message.
    """
    found = []
    for partition in partitions:
        if partition.kind == FLOW_SUB_MODEL:
            name, kind, data = "", "", memoryview(b"")
            for tag, _, value in fields(partition.data):
                if tag == 1:
                    name = text(value)
                elif tag == 2:
                    kind = text(value)
                elif tag == 3:
                    data = message(value)
            # A sub-model that runs on the host is no `.om`.
            found.append(FlowModel(name, kind, data if bytes(data[:4]) == b"IMOD" else memoryview(b"")))
    return found


def libraries(partition: memoryview | None) -> tuple[Library, ...]:
    """The shared libraries in SO_BINS, as far as its records can be followed: no real one was ever seen."""
    found: list[Library] = []
    if partition is None or len(partition) < 4:
        return ()
    (count,) = struct.unpack_from("<I", partition)
    at = 4
    while len(found) < count and at + _RECORD.size <= len(partition):
        magic, name_bytes, _, vendor_bytes, size = _RECORD.unpack_from(partition, at)
        at += _RECORD.size
        if magic != _RECORD_MAGIC or at + name_bytes + vendor_bytes + size > len(partition):
            break
        name, vendor = (
            str(partition[start : start + length], "utf-8", "backslashreplace")
            for start, length in ((at, name_bytes), (at + name_bytes, vendor_bytes))
        )
        found.append(Library(name, vendor, size))
        at += name_bytes + vendor_bytes + size
    return tuple(found)
