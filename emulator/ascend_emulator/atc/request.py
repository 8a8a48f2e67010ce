"""From the options given to a request that can be built, with ATC's checks in ATC's order.

Order: facts/atc_om_soc.md §1.3-1.5 (GE: main_impl.cc, `RunAtcByMode` and `CheckFlags`). What ATC accepts and
the emulator does not do is refused after ATC's own checks, so that a real mistake is told first.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.options import FRAMEWORKS, Given
from ascend_emulator.atc.shapes import Shapes, check_batch_shapes, parse_input_shape
from ascend_emulator.precision import Precision
from ascend_emulator.soc import Soc, find_soc

_PATH_MAX = 4096
_PATH = re.compile(r"[A-Za-z0-9./_\-一-龥]*")
_PATH_RULE = "The path can only contain 'a-z' 'A-Z' '0-9' '-' '.' '_' and Chinese characters."
_FORMATS = ("NCHW", "ND", "NCDHW")
_GEAR_OPTIONS = ("dynamic_batch_size", "dynamic_image_size", "dynamic_dims")
_PRECISIONS = {
    "": Precision.FP16,
    "force_fp16": Precision.FP16,
    "fp16": Precision.FP16,
    "must_keep_origin_dtype": Precision.ORIGIN,
    "origin": Precision.ORIGIN,
    "force_fp32": Precision.CUBE_FP16,
    "cube_fp16in_fp32out": Precision.CUBE_FP16,
}
_OUTPUT_TYPES = ("FP32", "FP16")
_KNOWN_OUTPUT_TYPES = (*_OUTPUT_TYPES, "UINT8", "INT8", "HIF8", "HIF4", "FP8E5M2", "FP8E4M3FN")


@dataclass(frozen=True, slots=True)
class Request:
    """A compile whose options are sound; the model has not been read yet.

    Attributes:
        model: the ONNX file.
        output: the file to write, suffix included.
        soc: what to compile for.
        input_format: NCHW, ND or NCDHW.
        shapes: of `--input_shape`.
        gears: text of `--dynamic_batch_size`; empty for a static model.
        precision: how values are rounded.
        clip_weights: whether weights past FP16's range become its largest number instead of infinity.
        output_type: FP32, FP16, or empty to keep the model's types.
        fp16_inputs: names of `--input_fp16_nodes`.
        out_nodes: items of `--out_nodes`; empty for the model's own outputs.
    """

    model: Path
    output: Path
    soc: Soc
    input_format: str
    shapes: Shapes
    gears: str
    precision: Precision
    clip_weights: bool
    output_type: str
    fp16_inputs: tuple[str, ...]
    out_nodes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The model's name: the stem of the output path."""
        return self.output.name.removesuffix(".om")


def _reason(error: OSError) -> str:
    return f"[Error {error.errno}] {error.strerror}"


def _check_model_path(path: str) -> None:
    try:
        real = Path(path).resolve(strict=True)
    except OSError as error:
        told = _reason(error)
        follow = AtcError("E10001", path, "--model", told).message
        raise AtcError("E13000", path, told, trace=(follow,)) from error
    if not _PATH.fullmatch(str(real)):
        raise AtcError("E10001", path, "--model", _PATH_RULE)
    if not os.access(real, os.R_OK):
        raise AtcError("E10001", path, "--model", "[Error 13] Permission denied")


def _check_output_path(path: str) -> Path:
    """The file to write; its folder is made, as ATC does while it checks."""
    if len(path) + len(".om") >= _PATH_MAX:
        raise AtcError("E10021", "output", _PATH_MAX)
    if not _PATH.fullmatch(path):
        raise AtcError("E10001", path, "--output", _PATH_RULE)
    if path.endswith("/"):
        raise AtcError("E10022", path, "output")
    output = Path(path + ".om")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AtcError("E10001", path, "--output", _reason(error)) from error
    if os.access(output, os.F_OK) and not os.access(output, os.W_OK):
        raise AtcError("E10001", path, "--output", "[Error 13] Permission denied")
    return output


def _check_front(given: Given) -> None:
    """Whatever comes before ATC looks at paths."""
    if given["auto_tune_mode"]:
        reason = "The Auto Tune function has been deprecated. Please use the AOE tool for tuning."
        raise AtcError("E10001", given["auto_tune_mode"], "--auto_tune_mode", reason)
    if (given["deterministic"] == "0") != (given["deterministic_level"] == "0"):
        reason = "--deterministic and --deterministic_level must be both zero or both not."
        raise AtcError("E10001", given["deterministic_level"], "--deterministic_level", reason)
    if given["mode"] != "0":
        raise not_emulated(f"--mode={given['mode']}", "Use mode 0, which makes an .om.")
    if given["singleop"]:
        raise not_emulated("--singleop")
    if given["framework"] == "-1":
        raise AtcError("E10007", "framework", FRAMEWORKS)
    if given["framework"] == "0" and not given["weight"]:
        raise AtcError("E10008")
    if given["soc_version"] in ("Ascend035", "Ascend035A", "Ascend035B"):
        raise AtcError(
            "E10055", f"Option soc_version {given['soc_version']} and mode 30 must be set together"
        )
    if given["framework"] == "5" and given["input_format"] not in ("", *_FORMATS):
        reason = f"It must be one of {', '.join(_FORMATS)} when --framework is 5."
        raise AtcError("E10001", given["input_format"], "--input_format", reason)


