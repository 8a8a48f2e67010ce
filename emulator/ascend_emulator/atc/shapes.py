"""The texts of `--input_shape` and `--dynamic_batch_size`: parsed and refused as ATC does.

Rules and their order: facts/atc_om_soc.md §1.4 and §1.5 (GE: option_utils.cc, multi_batch_options.cc).
"""

from __future__ import annotations

from ascend_emulator.atc.errors import AtcError

FEWEST_GEARS, MOST_GEARS = 2, 100
"""100 was a hard limit up to graphengine r1.8 and is the documented one since, so it is the portable one."""

Shapes = dict[str, tuple[int, ...]]
"""Input name to its shape as the user gave it, in the user's order; -1 stands for the batch of a gear."""

_SAMPLE = '"input_name1:n1,c1,h1,w1"'
_INT64 = 1 << 63


def _fits_int64(digits: str) -> bool:
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
    if not _fits_int64(digits):
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


def _qualifies(batched: list[tuple[int, ...]]) -> bool:
    return any(min(shape[1:], default=1) >= 0 for shape in batched)


def check_batch_shapes(shapes: Shapes, gears: str) -> None:
    """What ATC checks of `--dynamic_batch_size` before it reads the model.

    Args:
        shapes: of `--input_shape`.
        gears: the option's value.

    Raises:
        AtcError: E10012 a scalar in --input_shape; E10031 no -1 at a first axis; E10018 one past it; E10003
            a character that is neither digit nor comma.
    """
    if not all(shapes.values()):
        raise AtcError("E10012")
    batched = [shape for shape in shapes.values() if shape[0] == -1]
    if not batched:
        raise AtcError("E10031")
    for shape in (*batched, *shapes.values()):
        for axis, dim in enumerate(shape):
            if axis and dim < 0:
                # Where another input qualifies, ATC goes on and fails later, with less to say.
                follow = () if _qualifies(batched) else (AtcError("E10031").message,)
                raise AtcError("E10018", dim, axis, trace=follow)
    if any(not (char.isascii() and char.isdigit()) and char != "," for char in gears):
        raise AtcError("E10003", gears, "dynamic_batch_size", 'It can only contain digits and ",".')


def parse_gears(text: str) -> tuple[int, ...]:
    """The gears in the user's order.

    Args:
        text: a value of `--dynamic_batch_size` that passed `check_batch_shapes`; one comma may trail.

    Raises:
        AtcError: E10035 fewer than two; E10036 more than 100; E10038 zero; E10039 the same twice; E10013 too
            large for an int64.
    """
    texts = [gear for gear in text.split(",") if gear]
    for gear in texts:
        if not _fits_int64(gear):
            raise AtcError("E10013", gear, "dynamic_batch_size")
    gears = tuple(map(int, texts))
    if len(gears) < FEWEST_GEARS:
        raise AtcError("E10035", len(gears), FEWEST_GEARS)
    if len(gears) > MOST_GEARS:
        raise AtcError("E10036", len(gears), MOST_GEARS)
    if 0 in gears:
        raise AtcError("E10038", 0)
    if len(set(gears)) != len(gears):
        raise AtcError("E10039")
    return gears
