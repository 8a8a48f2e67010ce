"""Codes about ATC's arguments (E10xxx): what to change in the recipe. Facts: ATC §1.4–1.9, §2.4."""

from __future__ import annotations

from ascend_serve.compiling.diagnosis.advice import UNSUPPORTED_HINT, Advice, ge

_ARGUMENT = "Invalid_Argument"
_SHAPE = "Invalid_Argument_Tensor_Input_Shape"
_GEARS = "Invalid_Argument_Tensor_Dynamic_Shape"

_VALUE_HINT = "Correct {field} in the recipe as the message says"
_NAME_HINT = "Compare the names in {field} with those of the model's inputs and nodes"
_ONE_KIND_HINT = "Keep one of `gears`, `image_gears`, `dims_gears` and input_shape_range"
_SAME_GEARS_HINT = "`gears`, `image_gears` or `dims_gears`: "
_GEAR_OPTIONS = ("dynamic_batch_size", "dynamic_image_size", "dynamic_dims")
_SINGLE_OP_HINT = "Correct the operator's description in the file of --singleop"
_BATCH_AXIS_HINT = (
    "`gears` set the batch axis, and every shape under `inputs` fixes it: write -1 at axis 0 (such as "
    "[-1, 3, 224, 224]), or remove `gears` to compile that one shape"
)

ARGUMENTS: dict[str, Advice] = dict(
    [
        ge("E10001", _ARGUMENT, _VALUE_HINT),
        ge("E10002", _SHAPE, "Write the shapes under `inputs` as lists of whole numbers", "input_shape"),
        ge("E10003", _ARGUMENT, _VALUE_HINT),
        ge("E10004", _ARGUMENT, "Give {field} a value; `gears` of any kind need the shapes under `inputs`"),
        ge("E10005", _ARGUMENT, "Set {field} to true or false"),
        ge("E10006", _ARGUMENT, "Set {field} to 1 or 0 (true or false in a recipe)"),
        ge(
            "E10007",
            _ARGUMENT,
            "Say what `source` is with `framework`: 0 Caffe, 1 MindSpore, 3 TensorFlow, 5 ONNX",
            "framework",
        ),
        ge("E10008", _ARGUMENT, "Name the Caffe weights in `weight`", "weight"),
        ge("E10009", _GEARS, _ONE_KIND_HINT, *_GEAR_OPTIONS, "input_shape_range"),
        ge("E10010", _ARGUMENT, "Set `log` to debug, info, warning, error or null", "log"),
        ge(
            "E10011",
            _SHAPE,
            "Without gears each dim under `inputs` is at least 1; an axis of -1 needs `gears`, `image_gears` or "
            "`dims_gears`",
            "input_shape",
        ),
        ge(
            "E10012",
            _SHAPE,
            "A scalar has no batch axis: leave it out of `inputs` when `gears` are set",
            "input_shape",
        ),
        ge("E10013", _ARGUMENT, "The number is too large: correct {field}"),
        ge("E10014", _ARGUMENT, _VALUE_HINT),
        ge("E10016", "Invalid_Argument_Operator_Name", _NAME_HINT),
        ge("E10017", _ARGUMENT, "Name an input of the model in {field}, not a node or tensor inside it"),
        ge(
            "E10018",
            _GEARS,
            "With `gears` only axis 0 may be -1: give the other axes under `inputs` fixed sizes, or set all open "
            "axes with `dims_gears`",
            "dynamic_batch_size",
        ),
        ge(
            "E10019",
            _SHAPE,
            "With `image_gears` height and width of a 4-D input, and only these, are -1 under `inputs`",
            "dynamic_image_size",
        ),
        ge(
            "E10020",
            _ARGUMENT,
            "Give each of `image_gears` a height and a width, such as [[224, 224], [448, 448]]",
            "dynamic_image_size",
        ),
        ge(
            "E10021",
            _ARGUMENT,
            "Move the store, the temporary folder or the named file to a shorter path",
            "output",
        ),
        ge("E10022", _ARGUMENT, "`output` must end in a file name without .om, not in a folder", "output"),
        ge("E10023", _ARGUMENT, _SINGLE_OP_HINT, "singleop"),
        ge("E10024", _ARGUMENT, _SINGLE_OP_HINT, "singleop"),
        ge("E10025", _ARGUMENT, _SINGLE_OP_HINT, "singleop"),
        ge("E10026", _ARGUMENT, _SINGLE_OP_HINT, "singleop"),
        ge("E10027", _ARGUMENT, _SINGLE_OP_HINT, "singleop"),
        ge("E10029", _ARGUMENT, _SINGLE_OP_HINT, "singleop"),
        ge("E10030", _ARGUMENT, _SINGLE_OP_HINT, "singleop"),
        ge("E10031", _SHAPE, _BATCH_AXIS_HINT, "dynamic_batch_size"),
        ge(
            "E10032",
            "File_Operation_Error_Parse",
            "Correct the JSON file that the message names: it must hold what ATC's manual shows",
        ),
        ge(
            "E10034",
            _ARGUMENT,
            "An input with AIPP takes uint8 images: leave it out of `input_fp16_nodes`, or remove AIPP for it",
            "input_fp16_nodes",
        ),
        ge(
            "E10035",
            _GEARS,
            _SAME_GEARS_HINT + "ATC wants at least two; for one size give fixed shapes under `inputs`",
            *_GEAR_OPTIONS,
        ),
        ge(
            "E10036",
            _GEARS,
            _SAME_GEARS_HINT + "give fewer; 100 is the most that every release takes",
            *_GEAR_OPTIONS,
        ),
        ge("E10037", _GEARS, _SAME_GEARS_HINT + "all of them need the same number of sizes", *_GEAR_OPTIONS),
        ge("E10038", _GEARS, _SAME_GEARS_HINT + "each size is at least 1", *_GEAR_OPTIONS),
        ge("E10039", _GEARS, _SAME_GEARS_HINT + "each may stand once", *_GEAR_OPTIONS),
        ge(
            "E10040",
            _SHAPE,
            "With gears the open axes under `inputs` are -1; a range (a~b) is for models without gears",
            "input_shape",
        ),
        ge(
            "E10041",
            "Invalid_Argument_Model",
            "The file is no .om, or not a whole one: compile it again, and check that it is no Git LFS pointer",
            "om",
        ),
        ge(
            "E10045",
            _GEARS,
            "Give each of `dims_gears` one number for every -1 under `inputs`",
            "dynamic_dims",
        ),
        ge(
            "E10046",
            _GEARS,
            "Give each of `dims_gears` one number for every -1 under `inputs`",
            "dynamic_dims",
        ),
        ge("E10047", _ARGUMENT, "The two options exclude each other: remove one, {field} or the other"),
        ge(
            "E10048",
            _ARGUMENT,
            "Write ranges as lowest~highest under `inputs`, both at least 1, such as ['1~8', 3, 224, 224]",
            "input_shape",
        ),
        ge(
            "E10049",
            _SHAPE,
            "Give the input as many dims under `inputs` as the model gives it",
            "input_shape",
        ),
        ge(
            "E10050",
            "Invalid_Argument_Tensor_Input_Shape_Range",
            "The model fixes that axis: widen the range under `inputs`, or export the model with an open axis",
            "input_shape",
        ),
        ge(
            "E10052",
            _ARGUMENT,
            "Correct the AIPP settings as the reason says (`aipp`, or the file of `insert_op_conf`)",
            "insert_op_conf",
        ),
        ge(
            "E10054",
            _ARGUMENT,
            "Set {field}. In a command line of your own, quote values that hold ';': the shell ends the command "
            "there",
        ),
        ge(
            "E10055",
            "Not_Supported",
            "This toolchain or SoC cannot do what was asked: remove the option that the reason names, or change "
            "`targets`",
        ),
        ge(
            "E10056",
            _ARGUMENT,
            "Set `precision` alone: precision_mode and precision_mode_v2 are two spellings of it",
            "precision_mode_v2",
        ),
        ge("E10057", _ARGUMENT, "Showing an .om (--mode=6) takes --om and no option of a model", "mode"),
        ge("E10058", _ARGUMENT, "Give {field} a value"),
        ge("E10060", _ARGUMENT, "Correct or remove the option that the reason names"),
        ge("E10061", _ARGUMENT, _VALUE_HINT),
        ge(
            "E10410",
            "File_Operation_Error_File_Not_Exist",
            "Correct the path in the recipe; relative ones start at the recipe's folder",
        ),
        ge("E10501", "Not_Supported_Operator", UNSUPPORTED_HINT),
    ]
)
"""Advice by code."""

