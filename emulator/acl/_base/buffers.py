"""Data buffers (facts/pyacl.md §3, §10)."""

from __future__ import annotations

from ascend_emulator.client import datasets, handles
from ascend_emulator.client.calling import (
    function,
    ret,
    zero,
)
from ascend_emulator.client.datasets import DataBuffer

__all__ = [
    "create_data_buffer",
    "destroy_data_buffer",
    "get_data_buffer_addr",
    "get_data_buffer_size",
    "get_data_buffer_size_v2",
    "update_data_buffer",
]


@function("kk", zero)
def create_data_buffer(address: int, size: int) -> int:
    """A data buffer that names memory; its handle alone, no ret."""
    return handles.add(DataBuffer(address, size))


@function("k", ret)
def destroy_data_buffer(buffer: int) -> int:
    """End a data buffer, never the memory it names."""
    datasets.destroy_buffer(buffer)
    return 0


@function("k", zero)
def get_data_buffer_addr(buffer: int) -> int:
    """The address alone."""
    return handles.get(buffer, DataBuffer).address


@function("k", zero)
def get_data_buffer_size(buffer: int) -> int:
    """The size alone, cut to 32 bits (deprecated)."""
    return handles.get(buffer, DataBuffer).size & 0xFFFF_FFFF


@function("k", zero)
def get_data_buffer_size_v2(buffer: int) -> int:
    """The size alone."""
    return handles.get(buffer, DataBuffer).size


@function("kkk", ret)
def update_data_buffer(buffer: int, address: int, size: int) -> int:
    """Let a data buffer name other memory."""
    handles.get(buffer, DataBuffer).update(address, size)
    return 0
