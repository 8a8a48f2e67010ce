"""What in a recipe excludes or demands what else, as ATC would find (facts: ATC §1.4–1.9), in the recipe's words.

Each rule gives sentences that name the fields, the rule and the way out; ATC's own code of it stands in brackets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel

from ascend_serve.errors import ConfigError
from ascend_serve.spec.shapes import OPEN, Shape, bounds, is_open, is_range
from ascend_serve.spec.text import nearest

if TYPE_CHECKING:
    from ascend_serve.spec.recipe import CompileRecipe

_GEAR_FIELDS = ("gears", "image_gears", "dims_gears", "input_shape_range")
_IMAGE_AXES = {"NCHW": (2, 3), "NHWC": (1, 2)}
_FORMATS = {
    "caffe": ("NCHW", "ND"),
    "mindspore": ("NCHW",),
    "onnx": ("NCHW", "ND", "NCDHW"),
    "tensorflow": ("NCHW", "NHWC", "ND", "NCDHW", "NDHWC"),
}
_LARGEST_SIZE = 2**63 - 1
"""Sizes are 64-bit integers in every model format."""
_WHOLE_NET_TYPES = ("FP32", "FP16", "UINT8", "INT8", "HIF8", "HIF4", "FP8E5M2", "FP8E4M3FN")
_MIXED_MODES = ("allow_mix_precision", "allow_mix_precision_fp16", "allow_mix_precision_bf16")
_MIXED_MODES_V2 = ("mixed_float16", "mixed_bfloat16", "mixed_hif8")

Findings = Iterator[str]


def check_recipe(recipe: CompileRecipe) -> None:
    """Check a whole recipe.

    Raises:
        ValueError: with every finding.
    """
    if findings := [finding for rule in _RULES for finding in rule(recipe)]:
        raise ValueError("; ".join(findings))


def _one_kind_of_gears(recipe: CompileRecipe) -> Findings:
    given = [field for field in _GEAR_FIELDS if getattr(recipe, field)]
    if len(given) > 1:
        yield f"{' and '.join(given)} exclude each other (E10009): keep one"
    if recipe.gear_kind and recipe.input_hint_shape:
        yield "input_hint_shape is for open shapes and excludes gears: remove one of the two"


def _rows(recipe: CompileRecipe) -> Findings:
    if recipe.batched is False and recipe.gears:
        yield (
            "batched: false and gears exclude each other, for gears are batch sizes: use dims_gears for an axis 0 "
            "that counts something else"
        )
    if recipe.batched and not recipe.gear_kind:
        yield "batched: true needs gears: write -1 at axis 0 of the inputs, and the batch sizes as gears"


def _texts(recipe: CompileRecipe) -> Findings:
    for field, value in recipe:
        for text in _texts_in(value):
            if "\0" in text or not _is_utf8(text):
                yield f"{field}: {text!r} holds a character that no path and no argument of ATC may have: remove it"


def _texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, BaseModel):
        yield from _texts_in(dict(value))
    elif isinstance(value, Mapping):
        yield from _texts_in((*value, *value.values()))
    elif isinstance(value, tuple):
        for item in value:
            yield from _texts_in(item)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sizes(recipe: CompileRecipe) -> Findings:
    sizes = {
        f"input '{name}'": tuple(max(bounds(dim)) for dim in shape) for name, shape in recipe.inputs.items()
    }
    sizes["gears"] = tuple(size for gear in recipe.gear_sizes for size in gear)
    for what, given in sizes.items():
        if (largest := max(given, default=0)) > _LARGEST_SIZE:
            yield f"{what}: {largest} is no size: sizes are at most {_LARGEST_SIZE}"


def _inputs(recipe: CompileRecipe) -> Findings:
    for name, shape in recipe.inputs.items():
        if not name or ";" in name:
            yield f"input {name!r}: ATC separates inputs by ';', so a name may not hold one"
        if 0 in shape:
            yield f"input '{name}' has shape {list(shape)}: dims are -1 or at least 1 (E10011)"
    if not recipe.gear_kind:
        return
    kind = {"batch": "gears", "image": "image_gears", "dims": "dims_gears"}[recipe.gear_kind]
    if not recipe.inputs:
        yield (
            f"{kind} need the inputs' shapes (E10004), such as inputs: {{image: [-1, 3, 224, 224]}}: -1 where "
            "they decide"
        )
    elif ranged := [name for name, shape in recipe.inputs.items() if any(map(is_range, shape))]:
        yield f"input '{ranged[0]}' has a range, which excludes {kind} (E10040): write -1 where gears decide"
    else:
        yield from {"batch": _batch_axes, "image": _image_axes, "dims": _dims_axes}[recipe.gear_kind](recipe)


def _batch_axes(recipe: CompileRecipe) -> Findings:
    opened = {name: shape for name, shape in recipe.inputs.items() if OPEN in shape}
    for name, shape in opened.items():
        if shape[0] != OPEN or OPEN in shape[1:]:
            yield (
                f"input '{name}' has shape {list(shape)}: with gears only axis 0 may be -1 (E10018); use "
                "dims_gears for other axes"
            )
    if not opened:
        yield (
            "gears need -1 at axis 0 of an input (E10031), which no input has: write "
            + _example(recipe.inputs, lambda shape: (OPEN, *shape[1:]))
        )


def _image_axes(recipe: CompileRecipe) -> Findings:
    layout = recipe.input_format or _default_format(recipe)
    axes = _IMAGE_AXES.get(layout)
    if axes is None:
        yield f"image_gears need input_format NCHW or NHWC, not {layout} (E10019)"
        return
    opened = {name: shape for name, shape in recipe.inputs.items() if OPEN in shape}
    for name, shape in opened.items():
        if len(shape) != 4 or tuple(axis for axis, dim in enumerate(shape) if dim == OPEN) != axes:
            yield (
                f"input '{name}' has shape {list(shape)}: with image_gears exactly height and width, axes {axes[0]} "
                f"and {axes[1]} of {layout}, are -1 (E10019)"
            )
    if not opened:
        yield f"image_gears need -1 at axes {axes[0]} and {axes[1]} of an input (E10019), which no input has"


def _default_format(recipe: CompileRecipe) -> str:
    """The layout that ATC assumes when none is given."""
    try:
        return "NHWC" if _takes(recipe) == "tensorflow" else "NCHW"
    except ConfigError:
        return "NCHW"  # `_framework` says what is wrong


def _takes(recipe: CompileRecipe) -> str:
    """The framework that ATC is given: a SavedModel reaches it as one or the other."""
    framework = recipe.framework_of()
    if framework != "saved_model":
        return framework
    return "tensorflow" if recipe.saved_model == "freeze" else "onnx"


def _dims_axes(recipe: CompileRecipe) -> Findings:
    holes = sum(dim == OPEN for shape in recipe.inputs.values() for dim in shape)
    if not holes:
        yield "dims_gears need -1 in the inputs' shapes (E10001), which none has"
    for gear in recipe.dims_gears:
        if holes and len(gear) != holes:
            yield f"dims_gears: {list(gear)} has {len(gear)} sizes for the {holes} -1 of the inputs (E10003)"


def _example(inputs: dict[str, Shape], change: Callable[[Shape], Shape]) -> str:
    name, shape = next((pair for pair in inputs.items() if pair[1]), ("image", (1, 3, 224, 224)))
    return f"inputs: {{{name}: {list(change(shape))}}}"


def _preprocessed_inputs(recipe: CompileRecipe) -> Findings:
    for section in recipe.aipp:
        if recipe.inputs and section.input not in recipe.inputs:
            yield f"aipp: '{section.input}' is no input{nearest(section.input, recipe.inputs)}"
        if section.input in recipe.input_fp16_nodes:
            yield f"aipp: input '{section.input}' cannot stand in input_fp16_nodes too (E10034)"


def _layouts(recipe: CompileRecipe) -> Findings:
    for switches, nodes in (
        ("is_input_adjust_hw_layout", "input_fp16_nodes"),
        ("is_output_adjust_hw_layout", "out_nodes"),
    ):
        given, wanted = len(getattr(recipe, switches)), len(getattr(recipe, nodes))
        if given and given != wanted:
            yield f"{switches} has {given} switches for {wanted} {nodes}: give one for each"


def _aipp(recipe: CompileRecipe) -> Findings:
    if recipe.aipp and recipe.insert_op_conf:
        yield "aipp and insert_op_conf exclude each other: keep one"
    field = "aipp" if recipe.aipp else "insert_op_conf" if recipe.insert_op_conf else ""
    if field and recipe.dims_gears:
        yield f"{field} and dims_gears exclude each other (E10001): use image_gears or gears"
    if field and recipe.input_format not in (None, "NCHW", "NHWC"):
        yield f"{field} needs input_format NCHW or NHWC, not {recipe.input_format} (E10001)"
    if recipe.aipp and not recipe.inputs:
        yield "aipp needs the inputs' shapes: give `inputs`"
    names = [section.input for section in recipe.aipp]
    if len(set(names)) < len(names):
        yield "aipp: an input may have one section"
    for section in recipe.aipp:
        if recipe.image_gears and section.resizes:
            yield (
                f"aipp: image_gears decide the size of '{section.input}': remove src_image_size_*, crop and padding "
                "(E10052)"
            )


def _tuning(recipe: CompileRecipe) -> Findings:
    if recipe.tune is None:
        return
    field = "mdl_bank_path" if recipe.tune.job_type == "subgraph" else "op_bank_path"
    if getattr(recipe, field):
        yield f"tune and {field} exclude each other: tune makes that bank"
    if recipe.tune.job_type == "subgraph" and recipe.buffer_optimize == "off_optimize":
        yield "a bank of subgraph tuning counts only with buffer_optimize on: remove off_optimize"


def _precision(recipe: CompileRecipe) -> Findings:
    given = [
        name
        for name in ("precision", "precision_mode", "precision_mode_v2")
        if getattr(recipe, name) is not None
    ]
    if len(given) > 1:
        yield f"{' and '.join(given)} exclude each other (E10056): keep one"
    mixed = (
        recipe.precision == "mixed"
        or recipe.precision_mode in _MIXED_MODES
        or recipe.precision_mode_v2 in _MIXED_MODES_V2
    )
    if recipe.modify_mixlist and not mixed:
        yield "modify_mixlist changes the lists of the mixed modes (E10001): add `precision: mixed`"
    if recipe.optypelist_for_implmode and recipe.op_select_implmode is None:
        yield "optypelist_for_implmode needs op_select_implmode, which says what those operators get"
    if recipe.enable_compress_weight and recipe.compress_weight_conf:
        yield "enable_compress_weight and compress_weight_conf exclude each other (E10047): keep one"
    level = recipe.deterministic_level
    if level is not None and recipe.deterministic is not None and bool(level) != recipe.deterministic:
        yield (
            f"deterministic {recipe.deterministic:d} and deterministic_level {level} disagree: both zero, or neither"
        )


def _output_type(recipe: CompileRecipe) -> Findings:
    if recipe.output_type is None or recipe.output_type in _WHOLE_NET_TYPES:
        return
    if ":" not in recipe.output_type:
        yield (
            f"output_type: '{recipe.output_type}' is none of {', '.join(_WHOLE_NET_TYPES)} (E10001), nor of the form "
            f"node:index:type{nearest(recipe.output_type, _WHOLE_NET_TYPES)}"
        )
        return
    for item in filter(None, recipe.output_type.split(";")):
        node, _, kind = item.rpartition(":")
        if kind not in _WHOLE_NET_TYPES:
            yield f"output_type: '{item}' ends in none of {', '.join(_WHOLE_NET_TYPES)} (E10001)"
        elif node not in recipe.out_nodes:
            yield f"output_type: '{node}' is not among out_nodes, which has to name it"


def _framework(recipe: CompileRecipe) -> Findings:
    try:
        framework = recipe.framework_of()
    except ConfigError as error:
        yield str(error).partition(": ")[2]
        return
    if framework == "caffe" and not recipe.weight:
        yield "a Caffe model needs `weight`, its .caffemodel (E10008)"
    if framework != "caffe" and recipe.op_name_map:
        yield f"op_name_map is for Caffe alone, and source is {framework}: remove it"
    formats = _FORMATS[_takes(recipe)]
    if recipe.input_format is not None and recipe.input_format not in formats:
        yield f"input_format {recipe.input_format} is none of {', '.join(formats)}, which {framework} takes (E10001)"


def _open_shapes(recipe: CompileRecipe) -> Findings:
    if recipe.input_shape_range and any(is_open(dim) for shape in recipe.inputs.values() for dim in shape):
        yield "input_shape_range and open dims in inputs say the same twice: keep the ranges in inputs"
    opened = any(is_open(dim) for shape in recipe.inputs.values() for dim in shape)
    if recipe.verify is not None and (recipe.input_shape_range or (opened and not recipe.gear_kind)):
        yield "verify needs shapes to compare at: give gears, or fixed sizes in inputs"


_RULES: tuple[Callable[[CompileRecipe], Findings], ...] = (
    _texts,
    _sizes,
    _one_kind_of_gears,
    _rows,
    _inputs,
    _preprocessed_inputs,
    _layouts,
    _aipp,
    _tuning,
    _precision,
    _output_type,
    _framework,
    _open_shapes,
)
