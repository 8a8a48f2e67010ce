"""The source, run on the CPU by onnxruntime: what the compiled model is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ascend_serve.compiling.saved_model import convert
from ascend_serve.compiling.scratch import scratch
from ascend_serve.errors import ConfigError
from ascend_serve.spec.recipe import CompileRecipe
from ascend_serve.verifying.onnx_graph import OnnxGraph

Array = np.ndarray[Any, np.dtype[Any]]

_NUMPY_NAMES = {"float": "float32", "double": "float64"}
"""Element types that onnxruntime calls otherwise than numpy."""


def onnx_source(recipe: CompileRecipe, scratch: Path) -> Path:
    """The ONNX model that a recipe's source is, or that it can be converted to for comparing.

    Args:
        recipe: with absolute paths.
        scratch: an empty folder for what is made.

    Raises:
        ConfigError: no ONNX can be had of it.
        CompileError: a SavedModel cannot be converted; the message says what is missing.
    """
    framework = recipe.framework_of()
    source = Path(recipe.source)
    if framework == "saved_model":
        return convert(source, "onnx", recipe.signature, scratch, timeout_s=recipe.timeout_s).path
    if framework != "onnx":
        raise ConfigError(
            f"recipe '{recipe.name}': a {framework} model cannot be verified here, since onnxruntime runs the source: "
            "compile an ONNX export or a SavedModel of it, or leave `verify` out"
        )
    if not source.is_file():
        raise ConfigError(f"recipe '{recipe.name}': source {source} does not exist")
    return source


class Reference:
    """An ONNX model in onnxruntime, which gives the tensors that a compiled model's outputs are named after.

    Attributes:
        graph: the model.
        tensors: the tensor behind each of the compiled model's outputs, by that output's name.
        notes: what a reader should know of how they were matched.
        dtypes: element type of each input.
    """

    def __init__(
        self,
        graph: OnnxGraph,
        outputs: Sequence[str],
        shapes: Mapping[str, Sequence[int]],
    ) -> None:
        """Prepare a model; to be closed.

        Args:
            graph: the model.
            outputs: names of the compiled model's outputs.
            shapes: dims that inputs were compiled with, -1 where gears decide; the file may say other ones.

        Raises:
            ConfigError: onnxruntime is not installed, or an output of the compiled model is none of the graph's
                tensors.
        """
        self.graph = graph
        self.tensors, self.notes = _matched(graph, outputs)
        wanted = list(dict.fromkeys(self.tensors.values()))
        also = [name for name in wanted if name not in graph.outputs]
        changed = {name: dims for name, dims in shapes.items() if _contradicts(graph, name, dims)}
        with ExitStack() as stack:
            path = graph.path
            if also or changed:
                path = stack.enter_context(scratch()) / "reference.onnx"
                graph.copy(path, also=also, shapes=changed)
            self._session = _session(path)
            self._stack = stack.pop_all()
        self._wanted = wanted
        self.dtypes = {value.name: _dtype(value.name, value.type) for value in self._session.get_inputs()}

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What the source gives, by the names of the compiled model's outputs.

        Args:
            inputs: an array for each input; converted to the type that the source takes.

        Raises:
            ConfigError: the source takes other inputs, or onnxruntime cannot run it on them.
        """
        if set(inputs) != set(self.dtypes):
            raise ConfigError(
                f"the compiled model takes {sorted(inputs)}, {self.graph.path} takes {sorted(self.dtypes)}: it was "
                "compiled from another source, or ATC left out an input that nothing reads (remove it from the source)"
            )
        from onnxruntime.capi import (  # type: ignore[import-untyped]  # it ships no types
            onnxruntime_pybind11_state as errors,
        )

        feeds = {name: np.asarray(inputs[name]).astype(dtype) for name, dtype in self.dtypes.items()}
        try:
            found = self._session.run(self._wanted, feeds)
        except (errors.Fail, errors.InvalidArgument, errors.RuntimeException) as error:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
            raise ConfigError(
                f"onnxruntime cannot run {self.graph.path} on {shapes}: {_one_line(error)}"
            ) from error
        by_tensor = dict(zip(self._wanted, found, strict=True))
        return {output: by_tensor[tensor] for output, tensor in self.tensors.items()}

    def close(self) -> None:
        """Drop what was written for it."""
        self._stack.close()

    def __enter__(self) -> Reference:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _session(path: Path) -> Any:
    try:
        import onnxruntime  # type: ignore[import-untyped]  # it ships no types
    except ImportError as error:
        raise ConfigError(
            "verifying runs the source with onnxruntime, which is not installed: "
            "pip install 'ascend-serve[verify]'"
        ) from error
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its warnings are about shapes that the recipe changes on purpose
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.NotImplemented) as error:
        raise ConfigError(f"onnxruntime cannot load {path}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]


def _matched(graph: OnnxGraph, outputs: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    found = {name: graph.tensor_of(name) for name in outputs}
    if unknown := [name for name, tensor in found.items() if tensor is None]:
        if len(outputs) != len(graph.outputs):
            raise ConfigError(
                f"the compiled model gives {list(outputs)}, of which {unknown} are no tensors of {graph.path}: it "
                "was compiled from another source"
            )
        note = f"outputs are matched by their place, since the source has no {', '.join(unknown)}"
        return dict(zip(outputs, graph.outputs, strict=True)), (note,)
    return {name: tensor for name, tensor in found.items() if tensor is not None}, ()


def _contradicts(graph: OnnxGraph, name: str, dims: Sequence[int]) -> bool:
    told = graph.dims_of(name) if name in graph.inputs else None
    return told is not None and (
        len(told) != len(dims) or any(t not in (None, d) for t, d in zip(told, dims, strict=True))
    )


def _dtype(name: str, told: str) -> np.dtype[Any]:
    kind = told.removeprefix("tensor(").removesuffix(")")
    try:
        return np.dtype(_NUMPY_NAMES.get(kind, kind))
    except TypeError as error:
        raise ConfigError(f"input '{name}' of the source is a {told}, which numpy does not have") from error
