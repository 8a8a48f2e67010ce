"""Where the rows of a batch lie: into a slot's pinned memory on the way in, out of it on the way back.

Each row is copied once in each direction and touched by nothing else (DESIGN, decision 3). A row that is shorter than
its bucket along a padded axis is filled up on the way in, and its results are cut on the way back.

The padding rows of a gear are zeroed, since what they held before belongs to other callers. Their results are
never handed out, but a model whose rows are not quite independent (one that quantises over the whole batch)
would let them shine through, and its answers would hang on who was served before. Only padding rows that may
still hold something are zeroed, at less than the price of copying as many rows; a full gear has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ascend_serve.batching.fitting import Fitting, Size
from ascend_serve.errors import InvalidTensor
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.padding import PaddedAxis, PaddedLength, padded_axes
from ascend_serve.spec.tensors import TensorSpec, row_bytes

Tensors = Mapping[str, NDArray[Any]]
"""Arrays by tensor name."""

_MOST_KNOWN = 4096
"""Shapes of requests whose size is remembered; past it they are forgotten and found anew."""

_MOST_HELD_BYTES = 1 << 20
"""Parts up to this size are copied without letting go of the GIL, as numpy would. Getting it back from a busy event
loop takes up to a switch interval for each part: 16 rows of 150 KB took 1.9 ms beside one, and so take 0.27."""


class Part(NamedTuple):
    """Rows `start` to `start + rows` of one request, which lie in the slot from row `at` on.

    Attributes:
        inputs: all input rows of the request.
        outputs: where its results go, from `Packer.room`.
    """

    inputs: Tensors
    outputs: dict[str, NDArray[Any]]
    start: int
    rows: int
    at: int


class _Pad(NamedTuple):
    """A padded axis of an input's rows; `before` stands for the axes ahead of it, and `filler` has no axis."""

    axis: int
    before: tuple[slice, ...]
    filler: NDArray[Any]


class _Input(NamedTuple):
    """An input in one bucket."""

    name: str
    row_bytes: int
    pads: tuple[_Pad, ...]


class _Output(NamedTuple):
    """An output in one bucket; `cuts` are (axis of a row, index of the padded length)."""

    name: str
    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]
    row_bytes: int
    cuts: tuple[tuple[int, int], ...]


