"""Precision in value: the network is rewritten so that float32 arithmetic gives what narrow storage gives.

ATC computes in FP16 unless told otherwise (facts/atc_om_soc.md §1.6, §1.8): tensors lie in memory as halves,
each operator accumulates in float32 and rounds its result once. The rewritten network says the same in ONNX:
weights and float inputs are rounded to half, and each result passes `Cast(FLOAT16)` and `Cast(FLOAT)`. The
ONNX runtime keeps such pairs, since they lose precision; a unit test holds it to that. The mixed modes do it
for some operators only, and with bfloat16 where that is asked for. An operator that stays in float32 reads
what was stored, and gives what it computes.

What is *not* narrow, here as there: integer, bool and double tensors, and what the operators of
`_EXACT_INPUTS` take as parameters rather than data. Known differences from a card: fusions there skip
roundings between the fused operators, a float32 value past 65504 becomes infinity here while first-generation
cards and the 310P can saturate, and an operator that has no kernel of that precision there stays in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from ascend_emulator.precision_lists import CUBE_TYPES, List, list_of, names_of

if TYPE_CHECKING:
    import numpy as np
    import onnx

_FLOAT = 1
HALF_MAX = 65504.0
"""The largest finite half."""


class Precision(Enum):
    """How values are rounded; the values are those of `--precision_mode_v2` where it has a name for it."""

    ORIGIN = "origin"
    FP16 = "fp16"
    CUBE_FP16 = "cube_fp16in_fp32out"
    CUBE_TO_FP16 = "allow_fp32_to_fp16"
    MIXED_FP16 = "mixed_float16"
    MIXED_BF16 = "mixed_bfloat16"


class _Storage(Enum):
    """How a float tensor lies in memory."""

    FLOAT = "float32"
    HALF = "float16"
    BFLOAT = "bfloat16"


_ONNX_TYPES = {_Storage.HALF: 10, _Storage.BFLOAT: 16}


@dataclass(frozen=True, slots=True)
class Exceptions:
    """Operators that a mode leaves out, or treats otherwise than it would.

    Attributes:
        nodes: names of nodes that stay as the model has them (`--keep_dtype`).
        types: operator types that stay so, by a name of `precision_lists.names_of`.
        lists: changes to the lists of the mixed modes (`--modify_mixlist`), by such a name.
    """

    nodes: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    lists: Mapping[str, List] = field(default_factory=dict)


class PrecisionError(ValueError):
    """The network holds something whose precision cannot be emulated."""


# Operator to the inputs that stay exact. Resize takes sizes from them; batch normalisation has float32
# parameters on the card too, and they are folded into the convolution before it is rounded.
_EXACT_INPUTS = {"Resize": (1, 2), "Upsample": (1,), "BatchNormalization": (1, 2, 3, 4)}

# Operators whose results are narrow whenever their inputs are, since they choose or move values: they get no
# rounding.
# fmt: off
_MOVERS = frozenset({
    "Abs", "Concat", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GatherElements",
    "GatherND", "GlobalMaxPool", "Identity", "Max", "MaxPool", "Min", "Neg", "Relu", "Reshape", "Slice",
    "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
})
# fmt: on

_CUBE_INPUTS = {"Conv": (0, 1), "ConvTranspose": (0, 1), "Gemm": (0, 1), "MatMul": (0, 1)}


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


def round_to_bfloat(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Float32 values as they are after being stored as bfloat16 (nearest, ties to even)."""
    import numpy as np

    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
    result: np.ndarray[Any, Any] = np.where(np.isnan(values), values, rounded.view(np.float32))
    return result


