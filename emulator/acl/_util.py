"""`acl.util`: between Python objects and addresses (facts/pyacl.md §13; texts from the binding)."""

from __future__ import annotations

import ctypes
import sys
from math import prod
from typing import TYPE_CHECKING, Any

from ascend_emulator.arena import GARBAGE
from ascend_emulator.client import addresses, process
from ascend_emulator.client.calling import function, warn, zero
from ascend_emulator.codes import Failure

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "bytes_to_ptr",
    "numpy_contiguous_to_ptr",
    "numpy_to_ptr",
    "ptr_to_bytes",
    "ptr_to_numpy",
]

_BYTES_HEADER = sys.getsizeof(b"") - 1
_SSIZE = 1 << 63
_OBJECT = 17
_GARBAGE_UP_TO = 16 << 20  # more is left as the system gives it, since it may be more than the host can hold


@function("O", zero)
def bytes_to_ptr(data: object) -> int:
    """Address inside a bytes object, which the caller keeps alive; ValueError for anything else."""
    if not isinstance(data, bytes):
        raise ValueError("needs an byte as argument")
    # CPython keeps the bytes right behind the object's header; id() is the header's address.
    return id(data) + _BYTES_HEADER


@function("kk", zero)
def ptr_to_bytes(address: int, size: int) -> bytes:
    """A copy of host memory; ValueError for device memory (facts/pyacl.md §20, 20) and for what is not there.

    From the address 0 it is `size` bytes of anything, as CPython's own function makes them.
    """
    _check_host(address)
    try:
        if size >= _SSIZE:
            raise MemoryError
        if not address:
            return bytes([GARBAGE]) * size if size <= _GARBAGE_UP_TO else bytes(size)
        return addresses.read(address, size)
    except (Failure, MemoryError) as error:
        raise ValueError("convert c pointer to bytes failed") from error


@function("O", zero)
def numpy_to_ptr(array: object) -> int:
    """Address of an array's data, which the caller keeps alive; ValueError for anything else."""
    _warn("numpy_to_ptr", "bytes_to_ptr")
    found = _array(array)
    if not found.flags.c_contiguous:
        warn("The input ndarray is discontiguous. Please use acl.util.bytes_to_ptr instead.")
    return found.ctypes.data


@function("O", zero)
def numpy_contiguous_to_ptr(array: object) -> tuple[int, NDArray[Any]]:
    """`(address, array)`: the array itself if it is contiguous, else a copy."""
    _warn("numpy_contiguous_to_ptr", "bytes_to_ptr")
    found = _array(array)
    if not found.flags.c_contiguous:
        found = found.copy(order="C")
    return found.ctypes.data, found


@function("kOi", zero)
def ptr_to_numpy(address: int, shape: object, npy_type: int) -> NDArray[Any]:
    """A writable view of host memory that it does not own; the type is NumPy's number, not ACL's.

    ValueError for device memory, memory that is not there, a shape that is no tuple, and a type that does not exist
    or holds Python objects; TypeError for a dim that is no int. At the address 0 it is a new array.
    """
    import numpy as np

    _warn("ptr_to_numpy", "ptr_to_bytes")
    _check_host(address)
    if not isinstance(shape, tuple):
        raise ValueError("shape is empty")
    if not all(isinstance(dim, int) for dim in shape):
        raise TypeError("the second argument is not list of int")
    shape = tuple(map(int, shape))  # a bool is an int in C
    numbered = {np.dtype(code).num: np.dtype(code) for code in np.typecodes["All"]}
    if npy_type not in numbered or npy_type == _OBJECT:
        raise ValueError("Invalid data-type for array")
    dtype = numbered[npy_type]
    size = prod(shape) * dtype.itemsize
    if any(dim < 0 for dim in shape):
        raise ValueError("negative dimensions are not allowed")
    if size >= _SSIZE or any(dim >= _SSIZE for dim in shape):
        raise ValueError("array is too big; its bytes are more than the maximum possible size")
    if not address:
        return np.empty(shape, dtype)
    if not addresses.readable(address, size):
        raise ValueError(f"{size} bytes at {address:#x} are not memory that this process may read")
    memory = memoryview((ctypes.c_uint8 * size).from_address(address)).cast("B")
    view: NDArray[Any] = np.ndarray(shape, dtype, memory)
    return view


def _array(value: object) -> NDArray[Any]:
    import numpy as np

    if not isinstance(value, np.ndarray):
        raise ValueError("needs an ndarray as argument")
    return value


def _check_host(address: int) -> None:
    """Refuse to let host code read device memory, which on a card behind PCIe ends the process."""
    if addresses.is_device_memory(address) and process.settings().run_mode == 1:
        raise ValueError(f"{address:#x} is device memory: copy it to the host with acl.rt.memcpy first")


def _warn(name: str, instead: str) -> None:
    warn(f"acl.util.{name} will be deprecated. Please use acl.util.{instead} instead.")
