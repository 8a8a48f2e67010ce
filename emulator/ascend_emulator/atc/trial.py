"""The network is run once at every gear, in the ONNX runtime that the card uses.

This is what stands for GE's shape inference and kernel compilation: a model that cannot run is refused here,
with the operator's name, and the shapes of the outputs are those that came out. Constants that fix another
batch size than the gear's (in `Reshape` or `Expand`) fail here, as they do in ATC (facts/atc_om_soc.md §1.6).

A network of truly dynamic shape has no sizes that it must run at. The runtime must take it, so its operators
have kernels and its types fit; it is then tried at sizes within its ranges, the lowest first, but a try that
fails says only that the size was a bad guess.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # has no stubs

from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.network import Input
from ascend_emulator.dtypes import DTYPES, DType
from ascend_emulator.ort_errors import RUNTIME_ERRORS

_QUIET = 4
_DATA_DEPENDENT = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
_BY_RUNTIME_NAME = {
    {"float32": "float", "float64": "double"}.get(dtype.numpy, dtype.numpy): dtype for dtype in DTYPES
}

# How the runtime names the operator it failed at: while it runs, infers types, or looks for a kernel.
_RUNNING = re.compile(
    r"while running (?P<type>\S+) node\. Name:'(?P<name>[^']*)' Status Message: (?P<why>.*)", re.S
)
_INFERRING = re.compile(
    r"Node ?(?:\(| with name ')?(?P<name>[^)']*)[)'] Op \((?P<type>[^)]*)\) (?P<why>.*)", re.S
)
_NO_KERNEL = (
    re.compile(r"implementation for (?P<type>\w+)\(\d+\) node with name '(?P<name>[^']*)'"),
    re.compile(r"find kernel for (?P<type>\w+)\(\d+\) \(node:(?P<name>.*?) ep:"),
    re.compile(r"operator \((?P<type>[^)]*)\) in node \((?P<name>[^)]*)\) is invalid"),
)
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PLACE = re.compile(r"^\S+:\d+ .*?\) ")


def _told(error: Exception) -> AtcError:
    """The runtime's refusal as GE would report it."""
    text = _PREFIX.sub("", str(error))
    if found := next(filter(None, (pattern.search(text) for pattern in _NO_KERNEL)), None):
        return AtcError("EZ3003", found["name"], found["type"])
    if found := _RUNNING.search(text) or _INFERRING.search(text):
        why = " ".join(_PLACE.sub("", found["why"]).split()).removesuffix(".")
        return AtcError("E14001", "shape", found["name"], found["type"], why)
    return AtcError("E19999", " ".join(text.split()))


def load(data: bytes, options: onnxruntime.SessionOptions | None = None) -> onnxruntime.InferenceSession:
    """The network in the runtime, quietly.

    Args:
        data: the network, serialized.
        options: of the runtime; its defaults when None.

    Raises:
        AtcError: the runtime does not take the network; see `run`.
    """
    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    # Compiles run side by side, each asking for one core.
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        raise _told(error) from error


def output_types(session: onnxruntime.InferenceSession) -> tuple[DType, ...]:
    """Element types of the outputs, in order.

    Raises:
        AtcError: E10055 an output that is no tensor of a supported type.
    """
    types = []
    for output in session.get_outputs():
        name = output.type.removeprefix("tensor(").removesuffix(")")
        if name not in _BY_RUNTIME_NAME:
            raise not_emulated(f"output '{output.name}' of type {output.type}")
        types.append(_BY_RUNTIME_NAME[name])
    return tuple(types)


Dims = tuple[tuple[int, ...], ...]
"""Shapes of all inputs, or of all outputs."""

_GUESSES = (1, 16, 64)
"""Sizes that open axes are tried at, within their ranges."""


def follows_values(model: onnx.ModelProto, dims: Dims) -> str:
    """Whether a shape depends on values: such a model is one of truly dynamic shape in ATC.

    What depends on constants alone folds away, so the graph is looked at after the runtime has folded it.

    Returns:
        The operator that does it, or nothing.

    Raises:
        AtcError: the runtime does not take the network at that shape; see `load`.
    """
    if not any(node.op_type in _DATA_DEPENDENT for node in model.graph.node):
        return ""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory(prefix="atc") as folder:
        folded = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(folded)
        load(at_dims(model, dims).SerializeToString(), options)
        graph = onnx.load(folded).graph
    # The runtime leaves these operators in the graph even where all they read is constant.
    constants = {"", *(tensor.name for tensor in graph.initializer)}
    for node in graph.node:
        if constants.issuperset(node.input):
            constants.update(node.output)
        elif node.op_type in _DATA_DEPENDENT:
            return f"node '{node.name}', {node.op_type}"
    return ""


