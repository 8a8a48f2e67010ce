"""From a finished network to what its `.om` says about it: it is run, and what came out is written down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ascend_emulator.atc import memory_plan, trial
from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.network import Input
from ascend_emulator.atc.outputs import Output
from ascend_emulator.atc.request import Request
from ascend_emulator.atc.trial import Dims
from ascend_emulator.dtypes import DType
from ascend_emulator.gears import Gears, dims_at, largest_of
from ascend_emulator.om import SHAPE_INPUT, OmFile, StaticAipp, TensorInfo

_INT32 = 3
_NHWC, _ND = 1, 2
_FORMAT_OF_RANK = {("NCHW", 4): 0, ("NHWC", 4): _NHWC, ("NDHWC", 5): 27, ("NCDHW", 5): 30}


@dataclass(frozen=True, slots=True)
class Network:
    """A network that is ready to be run.

    Attributes:
        model: as ONNX.
        data: the same, serialized.
        inputs: in order.
        outputs: in order.
        gears: None for none.
        shapes: of the inputs in memory, for each gear; one of a static network, none of a dynamic one.
        aipps: the preprocessing of its inputs.
        narrow: names of the tensors that a card would store in two bytes per element.
    """

    model: onnx.ModelProto
    data: bytes
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    gears: Gears | None
    shapes: tuple[Dims, ...]
    aipps: tuple[StaticAipp, ...]
    narrow: frozenset[str]


def _bytes(entry: Input, dims: Sequence[int]) -> int:
    return math.prod(dims) * entry.dtype.itemsize


def _format(entry: Input, input_format: str) -> int:
    """ACL number of an input's layout: `--input_format` where the rank fits it, ND elsewhere."""
    return _NHWC if entry.image else _FORMAT_OF_RANK.get((input_format, len(entry.dims)), _ND)


def _highest(inputs: Sequence[Input]) -> Dims | None:
    """The inputs' shapes at the upper ends of their ranges; None where one has none."""
    shapes = tuple(tuple(high for _, high in entry.ranges) or entry.dims for entry in inputs)
    return None if any(-1 in dims for dims in shapes) else shapes


def _input(entry: Input, input_format: str, dims: Sequence[int] | None) -> TensorInfo:
    return TensorInfo(
        entry.name,
        entry.dtype.acl,
        _format(entry, input_format),
        entry.image or entry.dims,
        0 if dims is None else _bytes(entry, dims),
        entry.dims if entry.image else (),
        entry.ranges,
    )


def _hidden(gears: Gears) -> TensorInfo:
    """The input that tells the card the gear: one number for each that a gear has."""
    count = len(gears.values[0])
    return TensorInfo(SHAPE_INPUT, _INT32, _ND, (count,), count * np.dtype(np.int32).itemsize)


def _output_size(dims: Sequence[int], dtype: DType) -> int:
    return 0 if -1 in dims else math.prod(dims) * dtype.itemsize


def _highest_outputs(network: Network, shapes: Dims | None) -> dict[str, tuple[int, ...]]:
    """Shapes of the outputs at the upper ends of the inputs' ranges, where inference tells them."""
    if shapes is None:
        return {}
    fixed = trial.at_dims(network.model, shapes)
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph.output
    found = {}
    for value in inferred:
        shape = value.type.tensor_type.shape
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in shape.dim):
            found[value.name] = tuple(dim.dim_value for dim in shape.dim)
    return found


def _check_memory(request: Request, network: Network) -> None:
    for place, shapes in enumerate(network.shapes):
        needed = sum(_bytes(entry, dims) for entry, dims in zip(network.inputs, shapes, strict=True))
        if needed > request.soc.memory_bytes:
            where = f" at gear {network.gears.values[place]}" if network.gears else ""
            raise AtcError(
                "E19999",
                f"The inputs take {needed} bytes{where}; {request.soc.name} has "
                f"{request.soc.memory_bytes} bytes of memory.",
            )


