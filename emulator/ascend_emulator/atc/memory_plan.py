"""What a model asks of the card's memory, which `acl.mdl.query_size` tells: an estimate of this emulator."""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet

import onnx

from ascend_emulator.atc.trial import Dims, at_dims
from ascend_emulator.dtypes import BY_ONNX, DType

_NARROW_BYTES = 2


def _stored_bytes(name: str, dtype: DType, elements: int, narrow: AbstractSet[str]) -> int:
    return elements * (_NARROW_BYTES if name in narrow else dtype.itemsize)


def weight_bytes(model: onnx.ModelProto, narrow: AbstractSet[str]) -> int:
    """Bytes of the weights as the card would hold them, without those outside the file.

    Args:
        model: the network.
        narrow: names of the tensors that it would store in two bytes per element.
    """
    return sum(
        _stored_bytes(tensor.name, BY_ONNX[tensor.data_type], math.prod(tensor.dims), narrow)
        for tensor in model.graph.initializer
        if tensor.data_type in BY_ONNX and tensor.data_location != onnx.TensorProto.EXTERNAL
    )


def working_bytes(model: onnx.ModelProto, dims: Dims, narrow: AbstractSet[str]) -> int:
    """The most bytes of inner tensors that live at once, in node order, each until its last reader.

    Tensors whose shape inference does not tell count as nothing.

    Args:
        model: the network.
        dims: shapes of its inputs.
        narrow: as for `weight_bytes`.
    """
    fixed = onnx.shape_inference.infer_shapes(at_dims(model, dims), data_prop=True).graph
    sizes = {}
    for value in fixed.value_info:
        kind = value.type.tensor_type
        sides = [dim.dim_value for dim in kind.shape.dim]
        if kind.elem_type in BY_ONNX:
            sizes[value.name] = _stored_bytes(value.name, BY_ONNX[kind.elem_type], math.prod(sides), narrow)
    last = {name: place for place, node in enumerate(fixed.node) for name in node.input}
    live = peak = 0
    for place, node in enumerate(fixed.node):
        live += sum(sizes.get(name, 0) for name in node.output)
        peak = max(peak, live)
        ending = {name for name in (*node.input, *node.output) if last.get(name, place) == place}
        live -= sum(sizes.get(name, 0) for name in ending)
    return peak