_SHAPES = (
    "Give every input its shape under `inputs`: fixed sizes, or -1 at the axes that `gears`, `image_gears` or "
    "`dims_gears` set"
)
BY_OPTION: dict[str, str] = {
    "Inputs": _SHAPES,
    "auto_tune_mode": "Remove auto_tune_mode: ATC has it no more; AOE (`tune`) takes its place",
    "dynamic_batch_size": "Give `gears` as whole numbers, each once, such as [1, 4, 8]",
    "dynamic_dims": (
        "Give each of `dims_gears` one number for every -1 under `inputs`, in their order; AIPP excludes them"
    ),
    "dynamic_image_size": "Give `image_gears` as pairs of height and width; `input_format` NCHW or NHWC",
    "input_format": (
        "`input_format` is NCHW, ND or NCDHW for ONNX, with AIPP NCHW: NCHW for images, ND where axes have no such "
        "meaning"
    ),
    "input_shape": _SHAPES,
    "model": "Check `source`: the path, its characters (letters, digits, _ - . and /), and the right to read it",
    "modify_mixlist": "`modify_mixlist` needs `precision: mixed`",
    "output": "Name a writable folder whose path holds only letters, digits, _ - . and /",
    "output_type": (
        "`output_type` casts the outputs alone and takes FP32, FP16 or UINT8 (INT8 in newer releases); what the "
        "network computes in is set by `precision`"
    ),
    "precision_mode": "Set `precision`; bfloat16 is for A2, A3, 310B and 950 chips, HiFloat8 for the 950 alone",
    "precision_mode_v2": "Set `precision`; bfloat16 is for A2, A3, 310B and 950 chips, HiFloat8 for the 950 alone",
    "soc_version": (
        "Give `targets` the exact name, such as Ascend310P3 or Ascend910B3, and install that chip's CANN packages; "
        "plain Ascend910 and Ascend910B are the first generation, not Atlas A2"
    ),
}
"""What to do about a wrong value of an option, for the codes that any option can have."""
