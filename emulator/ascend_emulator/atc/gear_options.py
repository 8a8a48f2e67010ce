"""The options that give gears: parsed and refused as ATC does.

Rules and their order: facts/atc_om_soc.md §1.5 (GE: option_utils.cc before the model is read,
multi_batch_options.cc `CheckDynamicParams` after).
"""

from __future__ import annotations

from ascend_emulator.atc.errors import AtcError
from ascend_emulator.atc.shapes import Shapes, fits_int64
from ascend_emulator.gears import GearKind, Gears

OPTIONS = {
    "dynamic_batch_size": GearKind.BATCH,
    "dynamic_image_size": GearKind.IMAGE_SIZE,
    "dynamic_dims": GearKind.DIMS,
}
"""Option to the kind of gears it gives."""

FEWEST, MOST = 2, 100
"""100 was a hard limit up to graphengine r1.8 and is the documented one since, so it is the portable one."""

_HEIGHT_AND_WIDTH = {"NCHW": (2, 3), "NHWC": (1, 2)}


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def check(kind: GearKind, text: str, shapes: Shapes, input_format: str) -> None:
    """What ATC checks of a gear option before it reads the model.

    Args:
        kind: which option it is.
        text: its value.
        shapes: of `--input_shape`.
        input_format: of `--input_format`, its default where it was not given.

    Raises:
        AtcError: see `_check_batch`, `_check_image_size` and `_check_dims`.
    """
    if kind is GearKind.BATCH:
        _check_batch(text, shapes)
    elif kind is GearKind.IMAGE_SIZE:
        _check_image_size(text, shapes, input_format)
    else:
        _check_dims(text, shapes)


def _qualifies(batched: list[tuple[int, ...]]) -> bool:
    return any(min(shape[1:], default=1) >= 0 for shape in batched)


def _check_batch(text: str, shapes: Shapes) -> None:
    """E10012 a scalar; E10031 no -1 at a first axis; E10018 one past it; E10003 neither digit nor comma."""
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
    if any(not _digits(char) and char != "," for char in text):
        raise AtcError("E10003", text, "dynamic_batch_size", 'It can only contain digits and ",".')


def _check_image_size(text: str, shapes: Shapes, input_format: str) -> None:
    """E10003 a layout without height and width; E10019 a -1 elsewhere; E10003 characters; E10020 no pair."""
    for shape in shapes.values():
        if -1 not in shape:
            continue
        if len(shape) == 4 and input_format not in _HEIGHT_AND_WIDTH:
            reason = "When --dynamic_image_size is set, the input format only supports NCHW or NHWC."
            follow = (AtcError("E10019").message,)
            raise AtcError("E10003", input_format, "input_format", reason, trace=follow)
        open_axes = tuple(axis for axis, dim in enumerate(shape) if dim == -1)
        if len(shape) != 4 or open_axes != _HEIGHT_AND_WIDTH[input_format]:
            raise AtcError("E10019")
    if not any(-1 in shape for shape in shapes.values()):
        raise AtcError("E10019")
    profiles = text.removesuffix(";")
    if any(not _digits(char) and char not in ", ;" for char in profiles):
        reason = 'It can only contain digits, ",", " " and ";".'
        raise AtcError("E10003", profiles, "dynamic_image_size", reason)
    if any(len(profile.split(",")) != 2 for profile in profiles.split(";")):
        raise AtcError("E10020", profiles)


def _check_dims(text: str, shapes: Shapes) -> None:
    """E10001 no -1, or a number that is none; E10058 nothing given; E10003 another count than of the -1s."""
    holes = sum(shape.count(-1) for shape in shapes.values())
    if not holes:
        reason = "At least one dim should be -1 when dynamic_dims is set."
        raise AtcError("E10001", 0, "--input_shape's dynamic dim num", reason)
    profiles = text.removesuffix(";")
    if not profiles:
        raise AtcError("E10058", "--dynamic_dims")
    for profile in profiles.split(";"):
        numbers = profile.split(",")
        if len(numbers) != holes:
            reason = "Each setting needs to be consistent with the number of -1 in the input shape."
            raise AtcError("E10003", profiles, "dynamic_dims", reason)
        for number in numbers:
            if number and not _digits(number):
                reason = "Dynamic dims must be a positive integer."
                raise AtcError("E10001", number, "--dynamic_dims", reason)


def parse(kind: GearKind, text: str) -> Gears:
    """The gears in the user's order.

    Args:
        kind: which option it is.
        text: its value, which passed `check`; empty items count as not there.

    Raises:
        AtcError: E10035 fewer than two; E10036 more than 100; E10037 of different lengths; E10038 zero;
            E10039 the same twice; E10013 too large for an int64; E10003 a space within a number.
    """
    option = next(name for name, known in OPTIONS.items() if known is kind)
    profiles = [
        [number.strip(" ") for number in profile.split(",") if number.strip(" ")]
        for profile in text.split("," if kind is GearKind.BATCH else ";")
    ]
    profiles = [profile for profile in profiles if profile]
    for number in (number for profile in profiles for number in profile):
        if not _digits(number):
            raise AtcError("E10003", text, option, f"{number!r} is not a whole number.")
        if not fits_int64(number):
            raise AtcError("E10013", number, option)
    values = tuple(tuple(map(int, profile)) for profile in profiles)
    if len(values) < FEWEST:
        raise AtcError("E10035", len(values), FEWEST)
    if len(values) > MOST:
        raise AtcError("E10036", len(values), MOST)
    for value in values:
        if len(value) != len(values[0]):
            raise AtcError("E10037", len(values[0]), len(value))
        if 0 in value:
            raise AtcError("E10038", 0)
    if len(set(values)) != len(values):
        raise AtcError("E10039")
    return Gears(kind, values)
