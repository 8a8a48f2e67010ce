"""What can be told of a network without running it: its outputs' shapes, and the work it asks of the cores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

from ascend_emulator.card.work import count_work
from ascend_emulator.clock.roofline import Work
from ascend_emulator.codes import GE_LOAD_MODEL, RT_MODEL_EXECUTE, Failure

Dims = tuple[int, ...]

_LARGEST_CONSTANT = 4096
"""Elements up to which a weight may be a shape, an axis or another number that inference looks at."""


class Graph:
    """A network's graph, without its large weights.

    Args:
        content: the network, as ONNX.

    Raises:
        Failure: 545001, it is no ONNX.
    """

    def __init__(self, content: bytes) -> None:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # no types

        try:
            self._model = onnx.load_model_from_string(content)
        except DecodeError as error:
            raise Failure(GE_LOAD_MODEL, f"E19999: the network is no ONNX: {error}") from error
        for tensor in self._model.graph.initializer:
            if prod(tensor.dims) > _LARGEST_CONSTANT:
                for field in (
                    "raw_data",
                    "float_data",
                    "int32_data",
                    "int64_data",
                    "double_data",
                    "uint64_data",
                ):
                    tensor.ClearField(field)
        self.work = lru_cache(maxsize=128)(self._work)
        self.output_dims = lru_cache(maxsize=128)(self._output_dims)

    def _work(self, inputs: tuple[Dims, ...]) -> Work:
        """What one execution asks of the card.

        Args:
            inputs: dims of every input.

        Raises:
            Failure: 507011, the network does not take inputs of such shapes.
        """
        return count_work(self._inferred(inputs))

    def _output_dims(self, inputs: tuple[Dims, ...]) -> tuple[Dims | None, ...]:
        """Dims of every output; None where they depend on the values.

        Args:
            inputs: dims of every input.

        Raises:
            Failure: 507011, the network does not take inputs of such shapes.
        """
        return tuple(_known_dims(value) for value in self._inferred(inputs).output)

    def _inferred(self, inputs: Sequence[Dims]) -> Any:
        import onnx
        from onnx.shape_inference import InferenceError

        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        # Shapes that were recorded for inner tensors and outputs are those of other inputs.
        del model.graph.value_info[:]
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
        for value, dims in zip(model.graph.input, inputs, strict=True):
            shape = value.type.tensor_type.shape
            shape.ClearField("dim")
            for dim in dims:
                shape.dim.add().dim_value = dim
        try:
            return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        except InferenceError as error:
            text = f"E19999: the network takes no inputs of shapes {[list(dims) for dims in inputs]}: {error}"
            raise Failure(RT_MODEL_EXECUTE, text) from error


def _known_dims(value: Any) -> Dims | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape") or any(dim.WhichOneof("value") != "dim_value" for dim in kind.shape.dim):
        return None
    return tuple(dim.dim_value for dim in kind.shape.dim)
