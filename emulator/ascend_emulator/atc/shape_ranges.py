"""Ranges of shapes, which make a model of truly dynamic shape: parsed and refused as ATC does.

`--input_shape` with `-1` or `a~b` and no gears, or the older `--input_shape_range` (facts/atc_om_soc.md §1.4;
GE: option_utils.cc, `CheckAndTransferInputShapeToRange` and `ParseInputShapeRange`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ascend_emulator.atc.errors import AtcError
from ascend_emulator.atc.shapes import fits_int64

LOWEST = 1
"""Lower end of an axis given as -1; the documents allow 0, which nothing can be computed of."""

Range = tuple[int, int]
"""Lowest and highest size of an axis; -1 for no upper end."""

_ITEM_SAMPLE = '"input_name1:n1~n2,c1,h1,w1"'
_RANGE_SAMPLE = '"input_name1:[n1~n2,c1,h1,w1]"'
_DIM_SAMPLE = '"[1~20,3,3~6,-1]"'
_NUMBER_SAMPLE = '"16"'
_FORM = "The format of the shape range is invalid"
_PARTS = "The shape must contain two parts: name and value"


@dataclass(frozen=True, slots=True)
class Ranges:
    """The ranges of a command line.

    Attributes:
        by_name: input name to its ranges, in the user's order.
        by_place: the ranges of all inputs in the model's order, where no names were given.
    """

    by_name: dict[str, tuple[Range, ...]]
    by_place: tuple[tuple[Range, ...], ...] = ()


def given_in(input_shape: str) -> bool:
    """Whether the shapes hold a `-1` or a `~`; a name may hold either."""
    dims = [item.rpartition(":")[2] for item in input_shape.split(";")]
    return any("~" in shape or "-1" in shape for shape in dims)


def _end(text: str, whole: str) -> int:
    stripped = text.strip()
    if not re.fullmatch(r"-?[0-9]+", stripped) or not fits_int64(stripped.removeprefix("-")):
        raise AtcError("E10048", text, "The current string cannot be converted to a number", _NUMBER_SAMPLE)
    end = int(stripped)
    if end == 0 or end < -1:
        raise AtcError("E10048", whole, _FORM, _DIM_SAMPLE)
    return end


def _dims(text: str) -> tuple[Range, ...]:
    found = []
    for dim in text.split(","):
        ends = [_end(end, text) for end in dim.split("~")]
        if ends == [-1]:
            found.append((LOWEST, -1))
        elif len(ends) == 1:
            found.append((ends[0], ends[0]))
        elif len(ends) == 2 and 0 < ends[0] <= ends[1]:
            found.append((ends[0], ends[1]))
        else:
            raise AtcError("E10048", text, _FORM, _DIM_SAMPLE)
    return tuple(found)


def _check_characters(item: str, dims: str) -> None:
    if not re.fullmatch(r"[0-9 ,~-]*", dims):
        raise AtcError("E10002", item, _PARTS, _ITEM_SAMPLE)


def parse_input_shape_ranges(text: str) -> Ranges:
    """Read `name:1~4,3,-1,-1;name2:8`, or the same without names, for all inputs in order.

    A scalar's empty shape says nothing, as in ATC.

    Raises:
        AtcError: E10002 no name, or a character that no range holds; E10048 an end that is no number, or ends
            that make no range.
    """
    items = text.removesuffix(";").split(";")
    if ":" not in text:
        for item in items:
            _check_characters(item, item)
        return Ranges({}, tuple(_dims(item) if item.strip() else () for item in items))
    found: dict[str, tuple[Range, ...]] = {}
    for item in items:
        name, colon, dims = item.rpartition(":")
        if not colon:
            raise AtcError("E10002", item, _PARTS, _ITEM_SAMPLE)
        if not name:
            raise AtcError("E10002", item, "The input name is empty", _ITEM_SAMPLE)
        _check_characters(item, dims)
        if dims:
            found.setdefault(name.strip(), _dims(dims))
    return Ranges(found)


def parse_bracketed_ranges(text: str) -> Ranges:
    """Read the older form, `name:[1~4,3,-1,-1];name2:[8]`, or `[1~4,3],[8]` for all inputs in order.

    Raises:
        AtcError: E10048.
    """
    if ":" not in text:
        shapes = re.findall(r"\[([^\[\]]*)\]", text)
        if not shapes or re.sub(r"\[[^\[\]]*\]|[, ]", "", text):
            raise AtcError("E10048", text, _FORM, _RANGE_SAMPLE)
        return Ranges({}, tuple(_dims(shape) if shape.strip() else () for shape in shapes))
    found: dict[str, tuple[Range, ...]] = {}
    for item in text.removesuffix(";").split(";"):
        name, colon, dims = item.rpartition(":")
        if not colon:
            raise AtcError("E10048", text, _PARTS, _RANGE_SAMPLE)
        brackets = re.fullmatch(r"\s*\[([^\[\]]*)\]\s*", dims)
        if not brackets:
            reason = "The ranges must stand in one pair of '[]'" if dims else "The name has no ranges"
            raise AtcError("E10048", dims or text, reason, _RANGE_SAMPLE)
        found.setdefault(name.strip(), _dims(brackets[1]) if brackets[1].strip() else ())
    return Ranges(found)
