"""The errors ATC reports, by code, and how a report looks.

Titles and message templates are interface: tools find the cause in a log by them (facts/atc_om_soc.md §2.2,
§2.4; GE: error_registry.cc). Causes and solutions are worded here. A report has the layout of CANN 8.5 and
later, code and message on the first line, then lines indented by eight spaces; the layouts of CANN 7 and 5
can be asked for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

_INDENT = " " * 8
_INNER = "9999"


class Layout(Enum):
    """Of which CANN a report looks (facts §2.2); the value is what names it."""

    CANN_5 = "5"
    CANN_7 = "7"
    CANN_8_5 = "8.5"


@dataclass(frozen=True, slots=True)
class _Kind:
    title: str
    template: str
    cause: str = ""
    solution: str = ""


_ARGUMENT = "Invalid_Argument"
_SHAPE = "Invalid_Argument_Tensor_Input_Shape"
_GEARS = "Invalid_Argument_Tensor_Dynamic_Shape"
_GEAR_OPTIONS = "--dynamic_batch_size, --dynamic_image_size, or --dynamic_dims"
_ONNX = "Invalid_Argument_ONNX_Model_Data"

KINDS = {
    "E10001": _Kind(_ARGUMENT, "Value {} for parameter {} is invalid. Reason: {}"),
    "E10002": _Kind(
        _SHAPE,
        "Value {} for parameter --input_shape is invalid. Reason: {}. The value must be formatted as {}.",
        solution="Write each input as its name, a colon and whole numbers separated by commas.",
    ),
    "E10003": _Kind(_ARGUMENT, "Value {} for parameter --{} is invalid. Reason: {}"),
    "E10004": _Kind(_ARGUMENT, "Value for --{} is empty.", solution="Give the option a value."),
    "E10005": _Kind(
        _ARGUMENT, "Value {} for parameter --{} is invalid. The value must be either true or false."
    ),
    "E10006": _Kind(_ARGUMENT, "Value {} for parameter --{} is invalid. The value must be either 1 or 0."),
    "E10007": _Kind(
        _ARGUMENT,
        "--{} is required. The value must be {}.",
        solution="Say which framework the model is of; 5 for ONNX.",
    ),
    "E10008": _Kind(_ARGUMENT, "--weight must not be empty when --framework is set to 0 (Caffe)."),
    "E10009": _Kind(
        _GEARS,
        "--dynamic_batch_size, --dynamic_image_size, --input_shape_range, and --dynamic_dims are mutually "
        "exclusive.",
        solution="Keep one of them.",
    ),
    "E10010": _Kind(
        _ARGUMENT,
        "Value {} for parameter --log is invalid.",
        solution="Use debug, info, warning, error or null.",
    ),
    "E10011": _Kind(
        _SHAPE,
        "Value {} for parameter --input_shape is invalid. Shape values must be positive integers. The error "
        "value in the shape is {}.",
    ),
    "E10012": _Kind(
        _SHAPE,
        "--dynamic_batch_size is included, but the dimension count of the dynamic-shape input configured in "
        "--input_shape is less than 1.",
        solution="Leave scalar inputs out of --input_shape.",
    ),
    "E10013": _Kind(_ARGUMENT, "Value {} for --{} is out of range."),
    "E10014": _Kind(_ARGUMENT, "Value {} for parameter --{} is invalid."),
    "E10016": _Kind(
        "Invalid_Argument_Operator_Name",
        "Op name {} specified in --{} is not found in the model. Confirm whether this node name exists, or "
        "whether the node is not split with the specified delimiter ';'.",
    ),
    "E10017": _Kind(
        _ARGUMENT,
        "Input Op {} specified in --{} is invalid. The Op type must be Data.",
        cause="The name is one of a node or tensor inside the graph.",
        solution="Name a graph input.",
    ),
    "E10018": _Kind(
        _GEARS,
        "Value {} for shape {} is invalid. When --dynamic_batch_size is included, only batch size N can be "
        "-1 in --input_shape.",
        solution="Keep -1 at the first axis and give the other axes their sizes.",
    ),
    "E10019": _Kind(
        _SHAPE,
        "When --dynamic_image_size is included, only the height and width axes can be -1 in --input_shape.",
        solution="Write -1 at height and width of a 4-D input and give the other axes their sizes.",
    ),
    "E10020": _Kind(
        _ARGUMENT,
        "Value {} for parameter --dynamic_image_size is invalid.",
        solution='Give each profile a height and a width: "h1,w1;h2,w2".',
    ),
    "E10021": _Kind(_ARGUMENT, "Path for parameter --{} is too long. Keep the length within {}."),
    "E10022": _Kind(
        _ARGUMENT,
        "Path {} for parameter --{} does not include the file name.",
        solution="Give a file stem, without .om; ATC adds the suffix.",
    ),
    "E10031": _Kind(
        _SHAPE,
        "--dynamic_batch_size is included, but none of the nodes specified in --input_shape has a batch size "
        "equaling -1.",
        cause="The first axis of every input in --input_shape is a fixed number.",
        solution="Write -1 there to compile gears, or drop --dynamic_batch_size to compile that one shape.",
    ),
    "E10032": _Kind("File_Operation_Error_Parse", "Failed to parse JSON file {}. Reason: {}."),
    "E10034": _Kind(
        _ARGUMENT,
        "Nodes (for example, {}) connected to AIPP must not be of type FP16.",
        solution="Leave the input out of --input_fp16_nodes, or out of the AIPP configuration.",
    ),
    "E10035": _Kind(
        _GEARS,
        _GEAR_OPTIONS + " has {} profiles, which is less than the minimum {}.",
        solution="Give at least two gears; for one, compile a static shape without the option.",
    ),
    "E10036": _Kind(
        _GEARS,
        _GEAR_OPTIONS + " has {} profiles, which is greater than the maximum {}.",
        solution="Give fewer gears.",
    ),
    "E10037": _Kind(
        _GEARS,
        "The profiles configured in "
        + _GEAR_OPTIONS
        + " have inconsistent dimension counts. A profile has {} dimensions while another has {} dimensions.",
        solution="Give every profile the same number of dimensions.",
    ),
    "E10038": _Kind(_GEARS, "Dimension size {} is invalid. The value must be greater than 0."),
    "E10039": _Kind(
        _GEARS,
        "The " + _GEAR_OPTIONS + " argument has duplicate profiles.",
        solution="Give each gear once.",
    ),
    "E10040": _Kind(
        _SHAPE,
        "As the "
        + _GEAR_OPTIONS
        + " argument is included, the corresponding nodes specified in --input_shape "
        "must have -1 axes and cannot have '~'.",
    ),
    "E10041": _Kind(
        "Invalid_Argument_Model",
        "Failed to load the model from {}.",
        solution="Check that the file is whole and a model that atc made.",
    ),
    "E10047": _Kind(_ARGUMENT, "--{} and --{} are mutually exclusive.", solution="Keep one."),
    "E10048": _Kind(
        _ARGUMENT,
        "Value {} for parameter --input_shape_range or dynamic_inputs_shape_range is invalid. Reason: {}. The "
        "value must be formatted as {}.",
    ),
    "E10049": _Kind(
        _SHAPE,
        "Dimension count {} configured in --input_shape does not match dimension count {} of the node.",
    ),
    "E10050": _Kind(
        "Invalid_Argument_Tensor_Input_Shape_Range",
        "Current dimension size {} is not in the range of {}-{} specified by --input_shape.",
        solution="Widen the range to what the model fixes, or export the model with an open axis.",
    ),
    "E10052": _Kind(_ARGUMENT, "AIPP configuration is invalid. Reason: {}."),
    "E10054": _Kind(
        _ARGUMENT,
        "The required parameter {} for ATC is empty. Another possible reason is that the values of some "
        'parameters are not enclosed by quotation marks ("").',
    ),
    "E10055": _Kind("Not_Supported", "The operation is not supported. Reason: {}."),
    "E10056": _Kind(
        _ARGUMENT, "Cannot configure both parameters {} and {} simultaneously.", solution="Keep one."
    ),
    "E10057": _Kind(
        _ARGUMENT,
        "--{} and --{} can only be used together.",
        solution="With --mode=6 give --om and no other option of a model.",
    ),
    "E10058": _Kind(_ARGUMENT, "Parameter {} is not configured or is empty.", solution="Give it a value."),
    "E10410": _Kind(
        "File_Operation_Error_File_Not_Exist",
        "File {} does not exist.",
        solution="Check the path, and where it starts: a relative one starts at the working directory.",
    ),
    "E12029": _Kind(
        "Invalid_Argument_TensorFlow_Model_Data",
        "Failed to find the subgraph library.",
        cause="The graph calls functions, and graph_def_library.pbtxt is not beside it.",
        solution="Write it with CANN's func2graph.py, or freeze the model with its functions inlined.",
    ),
    "E13000": _Kind(
        "File_Operation_Error_Invalid_Path",
        "Path {} is empty. Reason: {}.",
        cause="No file can be reached under that path.",
        solution="Check the path, and where it starts: a relative one starts at the working directory.",
    ),
    "E13001": _Kind("File_Operation_Error_Open", "Failed to open file {}. Reason: {}."),
    "E13004": _Kind("File_Operation_Error_Write", "Failed to write file {}. Reason: {}."),
    "E13005": _Kind(
        "File_Operation_Error_Parse",
        "Failed to parse file {}.",
        solution="Check that the file is whole and of the framework that --framework names.",
    ),
    "E13009": _Kind(
        "Invalid_Argument_Operator_Name",
        "Operator {} already exists in the graph. Ensure that operator names are unique.",
    ),
    "E13010": _Kind(
        "Not_Supported_Operator",
        "No operator plugin is registered for Op: {}, optype: {}.",
        solution="Replace the operator, or export the model without it.",
    ),
    "E13015": _Kind(
        "File_Operation_Error_Invalid_File_Size",
        "File {} has a size of {}, which is out of valid range (0, {}].",
    ),
    "E13025": _Kind(_ARGUMENT, "Input tensor is invalid. Reason: {}."),
    "E14001": _Kind(
        "Invalid_Argument_Operator_Compilation_Parameter",
        "Argument {} for Op {} with optype {} is invalid. Reason: {}.",
        solution="Check the operator's inputs at this shape; a constant may hold another batch size.",
    ),
    "E16001": _Kind(_ONNX, "The model has no {} node."),
    "E16004": _Kind(_ONNX, "ONNX model has no graph.", solution="Check that the file is an ONNX model."),
    "E19999": _Kind("Inner_Error", "{}"),
    "E20003": _Kind(
        "Config_Error", "Configuration item {1} in configuration file {0} is invalid. Reason: {2}."
    ),
    "E20101": _Kind(
        _ARGUMENT,
        "Value {} for parameter {} is invalid. Reason: {}.",
        solution="Give the exact name, such as Ascend310P3 or Ascend910B3; case counts.",
    ),
    "E20103": _Kind(
        _ARGUMENT, "Value {} for parameter {} is invalid. The value must be in the range of (0, {}]."
    ),
    "E21001": _Kind(
        "File_Operation_Error_Open",
        "Failed to open file {}.",
        solution="Check the path, and where it starts: a relative one starts at the working directory.",
    ),
    "E21002": _Kind("File_Operation_Error_Parse", "Failed to parse file {}. Reason: {}."),
    "EZ3003": _Kind(
        "Unsupported_Operator",
        "No supported Ops kernel and engine are found for [{}], optype [{}].",
        solution="Replace the operator, or change the data type it works on.",
    ),
}
"""Code to title, message template, possible cause and solution."""


class AtcError(Exception):
    """A run that ATC ends with a report.

    Args:
        code: a key of `KINDS`.
        arguments: what fills the template, in order.
        cause: replaces the possible cause of the code.
        solution: replaces the solution of the code.
        trace: messages of the failures that followed from this one.
    """

    def __init__(
        self, code: str, *arguments: object, cause: str = "", solution: str = "", trace: tuple[str, ...] = ()
    ) -> None:
        kind = KINDS[code]
        self.code = code
        self.title = kind.title
        self.message = kind.template.format(*arguments)
        self.cause = cause or kind.cause
        self.solution = solution or kind.solution
        self.trace = trace
        super().__init__(f"{code}: {self.message}")

    def report(self, now: datetime, layout: Layout = Layout.CANN_8_5) -> str:
        """The text on standard output, ending in a newline.

        Args:
            now: local time that stands in the first line.
            layout: whose looks it has.
        """
        stamp = (
            now.strftime("%Y-%m-%d-%H:%M:%S.") + f"{now.microsecond // 1000:03d}.{now.microsecond % 1000:03d}"
        )
        process = f"[PID: {os.getpid()}] {stamp}"
        first = {
            Layout.CANN_5: f"{self.code}: {self.message}",
            Layout.CANN_7: f"{self.code}: {process} {self.message}",
            Layout.CANN_8_5: f"{process} {self.title}({self.code}): {self.message}",
        }[layout]
        lines = [first]
        if self.code.endswith(_INNER):
            # The message of an inner error comes after a title, in CANN 5 behind the bare code.
            heading = "Internal error!" if layout is Layout.CANN_8_5 else "Inner Error!"
            first = f"{self.code}  {self.message}" if layout is Layout.CANN_5 else first
            lines = [f"{self.code}: {heading}", first]
        if self.cause:
            lines.append(f"{_INDENT}Possible Cause: {self.cause}")
        if self.solution:
            lines.append(f"{_INDENT}Solution: {self.solution}")
        if self.trace:
            heading = "TraceBack (most recent call last):"
            lines.append(heading if layout is Layout.CANN_8_5 else _INDENT + heading)
            lines += [_INDENT + message for message in self.trace]
        return "\n".join(lines) + "\n"


def not_emulated(what: str, solution: str = "") -> AtcError:
    """The refusal of something ATC does and the emulator does not: it never quietly does something else.

    Args:
        what: completes `the emulator does not emulate ...`.
        solution: the way out.
    """
    return AtcError("E10055", f"the emulator does not emulate {what}", solution=solution)
