"""Which buckets a request can run in, by the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ascend_serve.errors import InvalidTensor
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.padding import PaddedLength, lengths_of, padded_axes

Shape = tuple[int, ...]

_MOST_TOLD = 12
"""Sizes that a message lists."""


class Size(NamedTuple):
    """How large a request is.

    Attributes:
        rows: along axis 0; 1 if the model is not batched.
        fits: indices of the buckets it can run in, that of the fewest bytes first.
        lengths: its own size of each padded length.
    """

    rows: int
    fits: tuple[int, ...]
    lengths: tuple[int, ...]


class Fitting:
    """Finds the buckets of requests.

    A padded axis fits every bucket that is at least as long; every other free axis has to be the bucket's own.

    Args:
        spec: the model's signature.
        padded: the axes that are padded.
    """

    def __init__(self, spec: ModelSpec, padded: Sequence[PaddedLength]) -> None:
        self._spec = spec
        self._padded = tuple(padded)
        axes = padded_axes(spec, padded)
        self._pads = {
            tensor.name: {pad.axis - spec.batched: pad.length for pad in axes.get(("input", tensor.name), ())}
            for tensor in spec.inputs
        }
        self._longest = [lengths_of(spec, length) for length in padded]
        self._cheapest_first = sorted(
            range(len(spec.buckets)), key=lambda bucket: (self._bytes(bucket), bucket)
        )

    def size(self, shapes: Sequence[Shape]) -> Size:
        """The size of a request.

        Args:
            shapes: of its inputs, in the model's order.

        Raises:
            InvalidTensor: an input has another number of axes or no row, the inputs differ in rows or in a padded
                length, or no bucket has these sizes.
        """
        rows = self._rows(shapes)
        row_shapes = [shape[self._spec.batched :] for shape in shapes]
        lengths = self._lengths(row_shapes)
        fits = tuple(bucket for bucket in self._cheapest_first if self._fits(bucket, row_shapes))
        if not fits:
            raise InvalidTensor(self._misfit(shapes))
        return Size(rows, fits, lengths)

    def _rows(self, shapes: Sequence[Shape]) -> int:
        rows = shapes[0][0] if self._spec.batched and shapes[0] else 1
        for tensor, shape in zip(self._spec.inputs, shapes, strict=True):
            if len(shape) != len(tensor.shape) or (self._spec.batched and shape[0] != rows) or rows < 1:
                axes = [max(rows, 1), *tensor.row_shape] if self._spec.batched else list(tensor.row_shape)
                raise InvalidTensor(
                    f"input '{tensor.name}' has shape {list(shape)}; it must be {axes}"
                    + (" (-1: one of the model's sizes)" if tensor.free else "")
                )
        return rows

    def _lengths(self, row_shapes: Sequence[Shape]) -> tuple[int, ...]:
        by_name = {tensor.name: shape for tensor, shape in zip(self._spec.inputs, row_shapes, strict=True)}
        lengths = []
        for length, longest in zip(self._padded, self._longest, strict=True):
            sizes = {name: by_name[name][axis - self._spec.batched] for name, axis in length.inputs.items()}
            (name, size), *others = sizes.items()
            for other, differing in others:
                if differing != size:
                    raise InvalidTensor(
                        f"input '{name}' has {size} along axis {length.inputs[name]}, input '{other}' has "
                        f"{differing} along axis {length.inputs[other]}: they must be of one length"
                    )
            if not 1 <= size <= max(longest):
                raise InvalidTensor(
                    f"input '{name}' has {size} along axis {length.inputs[name]}; the model takes 1 to "
                    f"{max(longest)}"
                )
            lengths.append(size)
        return tuple(lengths)

    def _fits(self, bucket: int, row_shapes: Sequence[Shape]) -> bool:
        shapes = self._spec.buckets[bucket].shapes
        for tensor, given in zip(self._spec.inputs, row_shapes, strict=True):
            pads = self._pads[tensor.name]
            for axis, (size, there) in enumerate(zip(given, shapes[tensor.name], strict=True)):
                if size > there or (size < there and axis not in pads):
                    return False
        return True

    def _bytes(self, bucket: int) -> int:
        tensors = (*self._spec.inputs, *self._spec.outputs)
        return sum(self._spec.bytes_at(tensor.name, bucket, 1) for tensor in tensors)

    def _misfit(self, shapes: Sequence[Shape]) -> str:
        """What is there instead: of the first input that fits no bucket by itself, or of all together."""
        for tensor, shape in zip(self._spec.inputs, shapes, strict=True):
            alone = [self._shown(bucket, [tensor.name]) for bucket in self._cheapest_first]
            if not any(self._fits_alone(bucket, tensor.name, shape) for bucket in self._cheapest_first):
                return f"input '{tensor.name}' has shape {list(shape)}; the model takes {_listed(alone)}"
        names = [tensor.name for tensor in self._spec.inputs]
        given = ", ".join(f"'{name}' {list(shape)}" for name, shape in zip(names, shapes, strict=True))
        together = [self._shown(bucket, names) for bucket in self._cheapest_first]
        return f"the inputs have shapes {given}; the model takes together {_listed(together)}"

    def _fits_alone(self, bucket: int, name: str, shape: Shape) -> bool:
        there = self._spec.buckets[bucket].shapes[name]
        given = shape[self._spec.batched :]
        return all(
            size == full or (size < full and axis in self._pads[name])
            for axis, (size, full) in enumerate(zip(given, there, strict=True))
        )

    def _shown(self, bucket: int, names: Iterable[str]) -> str:
        told = []
        for name in names:
            sizes = [
                f"1~{size}" if axis in self._pads[name] else str(size)
                for axis, size in enumerate(self._spec.buckets[bucket].shapes[name])
            ]
            told.append(f"[{', '.join((['rows'] if self._spec.batched else []) + sizes)}]")
        return " with ".join(told)


def _listed(shown: Iterable[str]) -> str:
    known = list(dict.fromkeys(shown))
    more = f" and {len(known) - _MOST_TOLD} more" if len(known) > _MOST_TOLD else ""
    return " or ".join(known[:_MOST_TOLD]) + more