def _precision(given: Given) -> Precision:
    option = "precision_mode" if given["precision_mode"] else "precision_mode_v2"
    mode = given[option]
    if mode not in _PRECISIONS:
        raise not_emulated(
            f"--{option}={mode}", "Use fp16, origin or cube_fp16in_fp32out (--precision_mode_v2)."
        )
    return _PRECISIONS[mode]


def _check_shapes(given: Given) -> Shapes:
    """The shapes of a model with gears; of a static one they are read later."""
    text = given["input_shape"]
    asked = [option for option in _GEAR_OPTIONS if given[option]]
    if asked and "~" in text:
        raise AtcError("E10040")
    if len(asked) + bool(given["input_shape_range"]) > 1:
        raise AtcError("E10009")
    if not asked:
        return {}
    if not text:
        raise AtcError("E10004", "input_shape")
    shapes = parse_input_shape(text, geared=True)
    if asked == ["dynamic_batch_size"]:
        check_batch_shapes(shapes, given["dynamic_batch_size"])
    return shapes


def _check_output_type(value: str) -> None:
    if value in ("", *_OUTPUT_TYPES):
        return
    if ":" in value or value in _KNOWN_OUTPUT_TYPES:
        raise not_emulated(f"--output_type={value}", "Use FP32 or FP16 for all outputs, or leave it out.")
    raise AtcError("E10001", value, "--output_type", "It must be a data type such as FP32, FP16 or UINT8.")


def _check_soc(given: Given) -> Soc:
    name = given["soc_version"]
    try:
        soc = find_soc(name)
    except KeyError as error:
        reason = (
            "The corresponding platform configuration file cannot be found based on the configured "
            "soc_version"
        )
        raise AtcError("E20101", name, "soc_version", reason) from error
    cores = given["aicore_num"]
    if cores and not re.fullmatch(r"[0-9]{1,9}(\|[0-9]{0,9})?", cores):
        raise AtcError("E10001", cores, "--aicore_num", 'It must be a number, such as "8", "10|" or "24|48".')
    limits = (soc.ai_cores, soc.vector_cores)
    for count, limit in zip(filter(None, cores.split("|")), limits, strict=False):
        if not 0 < int(count) <= limit:
            raise AtcError("E20103", cores, "--aicore_num", limit)
    return soc


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(";") if name.strip())


def check(given: Given) -> Request:
    """Check everything that can be checked before the model is read.

    Raises:
        AtcError: the first fault in ATC's order.
    """
    _check_front(given)
    for option in ("soc_version", "output", "model"):
        if not given[option]:
            raise AtcError("E10054", f"--{option}")
    _check_model_path(given["model"])
    output = _check_output_path(given["output"])
    if given["optypelist_for_implmode"] and not given["op_select_implmode"]:
        reason = "--op_select_implmode must be given with --optypelist_for_implmode."
        raise AtcError("E10001", given["op_select_implmode"], "--op_select_implmode", reason)
    if given["precision_mode"] and given["precision_mode_v2"]:
        raise AtcError("E10056", "--precision_mode", "--precision_mode_v2")
    shapes = _check_shapes(given)
    if given["save_original_model"] not in ("", "true", "false"):
        raise AtcError("E10005", given["save_original_model"], "save_original_model")
    _check_output_type(given["output_type"])
    soc = _check_soc(given)
    if given["framework"] != "5":
        raise not_emulated(
            f"--framework={given['framework']}", "Export the model to ONNX and use --framework=5."
        )
    if refused := given.refused():
        raise not_emulated(", ".join(f"--{option}" for option in refused), "Leave it out.")
    precision = _precision(given)
    gears, text = given["dynamic_batch_size"], given["input_shape"]
    if not gears:
        dims = [item.rpartition(":")[2] for item in text.split(";")]
        if any("~" in shape or "-1" in shape for shape in dims):
            raise not_emulated(
                "models of truly dynamic shape (-1 or ~ in --input_shape without gears)",
                "Give every axis a number, or compile gears with --dynamic_batch_size.",
            )
        shapes = parse_input_shape(text, geared=False)
    return Request(
        model=Path(given["model"]),
        output=output,
        soc=soc,
        input_format=given["input_format"] or "NCHW",
        shapes=shapes,
        gears=gears,
        precision=precision,
        clip_weights=given["is_weight_clip"] == "1",
        output_type=given["output_type"],
        fp16_inputs=_names(given["input_fp16_nodes"]),
        out_nodes=_names(given["out_nodes"]),
    )
