"""`acl.op`: single operators. Their attributes can be built; the emulated card runs whole models only.

facts/pyacl.md §14.2.
"""

from __future__ import annotations

import operator
from typing import Any

from ascend_emulator.client import handles
from ascend_emulator.client.calling import function, nothing, ret, value_ret, zero

from acl import _absent

_ABSENT = _absent.functions(
    __name__,
    """
    set_model_dir s r
    load kk r
    execute sllllkk r
    execute_v2 sllllkk r
    execute_with_handle kllk r
    create_handle sllk vr
    destroy_handle k n
    cast kkkkBk r
    create_handle_for_cast kkB vr
    update_params sllk r
    infer_shape sllilk r
    start_dump_args Is r
    stop_dump_args I r
    register_compile_func sO r
    unregister_compile_func s r
    create_kernel ssskiii r
    set_kernel_args ksIkI r
    set_kernel_workspace_sizes kik r
    set_max_op_queue_num K r
    """,
)
globals().update(_ABSENT)

__all__ = [
    "create_attr",
    "destroy_attr",
    "set_attr_bool",
    "set_attr_data_type",
    "set_attr_float",
    "set_attr_int",
    "set_attr_list_bool",
    "set_attr_list_data_type",
    "set_attr_list_float",
    "set_attr_list_int",
    "set_attr_list_list_int",
    "set_attr_list_string",
    "set_attr_string",
    *_ABSENT,
]


class OpAttributes:
    """Attributes of one single operator by name."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}


@function("", zero)
def create_attr() -> int:
    """A set of attributes; its handle alone, no ret."""
    return handles.add(OpAttributes())


@function("k", nothing)
def destroy_attr(attributes: int) -> None:
    """End a set of attributes."""
    handles.remove(attributes, OpAttributes)


@function("ksI", ret)
def set_attr_bool(attributes: int, name: str, value: int) -> int:
    """Set a truth value, given as an int."""
    return _set(attributes, name, bool(value & 0xFF))


@function("ksO", ret)
def set_attr_int(attributes: int, name: str, value: Any) -> int:
    """Set a 64-bit int."""
    return _set(attributes, name, _int64(value, "set_attr_int"))


@function("ksf", ret)
def set_attr_float(attributes: int, name: str, value: float) -> int:
    """Set a float."""
    return _set(attributes, name, value)


@function("kss", ret)
def set_attr_string(attributes: int, name: str, value: str) -> int:
    """Set a text."""
    return _set(attributes, name, value)


@function("ksi", value_ret)
def set_attr_data_type(attributes: int, name: str, value: int) -> tuple[int, int]:
    """Set an `aclDataType`; `(attributes, ret)`."""
    return attributes, _set(attributes, name, value)


@function("ksO", ret)
def set_attr_list_bool(attributes: int, name: str, values: object) -> int:
    """Set a list of truth values, given as ints."""
    return _set(attributes, name, [bool(value) for value in _list(values, "set_attr_list_bool")])


@function("ksO", ret)
def set_attr_list_int(attributes: int, name: str, values: object) -> int:
    """Set a list of 64-bit ints."""
    room = "set_attr_list_int"
    return _set(attributes, name, [_int64(value, room) for value in _list(values, room)])


@function("ksO", ret)
def set_attr_list_float(attributes: int, name: str, values: object) -> int:
    """Set a list of floats."""
    return _set(attributes, name, [float(value) for value in _list(values, "set_attr_list_float")])


@function("ksO", ret)
def set_attr_list_string(attributes: int, name: str, values: object) -> int:
    """Set a list of texts."""
    room = "set_attr_list_string"
    texts = _list(values, room)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"acl.op.{room} args parse failed")
    return _set(attributes, name, texts)


@function("ksO", ret)
def set_attr_list_list_int(attributes: int, name: str, values: object) -> int:
    """Set a list of lists of 64-bit ints."""
    room = "set_attr_list_list_int"
    return _set(
        attributes, name, [[_int64(value, room) for value in _list(row, room)] for row in _list(values, room)]
    )


@function("ksO", value_ret)
def set_attr_list_data_type(attributes: int, name: str, values: object) -> tuple[int, int]:
    """Set a list of `aclDataType`s; `(attributes, ret)`."""
    room = "set_attr_list_data_type"
    return attributes, _set(attributes, name, [_int64(value, room) for value in _list(values, room)])


def _set(attributes: int, name: str, value: object) -> int:
    handles.get(attributes, OpAttributes).values[name] = value
    return 0


def _list(values: object, name: str) -> list[Any]:
    if not isinstance(values, list):
        raise TypeError(f"acl.op.{name} args parse failed")
    return values


def _int64(value: Any, name: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"acl.op.{name} args parse failed") from None
    if not -(1 << 63) <= number < 1 << 63:
        raise TypeError(f"acl.op.{name} args parse failed")
    return number
