"""Protocol-buffer wire format, as much as an `.om` needs: varints, floats, byte fields and packed lists.

The card reads every `.om` with this, so it must be cheap to import: no generated classes and no descriptor
pool. Encoding rules: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_U64 = (1 << 64) - 1


class WireError(ValueError):
    """The bytes are no message of the wire format."""


def _varint(value: int) -> bytes:
    # A negative int64 goes out as its two's complement of 64 bits, in ten bytes.
    value &= _U64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Message:
    """A message being written, field by field in the order of the calls.

    Numbers outside int64 and uint64 are not representable; values are taken modulo 2**64.
    """

    def __init__(self) -> None:
        self._out = bytearray()

    def integer(self, field: int, value: int) -> Message:
        """Append an int32, int64, uint, bool or enum field."""
        self._out += _varint(field << 3 | _VARINT) + _varint(value)
        return self

    def data(self, field: int, value: bytes | str | Message) -> Message:
        """Append a bytes, string or message field."""
        if isinstance(value, str):
            value = value.encode()
        elif isinstance(value, Message):
            value = bytes(value)
        self._out += _varint(field << 3 | _BYTES) + _varint(len(value)) + value
        return self

    def single(self, field: int, value: float) -> Message:
        """Append a float field.

        Raises:
            OverflowError: the value is past float32.
        """
        self._out += _varint(field << 3 | _FIXED32) + struct.pack("<f", value)
        return self

    def packed(self, field: int, values: Iterable[int]) -> Message:
        """Append a packed repeated integer field; an empty one leaves no trace, as in proto3."""
        payload = b"".join(_varint(value) for value in values)
        return self.data(field, payload) if payload else self

    def __bytes__(self) -> bytes:
        return bytes(self._out)


def signed(value: int) -> int:
    """The int64 that a decoded varint stands for."""
    return value - (1 << 64) if value >> 63 else value


def float32(bits: int) -> float:
    """The number that a float field stands for."""
    (value,) = struct.unpack("<f", struct.pack("<I", bits & 0xFFFFFFFF))
    return float(value)


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise WireError(f"the message ends inside a varint at byte {at}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _U64, at
        shift += 7
    raise WireError(f"a varint at byte {at - 10} is longer than ten bytes")


def varints(data: memoryview) -> list[int]:
    """The integers of a packed field, unsigned; `signed` makes int64 of them.

    Raises:
        WireError: the last one is cut off or longer than ten bytes.
    """
    values, at = [], 0
    while at < len(data):
        value, at = _read_varint(data, at)
        values.append(value)
    return values


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: number and value, in file order.

    A varint and the fixed-size numbers come as unsigned ints, bytes, strings and messages as views of `data`.

    Raises:
        WireError: a field is cut off, has number 0 or a wire type that proto3 does not use.
    """
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        field, wire = key >> 3, key & 7
        if field == 0:
            raise WireError(f"a field has number 0 before byte {at}")
        if wire == _VARINT:
            value, at = _read_varint(data, at)
            yield field, value
            continue
        if wire == _BYTES:
            size, at = _read_varint(data, at)
        elif wire in _FIXED_SIZES:
            size = _FIXED_SIZES[wire]
        else:
            raise WireError(f"field {field} has wire type {wire} before byte {at}")
        if size > len(data) - at:
            raise WireError(f"field {field} wants {size} bytes at byte {at} of {len(data)}")
        payload = data[at : at + size]
        at += size
        yield field, payload if wire == _BYTES else int.from_bytes(payload, "little")
