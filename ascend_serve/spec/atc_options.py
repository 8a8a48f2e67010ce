"""ATC's options as fields, each under the option's own name (facts: ATC §1.4–1.9).

A field left out leaves its option out, so that ATC's own default holds. Options whose meaning the house needs to
know have fields with house names in `recipe.CompileRecipe`: shapes, gears, targets, source, output. Modes that
compile nothing (1, 3, 5, 6) and their options are no part of a recipe: see `ascend-serve inspect` and
`ascend-serve preflight`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt
from pydantic.fields import FieldInfo

from ascend_serve.spec.closed import Closed


@dataclass(frozen=True, slots=True)
class Atc:
    """How a field's value is written on ATC's command line.

    Attributes:
        yes: how `True` is written.
        no: how `False` is written.
        join: what stands between the items of a list.
        path: whether the value is a path of this machine: relative to the recipe's folder, its content in the key.
    """

    yes: str = "true"
    no: str = "false"
    join: str = ","
    path: bool = False

    def text(self, value: Any) -> str:
        """The option's value as ATC takes it; empty when there is nothing to say."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return self.yes if value else self.no
        if isinstance(value, tuple):
            return self.join.join(self.text(item) for item in value)
        return str(value)


_DIGIT = Atc(yes="1", no="0")
Digit = Annotated[bool | None, _DIGIT]
"""A switch written 1 or 0."""
Word = Annotated[bool | None, Atc()]
"""A switch written true or false."""
File = Annotated[str | None, Atc(path=True)]
"""A file or folder, relative to the recipe's folder."""
Text = str | None
Nodes = Annotated[tuple[str, ...], Atc(join=";")]
"""Names, separated by `;` on the command line."""
Words = Annotated[tuple[bool, ...], Atc(join=",")]
"""Switches written true or false, separated by commas."""
Names = Annotated[tuple[str, ...], Atc(join=",")]
"""Names, separated by commas on the command line."""

OutputType = Literal[
    "FP32", "FP16", "UINT8", "INT8", "HIF8", "HIF4", "FP8E5M2", "FP8E4M3FN"
]  # fmt: skip
"""Types that all outputs may be cast to; the last four on the 950 family alone."""


class InputOptions(Closed):
    """What the model's inputs are (facts: ATC §1.4)."""

    input_format: Literal["NCHW", "NHWC", "ND", "NCDHW", "NDHWC"] | None = None
    """Layout of the inputs. ATC's default is NHWC for TensorFlow and NCHW otherwise; ND where axes have no such
    meaning, as in language models."""

    input_shape_range: Text = None
    """Deprecated by ATC: `name:[n1~n2,c,h,w]`. Write ranges into `inputs` instead: `{name: ["1~4", 3]}`."""

    input_hint_shape: Text = None
    """Shapes that a model with open shapes should be fast at: `0:[1,3];1:[2,3]`. Not with gears."""

    input_fp16_nodes: Nodes = ()
    """Inputs that callers will send as half precision. Not for inputs with AIPP."""

    is_input_adjust_hw_layout: Words = ()
    """For each of `input_fp16_nodes`, whether it comes in the layout NC1HWC0."""

    insert_op_conf: File = None
    """AIPP file written by hand; `aipp` writes one from fields."""

    op_name_map: File = None
    """Caffe only: operator names of custom layers."""

    enable_scope_fusion_passes: Names = ()
    """TensorFlow only: names of scope fusion passes to switch on."""


class OutputOptions(Closed):
    """What the model's outputs are, and what else is written (facts: ATC §1.7)."""

    out_nodes: Nodes = ()
    """The outputs and their order: `node:index`, or names of ONNX tensors, or of Caffe tops; one style only."""

    output_type: Annotated[str | None, Field(pattern=r"^[^\s]+$")] = None
    """Type that all outputs are cast to, such as FP16, or one for each of `out_nodes`: `conv1:0:FP16;relu2:0:FP32`.
    What the network computes in stays as it is: see `precision`."""

    is_output_adjust_hw_layout: Words = ()
    """For each of `out_nodes`, whether it leaves in FP16 and NC1HWC0."""

    external_weight: Literal[0, 1, 2] | None = None
    """Weights in files beside the `.om`: 1, one each; 2, all in one. They are stored and fetched with it."""

    save_original_model: Word = None
    """Also write the model as it was before optimisation."""

    host_env_os: Literal["linux", "minios"] | None = None
    """Host system of a model with open shapes; ATC ignores it for others."""

    host_env_cpu: Literal["x86_64", "aarch64", "arm64", "arm"] | None = None
    """Host processor of a model with open shapes; ATC ignores it for others."""

    display_model_info: Digit = None
    """Print the compiled model's resources into the log."""

    check_report: Text = None
    """Where ATC writes its pre-check, seen from its working folder."""