class _Rewriter:
    """Rewrites one graph in place."""

    def __init__(self, model: onnx.ModelProto, types: dict[str, int], clip_weights: bool) -> None:
        import onnx

        self._onnx = onnx
        self._graph = model.graph
        self._clip = clip_weights
        self._names = {name for node in model.graph.node for name in (*node.input, *node.output, node.name)}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._types = types
        self._rounded: dict[tuple[str, _Storage], str] = {}
        self.stored: dict[str, _Storage] = {}
        """Tensor to how it lies in memory, where that is narrow."""

    def _fresh(self, stem: str) -> str:
        name = stem
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def _casts(self, source: str, target: str, storage: _Storage) -> list[onnx.NodeProto]:
        narrow = self._fresh(f"{target}__narrow")
        make = self._onnx.helper.make_node
        kind = _ONNX_TYPES[storage]
        return [
            make("Cast", [source], [narrow], name=self._fresh(f"{target}__to_narrow"), to=kind),
            make("Cast", [narrow], [target], name=self._fresh(f"{target}__to_float"), to=_FLOAT),
        ]

    def _round_weight(self, name: str, storage: _Storage) -> str:
        """A rounded copy of a weight; the original goes when nothing reads it any more."""
        tensor = self._onnx.numpy_helper.to_array(self._weights[name])
        copy = self._fresh(f"{name}__rounded")
        half = storage is _Storage.HALF
        rounded = round_to_half(tensor, clip=self._clip) if half else round_to_bfloat(tensor)
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(rounded, copy))
        return copy

    def _round(self, name: str, storage: _Storage, casts: list[onnx.NodeProto]) -> str:
        """The rounded form of a float32 weight or tensor; casts that make it are added to `casts` once."""
        if self.stored.get(name) is storage:
            return name
        key = name, storage
        if key not in self._rounded:
            if name in self._weights:
                self._rounded[key] = self._round_weight(name, storage)
            else:
                self._rounded[key] = self._fresh(f"{name}__rounded")
                casts += self._casts(name, self._rounded[key], storage)
            self.stored[self._rounded[key]] = storage
        return self._rounded[key]

    def _is_float(self, name: str) -> bool:
        """Whether the tensor is float32; an input or output that is left out is not."""
        return bool(name) and self._types.get(name) == _FLOAT

    def _replace_nodes(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Put the new nodes in and drop the weights that nothing reads."""
        new = list(nodes)
        del self._graph.node[:]
        self._graph.node.extend(new)
        used = {name for node in new for name in node.input} | {output.name for output in self._graph.output}
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def store(self, plan: Mapping[str, _Storage]) -> None:
        """Round what narrow operators read and give.

        Args:
            plan: node name to the storage of its float tensors.
        """
        nodes: list[onnx.NodeProto] = []
        for node in self._graph.node:
            storage = plan[node.name]
            if storage is _Storage.FLOAT:
                nodes.append(node)
                continue
            exact = _EXACT_INPUTS.get(node.op_type, ())
            for place, name in enumerate(node.input):
                if place not in exact and self._is_float(name):
                    node.input[place] = self._round(name, storage, nodes)
            after: list[onnx.NodeProto] = []
            for place, name in enumerate(node.output):
                if not self._is_float(name):
                    continue
                self.stored[name] = storage
                if node.op_type not in _MOVERS:
                    node.output[place] = self._fresh(f"{name}__exact")
                    after += self._casts(node.output[place], name, storage)
            nodes += [node, *after]
        self._replace_nodes(nodes)

    def feed_cube(self, kept: frozenset[str]) -> None:
        """Round what goes into matrix multiplications and convolutions to half; results stay float32.

        Args:
            kept: names of nodes that are left as they are.
        """
        nodes: list[onnx.NodeProto] = []
        for node in self._graph.node:
            for place in () if node.name in kept else _CUBE_INPUTS.get(node.op_type, ()):
                if self._is_float(node.input[place]):
                    node.input[place] = self._round(node.input[place], _Storage.HALF, nodes)
            nodes.append(node)
        self._replace_nodes(nodes)


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


def _kept(model: onnx.ModelProto, exceptions: Exceptions) -> frozenset[str]:
    """Names of the nodes that `--keep_dtype` keeps."""
    return frozenset(
        node.name
        for node in model.graph.node
        if node.name in exceptions.nodes or exceptions.types.intersection(names_of(node.op_type))
    )


def _plan(model: onnx.ModelProto, precision: Precision, exceptions: Exceptions) -> dict[str, _Storage]:
    """Storage of each node's float tensors, by node name."""
    narrow = _Storage.BFLOAT if precision is Precision.MIXED_BF16 else _Storage.HALF
    kept = _kept(model, exceptions)
    plan: dict[str, _Storage] = {}
    made: dict[str, _Storage] = {}
    for node in model.graph.node:
        if node.name in kept:
            storage = _Storage.FLOAT
        elif precision is Precision.FP16:
            storage = narrow
        elif precision is Precision.CUBE_TO_FP16:
            storage = narrow if node.op_type in CUBE_TYPES else _Storage.FLOAT
        else:
            where = list_of(node.op_type, exceptions.lists)
            before = next((made[name] for name in node.input if name in made), _Storage.FLOAT)
            storage = {List.WHITE: narrow, List.BLACK: _Storage.FLOAT, List.GRAY: before}[where]
        plan[node.name] = storage
        made.update(dict.fromkeys(filter(None, node.output), storage))
    return plan


def _check(model: onnx.ModelProto, types: dict[str, int], precision: Precision) -> None:
    """Refuse a network before anything of it is changed."""
    if model.graph.sparse_initializer:
        raise PrecisionError("the model has sparse weights")
    for node in model.graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise PrecisionError(f"node '{node.name}' ({node.op_type}) has a subgraph")
        inside = node.op_type in CUBE_TYPES and node.op_type not in _CUBE_INPUTS
        if precision is Precision.CUBE_FP16 and inside:
            raise PrecisionError(f"node '{node.name}' ({node.op_type}) multiplies matrices inside")
        for name in (*node.input, *node.output):
            if name and name not in types:
                raise PrecisionError(f"the type of tensor '{name}' cannot be told")


def apply_precision(
    model: onnx.ModelProto, precision: Precision, *, clip_weights: bool, exceptions: Exceptions | None = None
) -> frozenset[str]:
    """Rewrite a network in place so that it computes at that precision.

    Args:
        model: without local functions and `Constant` nodes, its weights inside the file, its nodes named.
        precision: what to emulate; `ORIGIN` changes nothing.
        clip_weights: see `round_to_half`.
        exceptions: operators that are treated otherwise; none when None.

    Returns:
        Names of the float32 tensors and weights that a card would store in two bytes.

    Raises:
        PrecisionError: a subgraph, sparse weights, an operator that `CUBE_FP16` does not cover, or a tensor
            whose type the schemas do not tell. The network is then as it was.
    """
    if precision is Precision.ORIGIN:
        return frozenset()
    exceptions = exceptions or Exceptions()
    types = _types(model)
    _check(model, types, precision)
    rewriter = _Rewriter(model, types, clip_weights)
    if precision is Precision.CUBE_FP16:
        rewriter.feed_cube(_kept(model, exceptions))
    else:
        rewriter.store(_plan(model, precision, exceptions))
    return frozenset(rewriter.stored)
