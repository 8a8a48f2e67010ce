"""The top-level functions of `acl` (facts/pyacl.md §3, §4)."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

from ascend_emulator.client import datasets, handles, models, process
from ascend_emulator.client.calling import (
    empty_text,
    function,
    minus_one,
    nothing,
    ret,
    take_message,
    value_ret,
    zero,
)
from ascend_emulator.client.datasets import DataBuffer, TensorDescription
from ascend_emulator.codes import (
    INVALID_FILE,
    INVALID_PARAM,
    PARSE_FILE,
    REPEAT_FINALIZE,
    REPEAT_INITIALIZE,
    Failure,
)

__all__ = [
    "app_log",
    "create_data_buffer",
    "create_tensor_desc",
    "data_type_size",
    "destroy_data_buffer",
    "destroy_tensor_desc",
    "finalize",
    "finalize_reference",
    "float16_to_float",
    "float_to_float16",
    "get_data_buffer_addr",
    "get_data_buffer_size",
    "get_data_buffer_size_v2",
    "get_recent_err_msg",
    "get_soc_name",
    "get_tensor_desc_dim",
    "get_tensor_desc_dim_v2",
    "get_tensor_desc_element_count",
    "get_tensor_desc_format",
    "get_tensor_desc_name",
    "get_tensor_desc_num_dims",
    "get_tensor_desc_size",
    "get_tensor_desc_type",
    "get_version",
    "init",
    "set_tensor_desc_name",
    "update_data_buffer",
]

_API_VERSION = (1, 17, 0)
_LARGEST_HALF = 65504.0

_references = 0
_finalized = False


@function("|s", ret)
def init(config_path: str = "") -> int:
    """Initialise acl: 0, or 100002 (and one more reference) when it is already."""
    global _references, _finalized
    if _references:
        _references += 1
        raise Failure(REPEAT_INITIALIZE, "EE1001: acl is initialised already.")
    if config_path:
        _check_config(config_path)
    _references, _finalized = 1, False
    models.set_executor(ready=True)
    return 0


@function("", ret)
def finalize() -> int:
    """Undo every `init`: 0 the first time, 100037 after that."""
    _finalize()
    return 0


@function("", value_ret)
def finalize_reference() -> tuple[int, int]:
    """Undo one `init`; `(references left, ret)`."""
    global _references
    if _references > 1:
        _references -= 1
    elif _references == 1:
        _finalize()
    else:
        raise Failure(REPEAT_FINALIZE)
    return _references, 0


@function("", value_ret)
def get_version() -> tuple[int, int, int, int]:
    """`(major, minor, patch, ret)` of the API."""
    return (*_API_VERSION, 0)


@function("", nothing)
def get_soc_name() -> str | None:
    """Full name of the SoC, None when it cannot be told."""
    return process.settings().soc.name


@function("", nothing)
def get_recent_err_msg() -> str | None:
    """Text of this thread's last failure, None if there is none; reading clears it."""
    return take_message()


@function("is", nothing)
def app_log(level: int, message: str) -> None:
    """Write to CANN's log, of which the emulator has none."""


@function("i", zero)
def data_type_size(dtype: int) -> int:
    """Bytes of one element of an `aclDataType`."""
    return datasets.type_size(dtype)


@function("I", zero)
def float16_to_float(half: int) -> float:
    """The value of a half-precision bit pattern; infinities and NaN are not special here (facts/pyacl.md §3)."""
    exponent, fraction = half >> 10 & 0x1F, half & 0x3FF
    size = math.ldexp(fraction, -24) if not exponent else math.ldexp(1024 + fraction, exponent - 25)
    return -size if half & 0x8000 else size


@function("f", zero)
def float_to_float16(value: float) -> int:
    """The half-precision bit pattern of a value; what is too large, infinite or NaN becomes the largest half."""
    size = abs(value)
    size = size if size <= _LARGEST_HALF else _LARGEST_HALF
    bits: int = struct.unpack("<H", struct.pack("<e", math.copysign(size, value)))[0]
    return bits


# --- data buffers ----------------------------------------------------------------------------------


@function("kk", zero)
def create_data_buffer(address: int, size: int) -> int:
    """A data buffer that names memory; its handle alone, no ret."""
    return handles.add(DataBuffer(address, size))


@function("k", ret)
def destroy_data_buffer(buffer: int) -> int:
    """End a data buffer, never the memory it names."""
    handles.remove(buffer, DataBuffer)
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
    holder = handles.get(buffer, DataBuffer)
    holder.address, holder.size = address, size
    return 0


# --- tensor descriptions ---------------------------------------------------------------------------


@function("iLi", zero)
def create_tensor_desc(dtype: int, dims: list[int], layout: int) -> int:
    """A tensor description; its handle alone, no ret."""
    return handles.add(TensorDescription(dtype, tuple(dims), layout))


@function("k", nothing)
def destroy_tensor_desc(desc: int) -> None:
    """End a tensor description."""
    handles.remove(desc, TensorDescription)


@function("k", minus_one)
def get_tensor_desc_type(desc: int) -> int:
    """Its `aclDataType`."""
    return handles.get(desc, TensorDescription).dtype


@function("k", minus_one)
def get_tensor_desc_format(desc: int) -> int:
    """Its `aclFormat`."""
    return handles.get(desc, TensorDescription).layout


@function("k", zero)
def get_tensor_desc_size(desc: int) -> int:
    """Bytes of the tensor."""
    return handles.get(desc, TensorDescription).size


@function("k", zero)
def get_tensor_desc_element_count(desc: int) -> int:
    """Elements of the tensor."""
    return handles.get(desc, TensorDescription).elements


@function("k", zero)
def get_tensor_desc_num_dims(desc: int) -> int:
    """Number of dims."""
    return len(handles.get(desc, TensorDescription).dims)


@function("kk", minus_one)
def get_tensor_desc_dim(desc: int, index: int) -> int:
    """One dim (deprecated)."""
    return _dim(desc, index)


@function("kk", value_ret)
def get_tensor_desc_dim_v2(desc: int, index: int) -> tuple[int, int]:
    """`(dim, ret)`."""
    return _dim(desc, index), 0


@function("k", empty_text)
def get_tensor_desc_name(desc: int) -> str:
    """Its name."""
    return handles.get(desc, TensorDescription).name


@function("ks", nothing)
def set_tensor_desc_name(desc: int, name: str) -> None:
    """Name it."""
    handles.get(desc, TensorDescription).name = name


def _dim(desc: int, index: int) -> int:
    dims = handles.get(desc, TensorDescription).dims
    if index >= len(dims):
        raise Failure(INVALID_PARAM, f"EH0001: index {index} is invalid, the tensor has {len(dims)} dims.")
    return dims[index]


def _finalize() -> None:
    global _references, _finalized
    if _finalized:
        raise Failure(REPEAT_FINALIZE)
    _references, _finalized = 0, True
    models.set_executor(ready=False)


def _check_config(path: str) -> None:
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise Failure(
            INVALID_FILE, f"EH0003: the config file {path!r} cannot be read: {error.strerror}."
        ) from error
    try:
        json.loads(text or "{}")
    except ValueError as error:
        raise Failure(PARSE_FILE, f"EH0004: the config file {path!r} is no JSON: {error}.") from error
