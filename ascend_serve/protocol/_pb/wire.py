"""The protobuf wire format of an inference request and answer, as far as it spares copies of tensor data.

Rests on the protobuf encoding document: a message is a sequence of fields in any order, each a tag (field number and
wire type) and a value; a repeated field may be broken up by others.

A protobuf class copies a `bytes` field once to parse it and once more to hand it out, and twice again to write one.
So the tensors' bytes are taken out of a request as views, and put into an answer by one join; protobuf reads and
writes all the rest.
"""

from __future__ import annotations

from collections.abc import Iterable

from ascend_serve.errors import MalformedRequest

RAW_INPUT_CONTENTS = 7
"""Field of `ModelInferRequest`."""

INPUTS = 5
"""Field of `ModelInferRequest`."""

CONTENTS = 5
"""Field of `ModelInferRequest.InferInputTensor`."""

RAW_OUTPUT_CONTENTS = 6
"""Field of `ModelInferResponse`."""

STREAMED_RESPONSE = 2
"""Field `infer_response` of `ModelStreamInferResponse`."""

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_LONGEST_VARINT = 10


def without_field(
    message: bytes | memoryview, number: int, max_fields: int
) -> tuple[bytes, list[memoryview]]:
    """Take a field of bytes or messages, repeated or not, out of a message.

    Args:
        message: a serialised message.
        number: the field's number.
        max_fields: fields on the message's first level that are looked at.

    Returns:
        The message without that field, and the field's values in their order, as read-only views on `message`.

    Raises:
        MalformedRequest: the message ends within a field, is no protobuf message, or has more than `max_fields`
            fields.
    """
    taken_tag = number << 3 | _LENGTH
    view = memoryview(message)
    size = len(message)
    values: list[memoryview] = []
    kept: list[memoryview] = []
    position = kept_from = fields = 0
    while position < size:
        fields += 1
        if fields > max_fields:
            raise MalformedRequest(
                f"the request has more than the {max_fields} protobuf fields that are read"
            )
        start = position
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == _LENGTH:
            length, position = _varint(message, position)
            end = position + length
        elif kind == _VARINT:
            end = _varint(message, position)[1]
        elif kind in _FIXED_SIZES:
            end = position + _FIXED_SIZES[kind]
        else:
            raise MalformedRequest(
                f"byte {start} of the request begins a protobuf field of wire type {kind}, which the protocol's "
                "messages do not have"
            )
        if end > size:
            raise _ends_early(size, start)
        if tag == taken_tag:
            values.append(view[position:end])
            kept.append(view[kept_from:start])
            kept_from = end
        position = end
    if not values:
        return bytes(message), values
    kept.append(view[kept_from:])
    return b"".join(kept), values


def with_field(message: bytes, number: int, values: Iterable[memoryview]) -> bytes:
    """Append a repeated `bytes` field to a serialised message; each value, contiguous, is copied once."""
    tag = _varint_octets(number << 3 | _LENGTH)
    parts: list[bytes | memoryview] = [message]
    for value in values:
        parts += (tag, _varint_octets(value.nbytes), value)
    return b"".join(parts)


def _varint(message: bytes | memoryview, position: int) -> tuple[int, int]:
    """The number at `position`, and where it ends."""
    if position < len(message) and (value := message[position]) < 0x80:
        return value, position + 1  # nearly all are so short
    value = shift = 0
    for index in range(position, min(position + _LONGEST_VARINT, len(message))):
        octet = message[index]
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, index + 1
        shift += 7
    if len(message) - position < _LONGEST_VARINT:
        raise _ends_early(len(message), position)
    raise MalformedRequest(f"byte {position} of the request begins a number longer than protobuf's 10 bytes")


def _varint_octets(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def _ends_early(size: int, start: int) -> MalformedRequest:
    return MalformedRequest(
        f"the request ends at byte {size}, within the protobuf field that begins at {start}"
    )
