"""Codes about the model: parsers, files, operators in the graph (E11xxx–E19xxx). Facts: ATC §2.3, §2.4."""

from __future__ import annotations

from ascend_serve.compiling.diagnosis.advice import (
    EXPORT_HINT,
    GRAPH_HINT,
    INNER_HINT,
    Advice,
    ge,
)

_CAFFE = "Invalid_Argument_Caffe_Model_Data"
_TENSORFLOW = "Invalid_Argument_TensorFlow_Model_Data"
_ONNX = "Invalid_Argument_ONNX_Model_Data"
_OPEN = "File_Operation_Error_Open"
_PARSE = "File_Operation_Error_Parse"

_FILE_HINT = (
    "Check `source`, and the files it or the recipe names, and whether this machine may read them; external data "
    "lies beside the model"
)
_BROKEN_HINT = (
    "The file is no whole model of the framework it is said to be, or a Git LFS pointer: open it with `onnx.checker` "
    "(ONNX), or fetch it again"
)
_WRITE_HINT = "See whether the disk is full and whether this machine may write there"
_CAFFE_HINT = "Correct the .prototxt in `source` or the weights in `weight` as the message says"
_CAFFE_OLD_HINT = "Upgrade the file with Caffe's own tools: `layers` is the old spelling of `layer`"
_SUBGRAPH_HINT = (
    "The network calls functions: freeze it into one graph, or make graph_def_library.pbtxt with CANN's "
    "func2graph.py"
)
_INCOMPLETE_HINT = "The ONNX graph is incomplete: check it with `onnx.checker` and export it again"

_CAFFE_TITLES = {
    "E11001": _CAFFE,
    "E11003": _CAFFE,
    "E11004": _CAFFE,
    "E11008": _CAFFE,
    "E11012": _CAFFE,
    "E11014": _CAFFE,
    "E11015": _CAFFE,
    "E11018": _CAFFE,
    "E11022": _CAFFE,
    "E11024": _CAFFE,
    "E11027": _CAFFE,
    "E11029": _CAFFE,
    "E11032": _CAFFE,
    "E11033": "Invalid_Argument_Caffe_Model_Weight",
    "E11035": _CAFFE,
    "E11036": _CAFFE,
    "E11037": _CAFFE,
}

GRAPH: dict[str, Advice] = dict(
    [
        *(ge(code, title, _CAFFE_HINT) for code, title in _CAFFE_TITLES.items()),
        ge(
            "E11005",
            "Invalid_Argument_Tensor_Input_Shape",
            "Give the input its shape under `inputs`",
            "input_shape",
        ),
        ge("E11009", "Not_Supported_Operator", EXPORT_HINT),
        ge("E11016", "Invalid_Argument", "Name an output that the node has in `out_nodes`", "out_nodes"),
        ge("E11017", "Invalid_Argument", "Name nodes of the model in `out_nodes`", "out_nodes"),
        ge("E11021", _CAFFE, _CAFFE_OLD_HINT),
        ge("E11023", _CAFFE, _CAFFE_OLD_HINT),
        ge("E12004", "Invalid_Argument_Operator_Input_Index", "Correct the plugin of the custom operator"),
        ge("E12009", _TENSORFLOW, "The frozen graph is incomplete: freeze it again with all its outputs"),
        ge("E12013", _TENSORFLOW, _SUBGRAPH_HINT),
        ge("E12029", _TENSORFLOW, _SUBGRAPH_HINT),
        ge("E13000", "File_Operation_Error_Invalid_Path", _FILE_HINT),
        ge("E13001", _OPEN, _FILE_HINT),
        ge("E13002", "Directory_Operation_Error_Name_Too_Long", "Move the files to a shorter path"),
        ge("E13003", "File_Operation_Error_Read", _FILE_HINT),
        ge("E13004", "File_Operation_Error_Write", _WRITE_HINT),
        ge("E13005", _PARSE, _BROKEN_HINT),
        ge("E13006", _PARSE, _BROKEN_HINT),
        ge(
            "E13009",
            "Invalid_Argument_Operator_Name",
            "Two nodes of the model have one name: rename one and export again",
        ),
        ge("E13010", "Not_Supported_Operator", EXPORT_HINT),
        ge("E13014", "Invalid_Argument", "Correct that setting of the operator or of AIPP"),
        ge(
            "E13015",
            "File_Operation_Error_Invalid_File_Size",
            "The file is empty or too large for one protobuf message: keep weights as external data beside the model",
        ),
        ge("E13018", _PARSE, "The text file is not of the form that ATC reads: compare it with ATC's manual"),
        ge(
            "E13023",
            "Invalid_Argument_OM_Model_Size",
            "The model is too large for one .om: compile fewer gears, or keep weights apart with `external_weight`",
            "external_weight",
        ),
        ge(
            "E13024",
            "Config_Error_Invalid_Environment_Variable",
            "Correct or unset that environment variable where builds run",
        ),
        ge(
            "E13025",
            "Invalid_Argument",
            "Compare `inputs` with the model's inputs: number, order and ranks",
            "input_shape",
        ),
        ge("E13026", "File_Operation_Error_Invalid_Path", _FILE_HINT),
        ge("E14001", "Invalid_Argument_Operator_Compilation_Parameter", GRAPH_HINT),
        ge("E16001", _ONNX, _INCOMPLETE_HINT),
        ge("E16002", _ONNX, EXPORT_HINT),
        ge("E16004", _ONNX, "The file holds no ONNX graph: check it with `onnx.checker` and export it again"),
        ge("E16005", _ONNX, "Export the network again with one opset per operator domain"),
        ge("E19999", "Inner_Error", INNER_HINT),
    ]
)
"""Advice by code."""

LATER_NUMBERS = {
    "E19000": "E13000",
    "E19001": "E13001",
    "E19002": "E13002",
    "E19003": "E13003",
    "E19004": "E13004",
    "E19005": "E13005",
    "E19009": "E13009",
    "E19010": "EZ9010",
    "E19014": "E13014",
    "E19015": "E13015",
    "E19018": "E13018",
    "E19023": "E13023",
    "E19024": "E13024",
    "E19025": "E13025",
    "E76002": "E16002",
    "EC0010": "E40020",
    "EZ0501": "E10501",
}
"""Codes of CANN 5 to 8.0 → the codes that have their messages today."""
