"""Compression of attribute names in MODEL_DEF (facts/atc_om_soc.md §3.6).

The key of an op's or a tensor's attribute becomes a zero byte and a number, which counts the names in the order
in which they came up; the model's own attributes hold the list. Text values become numbers of a second list.
GE: base/common/model/model_compress_manager.cc, graph_metadef/graph/utils/enum_attr_utils.cc.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ascend_emulator.om_attributes import Attribute

_MARK = "\0"
_BASE = 127
_VERSION, _NAMES, _VALUES, _ARE_TEXT = (
    "om_compress_version",
    "attr_name_enum",
    "attr_value_enum",
    "attrs_use_string_value",
)
DICTIONARY = frozenset((_VERSION, _NAMES, _VALUES, _ARE_TEXT))
"""Attributes of the model that hold the lists."""


def encode_number(number: int) -> str:
    """The coded key of a name: digits of base 127, the lowest first, each one higher so that none is zero."""
    digits = [number % _BASE + 1]
    while number := number // _BASE:
        digits.append(number % _BASE + 1)
    return _MARK + "".join(map(chr, digits))


def decode_number(key: str) -> int:
    """The number of a coded key.

    Raises:
        ValueError: the key is not coded, or a digit is none.
    """
    digits = [ord(digit) - 1 for digit in key[1:]]
    if key[:1] != _MARK or not digits or not all(0 <= digit < _BASE for digit in digits):
        raise ValueError(f"attribute key {key!r} is no coded name")
    return sum(digit * _BASE**place for place, digit in enumerate(digits))


def _is_text(value: Attribute) -> bool:
    if isinstance(value, (bytes, Mapping)):
        return False
    return isinstance(value, str) or (
        isinstance(value, Sequence) and (not value or isinstance(value[0], str))
    )


class Compressor:
    """Codes the attributes of a model that is being written, in the order of its ops."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._values: dict[str, int] = {}
        self._are_text: list[bool] = []

    def code(self, attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
        """The attributes of an op or a tensor as they are written.

        Raises:
            ValueError: a name has text in one place and something else in another, which the format cannot
                tell apart.
        """
        coded: dict[str, Attribute] = {}
        for name, value in attributes.items():
            number = self._names.setdefault(name, len(self._names))
            is_text = _is_text(value)
            if number == len(self._are_text):
                self._are_text.append(is_text)
            if self._are_text[number] != is_text:
                raise ValueError(f"attribute {name!r} is text in one place and {value!r} in another")
            coded[encode_number(number)] = self._number(value) if is_text else value
        return coded

    def _number(self, value: Attribute) -> Attribute:
        if isinstance(value, str):
            return self._values.setdefault(value, len(self._values))
        if isinstance(value, Sequence):
            return [self._values.setdefault(str(text), len(self._values)) for text in value]
        raise TypeError(f"{value!r} is no text")

    def dictionary(self) -> dict[str, Attribute]:
        """What the model's own attributes must hold; nothing when nothing was coded."""
        if not self._names:
            return {}
        return {
            _VERSION: 1,
            _NAMES: list(self._names),
            _VALUES: list(self._values),
            _ARE_TEXT: list(self._are_text),
        }


class Expander:
    """Undoes the coding of a model that is being read.

    Args:
        attributes: the model's own; without the lists in them nothing is coded.

    Raises:
        ValueError: the lists do not fit each other.
    """

    def __init__(self, attributes: Mapping[str, Attribute]) -> None:
        self._names = _strings(attributes, _NAMES)
        self._values = _strings(attributes, _VALUES)
        self._are_text = _flags(attributes)
        if len(self._names) != len(self._are_text):
            raise ValueError(
                f"{_NAMES} has {len(self._names)} names, {_ARE_TEXT} tells of {len(self._are_text)}"
            )

    def name(self, key: str) -> tuple[str, bool]:
        """The name behind a key, and whether numbers in its value stand for texts.

        Raises:
            ValueError: a coded key that the list lacks.
        """
        if not key.startswith(_MARK):
            return key, False
        number = decode_number(key)
        if number >= len(self._names):
            raise ValueError(f"attribute name {number} is not among the {len(self._names)} of {_NAMES}")
        return self._names[number], self._are_text[number]

    def text(self, number: int) -> str:
        """The text behind a number.

        Raises:
            ValueError: the list lacks it.
        """
        if not 0 <= number < len(self._values):
            raise ValueError(f"attribute value {number} is not among the {len(self._values)} of {_VALUES}")
        return self._values[number]

    def expand(self, attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
        """The attributes of an op or a tensor under their names and with their texts.

        Raises:
            ValueError: a name or a text that the lists lack.
        """
        found: dict[str, Attribute] = {}
        for key, value in attributes.items():
            name, is_text = self.name(key)
            found[name] = self._value(value) if is_text else value
        return found

    def _value(self, value: Attribute) -> Attribute:
        if isinstance(value, int):
            return self.text(value)
        if isinstance(value, Sequence) and all(isinstance(item, int) for item in value):
            return [self.text(int(item)) for item in value]  # type: ignore[arg-type]  # checked just above
        raise ValueError(f"{value!r} stands for a text and is no number")


def _strings(attributes: Mapping[str, Attribute], name: str) -> list[str]:
    value = attributes.get(name, ())
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise ValueError(f"{name} is no list of texts")
    return [str(item) for item in value]


def _flags(attributes: Mapping[str, Attribute]) -> list[bool]:
    value = attributes.get(_ARE_TEXT, ())
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise ValueError(f"{_ARE_TEXT} is no list of booleans")
    return [bool(item) for item in value]
