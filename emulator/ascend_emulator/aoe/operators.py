"""What of a network can be tuned: operators that a bank has a file for, each at every shape it runs at.

The types are those that ops-nn's runtime_bank_manager.cc looks up in a bank (kOpWhiteLists), under the names of GE.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from ascend_emulator.atc import trial
from ascend_emulator.atc.describe import Network
from ascend_emulator.atc.errors import AtcError
from ascend_emulator.atc.paths import reason_of
from ascend_emulator.dtypes import BY_ONNX

_NAMES = {"MatMul": "MatMulV2", "Gemm": "MatMulV2", "LSTM": "DynamicRNN"}
_BY_RANK = {
    ("Conv", 4): "Conv2D",
    ("Conv", 5): "Conv3D",
    ("ConvTranspose", 4): "Conv2DTranspose",
    ("ConvTranspose", 5): "Conv3DTranspose",
}
_LISTS = ("tune_ops_name", "tune_ops_type")


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator at one shape.

    Attributes:
        name: of the node.
        kind: GE's type, such as `Conv2D`.
        inputs: data type and dims of each input.
        outputs: of each output.
    """

    name: str
    kind: str
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def described(self) -> dict[str, Any]:
        """What a bank keeps of it: the same for operators that do the same work, whatever their names."""
        tensors = {"inputs": self.inputs, "outputs": self.outputs}
        told = {
            key: [{"dtype": kind, "shape": list(dims)} for kind, dims in each]
            for key, each in tensors.items()
        }
        return {"op_type": self.kind, **told}


def find(network: Network) -> tuple[Operator, ...]:
    """All operators of a network at all its gears, in order; one whose shapes are not known is left out.

    A model of truly dynamic shape has no shapes to tune for, and so no operators here.
    """
    found: dict[Operator, None] = {}
    for shapes in network.shapes:
        model = onnx.shape_inference.infer_shapes(trial.at_dims(network.model, shapes), data_prop=True)
        tensors = _tensors(model)
        for node in model.graph.node:
            names = [name for name in (*node.input, *node.output) if name]
            if all(name in tensors for name in names):
                inputs = tuple(tensors[name] for name in node.input if name)
                outputs = tuple(tensors[name] for name in node.output if name)
                found[Operator(node.name, _kind(node.op_type, inputs), inputs, outputs)] = None
    return tuple(found)


def tunable(operators: Sequence[Operator]) -> tuple[Operator, ...]:
    """Those that a bank of operators has room for."""
    kinds = {*_NAMES.values(), *_BY_RANK.values()}
    return tuple(operator for operator in operators if operator.kind in kinds)


def named_in(path: str, operators: Sequence[Operator]) -> tuple[Operator, ...]:
    """The operators that a file of `--tune_ops_file` names, by name or by type.

    Raises:
        AtcError: E13001 the file cannot be read; E10032 no JSON object with one of the lists.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise AtcError("E13001", path, reason_of(error)) from error
    except ValueError as error:
        raise AtcError("E10032", path, f"it is no JSON: {error}") from error
    lists = {key: content.get(key, []) for key in _LISTS} if isinstance(content, dict) else {}
    if not any(lists.values()) or not all(isinstance(names, list) for names in lists.values()):
        raise AtcError("E10032", path, f"it must be an object with a list {' or '.join(_LISTS)}")
    names, kinds = lists["tune_ops_name"], lists["tune_ops_type"]
    return tuple(each for each in operators if each.name in names or each.kind in kinds)


def _kind(kind: str, inputs: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    rank = len(inputs[0][1]) if inputs else 0
    return _NAMES.get(kind) or _BY_RANK.get((kind, rank), kind)


def _tensors(model: onnx.ModelProto) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Data type and dims of every tensor whose shape is known."""
    found = {
        tensor.name: (BY_ONNX[tensor.data_type].name, tuple(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_type in BY_ONNX
    }
    graph = model.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        known = kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim)
        if known and kind.elem_type in BY_ONNX:
            found[value.name] = BY_ONNX[kind.elem_type].name, tuple(dim.dim_value for dim in kind.shape.dim)
    return found
