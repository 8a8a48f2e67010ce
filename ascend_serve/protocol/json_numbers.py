"""Long lists of numbers in JSON, read piece by piece.

A JSON parser holds Python's GIL until it is done, on whatever thread it runs: 3 MB of numbers hold every other thread
up for tens of milliseconds. So long numeric `data` are taken out of the text before it is parsed, and are read in
pieces between which others get their turn. What is read is what one parse of the whole gives; what does not look as it
should is left to that parse, which also says what is wrong.

Rests on RFC 8259: a list of numbers holds no quote and no brace, so it ends before the next one of these.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any

import numpy as np
import orjson

from ascend_serve.protocol.datatypes import Datatype, WireType, has_json_form, numbers
from ascend_serve.protocol.messages import Array
from ascend_serve.spec.tensors import DataType

_LONG_BYTES = 32 * 1024
"""A list that is taken out of the text."""
_PIECE_BYTES = 32 * 1024
"""What is parsed at once, in about half a millisecond."""

_OPENED = re.compile(rb'"data"[ \t\n\r]*:[ \t\n\r]*\[')
_MARK = b'{"":%d}'
_BLANK = b" \t\n\r"
_OF_NUMBERS = b"0123456789+-.eE"
_AS_ZEROS = bytes.maketrans(_OF_NUMBERS, b"0" * len(_OF_NUMBERS))


class Irregular(Exception):  # noqa: N818  # nothing is known to be wrong yet
    """A list that is to be read with the whole text."""


class NumberList:
    """The text of a list that holds nothing but numbers, lists, commas and blanks, or does not parse."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def array(self, dtype: Datatype, shape: tuple[int, ...], tensor: str) -> Array:
        """An array of `shape`, as `datatypes.array_from_json` gives it.

        Raises:
            Irregular: the list is neither flat nor nested as the shape says, or the datatype has no numbers in JSON.
            InvalidTensor: an element is not of the type or not in its range.
        """
        if isinstance(dtype, WireType) or not has_json_form(dtype):
            raise Irregular
        text, count = self._text, prod(shape)
        bare = text.translate(None, _OF_NUMBERS + _BLANK)
        if len(bare) != count + 1 or bare != b"[" + b"," * (count - 1) + b"]":
            if len(bare) != _skeleton_bytes(shape) or bare != _skeleton(shape):
                raise Irregular
            # Brackets and commas stand as they should; so must they beside the numbers.
            shown = text.translate(_AS_ZEROS, _BLANK)
            if any(part.endswith(b"0") for part in shown.split(b"[")[:-1]):
                raise Irregular
            if any(part.startswith(b"0") for part in shown.split(b"]")[1:]):
                raise Irregular
        elif not (text.startswith(b"[") and text.endswith(b"]")):
            raise Irregular
        return self._elements(text.translate(None, b"[]"), dtype, count, tensor).reshape(shape)

    def _elements(self, flat: bytes, dtype: DataType, count: int, tensor: str) -> Array:
        array: Array = np.empty(count, dtype.numpy)
        filled = position = 0
        while position <= len(flat):
            end = flat.find(b",", position + _PIECE_BYTES)
            if end < 0:
                end = len(flat)
            try:
                values: list[Any] = orjson.loads(b"[" + flat[position:end] + b"]")
            except orjson.JSONDecodeError:
                raise Irregular from None
            if filled + len(values) > count or not values:
                raise Irregular
            array[filled : filled + len(values)] = numbers(values, dtype, tensor)
            filled += len(values)
            position = end + 1
        if filled != count:
            raise Irregular
        return array


def lifted(text: bytes) -> tuple[bytes, list[NumberList]]:
    """Take long lists of numbers out of a text.

    Args:
        text: JSON.

    Returns:
        The text with a mark (`list_at` finds what it stands for) in place of each, and the lists; none where there is
        none, or where the text holds something like a mark itself.
    """
    parts: list[bytes] = []
    lists: list[NumberList] = []
    kept_from = position = 0
    while (opened := _OPENED.search(text, position)) is not None:
        position = opened.end()
        start = position - 1
        # No further than the next quote: so every byte is looked at a few times, however many keys there are.
        before = text.find(b'"', start)
        before = text.find(b"}", start, before if before >= 0 else len(text))
        if before < 0:
            continue
        end = text.rfind(b"]", start, before) + 1
        if end - start < _LONG_BYTES:
            continue
        parts += (text[kept_from:start], _MARK % len(lists))
        lists.append(NumberList(text[start:end]))
        kept_from = position = end
    if not lists or b'""' in text:
        return text, []
    return b"".join((*parts, text[kept_from:])), lists


def list_at(data: object, lists: list[NumberList]) -> object:
    """What `data` of a parsed text is: the list that its mark stands for, or itself."""
    return lists[data[""]] if lists and isinstance(data, dict) and "" in data else data


def _skeleton_bytes(shape: tuple[int, ...]) -> int:
    """Length of the `_skeleton`, which is not made before it is known not to be too long."""
    inner = 0
    for size in reversed(shape):
        inner = 2 + size * inner + size - 1
    return inner


def _skeleton(shape: tuple[int, ...]) -> bytes:
    """Brackets and commas of a list nested as the shape."""
    inner = b""
    for size in reversed(shape):
        inner = b"[" + b",".join([inner] * size) + b"]"
    return inner
