"""The command line of `aoe`: its own options, and those of `atc` that it shares (facts/atc_om_soc.md §5.2).

The list is that of msit's aoe_args_map.py, which wraps the command. It has no --soc_version: the model is tuned for
the attached device. It has no --precision_mode_v2 either. Whether the options that are switches take a value is
not told anywhere; here they may.
"""

from __future__ import annotations

from ascend_emulator.atc import options as atc
from ascend_emulator.atc.options import Option, Use

LETTERS = {"m": "model", "w": "weight", "f": "framework", "j": "job_type"}

_OWN = (
    Option("job_type", Use.EMULATED, "required; 1: tune subgraphs, 2: tune operators", values=("1", "2")),
    Option("device", Use.EMULATED, "device to tune on; ASCEND_DEVICE_ID or 0 when not given"),
    Option("reload", Use.HARMLESS, "go on with an interrupted run: there is none", alone="true"),
    Option("progress_bar", Use.HARMLESS, "progress, which is none here", "on", ("on", "off")),
    Option(
        "tune_optimization_level", Use.HARMLESS, "O1: deeper, O2: as usual", values=("O1", "O2"), default="O2"
    ),
    Option("tune_ops_file", Use.EMULATED, "JSON file of the operators to tune"),
    Option("Fdeeper_opat", Use.HARMLESS, "tune operators deeper", alone="true"),
    Option("Fnonhomo_split", Use.HARMLESS, "split subgraphs unevenly", alone="true"),
    Option("Fop_format", Use.HARMLESS, "tune formats of operators", alone="true"),
    Option("model_path", Use.REFUSED, "folder of graphs to tune"),
    Option("singleop", Use.REFUSED, "operators to tune one by one"),
    Option("ip", Use.REFUSED, "address of a machine to tune on"),
    Option("port", Use.REFUSED, "port of that machine"),
)

# fmt: off
_SHARED = (
    "model", "weight", "framework", "input_format", "input_shape", "dynamic_batch_size", "dynamic_image_size",
    "dynamic_dims", "output", "output_type", "aicore_num", "virtual_type", "out_nodes", "input_fp16_nodes",
    "insert_op_conf", "op_name_map", "is_input_adjust_hw_layout", "is_output_adjust_hw_layout",
    "disable_reuse_memory", "fusion_switch_file", "enable_scope_fusion_passes", "enable_single_stream",
    "enable_small_channel", "compress_weight_conf", "buffer_optimize", "compression_optimize_conf", "sparsity",
    "precision_mode", "op_select_implmode", "optypelist_for_implmode", "op_precision_mode", "modify_mixlist",
    "keep_dtype", "customize_dtypes", "op_debug_level", "log",
)
# fmt: on

SHARED = tuple(atc.OPTIONS[name] for name in _SHARED)
"""The options that mean what they mean to `atc`."""

GROUPS = {"Tuning": _OWN, "Model": SHARED}
OPTIONS = {option.name: option for option in (*_OWN, *SHARED)}
EXAMPLE = "aoe --model=net.onnx --framework=5 --output=net --job_type=2"
