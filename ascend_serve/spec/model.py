"""What a model takes and gives, and at which gears it runs."""

from __future__ import annotations

from dataclasses import dataclass

from ascend_serve.errors import ConfigError
from ascend_serve.spec.buckets import Bucket
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.tensors import FREE_AXIS, TensorSpec, row_bytes


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model's signature.

    A *batched* model counts rows along axis 0 of every input and output; rows are independent, so requests may
    share a run. A model that is not batched takes one request per run, at the one gear 1; its "row" is the
    whole set of tensors.

    Attributes:
        gears: batch sizes of all buckets together.
        buckets: the sets of row shapes it runs with; one, made of `gears` and the tensors' own shapes, when none are
            given. Their order numbers them everywhere else.

    Raises:
        ConfigError: no inputs or outputs, a name used twice, batched tensors beside fixed ones, gears other than [1]
            on a model that is not batched, or buckets that do not fit the tensors and the gears.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    gears: Gears
    buckets: tuple[Bucket, ...] = ()

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
        if not self.buckets:
            shapes = {tensor.name: tensor.row_shape for tensor in tensors}
            object.__setattr__(self, "buckets", (Bucket(self.gears, shapes),))
        self._check_buckets()

    def _check_buckets(self) -> None:
        tensors = (*self.inputs, *self.outputs)
        if len(self.buckets) == 1 and (free := [tensor.name for tensor in tensors if tensor.free]):
            raise ConfigError(
                f"model '{self.name}' has free axes ({', '.join(free)}) and one bucket: give a bucket for each set of "
                "sizes, or the sizes in place of -1"
            )
        for number, bucket in enumerate(self.buckets):
            for tensor in tensors:
                shape = bucket.shapes.get(tensor.name)
                if shape is None or not _fits(shape, tensor.row_shape):
                    raise ConfigError(
                        f"model '{self.name}': bucket {number} has "
                        f"{'no shape' if shape is None else list(shape)} for '{tensor.name}', whose rows are "
                        f"{list(tensor.row_shape)} (-1: any size)"
                    )
        seen = {tuple(bucket.shapes[tensor.name] for tensor in self.inputs) for bucket in self.buckets}
        if len(seen) < len(self.buckets):
            raise ConfigError(f"model '{self.name}' has two buckets of the same input shapes: make them one")
        if self.gears != (together := Gears.of({gear for bucket in self.buckets for gear in bucket.gears})):
            raise ConfigError(
                f"model '{self.name}' has gears {list(self.gears)}, its buckets have {list(together)} together"
            )

    @property
    def batched(self) -> bool:
        """Whether rows of several requests may share a run."""
        return self.inputs[0].batched

    @property
    def free(self) -> bool:
        """Whether requests choose among row shapes: there is more than one bucket."""
        return len(self.buckets) > 1

    @property
    def input_row_bytes(self) -> int:
        """Bytes that one row of all inputs takes; with several buckets, in the one where that is most."""
        return max(self._row_bytes(self.inputs, bucket) for bucket in self.buckets)

    @property
    def output_row_bytes(self) -> int:
        """Bytes that one row of all outputs takes; with several buckets, in the one where that is most."""
        return max(self._row_bytes(self.outputs, bucket) for bucket in self.buckets)

    def shape_at(self, name: str, bucket: int, rows: int) -> tuple[int, ...]:
        """The concrete shape of an input or output.

        Args:
            name: of the input or output.
            bucket: index into `buckets`.
            rows: size of axis 0; without effect when the model is not batched.

        Raises:
            KeyError: no input or output of that name.
            IndexError: no such bucket.
        """
        shape = self.buckets[bucket].shapes[name]
        return (rows, *shape) if self.batched else shape

    def bytes_at(self, name: str, bucket: int, rows: int) -> int:
        """Bytes of an input or output; arguments and errors as `shape_at`."""
        tensor = self.input(name) or self.output(name)
        if tensor is None:
            raise KeyError(name)
        return row_bytes(tensor.dtype, self.shape_at(name, bucket, rows))

    def input(self, name: str) -> TensorSpec | None:
        """The input of that name, or None."""
        return next((tensor for tensor in self.inputs if tensor.name == name), None)

    def output(self, name: str) -> TensorSpec | None:
        """The output of that name, or None."""
        return next((tensor for tensor in self.outputs if tensor.name == name), None)

    @staticmethod
    def _row_bytes(tensors: tuple[TensorSpec, ...], bucket: Bucket) -> int:
        return sum(row_bytes(tensor.dtype, bucket.shapes[tensor.name]) for tensor in tensors)


def _fits(shape: tuple[int, ...], row_shape: tuple[int, ...]) -> bool:
    return len(shape) == len(row_shape) and all(
        size == told or (told == FREE_AXIS and size >= 1) for size, told in zip(shape, row_shape, strict=True)
    )
