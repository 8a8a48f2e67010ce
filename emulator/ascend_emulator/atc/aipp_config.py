"""The file of `--insert_op_conf`: protobuf text of `aipp_op` blocks, read and refused as ATC does.

Fields: GE's insert_op.proto (facts/atc_om_soc.md §5.1). Checks: GE's insert_aipp_op_util.cc and aipp_op.cc,
and CANN's AIPP documents for the ranges of values.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]  # has no stubs
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
)

from ascend_emulator.atc.aipp_formats import FORMATS, PixelFormat
from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.paths import reason_of

Setting = int | float | str | bool

_INT32, _UINT32, _FLOAT, _BOOL, _STRING, _ENUM = (
    descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
    descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    descriptor_pb2.FieldDescriptorProto.TYPE_ENUM,
)
_MODES = ("undefined", "static", "dynamic")
_INPUT_FORMATS = (
    "UNDEFINED", "YUV420SP_U8", "XRGB8888_U8", "RGB888_U8", "YUV400_U8", "NC1HWC0DI_FP16", "NC1HWC0DI_S8",
    "ARGB8888_U8", "YUYV_U8", "YUV422SP_U8", "AYUV444_U8", "RAW10", "RAW12", "RAW16", "RAW24", "RGB16",
    "RGB20", "RGB24", "RGB8_IR", "RGB16_IR", "RGB24_IR",
)  # fmt: skip
_CHANNELS = range(4)
_BIASES = range(3)
_MATRIX = tuple(f"matrix_r{row}c{column}" for row in range(3) for column in range(3))

# Name to number and type, in the order of the file's template; a list may be given once, but says when it is not.
_FIELDS: dict[str, tuple[int, int]] = {
    "aipp_mode": (1, _ENUM),
    "related_input_rank": (2, _UINT32),
    "related_input_name": (6, _STRING),
    "max_src_image_size": (4, _UINT32),
    "support_rotation": (5, _BOOL),
    "input_format": (51, _ENUM),
    "csc_switch": (52, _BOOL),
    "cpadding_value": (53, _FLOAT),
    "rbuv_swap_switch": (54, _BOOL),
    "ax_swap_switch": (55, _BOOL),
    "single_line_mode": (56, _BOOL),
    "src_image_size_w": (57, _INT32),
    "src_image_size_h": (58, _INT32),
    "crop": (59, _BOOL),
    "load_start_pos_w": (60, _INT32),
    "load_start_pos_h": (61, _INT32),
    "crop_size_w": (62, _INT32),
    "crop_size_h": (63, _INT32),
    "resize": (64, _BOOL),
    "resize_output_w": (65, _INT32),
    "resize_output_h": (66, _INT32),
    "padding": (67, _BOOL),
    "left_padding_size": (68, _INT32),
    "right_padding_size": (69, _INT32),
    "top_padding_size": (70, _INT32),
    "bottom_padding_size": (71, _INT32),
    "padding_value": (72, _FLOAT),
    **{f"mean_chn_{place}": (number, _INT32) for place, number in enumerate((10, 11, 12, 19))},
    **{f"min_chn_{place}": (number, _FLOAT) for place, number in enumerate((13, 14, 15, 20))},
    "raw_rgbir_to_f16_n": (45, _UINT32),
}
_LISTS: dict[str, tuple[int, int]] = {
    "input_edge_idx": (3, _UINT32),
    **{f"var_reci_chn_{place}": (number, _FLOAT) for place, number in enumerate((16, 17, 18, 21))},
    **{name: (30 + place, _INT32) for place, name in enumerate(_MATRIX)},
    **{f"output_bias_{place}": (39 + place, _INT32) for place in _BIASES},
    **{f"input_bias_{place}": (42 + place, _INT32) for place in _BIASES},
}

_YUV_TO_BGR = (298, 516, 0, 298, -100, -208, 298, 0, 409)
_RGB_TO_YUV = (66, 129, 25, -38, -74, 112, 112, -94, -18)
_BIAS = (16, 128, 128)
_PIXEL = (0, 255)
_HALF = (-65504.0, 65504.0)
_INT16 = (-32677, 32676)
"""As the documents print it."""


@dataclass(frozen=True, slots=True)
class Block:
    """One `aipp_op` of static mode, its defaults filled in.

    Attributes:
        rank: which input it is for, from 0.
        pixels: how the image lies in memory.
        values: field name to value; what is switched off is 0.
    """

    rank: int
    pixels: PixelFormat
    values: dict[str, Any]

    def numbers(self, stem: str, count: int) -> tuple[Any, ...]:
        """The values of the fields `<stem>0`, `<stem>1`, ..."""
        return tuple(self.values[f"{stem}{place}"] for place in range(count))

    @property
    def matrix(self) -> tuple[int, ...]:
        """The nine coefficients of the colour conversion, by rows."""
        return tuple(self.values[name] for name in _MATRIX)

    @property
    def settings(self) -> tuple[tuple[str, Setting], ...]:
        """The fields as an `.om` records them; without the colour conversion where it is off."""
        conversion = ("matrix_", "input_bias_", "output_bias_")
        return tuple(
            (name, value)
            for name, value in self.values.items()
            if self.values["csc_switch"] or not name.startswith(conversion)
        )


def _message_type() -> Any:
    """The message `InsertNewOps`, built at run time: GE's .proto without a generated module."""
    file = descriptor_pb2.FileDescriptorProto(
        name="ascend_emulator/insert_op.proto", package="domi", syntax="proto3"
    )
    params = file.message_type.add(name="AippOpParams")
    for enum, names in (("InputFormat", _INPUT_FORMATS), ("AippMode", _MODES)):
        kind = params.enum_type.add(name=enum)
        for number, name in enumerate(names):
            kind.value.add(name=name, number=number)
    field_type = descriptor_pb2.FieldDescriptorProto
    for label, fields in ((field_type.LABEL_OPTIONAL, _FIELDS), (field_type.LABEL_REPEATED, _LISTS)):
        for name, (number, kind) in fields.items():
            field = params.field.add(name=name, number=number, type=kind, label=label)
            if kind == _ENUM:
                enum = "AippMode" if name == "aipp_mode" else "InputFormat"
                field.type_name = f".domi.AippOpParams.{enum}"
    top = file.message_type.add(name="InsertNewOps")
    top.field.add(
        name="aipp_op",
        number=1,
        type=field_type.TYPE_MESSAGE,
        label=field_type.LABEL_REPEATED,
        type_name=".domi.AippOpParams",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("domi.InsertNewOps"))


