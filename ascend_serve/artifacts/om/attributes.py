"""Attributes in an `.om`'s model definition: their values, and the names that newer files compress.

Rests on `AttrDef` of the public schema `ge_ir.proto` (facts: ATC §3.5) and the compression of names (§3.6).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from ascend_serve.artifacts.om.wire import FIXED32, fields, int64s, message, number, text
from ascend_serve.errors import NotAnOm

AttrValue = (
    int
    | float
    | bool
    | str
    | list[int]
    | list[float]
    | list[bool]
    | list[str]
    | list[list[int]]
    | dict[str, "AttrValue"]
)
Attrs = dict[str, AttrValue]

_DEEPEST = 4
"""Named values nest no deeper in any real file; a damaged one must not exhaust the stack."""

_LONGEST_CODE = 6
"""A zero byte and five digits count 33 billion names."""


def add_attr(attrs: Attrs, entry: memoryview, depth: int = 0) -> None:
    """Read one map entry into `attrs`, unless its value is a tensor, a graph or a blob.

    Raises:
        WireError: the bytes are no map entry.
    """
    key = ""
    for tag, _, value in fields(entry):
        if tag == 1:
            key = text(value)
        elif tag == 2:
            for inner, kind, content in fields(message(value)):
                parsed = _attr_value(inner, kind, content, depth)
                if parsed is not None:
                    attrs[key] = parsed


def _attr_value(tag: int, kind: int, value: int | memoryview, depth: int) -> AttrValue | None:
    if tag == 1:
        return _list(message(value))
    if tag == 2:
        return text(value)
    if tag == 3:
        return number(value)
    if tag == 4 and kind == FIXED32:
        return _float(number(value))
    if tag == 5:
        return bool(value)
    if tag == 10 and depth < _DEEPEST:
        named: Attrs = {}
        for inner, _, item in fields(message(value)):
            if inner == 2:
                add_attr(named, message(item), depth + 1)
        return named
    if tag == 14:
        rows = [message(row) for inner, _, row in fields(message(value)) if inner == 1]
        return [
            [item for inner, _, items in fields(row) if inner == 1 for item in int64s(items)] for row in rows
        ]
    return None


def _list(data: memoryview) -> AttrValue:
    strings: list[str] = []
    ints: list[int] = []
    floats: list[float] = []
    for tag, kind, value in fields(data):
        if tag == 2:
            strings.append(text(value))
        elif tag in (3, 5):
            ints.extend(int64s(value))
        elif tag == 4:
            if kind == FIXED32:
                floats.append(_float(number(value)))
            else:
                packed = message(value)
                floats.extend(item for (item,) in struct.iter_unpack("<f", packed[: len(packed) // 4 * 4]))
    return strings or ints or floats or []


def _float(bits: int) -> float:
    (value,) = struct.unpack("<f", struct.pack("<I", bits))
    return float(value)


class AttrNames:
    """Undoes attribute-name compression: keys that begin with a zero byte are numbers into a dictionary.

    Args:
        model_attrs: the model's own attributes, which hold the dictionary.
    """

    def __init__(self, model_attrs: Attrs) -> None:
        self._names = strings_of(model_attrs, "attr_name_enum")
        self._values = strings_of(model_attrs, "attr_value_enum")
        self._uses_values = ints_of(model_attrs, "attrs_use_string_value")

    def decode(self, attrs: Attrs) -> Attrs:
        """The attributes of an operator or a tensor under their names.

        Raises:
            NotAnOm: a number that the dictionary lacks.
        """
        return dict(self._entry(key, value) for key, value in attrs.items())

    def _entry(self, key: str, value: AttrValue) -> tuple[str, AttrValue]:
        if not key.startswith("\0"):
            return key, value
        if len(key) > _LONGEST_CODE:
            raise NotAnOm(
                f"an attribute's coded name has {len(key)} bytes, where {_LONGEST_CODE} are the most"
            )
        # Digits of base 127, least significant first, each stored as digit + 1 so that no further zero byte occurs.
        code = sum((ord(digit) - 1) * 127**place for place, digit in enumerate(key[1:]))
        if not 0 <= code < len(self._names):
            raise NotAnOm(f"attribute name {code} is not in the file's dictionary of {len(self._names)}")
        if code < len(self._uses_values) and self._uses_values[code]:
            if isinstance(value, int):
                value = self._value(value)
            elif isinstance(value, list):
                value = [self._value(item) for item in value if isinstance(item, int)]
        return self._names[code], value

    def _value(self, code: int) -> str:
        if not 0 <= code < len(self._values):
            raise NotAnOm(f"attribute value {code} is not in the file's dictionary of {len(self._values)}")
        return self._values[code]


def text_of(attrs: Mapping[str, AttrValue], key: str) -> str:
    """A text attribute; empty where there is none."""
    value = attrs.get(key)
    return value if isinstance(value, str) else ""


def int_of(attrs: Mapping[str, AttrValue], key: str, default: int = 0) -> int:
    """An int attribute, or the default."""
    value = attrs.get(key)
    return value if isinstance(value, int) else default


def strings_of(attrs: Mapping[str, AttrValue], key: str) -> list[str]:
    """A list of texts; empty where there is none."""
    value = attrs.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def ints_of(attrs: Mapping[str, AttrValue], key: str) -> tuple[int, ...]:
    """A list of ints; empty where there is none."""
    value = attrs.get(key)
    return tuple(item for item in value if isinstance(item, int)) if isinstance(value, list) else ()
