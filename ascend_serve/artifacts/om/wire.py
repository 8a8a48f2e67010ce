"""Protocol-buffer wire format, read only: just enough to walk the model definition inside an `.om`.

An `.om` carries its graph as a protobuf message whose schema is public but large; this room needs a few dozen
of its fields, so it walks the wire format itself and keeps no generated code. Values of length-delimited
fields are memoryviews into the caller's bytes: nothing is copied, however large the model is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT = 0
FIXED64 = 1
LENGTH = 2
FIXED32 = 5


class WireError(ValueError):
    """The bytes are no protobuf message: a field runs past the end, or has an unknown wire type."""


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """Read one varint.

    Returns:
        The unsigned value (up to 64 bits) and the offset past it.

    Raises:
        WireError: the bytes end within it, or it has more than ten bytes.
    """
    value = 0
    for count in range(10):
        if at + count >= len(data):
            raise WireError(f"a varint is cut off at byte {at + count}")
        byte = data[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + count + 1
    raise WireError(f"a varint of more than ten bytes at byte {at}")


def signed(value: int) -> int:
    """The int64 that a 64-bit varint stands for (two's complement)."""
    return value - (1 << 64) if value >= 1 << 63 else value


def fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Walk one message.

    Yields:
        Field number, wire type and value: an unsigned int for varint, fixed32 and fixed64 fields, a view for
        length-delimited ones.

    Raises:
        WireError: the bytes are no message.
    """
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise WireError(f"field number 0 before byte {at}")
        value: int | memoryview
        if kind == VARINT:
            value, at = varint(data, at)
        elif kind == LENGTH:
            length, at = varint(data, at)
            value = _take(data, at, length)
            at += length
        elif kind == FIXED64:
            (value,) = struct.unpack("<Q", _take(data, at, 8))
            at += 8
        elif kind == FIXED32:
            (value,) = struct.unpack("<I", _take(data, at, 4))
            at += 4
        else:
            raise WireError(f"wire type {kind} of field {number} before byte {at}")
        yield number, kind, value


def _take(data: memoryview, at: int, length: int) -> memoryview:
    if at + length > len(data):
        raise WireError(f"a field of {length} bytes at byte {at} runs past the end, {len(data)}")
    return data[at : at + length]


def int64s(value: int | memoryview) -> list[int]:
    """Values of one occurrence of a repeated int64 field, packed or not."""
    if isinstance(value, int):
        return [signed(value)]
    numbers = []
    at = 0
    while at < len(value):
        number, at = varint(value, at)
        numbers.append(signed(number))
    return numbers


def text(value: int | memoryview) -> str:
    """A string field's text; bytes that are not UTF-8 are shown as escapes.

    Raises:
        WireError: the field is a number.
    """
    return str(message(value), "utf-8", "backslashreplace")


def message(value: int | memoryview) -> memoryview:
    """The bytes of a sub-message.

    Raises:
        WireError: the field is a number.
    """
    if isinstance(value, int):
        raise WireError(f"expected a length-delimited field, found the number {value}")
    return value


def number(value: int | memoryview) -> int:
    """The int64 of a varint field.

    Raises:
        WireError: the field is length-delimited.
    """
    if not isinstance(value, int):
        raise WireError("expected a number, found a length-delimited field")
    return signed(value)