class PrecisionOptions(Closed):
    """What the network computes in (facts: ATC §1.8)."""

    precision_mode: (
        Literal[
            "force_fp16",
            "force_fp32",
            "cube_fp16in_fp32out",
            "allow_fp32_to_fp16",
            "allow_fp32_to_bf16",
            "must_keep_origin_dtype",
            "allow_mix_precision",
            "allow_mix_precision_fp16",
            "allow_mix_precision_bf16",
        ]
        | None
    ) = None
    """The older option of two; `force_fp16` is ATC's default. Not with `precision_mode_v2` (E10056)."""

    precision_mode_v2: (
        Literal[
            "fp16",
            "origin",
            "cube_fp16in_fp32out",
            "mixed_float16",
            "mixed_bfloat16",
            "cube_hif8",
            "mixed_hif8",
        ]
        | None
    ) = None
    """The newer one; `fp16` is ATC's default. bfloat16 from the A2 on, hif8 on the 950 family."""

    modify_mixlist: File = None
    """JSON file that changes the lists of the mixed modes; with those only."""

    op_precision_mode: File = None
    """INI file of kernels per operator, `[ByOpType]` and `[ByNodeName]`; beats `op_select_implmode`."""

    op_select_implmode: (
        Literal["high_performance", "high_precision", "high_performance_for_all", "high_precision_for_all"]
        | None
    ) = None
    """Which kernel of an operator: `high_performance` is ATC's default."""

    optypelist_for_implmode: Names = ()
    """Operator types that `op_select_implmode` is for."""

    keep_dtype: File = None
    """File of nodes that keep their type under `force_fp16`."""

    customize_dtypes: File = None
    """File of types per operator; beats `keep_dtype` and the precision mode."""

    allow_hf32: Word = None
    """Reserved by ATC."""

    deterministic: Digit = None
    """The same bits in every run. Together with `deterministic_level`: both zero, or both not."""

    deterministic_level: Literal[0, 1, 2, 3] | None = None
    """How strict that is."""

    compression_optimize_conf: File = None
    """Quantisation by AMCT, whose calibration needs a card."""

    enable_compress_weight: Word = None
    """Compress weights. Not with `compress_weight_conf` (E10047)."""

    compress_weight_conf: File = None
    """File of the operators whose weights are compressed."""

    sparsity: Digit = None
    """Use 2:4 structured sparsity that the weights have."""

    is_weight_clip: Digit = None
    """Clip weights too large for FP16 to its largest value; ATC does by default."""

    quant_dumpable: Digit = None
    """Keep quantised tensors for dumps."""

    cal_conf: File = None
    """Calibration; not documented by the vendor."""


class TargetOptions(Closed):
    """What of the chip is used (facts: ATC §1.9)."""

    aicore_num: Annotated[str | None, Field(pattern=r"^\d*\|?\d*$")] = None
    """AI cores to use: `8`, or `24|48` (cube and vector) from the A2 on; the chip's own number at most."""

    core_type: Literal["AiCore", "VectorCore"] | None = None
    """Cores to run on; VectorCore on the 310P family alone."""

    virtual_type: Digit = None
    """Compile for a slice of a card (vNPU)."""

    device_id: Annotated[StrictInt | None, Field(ge=0)] = None
    """Device of the caller; not documented by the vendor."""

    target: Text = None
    """Not documented by the vendor."""