def _wrong(reason: str) -> AtcError:
    return AtcError("E10052", reason)


def _check_positions(blocks: list[Any]) -> None:
    """One block for each input, all by rank or all by name."""
    for place, block in enumerate(blocks):
        for other in blocks[place + 1 :]:
            if bool(other.related_input_name) != bool(blocks[0].related_input_name):
                raise _wrong("Cannot both set related_input_name and related_input_rank")
            by_name = bool(block.related_input_name)
            field = "related_input_name" if by_name else "related_input_rank"
            if getattr(block, field) == getattr(other, field):
                raise _wrong(f"Cannot insert aipp to the same position: {field} must differ in each aipp_op")


def _check_range(block: Any, name: str, limits: tuple[float, float]) -> None:
    values = getattr(block, name)
    for value in values if name in _LISTS else (values,):
        if not limits[0] <= value <= limits[1]:
            raise _wrong(f"{name} is {value:g}, it must be within [{limits[0]:g}, {limits[1]:g}]")


def _check_values(block: Any) -> None:
    for name in _LISTS:
        if name != "input_edge_idx" and len(getattr(block, name)) > 1:
            raise _wrong(f"The parameter {name} cannot be configured repeatedly")
    for name in _FIELDS:
        if name.startswith(("src_image_size", "load_start_pos", "crop_size", "resize_output")):
            _check_range(block, name, (0, 4096))
    if block.padding:
        for side in ("left", "right", "top", "bottom"):
            _check_range(block, f"{side}_padding_size", (0, 32))
    _check_range(block, "padding_value", _HALF)
    for place in _CHANNELS:
        _check_range(block, f"mean_chn_{place}", _PIXEL)
        _check_range(block, f"min_chn_{place}", _PIXEL)
        _check_range(block, f"var_reci_chn_{place}", _HALF)
    for name in _MATRIX:
        _check_range(block, name, _INT16)
    for place in _BIASES:
        _check_range(block, f"input_bias_{place}", _PIXEL)
        _check_range(block, f"output_bias_{place}", _PIXEL)


