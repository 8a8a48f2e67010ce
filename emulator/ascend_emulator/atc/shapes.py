"""The text of `--input_shape` where it gives one shape to each input: parsed and refused as ATC does.

Rules and their order: facts/atc_om_soc.md §1.4 (GE: option_utils.cc, `ParseInputShape`). Ranges are in
`shape_ranges`, gears in `gear_options`.
"""

from __future__ import annotations

import re

from ascend_emulator.atc.errors import AtcError

Shapes = dict[str, tuple[int, ...]]
"""Input name to its shape as the user gave it, in the user's order; -1 stands for a number of the gear."""

_SAMPLE = '"input_name1:n1,c1,h1,w1"'
_INT64 = 1 << 63


def fits_int64(digits: str) -> bool:
    """Whether a text of digits is a number that an int64 holds."""
    # The length first: Python itself refuses to convert thousands of digits.
    return len(digits.lstrip("0")) <= len(str(_INT64)) and int(digits) < _INT64


def _number(text: str, item: str) -> int:
    if "." in text:
        raise AtcError("E10002", item, "The float number is unsupported", _SAMPLE)
    digits = text.strip().removeprefix("-")
    if not digits[:1].isdigit():
        raise AtcError("E10014", text, "input_shape")
    if not (digits.isascii() and digits.isdigit()):
        raise AtcError("E10002", item, "It is not a digit", _SAMPLE)
    if not fits_int64(digits):
        raise AtcError("E10013", text, "input_shape")
    return int(text)


def parse_input_shape(text: str, *, geared: bool) -> Shapes:
    """Read `name:n,c,h,w;name2:...`, where a name may itself hold colons and a scalar's shape is empty.

    Args:
        text: the option's value.
        geared: whether -1 may stand for a gear.

    Raises:
        AtcError: E10002 no name and shape, or no whole number; E10011 a dimension that is not positive;
            E10013 out of int64; E10014 no number at all.
    """
    shapes: Shapes = {}
    for item in text.removesuffix(";").split(";") if text else ():
        name, colon, dims = item.rpartition(":")
        if not colon:
            raise AtcError("E10002", item, "The shape must contain two parts: name and value", _SAMPLE)
        numbers = tuple(_number(dim, item) for dim in dims.split(",")) if dims else ()
        for number in numbers:
            if number <= 0 and not (geared and number == -1):
                raise AtcError("E10011", item, number)
        # As in ATC, the first of two shapes for one name counts.
        shapes.setdefault(name.strip(), numbers)
    return shapes


def check_hint_shape(text: str) -> None:
    """Check the text of `--input_hint_shape`: `0:[1,3];1:[]`, each input at most once.

    Raises:
        AtcError: E10014.
    """
    seen: set[int] = set()
    for item in filter(None, map(str.strip, text.split(";"))):
        found = re.fullmatch(r"([0-9]{1,9}) *: *\[([0-9, ]*)\]", item)
        dims = [dim.strip() for dim in found[2].split(",")] if found else []
        if not found or int(found[1]) in seen or any(" " in dim for dim in dims):
            raise AtcError("E10014", text, "input_hint_shape")
        seen.add(int(found[1]))
