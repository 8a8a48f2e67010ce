"""Configurations of loads and executions (facts/pyacl.md §9.1, §11, §15.8)."""

from __future__ import annotations

from ascend_emulator.client import handles
from ascend_emulator.client.calling import function, ret, value_ret, zero
from ascend_emulator.client.models import config
from ascend_emulator.client.models.config import ExecConfig, LoadAttr, LoadConfig

__all__ = [
    "create_config_handle",
    "create_exec_config_handle",
    "destroy_config_handle",
    "destroy_exec_config_handle",
    "load_with_config",
    "set_config_opt",
    "set_exec_config_opt",
]

_INT_MAX = (1 << 31) - 1
_ULONG = 0xFFFF_FFFF_FFFF_FFFF


@function("", zero)
def create_config_handle() -> int:
    """An empty configuration of a load; its handle alone."""
    return handles.add(LoadConfig())


@function("kiO", ret)
def set_config_opt(handle: int, attr: int, value: object) -> int:
    """Set one attribute; TypeError for a value that is not of the attribute's type."""
    holder = handles.get(handle, LoadConfig)
    if attr == LoadAttr.PATH:
        if not isinstance(value, str) or "\0" in value:
            raise TypeError("acl.mdl.set_config_opt args parse failed!")
        holder.set(attr, value)
        return 0
    if not isinstance(value, int):
        raise TypeError("acl.mdl.set_config_opt args parse failed!")
    if attr == LoadAttr.PRIORITY:
        if not -_INT_MAX - 1 <= value <= _INT_MAX:
            raise TypeError("acl.mdl.set_config_opt args parse failed!")
        holder.set(attr, value)
    else:
        holder.set(attr, value & _ULONG)
    return 0


@function("k", value_ret)
def load_with_config(handle: int) -> tuple[int, int]:
    """`(model_id, ret)`."""
    return config.load(handle), 0


@function("k", ret)
def destroy_config_handle(handle: int) -> int:
    """End a configuration."""
    handles.remove(handle, LoadConfig)
    return 0


@function("", zero)
def create_exec_config_handle() -> int:
    """An empty configuration of executions; its handle alone."""
    return handles.add(ExecConfig())


@function("kkI", ret)
def set_exec_config_opt(handle: int, attr: int, value: int) -> int:
    """Set one attribute: 0 the time to wait for the stream, 1 for events, in milliseconds; -1 for ever."""
    handles.get(handle, ExecConfig).set(attr, value)
    return 0


@function("k", ret)
def destroy_exec_config_handle(handle: int) -> int:
    """End a configuration."""
    handles.remove(handle, ExecConfig)
    return 0
