"""What a network asks of the card, for the modelled timing."""

from __future__ import annotations

from math import prod
from typing import Any

from ascend_emulator.clock.roofline import Work
from ascend_emulator.dtypes import BY_ONNX

_MATRIX_OPERATORS = {"Conv", "ConvTranspose", "MatMul", "Gemm"}


def count_work(graph: Any) -> Work:
    """Count floating-point operations, matrix operators, and bytes of weights, inputs and outputs.

    A multiply and an add are two operations. Operators other than the matrix ones cost their output's
    elements; a tensor whose shape is not known counts as nothing.

    Args:
        graph: ONNX graph with inferred shapes, at the shapes that run.
    """
    shapes: dict[str, tuple[int, ...]] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    moved = sum(_bytes(tensor.data_type, tensor.dims) for tensor in graph.initializer)
    moved += sum(
        _bytes(value.type.tensor_type.elem_type, shapes[value.name])
        for value in (*graph.input, *graph.output)
    )
    flops = float(sum(_flops(node, shapes) for node in graph.node))
    operators = sum(node.op_type in _MATRIX_OPERATORS for node in graph.node)
    return Work(flops, operators, float(moved))


def _bytes(onnx_type: int, dims: Any) -> int:
    return prod(dims) * BY_ONNX[onnx_type].itemsize if onnx_type in BY_ONNX else 0


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
