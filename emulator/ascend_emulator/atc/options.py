"""The command line: every documented option of ATC, and its parser.

Names, defaults and value ranges are those of ATC (facts/atc_om_soc.md §1.1-1.9). Each option says what the
emulator does with it. `EMULATED`: it changes the result as on ATC. `HARMLESS`: it is checked and otherwise
ignored, because it cannot change what the model computes; the `.om` records it. `REFUSED`: any other value
than the default ends the run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from ascend_emulator.atc.errors import AtcError


class Use(Enum):
    """What the emulator does with an option."""

    EMULATED = "emulated"
    HARMLESS = "no effect on results"
    REFUSED = "not emulated"


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes:
        name: without dashes.
        use: what the emulator does with it.
        text: its meaning, for the usage text; why it is harmless, where that is not plain.
        default: the value when not given; what a refused option may still be given as.
        values: the only legal values, in ATC's order; empty where any text is taken.
        neutral: further values of a refused option that mean the same as the default.
        alone: what the option means without a value; empty where it needs one. Such an option takes a value
            only in the same word, after `=`, as `getopt_long` has it.
    """

    name: str
    use: Use
    text: str
    default: str = ""
    values: tuple[str, ...] = ()
    neutral: tuple[str, ...] = ()
    alone: str = ""


_SWITCH = ("0", "1")
_E, _H, _R = Use.EMULATED, Use.HARMLESS, Use.REFUSED

