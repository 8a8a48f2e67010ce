"""The outputs of a model: which there are, what they are called, and of which type they are.

`--out_nodes` and `--output_type` (facts/atc_om_soc.md §1.7; GE: omg.cc, `ParseOutNodes`, `SetOutputNodeInfo`
and `ParseOutputType`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.network import real_inputs
from ascend_emulator.dtypes import BY_ONNX

_TYPES = {
    "FP32": onnx.TensorProto.FLOAT,
    "FP16": onnx.TensorProto.FLOAT16,
    "UINT8": onnx.TensorProto.UINT8,
    "INT8": onnx.TensorProto.INT8,
}
_NARROW_TYPES = ("HIF8", "HIF4", "FP8E5M2", "FP8E4M3FN")
_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
_LIMITS: dict[int, tuple[int, int]] = {onnx.TensorProto.UINT8: (0, 255), onnx.TensorProto.INT8: (-128, 127)}
_INT32 = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Output:
    """One output.

    Attributes:
        tensor: in the network.
        node: that makes it in the model.
        index: its place among that node's outputs.
        original: the tensor's name in the model; empty where tensors have none of their own, as in TensorFlow.
    """

    tensor: str
    node: str
    index: int
    original: str

    @property
    def name(self) -> str:
        """Its name in the `.om`."""
        return f"{self.node}:{self.index}" + (f":{self.original}" if self.original else "")


def _index(text: str, whole: str, option: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise AtcError("E10001", whole, option, "The index is no whole number.")
    if int(text[:11]) > _INT32:
        raise AtcError("E10013", text, option.lstrip("-"))
    return int(text)


def parse_out_nodes(text: str) -> tuple[tuple[str, int | None], ...]:
    """Read `node:index;node:index`, or names of tensors, whose index is None.

    Raises:
        AtcError: E10001 an item of another form, or both forms in one list; E10013 an index past int32.
    """
    found: list[tuple[str, int | None]] = []
    for item in text.removesuffix(";").split(";") if text else ():
        name, *rest = item.strip().split(":")
        if len(rest) > 1 or not name:
            reason = 'It must be "node_name1:0;node_name1:1;node_name2:0" or names of tensors.'
            raise AtcError("E10001", item, "--out_nodes", reason)
        found.append((name, _index(rest[0].strip(), text, "--out_nodes") if rest else None))
        if (found[-1][1] is None) != (found[0][1] is None):
            reason = "Nodes with an index and names of tensors cannot be mixed."
            raise AtcError("E10001", text, "--out_nodes", reason)
    return tuple(found)


def _producers(model: onnx.ModelProto) -> dict[str, tuple[str, int]]:
    """Tensor to the node that makes it and the place among that node's outputs."""
    found = {name: (name, 0) for name in [value.name for value in real_inputs(model)]}
    found |= {tensor.name: (tensor.name, 0) for tensor in model.graph.initializer}
    for node in model.graph.node:
        found |= {name: (node.name, place) for place, name in enumerate(node.output) if name}
    return found


def set_outputs(model: onnx.ModelProto, chosen: tuple[tuple[str, int | None], ...]) -> tuple[Output, ...]:
    """Choose the outputs: the model's own, or those of `--out_nodes` in its order.

    Output types and shapes are left to inference.

    Args:
        model: whose outputs are replaced.
        chosen: of `parse_out_nodes`; empty for the model's own.

    Raises:
        AtcError: E10016 no such node or tensor; E10003 a node without such an output; E16001 an output that
            no node makes.
    """
    producers = _producers(model)
    by_node = {place: tensor for tensor, place in producers.items()}
    nodes = {node for node, _ in by_node}
    tensors = [value.name for value in model.graph.output]
    if chosen:
        tensors = []
        for name, index in chosen:
            if index is None and name in producers:
                tensors.append(name)
            elif index is not None and (name, index) in by_node:
                tensors.append(by_node[name, index])
            elif index is not None and name in nodes:
                size = sum(node == name for node, _ in by_node)
                reason = f'Output index "{index}" must be smaller than the number of outputs, {size}.'
                raise AtcError("E10003", name, "out_nodes", reason)
            else:
                raise AtcError("E10016", name, "out_nodes")
    for tensor in tensors:
        if tensor not in producers:
            raise AtcError("E16001", tensor, cause="The graph names an output that no node makes.")
    return replace_outputs(model, tuple(Output(tensor, *producers[tensor], tensor) for tensor in tensors))


