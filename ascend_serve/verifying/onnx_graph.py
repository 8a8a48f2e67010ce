"""The source as a graph: which tensor comes from which operator, and copies that give out tensors from within.

Only the main graph is looked at. Tensors inside the bodies of If, Loop and Scan belong to those operators: they
cannot be given out, and count as part of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no types

from ascend_serve.errors import ConfigError

_LARGEST_IN_ONE_FILE = (1 << 31) - (1 << 20)
"""Protobuf's limit of 2 GiB, less what the copy adds; a larger model keeps its weights in a file beside it."""
_PASSING_ON = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that give the values they get, in another form."""

_NOT_GIVEN_OUT = (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING)


class OnnxGraph:
    """An ONNX model, without the weights that lie outside its file.

    Attributes:
        path: the file.
        inputs: names of what a caller feeds.
        outputs: names of what it gives.
    """

    def __init__(self, path: Path) -> None:
        """Read a model.

        Raises:
            ConfigError: the file is no ONNX model.
        """
        self.path = path
        try:
            self._model = onnx.load(path, load_external_data=False)
        except DecodeError as error:
            raise ConfigError(f"{path} is no ONNX model: {error}") from error
        graph = self._model.graph
        self._weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self.inputs = tuple(value.name for value in graph.input if value.name not in self._weights)
        self.outputs = tuple(value.name for value in graph.output)
        self._maker = {name: node for node in graph.node for name in node.output if name}

    def node_of(self, tensor: str) -> onnx.NodeProto | None:
        """The operator that gives a tensor; None for inputs, weights and unknown names."""
        return self._maker.get(tensor)

    def tensor_of(self, told: str) -> str | None:
        """The tensor that a compiled model's output name means: a tensor's own name, or `node:index`."""
        if self._is_tensor(told):
            return told
        node_name, _, index = told.rpartition(":")
        for node in self._model.graph.node:
            if node.name == node_name and index.isdigit() and int(index) < len(node.output):
                return str(node.output[int(index)])
        # A frozen graph has a node for each output of a SavedModel, whose ONNX has a tensor of that name.
        return node_name if index == "0" and self._is_tensor(node_name) else None

    def _is_tensor(self, name: str) -> bool:
        return name in self._maker or name in self.inputs or name in self._weights

    def read_by(self, node: onnx.NodeProto) -> list[str]:
        """The tensors an operator reads, those that its bodies read from outside included."""
        return list(dict.fromkeys(name for name in _reads(node) if name))

    def behind(self, tensor: str) -> list[str]:
        """The tensors from which operators make this one, in an order in which they can be computed.

        It stands last itself. Left out is what depends on no input (ATC computes it when it compiles).
        """
        needed, waiting = set(), [tensor]
        while waiting:
            name = waiting.pop()
            if name in needed or name not in self._maker:
                continue
            needed.add(name)
            waiting += self.read_by(self._maker[name])
        fed = set(self.inputs)
        found = []
        # ONNX demands that nodes stand in such an order.
        for node in self._model.graph.node:
            if fed.intersection(_reads(node)):
                fed.update(filter(None, node.output))
                found += [name for name in node.output if name in needed]
        return found

    def id_limits(self) -> dict[str, int]:
        """How many rows the smallest table has that an input looks things up in, by input; for such inputs only.

        These are token ids and the like: indices of a Gather on a weight, which reach it as they are or through
        operators that only reshape or convert.
        """
        limits: dict[str, int] = {}
        for node in self._model.graph.node:
            if node.op_type != "Gather" or (table := self._shape_of(node.input[0])) is None:
                continue
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
            name = node.input[1]
            while (maker := self._maker.get(name)) is not None and maker.op_type in _PASSING_ON:
                name = maker.input[0]
            if name in self.inputs and -len(table) <= axis < len(table):
                limits[name] = min(table[axis], limits.get(name, table[axis]))
        return limits

    def _shape_of(self, tensor: str) -> tuple[int, ...] | None:
        """The shape of a weight or constant; None for anything else."""
        maker = self._maker.get(tensor)
        if maker is not None and maker.op_type == "Constant":
            return next((tuple(each.t.dims) for each in maker.attribute if each.name == "value"), None)
        return self._weights.get(tensor)

    def presentable(self, tensors: Iterable[str]) -> list[str]:
        """Of these, the tensors that can be given out: those whose element type and number of axes are known."""
        return [name for name in tensors if name in self._values]

    @cached_property
    def _values(self) -> dict[str, onnx.ValueInfoProto]:
        """Element type and axes, their sizes open, of every tensor whose schemas tell them.

        The sizes are those of the file, and the recipe may compile it for other ones.
        """
        inferred = onnx.shape_inference.infer_shapes(self._model, data_prop=True).graph
        found = {}
        for value in (*inferred.value_info, *inferred.output):
            kind = value.type.tensor_type
            if kind.elem_type in _NOT_GIVEN_OUT or not kind.HasField("shape"):
                continue
            found[value.name] = onnx.helper.make_tensor_value_info(
                value.name, kind.elem_type, [None] * len(kind.shape.dim)
            )
        return found

    def dims_of(self, name: str) -> list[int | None] | None:
        """Dims of an input as the file says, None for one it leaves open; None when it tells no shape."""
        value = next(value for value in self._model.graph.input if value.name == name)
        kind = value.type.tensor_type
        if not kind.HasField("shape"):
            return None
        return [dim.dim_value if dim.HasField("dim_value") else None for dim in kind.shape.dim]

    def copy(self, path: Path, *, also: Sequence[str] = (), shapes: Mapping[str, Sequence[int]]) -> None:
        """Write a copy that takes other shapes and gives further tensors.

        Args:
            path: the copy, in a folder of its own: weights that do not fit the file are put beside it.
            also: tensors to give besides the outputs; see `presentable`.
            shapes: dims that inputs have from now on, -1 where they stay open.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        for name in also:
            if name not in self.outputs:
                model.graph.output.append(self._values[name])
        for value in model.graph.input:
            if value.name in shapes:
                kind = value.type.tensor_type
                kind.shape.ClearField("dim")
                for place, dim in enumerate(shapes[value.name]):
                    entry = kind.shape.dim.add()
                    if dim >= 0:
                        entry.dim_value = dim
                    else:
                        entry.dim_param = f"{value.name}_{place}"
        onnx.load_external_data_for_model(model, str(self.path.parent))
        beside = model.ByteSize() > _LARGEST_IN_ONE_FILE
        onnx.save_model(model, path, save_as_external_data=beside, location=f"{path.name}.data")


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            for inner in body.node:
                # Names of its own tensors are found nowhere outside, so they do no harm.
                yield from _reads(inner)
            yield from (value.name for value in body.output)