def _check_block(block: Any, resolution_gears: bool) -> PixelFormat:
    if resolution_gears:
        if block.crop or block.padding:
            raise _wrong("When --dynamic_image_size is set, crop and padding cannot be set to 'true'")
        if block.aipp_mode == _MODES.index("static") and (block.src_image_size_w or block.src_image_size_h):
            sizes = "src_image_size_w and src_image_size_h"
            raise _wrong(f"When --dynamic_image_size is set, {sizes} must be set to '0'")
    if block.aipp_mode == _MODES.index("undefined"):
        raise _wrong("When insert AIPP op, aipp_mode must be configured as static or dynamic")
    if block.aipp_mode == _MODES.index("dynamic"):
        if not block.max_src_image_size:
            raise _wrong("For dynamic AIPP params, max_src_image_size must be greater than 0")
        raise not_emulated("dynamic AIPP", "Use aipp_mode: static.")
    name = _INPUT_FORMATS[block.input_format]
    if name == "UNDEFINED":
        raise _wrong("Input format of AIPP conf must be set in static aipp")
    _check_values(block)
    for switch in ("resize", "single_line_mode"):
        if getattr(block, switch):
            raise _wrong(f"{switch} is reserved, no chip that atc compiles for has it")
    if name not in FORMATS:
        raise not_emulated(f"AIPP of input_format {name}", f"Use one of {', '.join(FORMATS)}.")
    if name == "YUV400_U8" and block.csc_switch:
        raise _wrong("a YUV400_U8 image has no colours to convert: csc_switch must be false")
    return FORMATS[name]


def _filled(block: Any, pixels: PixelFormat) -> dict[str, Any]:
    """The fields with ATC's defaults (`SetDefaultParams`); what is switched off is 0."""
    values = {name: getattr(block, name) for name in _FIELDS}
    values["aipp_mode"], values["input_format"] = "static", pixels.name
    off = [] if block.crop else ["load_start_pos_w", "load_start_pos_h", "crop_size_w", "crop_size_h"]
    off += [] if block.padding else [f"{side}_padding_size" for side in ("left", "right", "top", "bottom")]
    values.update(dict.fromkeys((*off, "resize_output_w", "resize_output_h"), 0))
    defaults = {
        **{f"var_reci_chn_{place}": 1.0 for place in _CHANNELS},
        **dict(zip(_MATRIX, _YUV_TO_BGR if pixels.name == "YUV420SP_U8" else _RGB_TO_YUV, strict=True)),
        **{f"output_bias_{place}": _BIAS[place] for place in _BIASES},
        **{f"input_bias_{place}": _BIAS[place] for place in _BIASES},
    }
    for name, default in defaults.items():
        given = getattr(block, name)
        values[name] = given[0] if given else default
    for name in ("max_src_image_size", "support_rotation", "related_input_name", "raw_rgbir_to_f16_n"):
        del values[name]
    return values


def load(path: str, inputs: int, *, resolution_gears: bool) -> tuple[Block, ...]:
    """Read the file, in the order of its blocks.

    Args:
        path: of the file.
        inputs: how many inputs the model has.
        resolution_gears: whether `--dynamic_image_size` was given.

    Raises:
        AtcError: E13001 the file cannot be read; E13005 no text of that message; E10052 what ATC refuses of
            it; E10055 dynamic AIPP or a format that is not emulated.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise AtcError("E13001", path, reason_of(error)) from error
    except UnicodeDecodeError as error:
        raise AtcError("E13005", path, cause="It is no UTF-8 text.") from error
    try:
        message = text_format.Parse(text, _message_type()())
    except text_format.ParseError as error:
        cause = f"It is no text of aipp_op blocks: {error}."
        raise AtcError("E13005", path, cause=cause) from error
    blocks = list(message.aipp_op)
    _check_positions(blocks)
    formats = [_check_block(block, resolution_gears) for block in blocks]
    found = []
    for block, pixels in zip(blocks, formats, strict=True):
        rank = block.related_input_rank
        if block.related_input_name:
            raise _wrong("related_input_name is for Caffe models alone: use related_input_rank")
        if rank >= inputs:
            raise _wrong(f"Cannot find the data node by aipp parameter related_input_rank {rank}")
        found.append(Block(rank, pixels, _filled(block, pixels)))
    return tuple(found)
