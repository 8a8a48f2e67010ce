"""Which axes of a request may be padded up to a bucket, with what, and where the padding is cut off again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import Field, StrictInt, field_validator, model_validator

from ascend_serve.errors import ConfigError
from ascend_serve.spec.closed import Closed
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import TensorSpec
from ascend_serve.spec.text import nearest

Axis = Annotated[StrictInt, Field(ge=0)]


class PaddedLength(Closed):
    """One length that requests choose, such as that of a token sequence.

    Attributes:
        inputs: the axis that has this length in each input, by name; axis 0 is the batch.
        values: what fills each input up to the bucket's length, by name; 0 where nothing is said.
        outputs: the axis in each output that comes back as long as the bucket, and is cut to the request's length.
    """

    inputs: Mapping[str, Axis] = Field(min_length=1)
    values: Mapping[str, float] = Field(default_factory=dict)
    outputs: Mapping[str, Axis] = Field(default_factory=dict)

    @field_validator("values")
    @classmethod
    def _check_values(cls, values: Mapping[str, float]) -> Mapping[str, float]:
        for name, value in values.items():
            if value != value:
                raise ValueError(
                    f"the value for '{name}' is no number: a request could not be told from its padding"
                )
        return values

    @model_validator(mode="after")
    def _check(self) -> PaddedLength:
        for name in self.values:
            if name not in self.inputs:
                raise ValueError(f"values: '{name}' is none of its inputs{nearest(name, self.inputs)}")
        return self


class PaddedAxis(NamedTuple):
    """One padded axis of one tensor.

    Attributes:
        length: index of its `PaddedLength`.
        axis: as the caller counts, axis 0 being the batch of a batched model.
        value: what it is filled with, of the tensor's dtype; 0 for outputs, which are cut.
    """

    length: int
    axis: int
    value: np.generic


def padded_axes(spec: ModelSpec, padded: Sequence[PaddedLength]) -> dict[tuple[str, str], list[PaddedAxis]]:
    """The padded axes of each tensor of a model, by ("input" or "output", name); tensors without any are left out.

    Raises:
        ConfigError: a name that is not the model's, an axis that it has not, the batch or one padded twice, tensors of
            one length that differ in a bucket, or a value that the input's dtype cannot hold.
    """
    found: dict[tuple[str, str], list[PaddedAxis]] = {}
    for number, length in enumerate(padded):
        where = f"padded[{number}]"
        for side, tensor, axis in _tensors(spec, length, where):
            axes = found.setdefault((side, tensor.name), [])
            if any(other.axis == axis for other in axes):
                raise ConfigError(f"{where}: axis {axis} of {side} '{tensor.name}' is padded twice")
            value = length.values.get(tensor.name, 0.0) if side == "input" else 0.0
            axes.append(PaddedAxis(number, axis, _filler(tensor, value, where)))
        _check_lengths(spec, length, where)
    return found


def lengths_of(spec: ModelSpec, length: PaddedLength) -> list[int]:
    """The size of one padded length in each bucket."""
    name, axis = next(iter(length.inputs.items()))
    return [bucket.shapes[name][axis - spec.batched] for bucket in spec.buckets]


def _tensors(spec: ModelSpec, length: PaddedLength, where: str) -> Iterator[tuple[str, TensorSpec, int]]:
    for side, tensors, axes in (
        ("input", spec.inputs, length.inputs),
        ("output", spec.outputs, length.outputs),
    ):
        known = {tensor.name: tensor for tensor in tensors}
        for name, axis in axes.items():
            if name not in known:
                raise ConfigError(
                    f"{where}: model '{spec.name}' has no {side} '{name}'{nearest(name, known)}"
                )
            if axis == 0 and spec.batched:
                raise ConfigError(f"{where}: axis 0 of {side} '{name}' is the batch; gears pad it")
            if axis >= len(known[name].shape):
                raise ConfigError(
                    f"{where}: {side} '{name}' has shape {list(known[name].shape)}, without an axis {axis}"
                )
            yield side, known[name], axis


def _check_lengths(spec: ModelSpec, length: PaddedLength, where: str) -> None:
    for number, bucket in enumerate(spec.buckets):
        axes = [*length.inputs.items(), *length.outputs.items()]
        sizes = {name: bucket.shapes[name][axis - spec.batched] for name, axis in axes}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"'{name}' {size}" for name, size in sizes.items())
            raise ConfigError(f"{where}: in bucket {number} its axes are not of one length: {told}")


def _filler(tensor: TensorSpec, value: float, where: str) -> np.generic:
    dtype = tensor.dtype.numpy
    if dtype.kind == "f":
        fits = abs(value) == inf or abs(value) <= float(np.finfo(dtype).max)
    else:
        least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        fits = value.is_integer() and least <= int(value) <= most
    if not fits:
        raise ConfigError(f"{where}: the value {value:g} for input '{tensor.name}' does not fit {dtype}")
    filler: np.generic = dtype.type(value if dtype.kind == "f" else int(value))
    return filler
