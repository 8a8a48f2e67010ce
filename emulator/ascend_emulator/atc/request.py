"""From the options given to a request that can be built, with ATC's checks in ATC's order.

Order: facts/atc_om_soc.md §1.3-1.5 (GE: main_impl.cc, `RunAtcByMode` and `CheckFlags`). What ATC accepts and
the emulator does not do is refused after ATC's own checks, so that a real mistake is told first.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from ascend_emulator.atc import gear_options, option_files, shape_ranges
from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.options import FRAMEWORKS, Given
from ascend_emulator.atc.paths import check_input, check_model_output, check_output
from ascend_emulator.atc.shape_ranges import Ranges
from ascend_emulator.atc.shapes import Shapes, check_hint_shape, parse_input_shape
from ascend_emulator.gears import GearKind
from ascend_emulator.precision import Exceptions, Precision
from ascend_emulator.soc import Soc, find_soc

MODE_OM, MODE_JSON, MODE_PRECHECK, MODE_INFO = "0", "1", "3", "6"

ONNX, TENSORFLOW = "5", "3"
_FRAMEWORK_NAMES = {"0": "Caffe", "1": "MindSpore", TENSORFLOW: "TensorFlow", ONNX: "Onnx"}
_FORMATS = {ONNX: ("NCHW", "ND", "NCDHW"), TENSORFLOW: ("NHWC", "NCHW", "ND", "NCDHW", "NDHWC")}
"""Framework to the layouts it may have, its default first (GE: main_impl.cc CheckInputFormat)."""

_PRECISIONS = {
    "": Precision.FP16,
    "force_fp16": Precision.FP16,
    "fp16": Precision.FP16,
    "must_keep_origin_dtype": Precision.ORIGIN,
    "origin": Precision.ORIGIN,
    "force_fp32": Precision.CUBE_FP16,
    "cube_fp16in_fp32out": Precision.CUBE_FP16,
    "allow_fp32_to_fp16": Precision.CUBE_TO_FP16,
    # Every operator runs in float32 here, so nothing needs to give way to bfloat16.
    "allow_fp32_to_bf16": Precision.ORIGIN,
    "allow_mix_precision": Precision.MIXED_FP16,
    "allow_mix_precision_fp16": Precision.MIXED_FP16,
    "mixed_float16": Precision.MIXED_FP16,
    "allow_mix_precision_bf16": Precision.MIXED_BF16,
    "mixed_bfloat16": Precision.MIXED_BF16,
}
_BFLOAT_MODES = ("allow_fp32_to_bf16", "allow_mix_precision_bf16", "mixed_bfloat16")
_BFLOAT_ARCHES = (2201, 3002, 3510)
_MIXED_MODES = {
    "precision_mode": ("allow_mix_precision", "allow_mix_precision_bf16", "allow_mix_precision_fp16"),
    "precision_mode_v2": ("mixed_bfloat16", "mixed_float16", "mixed_hif8"),
}
_HOST_SYSTEMS = ("linux", "minios")
_HOST_CPUS = ("x86_64", "aarch64", "arm64", "arm")
_NANO = ("Ascend035", "Ascend035A", "Ascend035B")
_GEARS_ONLY_ARCHES = (3002, 3505)
"""The 310B family and the nano parts take gears but no ranges (facts §1.4)."""

_DEPRECATED_RANGE = (
    "WARNING: Option input_shape_range is deprecated and will be removed in future version,"
    "please use input_shape instead"
)


@dataclass(frozen=True, slots=True)
class Host:
    """Where a model of truly dynamic shape will be loaded."""

    system: str
    cpu: str

    @property
    def name(self) -> str:
        """What ATC puts into the file's name, such as `linux_x86_64`."""
        return f"{self.system}_{self.cpu}"