def _input_order(request: Request, inputs: Sequence[Input]) -> tuple[str, ...]:
    """The inputs' names as `--input_shape` has them, then those that it leaves out; none without it."""
    listed = tuple(request.shapes) or tuple(request.ranges.by_name if request.ranges else ())
    return (*listed, *(entry.name for entry in inputs if entry.name not in listed)) if listed else ()


def _try(request: Request, network: Network) -> tuple[trial.Result, bool]:
    """Run the network; gives what came out, and whether its shapes are truly dynamic."""
    if not network.shapes:
        return trial.run_dynamic(network.data, network.inputs), True
    result = trial.run(network.model, network.data, network.inputs, network.shapes)
    if not result.moving:
        return result, False
    if network.gears:
        solution = "Compute this part outside the model, or make the shape a constant of it."
        raise not_emulated(f"gears of a network whose shapes depend on values ({result.moving})", solution)
    if not request.dynamic_shapes_allowed:
        raise AtcError(
            "E10055",
            f"{request.soc.name} runs no models of truly dynamic shape, and this one's shapes depend on values "
            f"({result.moving})",
        )
    return trial.run_dynamic(network.data, network.inputs), True


def describe(request: Request, network: Network) -> tuple[OmFile, list[str]]:
    """Run the network and write down what it takes and gives.

    Args:
        request: what was asked for.
        network: what became of the model.

    Returns:
        The model without its command line and the tool's name, and warnings.

    Raises:
        AtcError: the network does not run; see `trial.run`.
    """
    _check_memory(request, network)
    result, dynamic = _try(request, network)
    gears, inputs = network.gears, network.inputs
    largest = gears.largest if gears else 0
    highest = network.shapes[largest] if network.shapes else _highest(inputs)
    # Each tensor is as large as at the gear that makes it largest, which need not be the same for all.
    ends_in = (
        [largest_of(shapes) for shapes in zip(*network.shapes, strict=True)] if network.shapes else highest
    )
    described = [
        _input(entry, request.input_format, ends_in[place] if ends_in else None)
        for place, entry in enumerate(inputs)
    ]
    ends = _highest_outputs(network, highest) if dynamic else {}
    outputs = tuple(
        TensorInfo(output.name, dtype.acl, _ND, dims, _output_size(ends.get(output.tensor, dims), dtype))
        for output, dtype, dims in zip(
            network.outputs, result.types, map(largest_of, zip(*result.dims, strict=True)), strict=True
        )
    )
    om = OmFile(
        name=request.name,
        soc_version=request.soc.name,
        atc_cmdline="",
        atc_version="",
        toolchain="",
        inputs=(*described, _hidden(gears)) if gears else tuple(described),
        outputs=outputs,
        gears=gears,
        gear_input_dims=network.shapes if gears else (),
        gear_output_dims=result.dims if gears else (),
        input_order=_input_order(request, inputs),
        dynamic=dynamic,
        host=request.host.name if dynamic else "",
        aipps=network.aipps,
        options=request.options,
        memory_size=memory_plan.working_bytes(network.model, highest, network.narrow) if highest else 0,
        weight_size=memory_plan.weight_bytes(network.model, network.narrow),
        network=network.data,
        framework=request.framework,
    )
    if not result.warning:
        return om, []
    return om, [
        "Warning: the network ran at no size that was tried within its ranges, so its outputs' ranks are not "
        f"certain. First refusal: {result.warning}"
    ]


def gear_shapes(inputs: Sequence[Input], gears: Gears, order: Sequence[str]) -> tuple[Dims, ...]:
    """The network's input shapes at each gear, in the model's order.

    Args:
        inputs: of the network, -1 at the open axes.
        gears: whose numbers go there.
        order: input names as the user ordered them; those left out have no open axes.
    """
    names = [*order, *(entry.name for entry in inputs if entry.name not in order)]
    by_name = {entry.name: entry.dims for entry in inputs}
    shapes = []
    for value in gears.values:
        found = dims_at([by_name[name] for name in names], gears.kind, value)
        at = dict(zip(names, found, strict=True))
        shapes.append(tuple(at[entry.name] for entry in inputs))
    return tuple(shapes)
