"""What a network asks of the cores, counted once at load, for the modelled timing."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from ascend_emulator.timing import Work

if TYPE_CHECKING:
    from ascend_emulator.om import OmFile

_MATRIX_OPERATORS = {"Conv", "ConvTranspose", "MatMul", "Gemm"}


def count_work(om: OmFile) -> Work:
    """Count floating-point operations and matrix operators at the largest gear.

    A multiply and an add are two operations. Operators other than the matrix ones cost their output's
    elements; a tensor whose shape cannot be inferred counts as nothing.

    Args:
        om: a model that the emulator's atc built.
    """
    import onnx

    model = onnx.load_model_from_string(om.network)
    rows = max(om.batch_gears, default=1)
    for value, info in zip(model.graph.input, om.inputs, strict=False):
        for dim, size in zip(value.type.tensor_type.shape.dim, info.dims, strict=True):
            dim.dim_value = rows if size < 0 else size
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, tuple[int, ...]] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    flops = float(sum(_flops(node, shapes) for node in graph.node))
    return Work(flops, sum(node.op_type in _MATRIX_OPERATORS for node in graph.node), rows)


def _flops(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    made = prod(shapes.get(node.output[0], (0,)))
    if node.op_type == "Conv":
        return 2 * made * prod(shapes.get(node.input[1], (0, 0))[1:])
    if node.op_type == "ConvTranspose":
        return 2 * prod(shapes.get(node.input[0], (0,))) * prod(shapes.get(node.input[1], (0, 0))[1:])
    if node.op_type == "Gemm":
        shape = shapes.get(node.input[0], (0, 0))
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return 2 * made * shape[0 if transposed else -1]
    if node.op_type == "MatMul":
        return 2 * made * shapes.get(node.input[0], (0,))[-1]
    return made