@dataclass(frozen=True, slots=True)
class Request:
    """A compile whose options are sound; the model has not been read yet.

    Attributes:
        model: the file.
        framework: of the model, as the `.om` names it: `Onnx` or `TensorFlow`.
        precheck: the file of the pre-check.
        precheck_only: whether that is all that is asked for.
        output: the file to write, suffix included.
        soc: what to compile for.
        input_format: NCHW, ND or NCDHW, and of TensorFlow NHWC or NDHWC too.
        shapes: of `--input_shape` where it gives shapes.
        ranges: of `--input_shape` or `--input_shape_range` where they give ranges; None else.
        gear_kind: which gears were asked for; None for none.
        gear_text: the value of that option.
        aipp: the file of `--insert_op_conf`; empty for none.
        precision: how values are rounded.
        exceptions: operators that are rounded otherwise.
        clip_weights: whether weights past FP16's range become its largest number instead of infinity.
        output_type: value of `--output_type`; empty to keep the model's types.
        fp16_inputs: names of `--input_fp16_nodes`.
        hw_inputs: value of `--is_input_adjust_hw_layout`.
        hw_outputs: value of `--is_output_adjust_hw_layout`.
        out_nodes: value of `--out_nodes`; empty for the model's own outputs.
        host: of a model of truly dynamic shape.
        external_weight: whether weights go into files: 0 no, 1 a file each, 2 one for all.
        compress: whether the `.om` codes the names of attributes.
        show_info: whether to show the model's resources at the end.
        options: options taken without effect, with the values given.
        notices: what ATC prints while it checks.
    """

    model: Path
    framework: str
    precheck: Path
    precheck_only: bool
    output: Path
    soc: Soc
    input_format: str
    shapes: Shapes
    ranges: Ranges | None
    gear_kind: GearKind | None
    gear_text: str
    aipp: str
    precision: Precision
    exceptions: Exceptions
    clip_weights: bool
    output_type: str
    fp16_inputs: tuple[str, ...]
    hw_inputs: str
    hw_outputs: str
    out_nodes: str
    host: Host
    external_weight: str
    compress: bool
    show_info: bool
    options: tuple[tuple[str, str], ...]
    notices: tuple[str, ...]

    @property
    def name(self) -> str:
        """The model's name: the stem of the output path."""
        return self.output.name.removesuffix(".om")

    @property
    def dynamic_shapes_allowed(self) -> bool:
        """Whether the SoC runs models of truly dynamic shape."""
        return self.soc.arch not in _GEARS_ONLY_ARCHES


def check_front(given: Given) -> None:
    """Check what ATC checks in every mode, before anything else.

    Raises:
        AtcError: E10001, E10007, E10008, E13000 or E10055, in ATC's order.
    """
    mode, framework = given["mode"], given["framework"]
    if given["auto_tune_mode"]:
        reason = "The Auto Tune function has been deprecated. Please use the AOE tool for tuning."
        raise AtcError("E10001", given["auto_tune_mode"], "--auto_tune_mode", reason)
    strict = given["deterministic_level"]
    if "deterministic_level" in given and (given["deterministic"] == "0") != (strict == "0"):
        reason = "--deterministic and --deterministic_level must be both zero or both not."
        raise AtcError("E10001", strict, "--deterministic_level", reason)
    if given["singleop"]:
        others = given["display_model_info"] == "1" or framework != "-1" or given["insert_op_conf"]
        if others or mode != MODE_OM:
            reason = (
                "--singleop excludes --display_model_info, --framework, --insert_op_conf and other modes."
            )
            raise AtcError("E10001", given["singleop"], "--singleop", reason)
        raise not_emulated("--singleop")
    if mode == MODE_JSON and framework == "1":
        reason = "A model becomes JSON with --framework 0, 3 or 5, an .om without it."
        raise AtcError("E10001", framework, "--framework", reason)
    if given["weight"]:
        check_input(given["weight"], "--weight")
    if mode in (MODE_OM, MODE_PRECHECK, "30"):
        if framework == "-1":
            raise AtcError("E10007", "framework", FRAMEWORKS)
        if framework == "0" and not given["weight"]:
            raise AtcError("E10008")
    soc = given["soc_version"]
    if (mode == "30") != (soc in _NANO):
        named = soc if soc in _NANO else " ".join(_NANO)
        raise AtcError("E10055", f"Option soc_version {named} and mode 30 must be set together")


def _check_files_of_precision(given: Given) -> None:
    """The options of precision, in ATC's order."""
    if given["optypelist_for_implmode"] and not given["op_select_implmode"]:
        reason = "--op_select_implmode must be given with --optypelist_for_implmode."
        raise AtcError("E10001", given["op_select_implmode"], "--op_select_implmode", reason)
    if given["op_precision_mode"]:
        check_input(given["op_precision_mode"], "--op_precision_mode")
    if given["precision_mode"] and given["precision_mode_v2"]:
        raise AtcError("E10056", "--precision_mode", "--precision_mode_v2")
    mixed = any(given[option] in modes for option, modes in _MIXED_MODES.items())
    if given["modify_mixlist"] and not mixed:
        reason = "It needs a mixed mode, such as --precision_mode_v2=mixed_float16."
        raise AtcError("E10001", given["modify_mixlist"], "--modify_mixlist", reason)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """What the options say about the inputs."""

    shapes: Shapes
    ranges: Ranges | None
    gear_kind: GearKind | None
    gear_text: str
    notices: tuple[str, ...]