_GENERAL = (
    Option(
        "mode",
        _E,
        "0: make an .om; 1: a model as JSON; 3: pre-check; 6: show an .om; 5, 7 and 30 are not emulated",
        "0",
        ("0", "1", "3", "30", "5", "6", "7"),
    ),
    Option("raw_ge_options", _H, "JSON file of graph engine options, which here choose nothing"),
    Option(
        "raw_ge_options_ignore_unsupported", _H, "what to do with unknown ones", "false", ("false", "true")
    ),
)
_INPUT = (
    Option("model", _E, "model file"),
    Option("weight", _H, "weight file of a Caffe model; ATC ignores it for others"),
    Option("om", _E, "model file of modes 1 and 6"),
    Option(
        "framework",
        _E,
        "framework of the model; 3: TensorFlow, 5: ONNX, no other is emulated",
        "-1",
        ("0", "1", "3", "5"),
    ),
    Option("input_format", _E, "layout of the inputs: NCHW, ND or NCDHW; NHWC and NDHWC too for TensorFlow"),
    Option("input_shape", _E, 'shapes or ranges of the inputs: "name:n,c,h,w;name2:1~4,-1"'),
    Option("input_hint_shape", _H, "shape hints of a dynamic-shape model: speed, not results"),
    Option("input_shape_range", _E, 'deprecated; shape ranges: "name:[1~4,3];name2:[-1]"'),
    Option("dynamic_batch_size", _E, 'batch gears: "1,4,8"'),
    Option("dynamic_image_size", _E, 'image size gears: "h1,w1;h2,w2"'),
    Option("dynamic_dims", _E, 'gears of any axes: "a,b;c,d"'),
    Option("input_fp16_nodes", _E, 'inputs that become FP16: "in1;in2"'),
    Option("is_input_adjust_hw_layout", _E, "inputs in NC1HWC0; true is not emulated"),
    Option("insert_op_conf", _E, "AIPP file; static AIPP alone is emulated"),
    Option("op_name_map", _H, "operator names of Caffe; ATC ignores it for others"),
    Option(
        "enable_scope_fusion_passes",
        _H,
        "scope fusion of TensorFlow: speed, not results; ATC ignores it for others",
    ),
    Option("singleop", _R, "operators to compile one by one"),
)
_OUTPUT = (
    Option("output", _E, "path of the .om without its suffix"),
    Option(
        "output_type",
        _E,
        'data type of the outputs: FP32, FP16, UINT8 or INT8, or "node:0:FP16;node2:0:FP32"',
    ),
    Option("out_nodes", _E, 'outputs: "node:index;node:index" or names of tensors'),
    Option("is_output_adjust_hw_layout", _E, "outputs in NC1HWC0; true is not emulated"),
    Option("check_report", _E, "file of the pre-check", "check_result.json"),
    Option("json", _E, "JSON file of mode 1"),
    Option("dump_mode", _E, "1: with inferred shapes in the JSON of mode 1", "0", _SWITCH),
    Option(
        "external_weight",
        _E,
        "1: a file for each weight in the folder weight beside the .om, 2: one file for all of them",
        "0",
        ("0", "1", "2"),
    ),
    Option("save_original_model", _R, "also write the model before optimisation", neutral=("false",)),
    Option("display_model_info", _E, "print the model's resources at the end", "0", _SWITCH),
    Option("host_env_os", _E, "system of the host; matters for dynamic-shape models only"),
    Option("host_env_cpu", _E, "processor of the host; matters for dynamic-shape models only"),
)
_TARGET = (
    Option("soc_version", _E, "SoC to compile for, such as Ascend310P3"),
    Option("virtual_type", _H, "build for a part of a card: speed, not results", "0", _SWITCH),
    Option("core_type", _H, "cores to run on", "AiCore", ("AiCore", "VectorCore")),
    Option("aicore_num", _H, "AI cores to use"),
    Option("device_id", _H, "device of the caller", "0"),
    Option("target", _H, "undocumented"),
)
_PRECISION = (
    Option(
        "precision_mode",
        _E,
        "precision of the operators",
        values=(
            "allow_fp32_to_bf16",
            "allow_fp32_to_fp16",
            "allow_mix_precision",
            "allow_mix_precision_bf16",
            "allow_mix_precision_fp16",
            "cube_fp16in_fp32out",
            "force_fp16",
            "force_fp32",
            "must_keep_origin_dtype",
        ),
    ),
    Option(
        "precision_mode_v2",
        _E,
        "precision of the operators; fp16 when neither is given",
        values=(
            "cube_fp16in_fp32out",
            "cube_hif8",
            "fp16",
            "mixed_bfloat16",
            "mixed_float16",
            "mixed_hif8",
            "origin",
        ),
    ),
    Option("is_weight_clip", _E, "1: weights too large for FP16 become its largest", "1", _SWITCH),
    Option("op_precision_mode", _H, "kernels per operator; see op_select_implmode"),
    Option("modify_mixlist", _E, "operators of the mixed modes"),
    Option("keep_dtype", _E, "operators that keep their type"),
    Option("customize_dtypes", _R, "types per operator"),
    Option("allow_hf32", _H, "reserved by ATC", values=("false", "true")),
    Option(
        "op_select_implmode",
        _H,
        "kernels of an operator; they differ by less than the emulator's rounding rule says",
        values=("high_performance", "high_performance_for_all", "high_precision", "high_precision_for_all"),
    ),
    Option("optypelist_for_implmode", _H, "operators that op_select_implmode is for"),
    Option("deterministic", _H, "fixed order of sums, which one processor has anyway", "0", _SWITCH),
    Option("deterministic_level", _H, "how strict that order is", "0", ("0", "1", "2", "3")),
    Option("compression_optimize_conf", _R, "quantisation by AMCT"),
    Option(
        "enable_compress_weight",
        _H,
        "compressed weights: their size, not their values",
        "false",
        ("false", "true"),
    ),
    Option("compress_weight_conf", _H, "operators with compressed weights"),
    Option("sparsity", _H, "2:4 sparsity that the weights have already: speed, not results", "0", _SWITCH),
    Option("quant_dumpable", _H, "keep quantised tensors for dumps", "0", _SWITCH),
    Option("cal_conf", _R, "calibration"),
)
_TUNING = (
    Option("auto_tune_mode", _R, "removed from ATC"),
    Option("fusion_switch_file", _H, "fusion passes: speed, not results"),
    Option(
        "buffer_optimize",
        _H,
        "use of the L2 buffer",
        "l2_optimize",
        ("l1_and_l2_optimize", "l1_optimize", "l2_optimize", "off_optimize"),
    ),
    Option("enable_small_channel", _H, "speed of the first convolution", "0", _SWITCH),
    Option(
        "op_compiler_cache_mode", _H, "cache of compiled kernels", "disable", ("disable", "enable", "force")
    ),
    Option("op_compiler_cache_dir", _H, "folder of that cache"),
    Option("mdl_bank_path", _H, "tuning results: speed, not results"),
    Option("op_bank_path", _H, "tuning results: speed, not results"),
    Option("disable_reuse_memory", _H, "memory plan", "0", _SWITCH),
    Option("enable_single_stream", _H, "streams of the model", values=("false", "true")),
    Option("ac_parallel_enable", _H, "engines side by side", "0", _SWITCH),
    Option("tiling_schedule_optimize", _H, "where tiling is computed", "0", _SWITCH),
    Option("jit_compile", _H, "where kernels come from", "1", ("0", "1", "2")),
    Option("oo_level", _H, "optimisation level", "O3", ("O1", "O3")),
    Option("oo_constant_folding", _H, "constant folding", values=("false", "true")),
    Option("oo_dead_code_elimination", _H, "removal of unused operators", values=("false", "true")),
    Option("optimization_switch", _H, "optimisation passes: speed, not results"),
    Option("topo_sorting_mode", _H, "order of independent operators", "1", ("0", "1", "2", "3")),
    Option(
        "export_compile_stat", _H, "statistics file, which the emulator does not write", "1", ("0", "1", "2")
    ),
    Option("multi_stream_parallel_mode", _H, "streams of the model"),
    Option("static_model_ops_lower_limit", _H, "split of dynamic-shape models"),
    Option("h2d_overlapped_with_compute", _H, "copies overlapped by the model: speed, not results"),
    Option("enable_attr_compression", _E, "how attributes are written in the .om", "true", ("false", "true")),
    Option("cluster_config", _R, "several devices"),
    Option("hccl_sub_comm_config", _R, "several devices"),
    Option("build_config", _H, "advanced build"),
    Option(
        "shape_generalized_build_mode",
        _H,
        "deprecated",
        "shape_precise",
        ("shape_generalized", "shape_precise"),
    ),
)
_DEBUG = (
    Option("log", _H, "log level", "null", ("debug", "error", "info", "null", "warning")),
    Option("debug_dir", _H, "folder of intermediate files, of which there are none"),
    Option("op_debug_level", _H, "what kernels leave behind", "0", ("0", "1", "2", "3", "4")),
    Option("op_debug_config", _H, "checks inside kernels"),
    Option("status_check", _H, "overflow check", "0", _SWITCH),
    Option("atomic_clean_policy", _H, "when memory is cleared", "0", _SWITCH),
)