def replace_outputs(model: onnx.ModelProto, outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """Make these the outputs of the model; their types and shapes are left to inference."""
    del model.graph.output[:]
    for output in outputs:
        model.graph.output.add().name = output.tensor
    return outputs


def _onnx_type(name: str, whole: str) -> int:
    if name in _NARROW_TYPES:
        raise not_emulated(f"--output_type={whole}", "Use FP32, FP16, UINT8 or INT8.")
    if name not in _TYPES:
        raise AtcError("E10001", name, "--output_type", f"It must be one of {', '.join(_TYPES)}.")
    return int(_TYPES[name])


def parse_output_type(
    text: str, chosen: tuple[tuple[str, int | None], ...]
) -> dict[tuple[str, int], int] | int | None:
    """Read `--output_type`.

    Args:
        text: its value: a type for all outputs, or `node:index:type;...`.
        chosen: of `parse_out_nodes`, which must name every node that the value names.

    Returns:
        ONNX type of all outputs, or by node and index, or None where nothing was given.

    Raises:
        AtcError: E10001 another form, a type that is none, or a node that `--out_nodes` does not name; E10055
            a type that is not emulated.
    """
    if ":" not in text:
        return _onnx_type(text, text) if text else None
    found: dict[tuple[str, int], int] = {}
    for item in text.removesuffix(";").split(";"):
        parts = [part.strip() for part in item.split(":")]
        if len(parts) != 3:
            raise AtcError("E10001", item, "--output_type", 'It must be "opname:index:dtype".')
        key = parts[0], _index(parts[1], parts[1], "--output_type")
        found[key] = _onnx_type(parts[2], text)
        if key not in chosen:
            reason = "The nodes set in --output_type must be found in --out_nodes."
            raise AtcError("E10001", f"{key[0]}:{key[1]}", "--output_type", reason)
    return found


def _cast(model: onnx.ModelProto, source: str, kind: int, target: int) -> str:
    """Append what casts a tensor; past an integer's range a float becomes the nearest end of it."""
    make = onnx.helper.make_node
    stem = f"{source}__{BY_ONNX[target].name.lower()}"
    read = source
    if kind in _FLOATS and target in _LIMITS:
        for operator, limit in zip(("Max", "Min"), _LIMITS[target], strict=True):
            clipped, bound = f"{stem}_{operator.lower()}", f"{stem}_limit_{operator.lower()}"
            value = np.array(limit, BY_ONNX[kind].numpy)
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, bound))
            model.graph.node.append(make(operator, [read, bound], [clipped], name=clipped))
            read = clipped
    model.graph.node.append(make("Cast", [read], [stem], name=stem, to=target))
    return stem


def cast_outputs(
    model: onnx.ModelProto, outputs: tuple[Output, ...], wanted: dict[tuple[str, int], int] | int | None
) -> tuple[Output, ...]:
    """Cast outputs to the types that `--output_type` gives; their names in the `.om` stay.

    Args:
        model: the network, whose outputs are replaced.
        outputs: of `set_outputs`.
        wanted: of `parse_output_type`.

    Raises:
        AtcError: E10055 an output that is no tensor of numbers.
    """
    if wanted is None:
        return outputs
    inferred = onnx.shape_inference.infer_shapes(model).graph.output
    types = {value.name: value.type.tensor_type.elem_type for value in inferred}
    cast = []
    made: dict[tuple[str, int], str] = {}
    for output in outputs:
        target = wanted if isinstance(wanted, int) else wanted.get((output.node, output.index))
        kind = types[output.tensor]
        if target is None or kind == target:
            cast.append(output)
            continue
        if kind not in BY_ONNX:
            told = onnx.TensorProto.DataType.Name(kind)
            raise not_emulated(f"--output_type for output '{output.tensor}' of type {told}")
        key = output.tensor, target
        if key not in made:
            made[key] = _cast(model, output.tensor, kind, target)
        cast.append(Output(made[key], output.node, output.index, output.original))
    return replace_outputs(model, tuple(cast))