def _check_inputs(given: Given) -> _Inputs:
    """Shapes, ranges and gears; the shapes of a static model are read when the model is."""
    text, range_text = given["input_shape"], given["input_shape_range"]
    asked = [option for option in gear_options.OPTIONS if given[option]]
    notices: tuple[str, ...] = ()
    if range_text:
        notices, text = (_DEPRECATED_RANGE,), ""
    elif asked and "~" in text:
        raise AtcError("E10040")
    if given["input_hint_shape"] and asked:
        reason = "It cannot be used with gears."
        raise AtcError("E10001", given["input_hint_shape"], "--input_hint_shape", reason)
    check_hint_shape(given["input_hint_shape"])
    found = None
    if not asked and text and shape_ranges.given_in(text):
        found = shape_ranges.parse_input_shape_ranges(text)
    if len(asked) + bool(range_text) > 1:
        raise AtcError("E10009")
    if range_text:
        found = shape_ranges.parse_bracketed_ranges(range_text)
    if not asked:
        return _Inputs({}, found, None, "", notices)
    if not text:
        raise AtcError("E10004", "input_shape")
    kind, value = gear_options.OPTIONS[asked[0]], given[asked[0]]
    shapes = parse_input_shape(text, geared=True)
    gear_options.check(kind, value, shapes, _input_format(given))
    return _Inputs(shapes, None, kind, value, notices)


def _check_other_files(given: Given) -> None:
    """The files that come after the shapes, in ATC's order."""
    for option in ("cal_conf", "op_name_map", "insert_op_conf", "compress_weight_conf"):
        if given[option]:
            check_input(given[option], f"--{option}")
    if given["enable_compress_weight"] == "true" and given["compress_weight_conf"]:
        raise AtcError("E10047", "enable_compress_weight", "compress_weight_conf")
    if given["keep_dtype"]:
        check_input(given["keep_dtype"], "--keep_dtype")


def _check_host(given: Given) -> Host:
    system = given["host_env_os"] or "linux"
    cpu = given["host_env_cpu"] or platform.machine()
    if system not in _HOST_SYSTEMS:
        reason = f"The OS {system} is invalid. It should be like 'linux' or 'minios'."
        raise AtcError("E10001", system, "--host_env_os", reason)
    if cpu not in _HOST_CPUS:
        reason = f"The CPU {cpu} is invalid. It should be like 'x86_64', 'aarch64', 'arm64', or 'arm'."
        raise AtcError("E10001", cpu, "--host_env_cpu", reason)
    return Host(system, cpu)


def _check_numbers(given: Given) -> None:
    limit = given["static_model_ops_lower_limit"]
    if limit and not (re.fullmatch("-?[0-9]{1,18}", limit) and int(limit) >= -1):
        reason = "It must be a whole number from -1 on."
        raise AtcError("E10001", limit, "--static_model_ops_lower_limit", reason)


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


def _precision(given: Given, soc: Soc) -> Precision:
    option = "precision_mode" if given["precision_mode"] else "precision_mode_v2"
    mode = given[option]
    if mode not in _PRECISIONS:
        raise not_emulated(
            f"--{option}={mode}",
            "Use fp16, origin, mixed_float16 or cube_fp16in_fp32out (--precision_mode_v2).",
        )
    if mode in _BFLOAT_MODES and soc.arch not in _BFLOAT_ARCHES:
        raise AtcError("E10001", mode, f"--{option}", f"{soc.name} has no bfloat16.")
    return _PRECISIONS[mode]


def _exceptions(given: Given) -> Exceptions:
    """What the option files say; those that change no value are only checked."""
    if given["op_precision_mode"]:
        option_files.check_op_precision_mode(given["op_precision_mode"])
    if given["fusion_switch_file"]:
        option_files.check_fusion_switch(given["fusion_switch_file"])
    path, mixlist = given["keep_dtype"], given["modify_mixlist"]
    nodes, types = option_files.keep_dtype(path) if path else (frozenset[str](), frozenset[str]())
    return Exceptions(nodes, types, option_files.modify_mixlist(mixlist) if mixlist else {})