GROUPS = {
    "Basic": _GENERAL,
    "Input": _INPUT,
    "Output": _OUTPUT,
    "Target": _TARGET,
    "Precision": _PRECISION,
    "Tuning": _TUNING,
    "Debug": _DEBUG,
}
OPTIONS = {option.name: option for group in GROUPS.values() for option in group}
NO_LETTERS: Mapping[str, str] = {}
_EXAMPLE = "atc --model=net.onnx --framework=5 --output=net --soc_version=Ascend310P3"
FRAMEWORKS = "0(Caffe) or 1(MindSpore) or 3(TensorFlow) or 5(Onnx)"

# Where ATC reports a value outside the range as E10006 and not as E10001 (facts §2.4).
_ONE_OR_ZERO = {
    "atomic_clean_policy",
    "deterministic",
    "disable_reuse_memory",
    "display_model_info",
    "dump_mode",
    "external_weight",
    "sparsity",
    "status_check",
}


class CommandLineError(Exception):
    """The arguments cannot be parsed; the text goes to standard error (facts §2.1)."""


class HelpWanted(Exception):  # noqa: N818 - it is a request, not an error
    """`--help` or `-h` was met; ATC prints the usage text and looks no further."""


class Given:
    """The options of a command line.

    Args:
        values: what was given, by option.
        table: the command's options.
    """

    def __init__(self, values: dict[str, str], table: Mapping[str, Option] = OPTIONS) -> None:
        self._values = values
        self._table = table

    def __getitem__(self, name: str) -> str:
        """The value of an option, its default when it was not given."""
        return self._values.get(name, self._table[name].default)

    def __contains__(self, name: str) -> bool:
        """Whether the option was given."""
        return name in self._values

    def harmless(self) -> tuple[tuple[str, str], ...]:
        """The options that were taken without effect and have another value than their default."""
        return tuple(
            (option.name, self[option.name])
            for option in self._table.values()
            if option.use is Use.HARMLESS and self[option.name] != option.default
        )

    def refused(self) -> list[str]:
        """The refused options that were given a value other than their default, in ATC's order of options."""
        return [
            option.name
            for option in self._table.values()
            if option.use is Use.REFUSED and self[option.name] not in (option.default, *option.neutral)
        ]


