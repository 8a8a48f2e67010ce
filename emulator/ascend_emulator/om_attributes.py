"""Attributes in the graph partition: `ge.proto.AttrDef` and maps of them (facts/atc_om_soc.md §3.5).

Only the kinds of value that are written or asked for here; others are passed over when reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ascend_emulator.protobuf import Message, WireError, fields, float32, signed, varints


@dataclass(frozen=True, slots=True)
class DataType:
    """A data type as a value, by its number in the graph's protobuf."""

    number: int


Scalar = bool | int | float | str | bytes
Attribute = (
    Scalar | DataType | Sequence[int] | Sequence[str] | Sequence[tuple[int, int]] | Mapping[str, Scalar]
)
"""A value: numbers and text, a data type, lists, a list of pairs, or named values of its own (`NamedAttrs`)."""

_LIST, _TEXT, _INT, _FLOAT, _BOOL, _BYTES, _NAMED, _PAIRS, _DATA_TYPE = 1, 2, 3, 4, 5, 7, 10, 14, 15
_VAL_TYPE = 20
_VAL_TEXT, _VAL_INT, _VAL_BOOL = 1, 2, 4


def _list(value: Sequence[int | str]) -> Message:
    items = Message()
    first = value[0] if value else ""
    if isinstance(first, bool):
        return items.packed(_BOOL, map(int, value)).integer(_VAL_TYPE, _VAL_BOOL)
    if isinstance(first, int):
        return items.packed(_INT, map(int, value)).integer(_VAL_TYPE, _VAL_INT)
    for text in value:
        items.data(_TEXT, str(text))
    return items.integer(_VAL_TYPE, _VAL_TEXT)


def _encode(value: Attribute) -> Message:
    """An `AttrDef`; an empty list is one of texts."""
    message = Message()
    if isinstance(value, bool):
        return message.integer(_BOOL, value)
    if isinstance(value, int):
        return message.integer(_INT, value)
    if isinstance(value, float):
        return message.single(_FLOAT, value)
    if isinstance(value, str):
        return message.data(_TEXT, value)
    if isinstance(value, bytes):
        return message.data(_BYTES, value)
    if isinstance(value, DataType):
        return message.integer(_DATA_TYPE, value.number)
    if isinstance(value, Mapping):
        named = Message()
        put_attributes(named, 2, value)
        return message.data(_NAMED, named)
    pairs = [item for item in value if isinstance(item, tuple)]
    if pairs:
        rows = Message()
        for pair in pairs:
            rows.data(1, Message().packed(1, pair))
        return message.data(_PAIRS, rows)
    return message.data(_LIST, _list([item for item in value if not isinstance(item, tuple)]))


def put_attributes(message: Message, number: int, attributes: Mapping[str, Attribute]) -> None:
    """Append a map of attributes as field `number`.

    Raises:
        OverflowError: a float is past float32.
    """
    for key, value in attributes.items():
        message.data(number, Message().data(1, key).data(2, _encode(value)))


def _decode_list(data: memoryview) -> Sequence[int] | Sequence[str]:
    texts: list[str] = []
    integers: list[int] = []
    for number, value in fields(data):
        if number == _TEXT and isinstance(value, memoryview):
            texts.append(str(value, "utf-8", "replace"))
        elif number in (_INT, _BOOL):
            # Old writers did not pack.
            items = [signed(item) for item in (varints(value) if isinstance(value, memoryview) else [value])]
            integers += map(bool, items) if number == _BOOL else items
    return texts or integers


def _decode_named(data: memoryview) -> Mapping[str, Scalar]:
    found: dict[str, Scalar] = {}
    for number, value in fields(data):
        if number == 2 and isinstance(value, memoryview):
            key, content = _entry(value)
            scalar = _decode_scalar(content)
            if scalar is not None:
                found[key] = scalar
    return found


def _decode_scalar(data: memoryview) -> Scalar | None:
    for number, value in fields(data):
        if isinstance(value, memoryview):
            if number == _TEXT:
                # GE writes binary into texts too; those are not asked for here.
                return str(value, "utf-8", "replace")
            if number == _BYTES:
                return bytes(value)
        elif number == _FLOAT:
            return float32(value)
        elif number in (_INT, _BOOL):
            return bool(value) if number == _BOOL else signed(value)
    return None


def _decode(data: memoryview) -> Attribute | None:
    for number, value in fields(data):
        if isinstance(value, memoryview) and number == _LIST:
            return _decode_list(value)
        if isinstance(value, memoryview) and number == _NAMED:
            return _decode_named(value)
        if isinstance(value, int) and number == _DATA_TYPE:
            return DataType(value)
    return _decode_scalar(data)


def _entry(data: memoryview) -> tuple[str, memoryview]:
    """Key and value of a map's entry; either may be left out when it is empty."""
    key, content = "", data[:0]
    for number, value in fields(data):
        if not isinstance(value, memoryview):
            raise WireError(f"a map's entry has a number as field {number}")
        if number == 1:
            key = str(value, "utf-8", "replace")
        elif number == 2:
            content = value
    return key, content


def put_entry(attributes: dict[str, Attribute], entry: memoryview) -> None:
    """Read one entry of a map into `attributes`, unless its value is of a kind that is not read here.

    Raises:
        WireError: the bytes are no map entry.
    """
    key, content = _entry(entry)
    value = _decode(content)
    if value is not None:
        attributes[key] = value