def at_dims(model: onnx.ModelProto, dims: Dims) -> onnx.ModelProto:
    """A copy of the network with fixed input shapes."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value, sizes in zip(fixed.graph.input, dims, strict=True):
        for dim, size in zip(value.type.tensor_type.shape.dim, sizes, strict=True):
            dim.dim_value = size
    return fixed


def _output_dims(
    session: onnxruntime.InferenceSession, inputs: Sequence[Input], dims: Dims, value: int
) -> Dims:
    """Dims of the outputs after a run on inputs that hold one value everywhere."""
    feed = {
        entry.name: np.full(sizes, value, entry.dtype.numpy)
        for entry, sizes in zip(inputs, dims, strict=True)
    }
    try:
        results = session.run(None, feed)
    except RUNTIME_ERRORS as error:
        raise _told(error) from error
    return tuple(tuple(map(int, result.shape)) for result in results)


def _dims_at(session: onnxruntime.InferenceSession, inputs: Sequence[Input], dims: Dims) -> Dims:
    """Dims of the outputs for the inputs' dims, from zeros: as indices they are always right.

    Ones are tried when zeros fail, since a model may divide by an integer that it is given.
    """
    try:
        return _output_dims(session, inputs, dims, 0)
    except AtcError as error:
        try:
            return _output_dims(session, inputs, dims, 1)
        except AtcError:
            raise error from None


def _given_as_numbers(
    session: onnxruntime.InferenceSession, inputs: Sequence[Input], dims: Dims, found: Dims
) -> str:
    """Whether output dims are given to the model as numbers: other integers must give the same dims."""
    if all(entry.dtype.numpy.startswith("float") for entry in inputs):
        return ""
    try:
        other = _output_dims(session, inputs, dims, 1)
    except AtcError:
        # Ones need not be legal, as indices of an axis of one are not; then nothing is learned.
        return ""
    return "" if other == found else f"outputs of {list(found)} for zeros, {list(other)} for ones"


@dataclass(frozen=True, slots=True)
class Result:
    """What came out.

    Attributes:
        types: element types of the outputs.
        dims: `[shape tried][output]`; `[0]` alone, with -1 for what is open, of a model of dynamic shape.
        moving: what makes a shape depend on values; empty where nothing does.
        warning: why no size that was tried ran, of a model of dynamic shape.
    """

    types: tuple[DType, ...]
    dims: tuple[Dims, ...]
    moving: str = ""
    warning: str = ""


def run(model: onnx.ModelProto, data: bytes, inputs: Sequence[Input], tried: Sequence[Dims]) -> Result:
    """Run the network at fixed shapes.

    Args:
        model: the network.
        data: the same, serialized.
        inputs: of the network, in order.
        tried: shapes of the inputs, for each gear; one of a static network.

    Raises:
        AtcError: EZ3003 an operator without a kernel; E14001 one that refuses its inputs; E19999 any other
            refusal of the runtime; E10055 an output that is not emulated.
    """
    session = load(data)
    types = output_types(session)
    smallest = min(range(len(tried)), key=lambda place: sum(map(math.prod, tried[place])))
    moving = follows_values(model, tried[smallest])
    dims = tuple(_dims_at(session, inputs, shapes) for shapes in tried)
    moving = moving or _given_as_numbers(session, inputs, tried[smallest], dims[smallest])
    return Result(types, dims, moving)


def _guesses(inputs: Sequence[Input]) -> list[Dims]:
    """Shapes within the ranges: all open axes at the same guess, as far as each range allows."""
    found = []
    for guess in _GUESSES:
        shapes = tuple(
            tuple(
                max(low, guess if high < 0 else min(guess, high))
                for low, high in entry.ranges or [(dim, dim) for dim in entry.dims]
            )
            for entry in inputs
        )
        if shapes not in found:
            found.append(shapes)
    return found


def run_dynamic(data: bytes, inputs: Sequence[Input]) -> Result:
    """Try a network of truly dynamic shape within its ranges.

    Args:
        data: the network, serialized.
        inputs: of the network, in order.

    Returns:
        Outputs whose dims are those that the runtime infers, -1 where it leaves one open.

    Raises:
        AtcError: as `run`, but not for an operator that refuses its inputs.
    """
    session = load(data)
    types = output_types(session)
    warning, ranks = "", None
    for shapes in _guesses(inputs):
        try:
            ranks = tuple(map(len, _dims_at(session, inputs, shapes)))
        except AtcError as error:
            warning = warning or error.message
            continue
        warning = ""
        break
    dims = tuple(
        tuple(dim if isinstance(dim, int) else -1 for dim in output.shape) for output in session.get_outputs()
    )
    if ranks is not None:
        # Where the runtime cannot infer even the rank, it says that there are no axes.
        dims = tuple(
            each if len(each) == rank else (-1,) * rank for each, rank in zip(dims, ranks, strict=True)
        )
    return Result(types, (dims,), warning=warning)
