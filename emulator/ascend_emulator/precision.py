"""FP16 in value: the network is rewritten so that float32 arithmetic gives what half-precision storage gives.

ATC computes in FP16 unless told otherwise (facts/atc_om_soc.md §1.6, §1.8): tensors lie in memory as halves,
each operator accumulates in float32 and rounds its result once. The rewritten network says the same in ONNX:
weights and float inputs are rounded to half, and each result passes `Cast(FLOAT16)` and `Cast(FLOAT)`. The
ONNX runtime keeps such pairs, since they lose precision; a unit test holds it to that.

What is *not* half, here as there: integer, bool and double tensors, and what the operators of `_EXACT_INPUTS`
take as parameters rather than data. Known differences from a card: fusions there skip roundings between the
fused operators, a float32 value past 65504 becomes infinity here while first-generation cards and the 310P
can saturate, and an operator that has no FP16 kernel there stays in float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx

_FLOAT, _FLOAT16 = 1, 10
HALF_MAX = 65504.0
"""The largest finite half."""


class Precision(Enum):
    """How values are rounded."""

    ORIGIN = "origin"
    FP16 = "fp16"
    CUBE_FP16 = "cube_fp16in_fp32out"


class PrecisionError(ValueError):
    """The network holds something whose precision cannot be emulated."""


# Operator to the inputs that stay exact. Resize takes sizes from them; batch normalisation has float32
# parameters on the card too, and they are folded into the convolution before it is rounded.
_EXACT_INPUTS = {"Resize": (1, 2), "Upsample": (1,), "BatchNormalization": (1, 2, 3, 4)}

# Operators whose results are halves whenever their inputs are, since they choose or move values: they get no
# rounding.
# fmt: off
_MOVERS = frozenset({
    "Abs", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements",
    "GatherND", "GlobalMaxPool", "Identity", "Max", "MaxPool", "Min", "Neg", "Relu", "Reshape", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
})
# fmt: on

_CUBE_INPUTS = {"Conv": (0, 1), "ConvTranspose": (0, 1), "Gemm": (0, 1), "MatMul": (0, 1)}
_OTHER_CUBE = frozenset({"Attention", "DeformConv", "Einsum", "GRU", "LSTM", "RNN"})


def round_to_half(values: np.ndarray[Any, Any], *, clip: bool) -> np.ndarray[Any, Any]:
    """Float32 values as they are after being stored as halves (nearest, ties to even).

    Args:
        values: float32 array of any shape.
        clip: whether values past the range become the largest half, as `--is_weight_clip=1` does with
            weights; infinity otherwise.
    """
    import numpy as np

    if clip:
        values = np.clip(values, -HALF_MAX, HALF_MAX)
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


class _Rewriter:
    """Rewrites one graph in place."""

    def __init__(self, model: onnx.ModelProto, types: dict[str, int], clip_weights: bool) -> None:
        import onnx

        self._onnx = onnx
        self._graph = model.graph
        self._clip = clip_weights
        self._names = {name for node in model.graph.node for name in (*node.input, *node.output, node.name)}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._halves: dict[str, str] = {}
        self._types = types

    def _fresh(self, stem: str) -> str:
        name = stem
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def _casts(self, source: str, target: str) -> list[onnx.NodeProto]:
        half = self._fresh(f"{target}__half")
        make = self._onnx.helper.make_node
        return [
            make("Cast", [source], [half], name=self._fresh(f"{target}__to_half"), to=_FLOAT16),
            make("Cast", [half], [target], name=self._fresh(f"{target}__to_float"), to=_FLOAT),
        ]

    def _half_weight(self, name: str) -> str:
        """A rounded copy of a weight; the original goes when nothing reads it any more."""
        tensor = self._onnx.numpy_helper.to_array(self._weights[name])
        copy = self._fresh(f"{name}__rounded")
        rounded = round_to_half(tensor, clip=self._clip)
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(rounded, copy))
        return copy

    def half(self, name: str, casts: list[onnx.NodeProto]) -> str:
        """The rounded form of a float32 weight or tensor; casts that make it are added to `casts` once."""
        if name not in self._halves:
            if name in self._weights:
                self._halves[name] = self._half_weight(name)
            else:
                self._halves[name] = self._fresh(f"{name}__rounded")
                casts += self._casts(name, self._halves[name])
        return self._halves[name]

    def is_float(self, name: str) -> bool:
        """Whether the tensor is float32; an input or output that is left out is not."""
        return bool(name) and self._types[name] == _FLOAT

    def replace_nodes(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Put the new nodes in and drop the weights that nothing reads."""
        new = list(nodes)
        del self._graph.node[:]
        self._graph.node.extend(new)
        used = {name for node in new for name in node.input} | {output.name for output in self._graph.output}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def fp16(self) -> None:
        """Round weights, float inputs and every result."""
        inputs = {value.name for value in self._graph.input}
        nodes: list[onnx.NodeProto] = []
        for node in self._graph.node:
            exact = _EXACT_INPUTS.get(node.op_type, ())
            for place, name in enumerate(node.input):
                if place not in exact and (name in inputs or name in self._weights) and self.is_float(name):
                    node.input[place] = self.half(name, nodes)
            after: list[onnx.NodeProto] = []
            if node.op_type not in _MOVERS:
                for place, name in enumerate(node.output):
                    if self.is_float(name):
                        node.output[place] = self._fresh(f"{name}__exact")
                        after += self._casts(node.output[place], name)
            nodes += [node, *after]
        self.replace_nodes(nodes)

    def cube(self) -> None:
        """Round what goes into matrix multiplications and convolutions; results stay float32."""
        nodes: list[onnx.NodeProto] = []
        for node in self._graph.node:
            for place in _CUBE_INPUTS.get(node.op_type, ()):
                if self.is_float(node.input[place]):
                    node.input[place] = self.half(node.input[place], nodes)
            nodes.append(node)
        self.replace_nodes(nodes)


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Tensor name to ONNX element type, by inference from the operators' schemas; 0 for what is no tensor."""
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError as error:
        raise PrecisionError(f"its types cannot be inferred: {error}") from error
    types = {tensor.name: int(tensor.data_type) for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        kind = value.type.WhichOneof("value")
        if kind == "tensor_type":
            types[value.name] = int(value.type.tensor_type.elem_type)
        elif kind is not None:
            types[value.name] = 0
    return types


def _check(model: onnx.ModelProto, types: dict[str, int], precision: Precision) -> None:
    """Refuse a network before anything of it is changed."""
    if model.graph.sparse_initializer:
        raise PrecisionError("the model has sparse weights")
    for node in model.graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise PrecisionError(f"node '{node.name}' ({node.op_type}) has a subgraph")
        if precision is Precision.CUBE_FP16 and node.op_type in _OTHER_CUBE:
            raise PrecisionError(f"node '{node.name}' ({node.op_type}) multiplies matrices inside")
        for name in (*node.input, *node.output):
            if name and name not in types:
                raise PrecisionError(f"the type of tensor '{name}' cannot be told")


def apply_precision(model: onnx.ModelProto, precision: Precision, *, clip_weights: bool) -> None:
    """Rewrite a network in place so that it computes at that precision.

    Args:
        model: without local functions and `Constant` nodes, its weights inside the file.
        precision: what to emulate; `ORIGIN` changes nothing.
        clip_weights: see `round_to_half`.

    Raises:
        PrecisionError: a subgraph, sparse weights, an operator that `CUBE_FP16` does not cover, or a tensor
            whose type the schemas do not tell. The network is then as it was.
    """
    if precision is Precision.ORIGIN:
        return
    types = _types(model)
    _check(model, types, precision)
    rewriter = _Rewriter(model, types, clip_weights)
    if precision is Precision.FP16:
        rewriter.fp16()
    else:
        rewriter.cube()
