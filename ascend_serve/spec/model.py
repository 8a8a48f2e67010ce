"""What a model takes and gives, and at which gears it runs."""

from __future__ import annotations

from dataclasses import dataclass

from ascend_serve.errors import ConfigError
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model's signature.

    A *batched* model counts rows along axis 0 of every input and output; rows are independent, so requests may
    share a run. A model that is not batched takes one request per run, at the one gear 1; its "row" is the
    whole set of tensors.

    Raises:
        ConfigError: no inputs or outputs, a name used twice, batched tensors beside fixed ones, or gears
            other than [1] on a model that is not batched.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    gears: Gears

    def __post_init__(self) -> None:
        for side, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not tensors:
                raise ConfigError(f"model '{self.name}' has no {side}")
            names = [tensor.name for tensor in tensors]
            if len(set(names)) != len(names):
                raise ConfigError(f"model '{self.name}' has {side} of the same name: {names}")
        tensors = (*self.inputs, *self.outputs)
        fixed = [tensor.name for tensor in tensors if not tensor.batched]
        if fixed and len(fixed) != len(tensors):
            raise ConfigError(
                f"model '{self.name}' mixes batched tensors with fixed ones ({', '.join(fixed)}): rows of several "
                "requests cannot share a run; give every tensor a leading batch axis, or none"
            )
        if fixed and self.gears.sizes != (1,):
            raise ConfigError(f"model '{self.name}' has no batch axis, so its gears can only be [1]")

    @property
    def batched(self) -> bool:
        """Whether rows of several requests may share a run."""
        return self.inputs[0].batched

    @property
    def input_row_bytes(self) -> int:
        """Bytes that one row of all inputs takes."""
        return sum(tensor.row_bytes for tensor in self.inputs)

    @property
    def output_row_bytes(self) -> int:
        """Bytes that one row of all outputs takes."""
        return sum(tensor.row_bytes for tensor in self.outputs)

    def input(self, name: str) -> TensorSpec | None:
        """The input of that name, or None."""
        return next((tensor for tensor in self.inputs if tensor.name == name), None)

    def output(self, name: str) -> TensorSpec | None:
        """The output of that name, or None."""
        return next((tensor for tensor in self.outputs if tensor.name == name), None)