class TuningOptions(Closed):
    """How ATC optimises (facts: ATC §1.9)."""

    fusion_switch_file: File = None
    """Fusion passes to switch off or on: lines `Pass:off`, or JSON."""

    buffer_optimize: Literal["l2_optimize", "off_optimize", "l1_optimize", "l1_and_l2_optimize"] | None = None
    """Use of the L2 buffer; `l2_optimize` is ATC's default."""

    enable_small_channel: Digit = None
    """A faster first convolution with at most four channels."""

    op_compiler_cache_mode: Literal["disable", "enable", "force"] | None = None
    """ATC's own cache of compiled kernels; ignored when `op_debug_level` is not 0. `force` is unsafe with parallel
    builds."""

    op_compiler_cache_dir: Text = None
    """Folder of that cache, which ATC fills; the same path on each node."""

    mdl_bank_path: File = None
    """AOE's knowledge bank of subgraph tuning, made elsewhere; `tune` makes and passes one."""

    op_bank_path: File = None
    """AOE's knowledge bank of operator tuning, made elsewhere; `tune` makes and passes one."""

    disable_reuse_memory: Digit = None
    """Give every tensor memory of its own."""

    enable_single_stream: Word = None
    """One stream for the whole model."""

    multi_stream_parallel_mode: Text = None
    """`cv`, `LoadBalance:N` or `MainStream:N`."""

    ac_parallel_enable: Digit = None
    """AI CPU operators beside AI core operators."""

    tiling_schedule_optimize: Digit = None
    """Tiling on the device."""

    jit_compile: Literal[0, 1, 2] | None = None
    """0: use the operator binaries that are installed; 1, ATC's default: compile."""

    oo_level: Literal["O1", "O3"] | None = None
    """Level of graph optimisation; O3 is ATC's default."""

    oo_constant_folding: Word = None
    """Fold constants."""

    oo_dead_code_elimination: Word = None
    """Remove operators that nothing uses."""

    optimization_switch: Text = None
    """Passes by name: `Pass1:on;Pass2:off`."""

    topo_sorting_mode: Literal[0, 1, 2, 3] | None = None
    """Order of independent operators: breadth first, depth first (ATC's default), its reverse, stable."""

    static_model_ops_lower_limit: StrictInt | None = None
    """Least operators of a static part in a model with open shapes."""

    h2d_overlapped_with_compute: Text = None
    """Copies overlapped by the model itself."""

    export_compile_stat: Literal[0, 1, 2] | None = None
    """When ATC writes `fusion_result.json`."""

    enable_attr_compression: Word = None
    """Number attribute names in the file; ATC does by default."""

    shape_generalized_build_mode: Literal["shape_generalized", "shape_precise"] | None = None
    """Deprecated by ATC."""

    cluster_config: File = None
    """Several devices."""

    hccl_sub_comm_config: Text = None
    """Several devices."""

    build_config: File = None
    """Advanced build settings."""

    raw_ge_options: File = None
    """JSON file of graph engine options that ATC passes through."""

    raw_ge_options_ignore_unsupported: Word = None
    """Whether unknown ones among them are ignored."""


class DebugOptions(Closed):
    """What ATC says and leaves behind (facts: ATC §1.9)."""

    log: Literal["debug", "info", "warning", "error", "null"] | None = None
    """How much ATC logs; no part of an artefact's key. ATC's default is `null`, a build's is `error`."""

    op_debug_level: Literal[0, 1, 2, 3, 4] | None = None
    """Not 0: keep what kernels were compiled from."""

    debug_dir: Text = None
    """Where that goes; a folder that exists on the node."""

    op_debug_config: File = None
    """Checks inside kernels."""

    status_check: Digit = None
    """Look for overflow."""

    atomic_clean_policy: Digit = None
    """When memory is cleared."""


class AtcOptions(InputOptions, OutputOptions, PrecisionOptions, TargetOptions, TuningOptions, DebugOptions):
    """All options that are fields under their own names."""


def writing_of(field: FieldInfo) -> Atc:
    """How a field's value is written on the command line."""
    return next((note for note in field.metadata if isinstance(note, Atc)), _DIGIT)


def path_fields() -> Iterator[str]:
    """Names of the fields whose values are paths of this machine."""
    return (name for name, field in AtcOptions.model_fields.items() if writing_of(field).path)
