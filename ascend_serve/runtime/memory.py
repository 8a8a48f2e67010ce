"""Device memory and page-locked host memory, with numpy views where the host may look.

Views are made over the bare address with `ctypes`; the `acl.util.numpy_*` functions are deprecated (facts:
pyACL §13). A view does not own the memory: it must not be used once its buffer is closed.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from ascend_serve.errors import ConfigError
from ascend_serve.runtime import _acl
from ascend_serve.runtime.handle import Handle
from ascend_serve.spec.tensors import DataType


class _Buffer(Handle):
    """A block of memory.

    Attributes:
        size: bytes asked for; the runtime may keep more behind them.
    """

    size: int

    def _look(self, shape: tuple[int, ...], dtype: DataType) -> np.ndarray[Any, np.dtype[Any]]:
        if self.closed:
            raise ValueError(f"{self!r}: a closed buffer has no memory to view")
        count = int(np.prod(shape, dtype=np.int64))
        if count * dtype.itemsize > self.size:
            raise ConfigError(
                f"a view of shape {list(shape)} and type {dtype.name} takes {count * dtype.itemsize} bytes; "
                f"the buffer has {self.size}"
            )
        memory = memoryview((ctypes.c_uint8 * self.size).from_address(self.address))
        return np.frombuffer(memory, dtype=dtype.numpy, count=count).reshape(shape)


class HostBuffer(_Buffer):
    """Page-locked host memory, 64-byte aligned, from which and to which the card copies by itself."""

    kind = "host_buffer"
    door = "Device.host_buffer()"

    def view(self, shape: tuple[int, ...], dtype: DataType) -> np.ndarray[Any, np.dtype[Any]]:
        """A writable array over the first bytes; not to be used after `close`.

        Raises:
            ConfigError: the array would not fit.
        """
        return self._look(shape, dtype)

    def _release(self, address: int) -> None:
        _acl.free_host(address)


class DeviceBuffer(_Buffer):
    """Device memory, 64-byte aligned.

    Attributes:
        visible: whether the host can look at it, as it can on a board, where both memories are one.
    """

    kind = "device_buffer"
    door = "Device.device_buffer()"

    visible: bool

    def view(self, shape: tuple[int, ...], dtype: DataType) -> np.ndarray[Any, np.dtype[Any]]:
        """A writable array over the first bytes, on boards only; not to be used after `close`.

        Raises:
            ConfigError: a card's memory, at which the host cannot look, or an array that would not fit.
        """
        if not self.visible:
            raise ConfigError("the host cannot look into a card's memory: copy it into a HostBuffer first")
        return self._look(shape, dtype)

    def _release(self, address: int) -> None:
        _acl.free(address)
