"""`acl.util`: between Python objects and addresses (facts/pyacl.md §13)."""

from __future__ import annotations

import ctypes
import sys
import warnings
from typing import TYPE_CHECKING, Any

from ascend_emulator.client import process
from ascend_emulator.client.calling import function, zero

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


@function("O", zero)
def bytes_to_ptr(data: object) -> int:
    """Address inside a bytes object, which the caller keeps alive; ValueError for anything else."""
    if not isinstance(data, bytes):
        raise ValueError("acl.util.bytes_to_ptr needs a bytes object as argument")
    # CPython keeps the bytes right behind the object's header; id() is the header's address.
    return id(data) + _BYTES_HEADER


@function("kk", zero)
def ptr_to_bytes(address: int, size: int) -> bytes:
    """A copy of host memory; ValueError for device memory (facts/pyacl.md §20, 20)."""
    process.check_host(address)
    return ctypes.string_at(address, size)


@function("O", zero)
def numpy_to_ptr(array: object) -> int:
    """Address of an array's data, which the caller keeps alive; ValueError for anything else."""
    _warn("numpy_to_ptr")
    found = _array(array, "numpy_to_ptr")
    if not found.flags.c_contiguous:
        warnings.warn("acl.util.numpy_to_ptr: the array is not C-contiguous", Warning, stacklevel=3)
    return found.ctypes.data


@function("O", zero)
def numpy_contiguous_to_ptr(array: object) -> tuple[int, NDArray[Any]]:
    """`(address, array)`: the array itself if it is contiguous, else a copy."""
    import numpy as np

    _warn("numpy_contiguous_to_ptr")
    found = np.ascontiguousarray(_array(array, "numpy_contiguous_to_ptr"))
    return found.ctypes.data, found


@function("kOi", zero)
def ptr_to_numpy(address: int, shape: object, npy_type: int) -> NDArray[Any]:
    """A writable view of host memory that it does not own; the type is NumPy's number, not ACL's."""
    import numpy as np

    _warn("ptr_to_numpy")
    process.check_host(address)
    if not isinstance(shape, tuple) or not shape:
        raise ValueError("shape is empty")
    if not all(isinstance(dim, int) for dim in shape):
        raise TypeError("acl.util.ptr_to_numpy args parse failed")
    numbered = {np.dtype(code).num: np.dtype(code) for code in np.typecodes["All"]}
    if npy_type not in numbered:
        raise ValueError(f"acl.util.ptr_to_numpy: {npy_type} is no NumPy type number")
    dtype = numbered[npy_type]
    size = int(np.prod(shape)) * dtype.itemsize
    memory = memoryview((ctypes.c_uint8 * size).from_address(address)).cast("B")
    view: NDArray[Any] = np.ndarray(shape, dtype, memory)
    return view


def _array(value: object, name: str) -> NDArray[Any]:
    import numpy as np

    if not isinstance(value, np.ndarray):
        raise ValueError(f"acl.util.{name} needs an ndarray as argument")
    return value


def _warn(name: str) -> None:
    # The category is plain Warning in the original, so it is shown by default.
    warnings.warn(f"acl.util.{name} is deprecated, use bytes_to_ptr and ptr_to_bytes", Warning, stacklevel=4)
