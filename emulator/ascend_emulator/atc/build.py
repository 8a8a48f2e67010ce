"""From a checked request to the `.om` on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from ascend_emulator.atc import network, trial
from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.network import Input
from ascend_emulator.atc.request import Request
from ascend_emulator.atc.shapes import parse_gears
from ascend_emulator.dtypes import BY_ONNX, DType
from ascend_emulator.om import SHAPE_INPUT, OmFile, TensorInfo, write_om
from ascend_emulator.precision import Precision, PrecisionError, apply_precision

_INT32 = 3
_ND = 2
_FORMAT_OF_RANK = {("NCHW", 4): 0, ("NCDHW", 5): 30}
_OPSETS = (11, 18)
"""What ATC documents (facts §1.3). Exporters are past it; what the runtime runs is taken, with a warning."""


def _format(input_format: str, rank: int) -> int:
    """ACL number of an input's layout: `--input_format` where the rank fits it, ND elsewhere."""
    return _FORMAT_OF_RANK.get((input_format, rank), _ND)


def _stored_bytes(dtype: DType, elements: int, precision: Precision) -> int:
    half = precision is Precision.FP16 and dtype.name == "FLOAT"
    return elements * (2 if half else dtype.itemsize)


def _weight_bytes(model: onnx.ModelProto, precision: Precision) -> int:
    """Bytes of the weights as the card would hold them: halves when it computes in FP16."""
    return sum(
        _stored_bytes(BY_ONNX[tensor.data_type], math.prod(tensor.dims), precision)
        for tensor in model.graph.initializer
        if tensor.data_type in BY_ONNX
    )


def _memory_bytes(model: onnx.ModelProto, inputs: Sequence[Input], gear: int, precision: Precision) -> int:
    """The most bytes of inner tensors that live at once, in node order, each until its last reader.

    Tensors whose shape inference does not tell count as nothing.
    """
    fixed = onnx.shape_inference.infer_shapes(trial.at_gear(model, inputs, gear), data_prop=True).graph
    sizes = {}
    for value in fixed.value_info:
        kind = value.type.tensor_type
        dims = [dim.dim_value for dim in kind.shape.dim]
        if kind.elem_type in BY_ONNX:
            sizes[value.name] = _stored_bytes(BY_ONNX[kind.elem_type], math.prod(dims), precision)
    last = {name: place for place, node in enumerate(fixed.node) for name in node.input}
    live = peak = 0
    for place, node in enumerate(fixed.node):
        live += sum(sizes.get(name, 0) for name in node.output)
        peak = max(peak, live)
        ending = {name for name in (*node.input, *node.output) if last.get(name, place) == place}
        live -= sum(sizes.get(name, 0) for name in ending)
    return peak


def _describe(
    model: onnx.ModelProto,
    request: Request,
    inputs: Sequence[Input],
    outputs: Sequence[network.Output],
    data: bytes,
) -> OmFile:
    """Run the network at every gear and write down what it takes and gives; `build` adds the tool's name."""
    gears = parse_gears(request.gears) if request.gears else ()
    largest = max(gears, default=1)
    needed = sum(entry.bytes_at(largest) for entry in inputs)
    if needed > request.soc.memory_bytes:
        raise AtcError(
            "E19999",
            f"The inputs take {needed} bytes at the largest gear; {request.soc.name} has "
            f"{request.soc.memory_bytes} bytes of memory.",
        )
    types, shapes = trial.run(model, data, inputs, gears or (1,))
    described = [
        TensorInfo(
            entry.name,
            entry.dtype.acl,
            _format(request.input_format, len(entry.dims)),
            entry.dims,
            entry.bytes_at(largest),
        )
        for entry in inputs
    ]
    if gears:
        described.append(TensorInfo(SHAPE_INPUT, _INT32, _ND, (1,), np.dtype(np.int32).itemsize))
    at_largest = shapes[gears.index(largest) if gears else 0]
    return OmFile(
        name=request.name,
        soc_version=request.soc.name,
        atc_cmdline="",
        atc_version="",
        toolchain="",
        inputs=tuple(described),
        outputs=tuple(
            TensorInfo(output.name, dtype.acl, _ND, dims, math.prod(dims) * dtype.itemsize)
            for output, dtype, dims in zip(outputs, types, at_largest, strict=True)
        ),
        batch_gears=gears,
        gear_output_dims=shapes if gears else (),
        memory_size=_memory_bytes(model, inputs, largest, request.precision),
        weight_size=_weight_bytes(model, request.precision),
        network=data,
    )


def build(request: Request, command_line: str, version: str) -> list[str]:
    """Compile the model and write the `.om`, last and in one go.

    Args:
        request: checked options.
        command_line: recorded in the file.
        version: of the emulator, recorded as the tool's.

    Returns:
        Warnings to print after success.

    Raises:
        AtcError: the model cannot be compiled, or the file cannot be written.
    """
    model = network.load(request.model)
    network.check_graph(model)
    inputs = network.set_inputs(model, request)
    outputs = network.set_outputs(model, request.out_nodes)
    network.lift_constants(model)
    try:
        apply_precision(model, request.precision, clip_weights=request.clip_weights)
    except PrecisionError as error:
        # A network that is wrong in itself hides its types; then that is what must be told.
        trial.load(network.serialize(model, request.model))
        raise not_emulated(
            f"--precision_mode_v2={request.precision.value} for this model: {error}",
            "Use --precision_mode_v2=origin.",
        ) from error
    outputs = network.cast_outputs(model, outputs, request.output_type)
    data = network.serialize(model, request.model)
    om = _describe(model, request, inputs, outputs, data)
    om = replace(om, atc_cmdline=command_line, atc_version=version, toolchain=f"ascend-emulator {version}")
    content = write_om(om, tuple(request.shapes))
    try:
        request.output.write_bytes(content)
    except OSError as error:
        raise AtcError("E13004", request.output, f"[Error {error.errno}] {error.strerror}") from error
    number = network.opset(model)
    if not _OPSETS[0] <= number <= _OPSETS[1]:
        return [
            f"Warning: the model is of opset {number}; ATC documents {_OPSETS[0]} to {_OPSETS[1]}, "
            "so a real one may refuse it."
        ]
    return []
