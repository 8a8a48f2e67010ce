"""Bundles: several models in one file, which share their variables and are loaded together.

ATC makes none; GE's `aclgrphBundleBuildModel` does. The file is a header of model type 5 and the wide table
with a partition BUNDLE_MODEL_VAR_INFO (u64, bytes of the shared variables), then a BUNDLE_MODEL_INFO for each
model, a whole `.om` of its own. Offsets count from the start of the table, and the length in the header
counts the header too, both unlike in an `.om` (GE: base/common/helper/model_helper.cc
SaveBundleModelBufferToMem; the loader goes by the sizes: api/acl/acl_model/model/model.cpp
GetBundleNumAndOffset).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ascend_emulator.om_container import (
    BUNDLE,
    BUNDLE_MODEL,
    BUNDLE_VARIABLES,
    HEADER_SIZE,
    OmError,
    bundle_header,
    pack_table,
    read_header,
    read_table,
)


def write_bundle(models: Sequence[bytes]) -> bytes:
    """A bundle of whole `.om` files, without variables.

    Raises:
        OmError: there is no model.
    """
    if not models:
        raise OmError("a bundle holds at least one model")
    partitions = [(BUNDLE_VARIABLES, struct.pack("<Q", 0)), *((BUNDLE_MODEL, bytes(om)) for om in models)]
    body = pack_table(partitions, from_table=True)
    return bundle_header(len(models), HEADER_SIZE + len(body)) + body


def read_bundle(data: bytes | memoryview) -> tuple[bytes, ...]:
    """The models of a bundle, each a whole `.om`, in the order of their `bundle_get_model_id`.

    Raises:
        OmError: no bundle, one that is cut off, or one without a model.
    """
    view = memoryview(data)
    header = read_header(view)
    if header.kind != BUNDLE:
        raise OmError(f"model type {header.kind}: a bundle is type {BUNDLE}; load a single model as such")
    found = read_table(view[HEADER_SIZE:], wide=True)
    models = tuple(bytes(payload) for kind, payload in found if kind == BUNDLE_MODEL)
    if not models:
        raise OmError(f"no model among the bundle's partitions {[kind for kind, _ in found]}")
    return models