def _input_format(given: Given) -> str:
    """The layout of the inputs: that given, or the framework's default."""
    return given["input_format"] or _FORMATS.get(given["framework"], _FORMATS[ONNX])[0]


def _check_input_format(given: Given) -> None:
    framework = given["framework"]
    formats = _FORMATS.get(framework, ())
    if formats and _input_format(given) not in formats:
        reason = f"It must be one of {', '.join(formats)} when --framework is {framework}."
        raise AtcError("E10001", given["input_format"], "--input_format", reason)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(";") if name.strip())


def _precheck_path(given: Given) -> str:
    work = os.environ.get("ASCEND_WORK_PATH", "")
    name = given["check_report"]
    return str(Path(work) / name) if work and "check_report" not in given else name


def check(given: Given) -> Request:
    """Check everything that can be checked before the model is read, of modes 0 and 3 after `check_front`.

    Raises:
        AtcError: the first fault in ATC's order.
    """
    if given["raw_ge_options"]:
        check_input(given["raw_ge_options"], "--raw_ge_options")
        option_files.check_raw_ge_options(given["raw_ge_options"])
    _check_input_format(given)
    precheck_only = given["mode"] == MODE_PRECHECK
    required = ("soc_version", "model") if precheck_only else ("soc_version", "output", "model")
    for option in required:
        if not given[option]:
            raise AtcError("E10054", f"--{option}")
    check_input(given["model"], "--model")
    output = Path() if precheck_only else check_model_output(given["output"], ".om")
    _check_files_of_precision(given)
    inputs = _check_inputs(given)
    if given["insert_op_conf"] and given["dynamic_dims"]:
        reason = "The dynamic dims function does not support AIPP."
        raise AtcError("E10001", given["insert_op_conf"], "--insert_op_conf", reason)
    _check_other_files(given)
    precheck = check_output(_precheck_path(given), "--check_report")
    if given["save_original_model"] not in ("", "true", "false"):
        raise AtcError("E10005", given["save_original_model"], "save_original_model")
    host = _check_host(given)
    _check_numbers(given)
    soc = _check_soc(given)
    if given["mode"] not in (MODE_OM, MODE_PRECHECK):
        raise not_emulated(f"--mode={given['mode']}", "Use mode 0, which makes an .om.")
    framework = _FRAMEWORK_NAMES[given["framework"]]
    if given["framework"] not in _FORMATS:
        raise not_emulated(
            f"--framework={given['framework']}, {framework} models",
            "Export the model to ONNX and use --framework=5.",
        )
    if refused := given.refused():
        raise not_emulated(", ".join(f"--{option}" for option in refused), "Leave it out.")
    precision = _precision(given, soc)
    exceptions = _exceptions(given)
    shapes = inputs.shapes
    if inputs.ranges is not None and soc.arch in _GEARS_ONLY_ARCHES:
        reason = f"{soc.name} runs no models of truly dynamic shape, so --input_shape can hold no -1 or range"
        raise AtcError(
            "E10055", reason, solution="Compile gears with --dynamic_batch_size or --dynamic_dims."
        )
    if inputs.gear_kind is None and inputs.ranges is None:
        shapes = parse_input_shape(given["input_shape"], geared=False)
    return Request(
        model=Path(given["model"]),
        framework=framework,
        precheck=precheck,
        precheck_only=precheck_only,
        output=output,
        soc=soc,
        input_format=_input_format(given),
        shapes=shapes,
        ranges=inputs.ranges,
        gear_kind=inputs.gear_kind,
        gear_text=inputs.gear_text,
        aipp=given["insert_op_conf"],
        precision=precision,
        exceptions=exceptions,
        clip_weights=given["is_weight_clip"] == "1",
        output_type=given["output_type"],
        fp16_inputs=_names(given["input_fp16_nodes"]),
        hw_inputs=given["is_input_adjust_hw_layout"],
        hw_outputs=given["is_output_adjust_hw_layout"],
        out_nodes=given["out_nodes"],
        host=host,
        external_weight=given["external_weight"],
        compress=given["enable_attr_compression"] == "true",
        show_info=given["display_model_info"] == "1",
        options=given.harmless(),
        notices=inputs.notices,
    )
