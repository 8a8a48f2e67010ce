"""Operators by how the mixed precision modes treat them, and the names they go by.

CANN's own lists are in the operator package, which is not public. These follow what mixed precision means
everywhere: products of matrices gain, and operators whose results span many magnitudes or that add up many
numbers lose. `--modify_mixlist` changes them (facts/atc_om_soc.md §1.8).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class List(Enum):
    """The list that an operator type is on."""

    WHITE = "white-list"
    """Computed in the narrow format."""
    BLACK = "black-list"
    """Kept in the model's own."""
    GRAY = "gray-list"
    """Computed as the operator before it is."""


CUBE_TYPES = frozenset(
    {"Attention", "Conv", "ConvTranspose", "DeformConv", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"}
)
"""ONNX operators that multiply matrices."""

# fmt: off
_BLACK_TYPES = frozenset({
    "CumSum", "Exp", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "Log", "LogSoftmax",
    "LpNormalization", "MeanVarianceNormalization", "Pow", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Softmax",
    "SoftmaxCrossEntropyLoss", "Softplus",
})

# Option files name operators by their types in Ascend IR; where that is not ONNX's, it is one of these.
_IR_TYPES = {
    "AveragePool": ("AvgPool", "AvgPoolV2"),
    "BatchNormalization": ("BatchNorm", "BNInference"),
    "Clip": ("ClipByValue",),
    "Concat": ("ConcatD", "ConcatV2"),
    "Conv": ("Conv2D", "Conv3D"),
    "ConvTranspose": ("Conv2DTranspose", "Conv2DTransposeD", "Conv3DTranspose", "Deconvolution"),
    "CumSum": ("Cumsum",),
    "DeformConv": ("DeformableConv2D",),
    "Div": ("RealDiv",),
    "GRU": ("DynamicGRUV2",),
    "Gather": ("GatherV2", "GatherV2D"),
    "Gemm": ("GEMM", "MatMul", "MatMulV2"),
    "GlobalAveragePool": ("GlobalAvgPool", "GlobalAveragePool"),
    "GroupNormalization": ("GroupNorm",),
    "InstanceNormalization": ("InstanceNorm", "InstanceNormV3"),
    "LSTM": ("DynamicRNN",),
    "LayerNormalization": ("LayerNorm", "LayerNormV3"),
    "LogSoftmax": ("LogSoftmaxV2",),
    "MatMul": ("MatMulV2", "BatchMatMul", "BatchMatMulV2"),
    "Max": ("Maximum",),
    "MaxPool": ("MaxPoolV3",),
    "Min": ("Minimum",),
    "ReduceMax": ("ReduceMaxD",),
    "ReduceMean": ("ReduceMeanD",),
    "ReduceMin": ("ReduceMinD",),
    "ReduceProd": ("ReduceProdD",),
    "ReduceSum": ("ReduceSumD",),
    "Softmax": ("SoftmaxV2",),
    "Split": ("SplitD", "SplitV"),
    "Transpose": ("TransposeD",),
    "Where": ("Select",),
}
# fmt: on


def names_of(onnx_type: str) -> tuple[str, ...]:
    """The names that an option file may give an operator type: ONNX's, and those of Ascend IR."""
    return (onnx_type, *_IR_TYPES.get(onnx_type, ()))


def list_of(onnx_type: str, changes: Mapping[str, List]) -> List:
    """The list that an operator type is on.

    Args:
        onnx_type: its name in ONNX.
        changes: of `--modify_mixlist`, by a name that `names_of` gives.
    """
    for name in names_of(onnx_type):
        if name in changes:
            return changes[name]
    if onnx_type in CUBE_TYPES:
        return List.WHITE
    return List.BLACK if onnx_type in _BLACK_TYPES else List.GRAY
