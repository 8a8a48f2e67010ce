"""AIPP: image preprocessing on the card, the `aipp:` section of a recipe.

An input with AIPP takes uint8 images as they lie in memory (NHWC), and the card crops, converts, normalises and pads
them, in this order. Fields have the names of ATC's file, except that its numbered ones are lists. Fields of the file
that no chip heeds yet (`resize`, `single_line_mode`, `cpadding_value`, rotation) have no place here; for what else a
file may say, write it by hand and name it in `insert_op_conf`.

Rests on facts: ATC §5.1 and hicann/ge docs/zh/user_guides/atc_tools/AIPP (config_file_template.md for the ranges).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Annotated, Literal

from pydantic import Field, StrictInt, model_validator

from ascend_serve.errors import ConfigError
from ascend_serve.spec.aipp_colours import (
    BY_DEFAULT,
    Colours,
    Conversion,
    Standard,
    conversion,
    outputs_of,
)
from ascend_serve.spec.closed import Closed
from ascend_serve.spec.shapes import Dim, Shape
from ascend_serve.spec.soc import Soc
from ascend_serve.spec.text import nearest

InputFormat = Literal["YUV420SP_U8", "XRGB8888_U8", "RGB888_U8", "YUV400_U8"]
Layout = Literal["NCHW", "NHWC"]
Setting = bool | int | float | str

Byte = Annotated[StrictInt, Field(ge=0, le=255)]
Size = Annotated[StrictInt, Field(ge=0, le=4096)]
Border = Annotated[StrictInt, Field(ge=0, le=32)]
Half = Annotated[float, Field(ge=-65504, le=65504, allow_inf_nan=False)]
Offset = Annotated[float, Field(ge=0, le=255, allow_inf_nan=False)]
Coefficient = Annotated[StrictInt, Field(ge=-32677, le=32676)]
Row = tuple[Coefficient, Coefficient, Coefficient]
Bias = tuple[Byte, Byte, Byte]

_CHANNELS = 4
_SIDES = ("left", "right", "top", "bottom")
_NARROWEST = 2
_WIDEST_PADDED = {1001: 1080, 2002: 1080}
"""Widest image after padding by NPU architecture (Ascend 910 and 310P); 4096 on the others."""
_ARCH_950 = 3510
"""The one architecture whose crops of YUV420SP_U8 may start anywhere."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """How the images of a format lie in memory.

    Attributes:
        channels: channels of the image.
        depth: bytes in memory at each place of a row.
        rows: rows in memory for each row of the image.
        even: whether height, width and the start of a crop have to be even.
        yuv: whether the channels are Y, U and V; R, G and B else.
    """

    channels: int
    depth: int
    rows: Fraction
    even: bool
    yuv: bool


PIXELS: dict[InputFormat, Pixels] = {
    "YUV420SP_U8": Pixels(3, 1, Fraction(3, 2), even=True, yuv=True),
    "XRGB8888_U8": Pixels(4, 4, Fraction(1), even=False, yuv=False),
    "RGB888_U8": Pixels(3, 3, Fraction(1), even=False, yuv=False),
    "YUV400_U8": Pixels(1, 1, Fraction(1), even=False, yuv=True),
}


class Normalize(Closed):
    """Normalisation as training code says it: `(pixel / scale - mean) / std` for each channel.

    It becomes `mean_chn` (the whole part of `scale * mean`), `min_chn` (what is left of it) and `var_reci_chn`
    (`1 / (scale * std)`). The card holds the last two as halves, so the factor is off by up to one part in 2048.
    """

    mean: Annotated[tuple[float, ...], Field(min_length=1, max_length=_CHANNELS)]
    """Mean of each channel, in units of `pixel / scale`; the channels are those that the network gets."""

    std: Annotated[tuple[float, ...], Field(min_length=1, max_length=_CHANNELS)]
    """Standard deviation of each channel, in the same units."""

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 255.0
    """What pixels are divided by first."""

    @model_validator(mode="after")
    def _check(self) -> Normalize:
        if len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} means for {len(self.std)} standard deviations: give as many")
        for mean in self.mean:
            if not 0 <= mean * self.scale <= 255:
                raise ValueError(
                    f"mean {mean:g} is {mean * self.scale:g} of a pixel, which is not within 0 to 255"
                )
        for std in self.std:
            if not (std > 0 and 1 / (self.scale * std) <= 65504):
                raise ValueError(
                    f"std {std:g} has to be above 0, and large enough for 1/std to be a half (65504)"
                )
        return self


class Aipp(Closed):
    """Preprocessing of one input.

    Raises:
        ConfigError: through `CompileRecipe.parse`; the constructor raises pydantic's `ValidationError`.
    """

    input: str
    """Name of the input (`related_input_rank`, its place among the model's)."""

    mode: Literal["static", "dynamic"] = "static"
    """static: fixed when compiled, by the fields below; dynamic: set for each run, and only `max_src_image_size` is
    said here (`aipp_mode`)."""

    max_src_image_size: Annotated[StrictInt, Field(gt=0)] | None = None
    """dynamic: bytes of the largest batch of images."""

    input_format: InputFormat | None = None
    """static: what clients send. `YUV420SP_U8` is NV12, and NV21 with `rbuv_swap_switch`; `RGB888_U8` is BGR with
    it; `XRGB8888_U8` has its fourth channel first, which `ax_swap_switch` puts last; `YUV400_U8` is grey."""

    src_image_size_w: Size = 0
    """Width of the images; left out, the network's. `crop` and `padding` need it. Not with `image_gears`."""

    src_image_size_h: Size = 0
    """Height of the images, likewise."""

    crop: bool = False
    """Cut a part out of each image."""

    load_start_pos_w: Annotated[StrictInt, Field(ge=0, le=4095)] = 0
    """Left edge of the part; even for YUV420SP_U8, except on the 950 family."""

    load_start_pos_h: Annotated[StrictInt, Field(ge=0, le=4095)] = 0
    """Top edge of the part, likewise."""

    crop_size_w: Size = 0
    """Width of the part; left out, the network's. `padding` needs it."""

    crop_size_h: Size = 0
    """Height of the part, likewise."""

    padding: bool = False
    """Put a border around each image, after it was normalised."""

    left_padding_size: Border = 0
    """Columns at the left."""

    right_padding_size: Border = 0
    """Columns at the right."""

    top_padding_size: Border = 0
    """Rows at the top."""

    bottom_padding_size: Border = 0
    """Rows at the bottom."""

    padding_value: Half = 0.0
    """What the border is filled with: a value of the network's input, not a pixel."""

    rbuv_swap_switch: bool = False
    """Swap R and B, or U and V, before all else."""

    ax_swap_switch: bool = False
    """XRGB8888_U8: move the first channel behind the other three, before all else."""

    csc_switch: bool = False
    """Convert colours by `matrix`; `csc_to` says so by itself."""

    csc_to: Colours | None = None
    """Convert to these colours by the vendor's tables: from YUV420SP_U8 to RGB, BGR or GRAY, from RGB888_U8 and
    XRGB8888_U8 to YUV444, YVU444 or GRAY. Instead of `matrix`."""

    csc_standard: Standard | None = None
    """What the images follow: JPEG for photographs, the others for video. `csc_to` needs it, except GRAY."""

    matrix: tuple[Row, Row, Row] | None = None
    """Conversion of colours by rows, each for one channel of the result; 256 is one (`matrix_r0c0` to `matrix_r2c2`).
    Left out with `csc_switch`: BT-601NARROW, from YUV to BGR or from RGB to YUV444."""

    input_bias: Bias | None = None
    """Subtracted from Y, U and V before the matrix; ATC's default is 16, 128, 128."""

    output_bias: Bias | None = None
    """Added to Y, U and V after the matrix; ATC's default is 16, 128, 128."""

    normalize: Normalize | None = None
    """Mean and standard deviation of pixels; instead of the three fields below."""

    mean_chn: Annotated[tuple[Byte, ...], Field(max_length=_CHANNELS)] = ()
    """For each channel of the network, in `(pixel - mean_chn - min_chn) * var_reci_chn`; 0 where not given. A network
    whose input is uint8 is not normalised."""

    min_chn: Annotated[tuple[Offset, ...], Field(max_length=_CHANNELS)] = ()
    """Likewise; held as a half."""

    var_reci_chn: Annotated[tuple[Half, ...], Field(max_length=_CHANNELS)] = ()
    """Likewise, 1 where not given; held as a half."""

    @property
    def pixels(self) -> Pixels:
        """How the images lie in memory; of static mode only."""
        assert self.input_format is not None, "static AIPP has a format"
        return PIXELS[self.input_format]

    @property
    def converts(self) -> bool:
        """Whether colours are converted."""
        return self.csc_switch or self.csc_to is not None

    @property
    def resizes(self) -> bool:
        """Whether the images' size is fixed here, which excludes gears of image sizes."""
        return self.crop or self.padding or bool(self.src_image_size_w or self.src_image_size_h)

    @property
    def conversion(self) -> Conversion:
        """The conversion of colours, with ATC's defaults for what is not given."""
        yuv = self.pixels.yuv
        if self.csc_to is not None:
            return conversion(yuv, self.csc_to, self.csc_standard)
        default = BY_DEFAULT[yuv]
        return Conversion(
            self.matrix or default.matrix,
            default.input_bias if self.input_bias is None else self.input_bias,
            default.output_bias if self.output_bias is None else self.output_bias,
        )

    @property
    def normalization(self) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
        """`mean_chn`, `min_chn` and `var_reci_chn` as far as they are given, here or by `normalize`."""
        if self.normalize is None:
            return self.mean_chn, self.min_chn, self.var_reci_chn
        offsets = [mean * self.normalize.scale for mean in self.normalize.mean]
        return (
            tuple(floor(offset) for offset in offsets),
            tuple(offset - floor(offset) for offset in offsets),
            tuple(1 / (self.normalize.scale * std) for std in self.normalize.std),
        )

    def settings(self) -> dict[str, Setting]:
        """The fields of ATC's file and their values, without the input's place; only what differs from a default."""
        if self.mode == "dynamic":
            assert self.max_src_image_size is not None, "checked when the section was made"
            return {"aipp_mode": "dynamic", "max_src_image_size": self.max_src_image_size}
        assert self.input_format is not None, "checked when the section was made"
        said: dict[str, Setting] = {"aipp_mode": "static", "input_format": self.input_format}
        said |= _given(self, "src_image_size_w", "src_image_size_h")
        said |= _given(self, "crop", "load_start_pos_w", "load_start_pos_h", "crop_size_w", "crop_size_h")
        said |= _given(self, "rbuv_swap_switch", "ax_swap_switch")
        if self.converts:
            colours, bias = self.conversion, "input_bias" if self.pixels.yuv else "output_bias"
            said["csc_switch"] = True
            for row, coefficients in enumerate(colours.matrix):
                said |= {f"matrix_r{row}c{column}": value for column, value in enumerate(coefficients)}
            said |= {f"{bias}_{place}": value for place, value in enumerate(getattr(colours, bias))}
        for name, values in zip(("mean_chn", "min_chn", "var_reci_chn"), self.normalization, strict=True):
            said |= {f"{name}_{channel}": value for channel, value in enumerate(values)}
        return said | _given(self, "padding", *(f"{side}_padding_size" for side in _SIDES), "padding_value")

    @model_validator(mode="after")
    def _check(self) -> Aipp:
        rules = _dynamic_faults if self.mode == "dynamic" else _static_faults
        if faults := list(rules(self)):
            raise ValueError("; ".join(faults))
        return self


def render(sections: Sequence[Aipp], inputs: Sequence[str]) -> str:
    """The AIPP file that ATC reads (`--insert_op_conf`): protobuf text, a block for each section.

    Args:
        sections: one for each input with preprocessing.
        inputs: names of the model's inputs in the model's order, by which the file refers to them.

    Raises:
        ConfigError: a section is for none of the inputs.
    """
    blocks = []
    for section in sections:
        if section.input not in inputs:
            raise ConfigError(f"aipp: '{section.input}' is no input{nearest(section.input, inputs)}")
        fields: dict[str, Setting] = {"related_input_rank": list(inputs).index(section.input)}
        lines = [f"  {name}: {_text(value)}\n" for name, value in (fields | section.settings()).items()]
        blocks.append("aipp_op {\n" + "".join(lines) + "}\n")
    return "".join(blocks)


def source_shape(section: Aipp, shape: Shape, layout: Layout = "NCHW") -> Shape:
    """The shape of what clients send for an input with static AIPP: uint8, n × rows × width × bytes per place.

    NV12 images have half as many rows again, for their colours. Open dims stay open.

    Args:
        section: of static mode.
        shape: of the network's input, 4 dims.
        layout: how they are meant.
    """
    n, _, height, width = _by_layout(shape, layout)
    rows: Dim = section.src_image_size_h or height
    if isinstance(rows, int) and rows > 0:
        rows = int(rows * section.pixels.rows)
    return (n, rows, section.src_image_size_w or width, section.pixels.depth)


def misfits(section: Aipp, shape: Shape, layout: Layout = "NCHW", soc: Soc | None = None) -> Iterator[str]:
    """What in a section does not fit the network's input, or the chip; ATC would find it too (E10052).

    Args:
        section: of either mode; there is nothing to find in dynamic ones but the number of dims.
        shape: of the network's input; open dims fit everything.
        layout: how its dims are meant.
        soc: the target; None leaves out what only some chips refuse.
    """
    if len(shape) != 4:
        yield f"input '{section.input}' has shape {list(shape)}: AIPP makes images, of 4 dims: remove the section"
        return
    if section.mode == "dynamic":
        return
    _, channels, height, width = _by_layout(shape, layout)
    most = 3 if section.converts else section.pixels.channels
    if isinstance(channels, int) and channels > most:
        yield (
            f"input '{section.input}' has {channels} channels and gets {most} from {section.input_format}: choose "
            "another input_format"
        )
    if (
        section.normalize is not None
        and isinstance(channels, int)
        and len(section.normalize.mean) != channels > 0
    ):
        yield f"normalize is for {len(section.normalize.mean)} channels, input '{section.input}' has {channels}"
    for axis, wanted, sides in (("h", height, ("top", "bottom")), ("w", width, ("left", "right"))):
        if not isinstance(wanted, int) or wanted < 1:
            continue
        source = getattr(section, f"src_image_size_{axis}") or wanted
        part = (getattr(section, f"crop_size_{axis}") or wanted) if section.crop else source
        start = getattr(section, f"load_start_pos_{axis}")
        if start + part > source:
            yield f"a crop of {part} from {start} does not fit src_image_size_{axis} {source}"
        made = part + sum(getattr(section, f"{side}_padding_size") for side in sides)
        if made != wanted:
            yield (
                f"input '{section.input}' is {wanted} at axis {axis}, and images become {made}: change "
                f"src_image_size_{axis}, crop_size_{axis} or the padding"
            )
        if section.pixels.even and source % 2:
            yield f"images of {section.input_format} are even in both sizes, and axis {axis} has {source}"
    yield from _chip_misfits(section, width, soc)


def _chip_misfits(section: Aipp, width: Dim, soc: Soc | None) -> Iterator[str]:
    if soc is None or soc.arch is None:
        return
    widest = _WIDEST_PADDED.get(soc.arch)
    if section.padding and widest and isinstance(width, int) and width > widest:
        yield f"{soc.name} pads images up to a width of {widest}, not {width}: pad on the client, or not at all"
    starts = section.load_start_pos_w, section.load_start_pos_h
    if section.pixels.even and soc.arch != _ARCH_950 and any(start % 2 for start in starts):
        yield f"load_start_pos_w and load_start_pos_h are {starts[0]} and {starts[1]}: even for {section.input_format}"


def _dynamic_faults(section: Aipp) -> Iterator[str]:
    if section.max_src_image_size is None:
        yield (
            "dynamic AIPP needs max_src_image_size, in bytes: rows x width x height, times 1 for YUV400_U8, 1.5 for "
            "YUV420SP_U8, 3 for RGB888_U8, 4 for XRGB8888_U8"
        )
    others = [
        name for name in section.model_fields_set if name not in ("input", "mode", "max_src_image_size")
    ]
    if others:
        yield f"{', '.join(sorted(others))} are for static AIPP: with mode dynamic the caller sets them for each run"


def _static_faults(section: Aipp) -> Iterator[str]:
    if section.max_src_image_size is not None:
        yield "max_src_image_size is for mode dynamic: remove it"
    if section.input_format is None:
        yield f"static AIPP needs input_format: one of {', '.join(PIXELS)}"
        return
    yield from _size_faults(section)
    yield from _colour_faults(section)
    given = [name for name in ("mean_chn", "min_chn", "var_reci_chn") if getattr(section, name)]
    if section.normalize is not None and given:
        yield f"normalize and {', '.join(given)} exclude each other: keep one"


def _size_faults(section: Aipp) -> Iterator[str]:
    width, height = section.src_image_size_w, section.src_image_size_h
    if bool(width) != bool(height):
        yield "src_image_size_w and src_image_size_h are given together, or not at all"
    if 0 < width < _NARROWEST:
        yield f"src_image_size_w is {width}: 2 to 4096"
    if section.pixels.even and (width % 2 or height % 2):
        yield f"src_image_size_w {width} and src_image_size_h {height} have to be even for {section.input_format}"
    if (section.crop or section.padding) and not (width and height):
        yield "crop and padding need src_image_size_w and src_image_size_h, the images' size"
    crop_fields = ("load_start_pos_w", "load_start_pos_h", "crop_size_w", "crop_size_h")
    if not section.crop and (ignored := _given(section, *crop_fields)):
        yield f"{', '.join(ignored)} count for nothing without `crop: true`"
    if section.crop and section.padding and not (section.crop_size_w and section.crop_size_h):
        yield "crop together with padding needs crop_size_w and crop_size_h"
    for axis, size in (("w", width), ("h", height)):
        start, part = getattr(section, f"load_start_pos_{axis}"), getattr(section, f"crop_size_{axis}")
        if section.crop and size and start + max(part, 1) > size:
            yield f"a crop of {part} from {start} does not fit src_image_size_{axis} {size}"
    borders = (*(f"{side}_padding_size" for side in _SIDES), "padding_value")
    if not section.padding and (ignored := _given(section, *borders)):
        yield f"{', '.join(ignored)} count for nothing without `padding: true`"


def _colour_faults(section: Aipp) -> Iterator[str]:
    by_hand = [name for name in ("matrix", "input_bias", "output_bias") if getattr(section, name) is not None]
    if section.converts and section.pixels.channels == 1:
        yield f"{section.input_format} has no colours to convert: remove csc_switch and csc_to"
        return
    if by_hand and not section.csc_switch:
        yield f"{', '.join(by_hand)} count for nothing without `csc_switch: true`"
    used, unused = ("input_bias", "output_bias") if section.pixels.yuv else ("output_bias", "input_bias")
    if unused in by_hand:
        yield f"{unused} is not used for {section.input_format}, but {used} is"
    if section.csc_to is None:
        if section.csc_standard is not None:
            yield "csc_standard needs csc_to, the colours to convert to"
        return
    if by_hand:
        yield f"csc_to and {', '.join(by_hand)} exclude each other: keep one"
    known = outputs_of(section.pixels.yuv)
    if section.csc_to not in known:
        yield f"csc_to: {section.input_format} converts to {', '.join(known)}, not {section.csc_to}"
    if section.csc_to != "GRAY" and section.csc_standard is None:
        yield f"csc_to {section.csc_to} needs csc_standard: JPEG for photographs, or the video's"


def _given(section: Aipp, *names: str) -> dict[str, Setting]:
    """The named fields whose values are not zero or false, which they are by default."""
    return {name: value for name in names if (value := getattr(section, name))}


def _by_layout(shape: Shape, layout: Layout) -> tuple[Dim, Dim, Dim, Dim]:
    """Rows, channels, height and width."""
    n, *rest = shape
    channels, height, width = rest if layout == "NCHW" else (rest[2], rest[0], rest[1])
    return n, channels, height, width


def _text(value: Setting) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    # Nine digits are as many as tell one float32 from the next.
    return f"{value:.9g}" if isinstance(value, float) else str(value)
