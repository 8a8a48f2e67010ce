"""TensorFlow models on their way into an `.om`: a frozen graph becomes ONNX, which then goes the road of ONNX.

tf2onnx does it, in a process and an environment of its own: TensorFlow's packages need not fit the emulator's.
`ASCEND_EMULATOR_TENSORFLOW_PYTHON` names the interpreter; without it the running one is taken, if it has both.
Inputs and outputs are found and refused here, before, as ATC does (facts/atc_om_soc.md §1.3-1.7; GE:
parser/parser/tensorflow/tensorflow_parser.cc).
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx

from ascend_emulator.atc import network, precheck
from ascend_emulator.atc.errors import AtcError, not_emulated
from ascend_emulator.atc.graph_def import GraphDef, Node, parse
from ascend_emulator.atc.outputs import Output, replace_outputs
from ascend_emulator.atc.request import Request
from ascend_emulator.protobuf import WireError

VARIABLE = "ASCEND_EMULATOR_TENSORFLOW_PYTHON"

_PACKAGES = ("tensorflow", "tf2onnx")
_INSTALL = (
    "Make an environment of its own, `pip install 'ascend-emulator[tensorflow]'` in it, and set "
    f"{VARIABLE} to its python; or export the model to ONNX and use --framework=5."
)
_OPSET = 17
_LIBRARY = "graph_def_library.pbtxt"
_VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp", "ReadVariableOp"})
_WRITABLE = re.compile(r"[\w\d/\-._]+")
"""Names that tf2onnx can be told on its command line."""

_LAST_LINES = 3


def read(path: Path) -> GraphDef:
    """Read a frozen graph.

    Raises:
        AtcError: E13001 the file cannot be read; E13015 empty or too large; E13005 no GraphDef; E12029 its
            functions are not beside it; E13010 it is not frozen.
    """
    try:
        graph = parse(network.read(path))
    except WireError as error:
        cause = f"The file is no frozen TensorFlow graph (GraphDef), or not a whole one: {error}."
        raise AtcError("E13005", path, cause=cause) from error
    if graph.calls_functions and not (path.parent / _LIBRARY).is_file():
        raise AtcError("E12029")
    for node in graph.nodes:
        if node.kind in _VARIABLES:
            raise AtcError(
                "E13010",
                node.name,
                node.kind,
                cause="The graph is not frozen: a variable has no value in it.",
                solution="Freeze the model: its variables become constants.",
            )
    return graph


def choose_outputs(graph: GraphDef, chosen: tuple[tuple[str, int | None], ...]) -> tuple[Output, ...]:
    """The outputs: those of `--out_nodes`, or the first output of each node that nothing reads.

    Args:
        graph: the model.
        chosen: of `outputs.parse_out_nodes`; empty for the model's own.

    Raises:
        AtcError: E10016 no such node; E10001 a name without an index, or the whole graph without an output.
    """
    if not chosen:
        leaves = graph.leaves
        if not leaves:
            raise AtcError("E10001", "", "--out_nodes", "Every node of the graph is read: name the outputs.")
        return tuple(_output(node.name, 0) for node in leaves)
    names = {node.name for node in graph.nodes}
    for name, index in chosen:
        if name not in names:
            raise AtcError("E10016", name, "out_nodes")
        if index is None:
            reason = 'A TensorFlow model has no names of tensors. It must be "node_name1:0;node_name2:0".'
            raise AtcError("E10001", name, "--out_nodes", reason)
    return tuple(_output(name, index) for name, index in chosen if index is not None)


def _output(node: str, index: int) -> Output:
    return Output(f"{node}:{index}", node, index, "")


def load(
    request: Request, chosen: tuple[tuple[str, int | None], ...]
) -> tuple[onnx.ModelProto, tuple[Output, ...]]:
    """Read a model and make ONNX of it, with its nodes checked.

    Args:
        request: what was asked for.
        chosen: of `outputs.parse_out_nodes`.

    Returns:
        The model, whose inputs have the names of the placeholders and are in their order; and its outputs.

    Raises:
        AtcError: the model or the options are wrong, as `read`, `choose_outputs`, `network.check_names` and
            `network.dims_of` tell; E13010 operators that tf2onnx does not know; E10055 there is no tf2onnx, or
            it fails.
    """
    graph = read(request.model)
    inputs = graph.placeholders
    if not inputs:
        raise not_emulated("a TensorFlow model without a placeholder")
    network.check_names({node.name for node in inputs}, {node.name for node in graph.nodes}, request)
    made = choose_outputs(graph, chosen)
    # The pre-check is about operators alone, so shapes may stay open.
    shapes = [
        () if request.precheck_only else network.dims_of(node.name, place, node.dims, request)[0]
        for place, node in enumerate(inputs)
    ]
    model = _convert(request.model, inputs, shapes, made)
    precheck.conclude(_checked(graph, model), request.precheck, always=request.precheck_only)
    by_name = {value.name: value for value in model.graph.input}
    ordered = [by_name[node.name] for node in inputs]
    del model.graph.input[:]
    model.graph.input.extend(ordered)
    return model, replace_outputs(model, made)


def _checked(graph: GraphDef, model: onnx.ModelProto) -> list[precheck.Checked]:
    """Every node of the graph; what tf2onnx does not know it leaves in the network as it is."""
    opset = network.opset(model)
    unknown = {
        node.op_type
        for node in model.graph.node
        if node.domain in ("", "ai.onnx") and not precheck.supported(node.op_type, opset)
    }
    return [
        precheck.Checked(node.name, node.kind, (precheck.UNSUPPORTED,) if node.kind in unknown else ())
        for node in graph.nodes
    ]


# --- tf2onnx --------------------------------------------------------------------------------------


def _interpreter() -> str:
    given = os.environ.get(VARIABLE, "")
    if given:
        return given
    missing = [package for package in _PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        what = f"--framework=3 without {' and '.join(missing)}, and {VARIABLE} is not set"
        raise not_emulated(what, _INSTALL)
    return sys.executable


def _shape_text(dims: Sequence[int]) -> str:
    # tf2onnx cannot be told that a placeholder is a scalar; the graph says so itself.
    return f"[{','.join(map(str, dims))}]" if dims else ""


def _convert(
    path: Path, inputs: Sequence[Node], shapes: Sequence[Sequence[int]], outputs: Sequence[Output]
) -> onnx.ModelProto:
    """Run tf2onnx.

    Args:
        path: of the model.
        inputs: the placeholders.
        shapes: of them, -1 at open axes.
        outputs: the tensors to keep; each is converted once.
    """
    names = [node.name for node in inputs]
    for name in (*names, *(output.node for output in outputs)):
        if not _WRITABLE.fullmatch(name):
            raise not_emulated(f"a TensorFlow model with a node named '{name}' as input or output")
    python = _interpreter()
    shaped = [f"{name}:0{_shape_text(dims)}" for name, dims in zip(names, shapes, strict=True)]
    with tempfile.TemporaryDirectory(prefix="atc") as folder:
        target = Path(folder) / "model.onnx"
        # Isolated (-I), so that neither PYTHONPATH nor the working directory gets into the other environment.
        command = [python, "-I", "-m", "tf2onnx.convert", "--graphdef", str(path.resolve())]
        command += ["--inputs", ",".join(shaped), "--rename-inputs", ",".join(names)]
        command += ["--outputs", ",".join(dict.fromkeys(output.tensor for output in outputs))]
        command += ["--opset", str(_OPSET), "--output", str(target)]
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **quiet},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as error:
            what = f"--framework=3 with {VARIABLE}={python}, which cannot be run: {error.strerror}"
            raise not_emulated(what, _INSTALL) from error
        if done.returncode or not target.is_file():
            raise _refusal(python, done)
        return network.load(target)


def _refusal(python: str, done: subprocess.CompletedProcess[str]) -> AtcError:
    missing = re.search(r"No module named '?(tensorflow|tf2onnx)", done.stdout)
    if missing:
        return not_emulated(f"--framework=3 with {python}, which has no {missing[1]}", _INSTALL)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()][-_LAST_LINES:]
    told = " ".join(" | ".join(lines).split()) or f"exit status {done.returncode}"
    return not_emulated(f"this TensorFlow model: tf2onnx cannot convert it ({told})", _INSTALL)
