"""From gears of image sizes, or of any axes, to the buckets of a model.

Whoever can tell the shape of each tensor at each gear, the file's reader or the device, gets the same model out of
here. In a gear of several sizes nothing says which of them is the batch (facts: ATC §1.5): it is axis 0 when all
tensors agree about it at every gear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ascend_serve.errors import ConfigError
from ascend_serve.spec.buckets import Bucket
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import BATCH_AXIS, FREE_AXIS, DataType, TensorSpec

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GearedTensor:
    """An input or output of a model with gears.

    Attributes:
        name: the name callers use.
        dtype: element type.
        shapes: its whole shape at each gear.
    """

    name: str
    dtype: DataType
    shapes: tuple[Shape, ...]


def geared_spec(
    name: str, inputs: Sequence[GearedTensor], outputs: Sequence[GearedTensor], batched: bool | None = None
) -> ModelSpec:
    """The signature of a model, by its tensors' shapes at each gear.

    Gears that differ in axis 0 alone share a bucket. A model that is not batched has a bucket for each gear, of gear
    1. Buckets stand in ascending order of their inputs' elements.

    Args:
        name: name of the served model.
        inputs: in the model's order, without the hidden one that selects the gear.
        outputs: in the model's order.
        batched: whether axis 0 counts rows; None: if all tensors agree about it at every gear.

    Raises:
        ConfigError: no gears, tensors with another number of shapes, or `batched` against the shapes.
    """
    tensors = (*inputs, *outputs)
    counts = {len(tensor.shapes) for tensor in tensors}
    if len(counts) != 1 or 0 in counts:
        raise ConfigError(
            f"model '{name}': its tensors have shapes at {sorted(counts)} gears; give one for each"
        )
    differing = _no_rows(inputs, outputs)
    if batched and differing:
        raise ConfigError(f"model '{name}' cannot be batched: {differing}; set batched to false")
    whole = bool(differing) if batched is None else not batched
    buckets = _buckets(inputs, outputs, whole)
    gears = Gears.of({gear for bucket in buckets for gear in bucket.gears})
    return ModelSpec(
        name,
        tuple(_tensor_spec(tensor, buckets, whole) for tensor in inputs),
        tuple(_tensor_spec(tensor, buckets, whole) for tensor in outputs),
        gears,
        buckets,
    )


def _no_rows(inputs: Sequence[GearedTensor], outputs: Sequence[GearedTensor]) -> str:
    """Why axis 0 cannot count rows, or an empty text."""
    tensors = (*inputs, *outputs)
    # By the row shapes of the inputs: an output has to have one row shape wherever the inputs have.
    rows_out: dict[tuple[Shape, ...], tuple[Shape, ...]] = {}
    for gear in range(len(inputs[0].shapes)):
        at = {tensor.name: tensor.shapes[gear] for tensor in tensors}
        leading = {shape[:1] for shape in at.values()}
        if len(leading) != 1 or () in leading:
            told = ", ".join(f"{key} {list(shape)}" for key, shape in at.items())
            return f"at a gear its tensors do not all begin with the same size: {told}"
        key = tuple(tensor.shapes[gear][1:] for tensor in inputs)
        out = tuple(tensor.shapes[gear][1:] for tensor in outputs)
        if rows_out.setdefault(key, out) != out:
            return f"for rows of {[list(shape) for shape in key]} its outputs have several shapes"
    return ""


def _buckets(
    inputs: Sequence[GearedTensor], outputs: Sequence[GearedTensor], whole: bool
) -> tuple[Bucket, ...]:
    skipped = 0 if whole else 1
    sizes: dict[tuple[Shape, ...], set[int]] = {}
    shapes: dict[tuple[Shape, ...], dict[str, Shape]] = {}
    for gear in range(len(inputs[0].shapes)):
        key = tuple(tensor.shapes[gear][skipped:] for tensor in inputs)
        sizes.setdefault(key, set()).add(1 if whole else inputs[0].shapes[gear][0])
        shapes[key] = {tensor.name: tensor.shapes[gear][skipped:] for tensor in (*inputs, *outputs)}
    ascending = sorted(sizes, key=lambda key: (sum(map(prod, key)), key))
    return tuple(Bucket(Gears.of(sizes[key]), shapes[key]) for key in ascending)


def _tensor_spec(tensor: GearedTensor, buckets: Sequence[Bucket], whole: bool) -> TensorSpec:
    each = zip(*(bucket.shapes[tensor.name] for bucket in buckets), strict=True)
    row = tuple(dims[0] if len(set(dims)) == 1 else FREE_AXIS for dims in each)
    return TensorSpec(tensor.name, tensor.dtype, row if whole else (BATCH_AXIS, *row), counted=not whole)
