"""The colour conversions that CANN's AIPP documents tabulate, by what comes in, what goes out, and the standard.

Source: hicann/ge docs/zh/user_guides/atc_tools/AIPP/CSC_config.md. A row of a matrix makes one output channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Triple = tuple[int, int, int]
Matrix = tuple[Triple, Triple, Triple]
Colours = Literal["RGB", "BGR", "YUV444", "YVU444", "GRAY"]
Standard = Literal["JPEG", "BT-601NARROW", "BT-601WIDE", "BT-709NARROW", "BT-709WIDE"]


@dataclass(frozen=True, slots=True)
class Conversion:
    """One conversion; 8 bits of the matrix are its fraction.

    Attributes:
        matrix: by rows.
        input_bias: subtracted from Y, U and V before.
        output_bias: added to Y, U and V after.
    """

    matrix: Matrix
    input_bias: Triple = (0, 0, 0)
    output_bias: Triple = (0, 0, 0)


_NARROW: Triple = (16, 128, 128)
_WIDE: Triple = (0, 128, 128)
_BIAS: dict[Standard, Triple] = {
    "JPEG": _WIDE,
    "BT-601NARROW": _NARROW,
    "BT-601WIDE": _WIDE,
    "BT-709NARROW": _NARROW,
    "BT-709WIDE": _WIDE,
}
_YUV_TO_RGB: dict[Standard, Matrix] = {
    "JPEG": ((256, 0, 359), (256, -88, -183), (256, 454, 0)),
    "BT-601NARROW": ((298, 0, 409), (298, -100, -208), (298, 516, 0)),
    "BT-601WIDE": ((256, 0, 359), (256, -88, -183), (256, 454, 0)),
    "BT-709NARROW": ((298, 0, 459), (298, -55, -136), (298, 541, 0)),
    "BT-709WIDE": ((256, 0, 403), (256, -48, -120), (256, 475, 0)),
}
_RGB_TO_YUV: dict[Standard, Matrix] = {
    "JPEG": ((77, 150, 29), (-43, -85, 128), (128, -107, -21)),
    "BT-601NARROW": ((66, 129, 25), (-38, -74, 112), (112, -94, -18)),
    "BT-601WIDE": ((77, 150, 29), (-43, -85, 128), (128, -107, -21)),
    "BT-709NARROW": ((47, 157, 16), (-26, -87, 112), (112, -102, -10)),
    "BT-709WIDE": ((55, 183, 19), (-29, -99, 128), (128, -116, -12)),
}
_NOTHING: Triple = (0, 0, 0)
_YUV_TO_GRAY: Matrix = ((256, 0, 0), _NOTHING, _NOTHING)
_RGB_TO_GRAY: Matrix = ((76, 150, 30), _NOTHING, _NOTHING)

BY_DEFAULT = {
    True: Conversion(((298, 516, 0), (298, -100, -208), (298, 0, 409)), input_bias=_NARROW),
    False: Conversion(_RGB_TO_YUV["BT-601NARROW"], output_bias=_NARROW),
}
"""What ATC converts by when it is told no matrix, by whether Y, U and V come in (BT-601NARROW, to BGR or YUV444).

Source: hicann/ge compiler/graph/preprocess/insert_op/aipp_op.cc, SetCscDefaultValue.
"""


def outputs_of(yuv: bool) -> tuple[Colours, ...]:
    """What an image can be converted to, by whether it is Y, U and V."""
    return ("RGB", "BGR", "GRAY") if yuv else ("YUV444", "YVU444", "GRAY")


def conversion(yuv: bool, to: Colours, standard: Standard | None) -> Conversion:
    """The conversion of an image, by whether it is Y, U and V, to one of `outputs_of`; GRAY needs no standard."""
    if to == "GRAY":
        return Conversion(_YUV_TO_GRAY if yuv else _RGB_TO_GRAY)
    assert standard is not None, "Aipp lets no other through"
    if yuv:
        first, second, third = _YUV_TO_RGB[standard]
        rows = (first, second, third) if to == "RGB" else (third, second, first)
        return Conversion(rows, input_bias=_BIAS[standard])
    first, second, third = _RGB_TO_YUV[standard]
    rows = (first, second, third) if to == "YUV444" else (first, third, second)
    return Conversion(rows, output_bias=_BIAS[standard])