def _check_value(option: Option, value: str) -> None:
    """Refuse a value outside the option's range, in ATC's words (facts §1.9, §2.4)."""
    name, values = option.name, option.values
    if not values or value in values:
        return
    if name == "framework":
        raise AtcError("E10007", name, FRAMEWORKS)
    if name == "log":
        raise AtcError("E10010", value)
    if name in _ONE_OR_ZERO:
        raise AtcError("E10006", value, name)
    if set(values) == {"true", "false"}:
        raise AtcError("E10005", value, name)
    valid = " ".join(f"[{legal}]" for legal in values)
    raise AtcError(
        "E10001",
        value,
        f"--{name}",
        f"The value is not within the range of values. The valid range is {valid} .",
    )


def _split(argument: str) -> tuple[str, str | None]:
    """Name and attached value of an argument that is an option; dashes inside the name become underscores."""
    name, equals, value = argument.lstrip("-").partition("=")
    return name.replace("-", "_"), value if equals else None


def _resolve(name: str, table: Mapping[str, Option]) -> str:
    """The option that a name or an unambiguous beginning of one means.

    Raises:
        CommandLineError: no option, or more than one.
    """
    names = [*table, "help"]
    if name in names:
        return name
    found = [known for known in names if known.startswith(name)]
    if len(found) != 1:
        raise CommandLineError(f"unknown command line flag '{name}'")
    return found[0]


def parse(
    arguments: Sequence[str],
    table: Mapping[str, Option] = OPTIONS,
    letters: Mapping[str, str] = NO_LETTERS,
) -> Given:
    """Read a command line as `getopt_long` does: `--name value`, `--name=value`, `-name value`, in any order.

    Args:
        arguments: without the program's name.
        table: the command's options by name.
        letters: the options that have a letter, by it; `h` is help in any case.

    Raises:
        HelpWanted: help was asked for.
        CommandLineError: an unknown or ambiguous option, a missing value, or an argument that is no option.
        AtcError: a value outside its option's range.
    """
    values: dict[str, str] = {}
    strays: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            strays += rest
            break
        if argument == "-h":
            raise HelpWanted
        if not re.match(r"--|-[A-Za-z]", argument):
            strays.append(argument)
            continue
        typed, value = _split(argument)
        if re.fullmatch(r"-[A-Za-z]", argument):
            if typed not in letters:
                raise CommandLineError(f"unknown command line flag '{typed}'")
            typed = letters[typed]
        name = _resolve("help" if typed == "h" else typed, table)
        if name == "help":
            raise HelpWanted
        if value is None and table[name].alone:
            value = table[name].alone
        if value is None:
            if not rest:
                raise CommandLineError(
                    f"flag '{argument}' is missing its argument; flag description: {table[name].text}"
                )
            value = rest.pop(0)
        _check_value(table[name], value)
        values[name] = value
    if strays:
        raise CommandLineError("\nERROR: ".join(f"Non-option parameter: {stray}" for stray in strays))
    return Given(values, table)


def usage(version: str, example: str = _EXAMPLE, groups: Mapping[str, Sequence[Option]] = GROUPS) -> str:
    """The usage text, which ends in a newline; its first line names the tool and its version.

    Args:
        version: of the emulator.
        example: a command line; its first word is the tool.
        groups: the tool's options under their headings.
    """
    tool = example.split()[0]
    lines = [
        f"usage: {tool} <args>    (ascend-emulator {version}: an emulation, its models run on no real card)"
    ]
    lines += ["", f"  {example}"]
    for title, group in groups.items():
        lines += ["", f"[{title}]"]
        for option in group:
            mark = "" if option.use is Use.EMULATED else f" ({option.use.value})"
            lines.append(f"  --{option.name:<30} {option.text}{mark}")
    return "\n".join([*lines, ""])
