"""The network is run once at every gear, in the ONNX runtime that the card uses.

This is what stands for GE's shape inference and kernel compilation: a model that cannot run is refused here,
with the operator's name, and the shapes of the outputs are those that came out. Constants that fix another
batch size than the gear's (in `Reshape` or `Expand`) fail here, as they do in ATC (facts/atc_om_soc.md §1.6).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
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


def _check_fixed_shapes(model: onnx.ModelProto, inputs: Sequence[Input], gear: int) -> None:
    """Refuse shapes that depend on values: such a model would be one of truly dynamic shape in ATC.

    What depends on constants alone folds away, so the graph is looked at after the runtime has folded it.
    """
    if not any(node.op_type in _DATA_DEPENDENT for node in model.graph.node):
        return
    fixed = at_gear(model, inputs, gear)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory(prefix="atc") as folder:
        folded = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(folded)
        load(fixed.SerializeToString(), options)
        graph = onnx.load(folded).graph
    # The runtime leaves these operators in the graph even where all they read is constant.
    constants = {"", *(tensor.name for tensor in graph.initializer)}
    for node in graph.node:
        if constants.issuperset(node.input):
            constants.update(node.output)
        elif node.op_type in _DATA_DEPENDENT:
            raise not_emulated(
                f"shapes that depend on values (node '{node.name}', {node.op_type})",
                "Compute this part outside the model.",
            )


def at_gear(model: onnx.ModelProto, inputs: Sequence[Input], gear: int) -> onnx.ModelProto:
    """A copy of the network with fixed input shapes."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for value, description in zip(fixed.graph.input, inputs, strict=True):
        for dim, size in zip(value.type.tensor_type.shape.dim, description.at(gear), strict=True):
            dim.dim_value = size
    return fixed


Dims = tuple[tuple[int, ...], ...]


def _output_dims(
    session: onnxruntime.InferenceSession, inputs: Sequence[Input], gear: int, value: int
) -> Dims:
    """Dims of the outputs after a run on inputs that hold one value everywhere."""
    feed = {entry.name: np.full(entry.at(gear), value, entry.dtype.numpy) for entry in inputs}
    try:
        results = session.run(None, feed)
    except RUNTIME_ERRORS as error:
        raise _told(error) from error
    return tuple(tuple(map(int, result.shape)) for result in results)


def _dims_at(session: onnxruntime.InferenceSession, inputs: Sequence[Input], gear: int) -> Dims:
    """Dims of the outputs at a gear, from zeros: as indices they are always right.

    Ones are tried when zeros fail, since a model may divide by an integer that it is given.
    """
    try:
        return _output_dims(session, inputs, gear, 0)
    except AtcError as error:
        try:
            return _output_dims(session, inputs, gear, 1)
        except AtcError:
            raise error from None


def _check_same_dims(
    session: onnxruntime.InferenceSession, inputs: Sequence[Input], gear: int, dims: Dims
) -> None:
    """Refuse a model whose output dims are given to it as numbers: other integers must give the same dims."""
    if all(entry.dtype.numpy.startswith("float") for entry in inputs):
        return
    try:
        other = _output_dims(session, inputs, gear, 1)
    except AtcError:
        # Ones need not be legal, as indices of an axis of one are not; then nothing is learned.
        return
    if other != dims:
        raise not_emulated(
            f"shapes that depend on values (outputs of {list(dims)} for zeros, {list(other)} for ones)",
            "Make the shape a constant of the model.",
        )


def run(
    model: onnx.ModelProto, data: bytes, inputs: Sequence[Input], gears: Sequence[int]
) -> tuple[tuple[DType, ...], tuple[Dims, ...]]:
    """Run the network at every gear.

    Args:
        model: the network.
        data: the same, serialized.
        inputs: of the network, in order.
        gears: batch sizes; one of any value for a static network.

    Returns:
        Element types of the outputs, and their dims as `[gear][output]`.

    Raises:
        AtcError: EZ3003 an operator without a kernel; E14001 one that refuses its inputs; E19999 any other
            refusal of the runtime; E10055 what is not emulated.
    """
    session = load(data)
    types = output_types(session)
    _check_fixed_shapes(model, inputs, max(gears))
    dims = tuple(_dims_at(session, inputs, gear) for gear in gears)
    smallest = min(gears)
    _check_same_dims(session, inputs, smallest, dims[list(gears).index(smallest)])
    return types, dims