class Packer:
    """Copies the rows of one model's batches.

    A model that is not batched is treated as one whose only row is the whole set of tensors.

    A slot's arrays of all buckets lie over the same memory, each from its first byte on; what one bucket left there,
    another finds.

    Args:
        spec: the model's signature.
        slots: how many slots there are.
        padded: the axes that are padded.

    Raises:
        ConfigError: `padded` does not fit the model, see `spec.padding.padded_axes`.
    """

    def __init__(self, spec: ModelSpec, slots: int, padded: Sequence[PaddedLength] = ()) -> None:
        axes = padded_axes(spec, padded)
        self._batched = spec.batched
        self._dtypes = [(tensor.name, tensor.dtype.numpy) for tensor in spec.inputs]
        self._fitting = Fitting(spec, padded)
        self._sizes: dict[tuple[tuple[int, ...], ...], Size] = {}
        self._inputs = [
            [_input(spec, number, tensor, axes) for tensor in spec.inputs]
            for number in range(len(spec.buckets))
        ]
        self._outputs = [
            [_output(spec, number, tensor, axes) for tensor in spec.outputs]
            for number in range(len(spec.buckets))
        ]
        self._cuts = [any(output.cuts for output in outputs) for outputs in self._outputs]
        # How many bytes of each input of each slot, from the first on, may hold something else than zeros: all of
        # them at first, for fresh pinned memory holds anything. Only the thread that packs touches this.
        whole = [
            max(
                spec.bytes_at(tensor.name, number, bucket.gears.largest)
                for number, bucket in enumerate(spec.buckets)
            )
            for tensor in spec.inputs
        ]
        self._used_bytes = [list(whole) for _ in range(slots)]

    def measure(self, inputs: Tensors) -> Size:
        """How large a request is, and in which buckets it can run.

        The data plane has checked the tensors before. This is the last look before they share a batch with
        others, where a wrong shape would fail all of it, or spread one row over many.

        Raises:
            InvalidTensor: the tensors do not fit the signature, have no row, or fit no bucket.
        """
        shapes = []
        for name, dtype in self._dtypes:
            given = inputs.get(name)
            if given is None:
                raise InvalidTensor(f"input '{name}' is missing")
            if given.dtype != dtype:
                raise InvalidTensor(f"input '{name}' is {given.dtype}{list(given.shape)}; it must be {dtype}")
            shapes.append(given.shape)
        key = tuple(shapes)
        size = self._sizes.get(key)
        if size is None:
            size = self._fitting.size(key)
            if len(self._sizes) >= _MOST_KNOWN:
                self._sizes.clear()
            self._sizes[key] = size
        return size

    def room(self, size: Size, bucket: int, rows: int) -> dict[str, NDArray[Any]]:
        """Where the results of a request go: one array for each output, not yet written.

        There are none yet if all of it runs in one batch and nothing is cut. Then `unpack` makes them, on a thread that
        has more time than the event loop.

        Args:
            size: of the request.
            bucket: index of the bucket it runs in; outputs that are cut have the request's own lengths.
            rows: how many of its rows run in the first batch.
        """
        if rows == size.rows and not self._cuts[bucket]:
            return {}
        found = {}
        for name, dtype, shape, _, cuts in self._outputs[bucket]:
            if cuts:
                shape = _cut(shape, cuts, size.lengths)
            found[name] = np.empty((size.rows, *shape) if self._batched else shape, dtype)
        return found

    def pack(self, slot: int, bucket: int, gear: int, parts: Sequence[Part], inputs: Tensors) -> None:
        """Write the rows of `parts` into `inputs`, a slot's pinned arrays, and zero the padding up to `gear`.

        The parts lie one after the other from row 0 on. `inputs` has shape (largest gear of the bucket, *row shape),
        or the bucket's own shape if the model is not batched.
        """
        filled = parts[-1].at + parts[-1].rows
        used = self._used_bytes[slot]
        for place, (name, size, pads) in enumerate(self._inputs[bucket]):
            room = inputs[name] if self._batched else inputs[name][np.newaxis]
            was = used[place]
            # Before the first row is written: a pack that fails halfway leaves rows here, too.
            used[place] = max(was, filled * size)
            octets = _octets(room)
            for given, _, start, rows, at in parts:
                source = given[name] if self._batched else given[name][np.newaxis]
                if len(source) != rows:
                    source = source[start : start + rows]
                if pads:
                    _fill_up(room[at : at + rows], source, pads)
                elif source.flags.c_contiguous and source.nbytes <= _MOST_HELD_BYTES:
                    octets[at * size : (at + rows) * size] = _octets(source)
                else:
                    room[at : at + rows] = source
            end = gear * size
            if (stale := min(was, end)) > filled * size:
                room[filled : -(-stale // size)] = 0
            # What lies behind this gear, where a larger one or another bucket was, is as it was.
            used[place] = filled * size if was <= end else was

    def unpack(self, bucket: int, parts: Sequence[Part], outputs: Tensors) -> None:
        """Copy the rows of `parts` out of `outputs`, a slot's pinned arrays, to where the requests' results go."""
        for name, dtype, shape, size, cuts in self._outputs[bucket]:
            results = outputs[name] if self._batched else outputs[name][np.newaxis]
            octets = _octets(results)
            for _, wanted, start, rows, at in parts:
                made = wanted.get(name)
                if made is None:
                    made = wanted[name] = np.empty((rows, *shape) if self._batched else shape, dtype)
                target = made if self._batched else made[np.newaxis]
                if len(target) != rows:
                    target = target[start : start + rows]
                if cuts:
                    shown = (slice(at, at + rows), *map(slice, target.shape[1:]))
                    target[...] = results[shown]
                elif target.nbytes <= _MOST_HELD_BYTES:
                    _octets(target)[:] = octets[at * size : (at + rows) * size]
                else:
                    target[...] = results[at : at + rows]


def _octets(array: NDArray[Any]) -> memoryview:
    """The bytes of an array that lies in one piece."""
    return array.data.cast("B")


def _fill_up(room: NDArray[Any], rows: NDArray[Any], pads: Sequence[_Pad]) -> None:
    """Write rows into the corner of `room`, and the filler behind them along each padded axis."""
    if len(pads) == 1:
        corner: tuple[slice, ...] = (*pads[0].before, slice(rows.shape[pads[0].axis]))
    else:
        corner = tuple(map(slice, rows.shape))
    room[corner] = rows
    for axis, before, filler in pads:
        if rows.shape[axis] < room.shape[axis]:
            behind = (*before, slice(rows.shape[axis], None))
            room[behind] = filler


def _input(
    spec: ModelSpec, bucket: int, tensor: TensorSpec, axes: Mapping[tuple[str, str], Sequence[PaddedAxis]]
) -> _Input:
    shape = spec.buckets[bucket].shapes[tensor.name]
    shift = 0 if spec.batched else 1
    pads = tuple(
        _Pad(pad.axis + shift, (slice(None),) * (pad.axis + shift), np.asarray(pad.value))
        for pad in axes.get(("input", tensor.name), ())
    )
    return _Input(tensor.name, row_bytes(tensor.dtype, shape), pads)


def _output(
    spec: ModelSpec, bucket: int, tensor: TensorSpec, axes: Mapping[tuple[str, str], Sequence[PaddedAxis]]
) -> _Output:
    shape = spec.buckets[bucket].shapes[tensor.name]
    shift = 1 if spec.batched else 0
    cuts = tuple((cut.axis - shift, cut.length) for cut in axes.get(("output", tensor.name), ()))
    return _Output(tensor.name, tensor.dtype.numpy, shape, row_bytes(tensor.dtype, shape), cuts)


def _cut(shape: tuple[int, ...], cuts: Sequence[tuple[int, int]], lengths: Sequence[int]) -> tuple[int, ...]:
    sizes = list(shape)
    for axis, length in cuts:
        sizes[axis] = lengths[length]
    return tuple(sizes)
