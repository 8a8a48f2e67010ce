"""Choosing the gear of the next executions with a dataset (facts/pyacl.md §12.3).

The checks, their order and their codes are those of GE: `api/acl/acl_model/model/model.cpp`, then
`runtime/v1/executor/ge_executor.cc`. It matches a gear by its numbers alone, so the setter of one kind takes a gear of
another that has as many.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ascend_emulator import libc
from ascend_emulator.arena import arena_at
from ascend_emulator.client import addresses, datasets
from ascend_emulator.client.models import registry
from ascend_emulator.client.models.description import shapes_in_order
from ascend_emulator.client.models.registry import GearWrite, Model
from ascend_emulator.codes import (
    GE_DYNAMIC_BATCH_INVALID,
    GE_DYNAMIC_INPUT_LENGTH_INVALID,
    GE_MODEL_ID_INVALID,
    INVALID_PARAM,
    RT_PARAM_INVALID,
    Failure,
)
from ascend_emulator.gears import GearKind
from ascend_emulator.wire import NOWHERE

_MOST_KNOWN = 256


def set_gear(model_id: int, dataset: int, index: int, kind: GearKind, value: tuple[int, ...]) -> None:
    """Choose a batch size or an image size: write it into the hidden input's memory, at once, and remember it.

    Args:
        model_id: of the model.
        dataset: of its inputs.
        index: of the hidden input.
        kind: BATCH or IMAGE_SIZE.
        value: the batch size, or height and width.

    Raises:
        Failure: 100000 (a 0, dataset, index, null buffer), 145012 (buffer too small), 145003 (model), 145013 (no
            such gear), 107000 (the buffer's memory is not the device's).
    """
    model = registry.find(model_id)
    known = None if model is None else model.gear_writes.get((dataset, index, value))
    if model is not None and known is not None and _holds(known, model):
        model.gear = kind, value
        libc.move_keeping_gil(known.address, known.data, len(known.data))
        return
    state = datasets.changes.last, addresses.live.state  # before anything is looked at
    _check_not_zero(kind.name, value)
    buffer = datasets.hidden_buffer(dataset, index)
    _check_room(buffer.size, value)
    model = _model(model_id)
    _check_gear(model, value)
    model.gear = kind, value
    data = _write(model, buffer.address, buffer.size, value)
    if arena_at(buffer.address) is not None:  # of other memory nothing tells when it goes
        if len(model.gear_writes) >= _MOST_KNOWN:
            model.gear_writes.clear()
        model.gear_writes[dataset, index, value] = GearWrite(*state, buffer.address, data)


def set_dims(model_id: int, dataset: int, index: int, dims: Sequence[int]) -> None:
    """Choose a gear by all inputs' shapes, one after another in the user's order.

    Args:
        model_id: of the model.
        dataset: of its inputs.
        index: of the hidden input.
        dims: as an element of `get_input_dynamic_dims` has them.

    Raises:
        Failure: 100000 (no dims, dataset, index, null buffer), 145003 (model), 145012 (other shapes than the
            inputs', or buffer too small), 145013 (no such gear), 107000 (the buffer's memory is not the device's).
    """
    if not dims:
        raise Failure(INVALID_PARAM, "EH0001: dimCount is 0, it must be greater than 0.")
    buffer = datasets.hidden_buffer(dataset, index)
    model = _model(model_id)
    fixed = [dim for shape in shapes_in_order(model.om) for dim in shape]
    if len(dims) != len(fixed):
        text = f"E19999: {len(dims)} dims were given, all inputs together have {len(fixed)}."
        raise Failure(GE_DYNAMIC_INPUT_LENGTH_INVALID, text)
    for place, (given, wanted) in enumerate(zip(dims, fixed, strict=True)):
        if wanted >= 0 and given != wanted:
            text = f"E19999: dim {place} is {given}, but it is not dynamic and should be {wanted}."
            raise Failure(GE_DYNAMIC_INPUT_LENGTH_INVALID, text)
    value = tuple(given for given, wanted in zip(dims, fixed, strict=True) if wanted < 0)
    _check_gear(model, value)
    model.gear = GearKind.DIMS, value  # before the buffer's size is checked, as in GE
    _check_room(buffer.size, value)
    _write(model, buffer.address, buffer.size, value)


def _model(model_id: int) -> Model:
    model = registry.get(model_id)
    if model.om.dynamic:
        # GE keeps such models in another table, where its setters do not look.
        raise Failure(GE_MODEL_ID_INVALID, f"E19999: model {model_id} has no gears: its shape is dynamic.")
    return model


def _check_not_zero(what: str, value: tuple[int, ...]) -> None:
    if not all(value):
        raise Failure(INVALID_PARAM, f"EH0001: {what} {list(value)} is invalid, it must be greater than 0.")


def _check_room(size: int, value: tuple[int, ...]) -> None:
    if size < 4 * len(value):
        text = f"E19999: the gear input has {size} bytes, it needs {4 * len(value)}."
        raise Failure(GE_DYNAMIC_INPUT_LENGTH_INVALID, text)


def _check_gear(model: Model, value: tuple[int, ...]) -> None:
    gears = model.om.gears
    if gears is None or gears.index(value) is None:
        known = [] if gears is None else [list(gear) for gear in gears.values]
        text = f"E19999: {list(value)} is not one of the compiled gears {known}."
        raise Failure(GE_DYNAMIC_BATCH_INVALID, text)


def _holds(known: GearWrite, model: Model) -> bool:
    return (
        known.datasets == datasets.changes.last
        and known.memory is addresses.live.state
        and not model.device.link.closed  # with which its memory goes
    )


def _write(model: Model, address: int, size: int, value: tuple[int, ...]) -> bytes:
    if model.device.link.address_on_wire(address) == NOWHERE:
        raise Failure(RT_PARAM_INVALID, "EE1001: the memory of the gear input is not the device's.")
    letter = "q" if size >= 8 * len(value) else "i"
    data = struct.pack(f"<{len(value)}{letter}", *value)
    addresses.write(address, data, code=RT_PARAM_INVALID)
    return data
