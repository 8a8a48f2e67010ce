"""Element types and half-precision numbers (facts/pyacl.md §3)."""

from __future__ import annotations

import math
import struct

from ascend_emulator.client import datasets
from ascend_emulator.client.calling import (
    function,
    zero,
)

__all__ = [
    "data_type_size",
    "float16_to_float",
    "float_to_float16",
]

_LARGEST_HALF = 65504.0


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
