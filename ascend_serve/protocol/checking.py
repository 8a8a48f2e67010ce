"""Whether a request's tensors are the model's, before anything is submitted."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ascend_serve.errors import InvalidTensor, RequestTooLarge
from ascend_serve.protocol.datatypes import Datatype, WireType
from ascend_serve.protocol.messages import Array
from ascend_serve.protocol.show import show
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.padding import PaddedLength, padded_axes
from ascend_serve.spec.tensors import TensorSpec
from ascend_serve.spec.text import nearest

_MOST_KNOWN = 4096
"""Shapes that are remembered as right; past it they are forgotten and checked anew."""
_MOST_TOLD = 12
"""Sizes of an axis that a message lists."""
_FEW_ELEMENTS = 4096
"""Elements that are read in no time, whatever the model takes."""


_WIRE_ONLY = {
    WireType.BYTES.value: "BYTES, but the accelerator's tensors hold numbers: decode text or images before",
    WireType.BF16.value: "BF16, for which numpy has no numbers: send what the model takes",
}
"""What is said of datatypes that no model takes, by the numpy dtype without its byte order."""


class _Axis(NamedTuple):
    """Sizes that an axis may have, and how a message writes them."""

    sizes: Container[int]
    shown: str


class TensorCheck:
    """Checks the inputs of requests against the signature of one model.

    Any memory layout is accepted, since packing copies by value. Another byte order is not: a caller who has
    it has most often mistaken it, and converting would cost a copy that nobody asked for. Free axes are checked one by
    one; whether their sizes go together is known to who packs.

    Args:
        spec: the model's signature.
        max_rows: rows one request may have.
        padded: axes along which a request may be shorter.

    Raises:
        ConfigError: `padded` does not fit the model.
    """

    def __init__(self, spec: ModelSpec, max_rows: int, padded: Sequence[PaddedLength] = ()) -> None:
        self._spec = spec
        self._max_rows = max_rows
        axes = padded_axes(spec, padded)
        self._dtypes = [(tensor.name, tensor.dtype.numpy) for tensor in spec.inputs]
        self._rows = [
            _row(spec, tensor, [pad.axis for pad in axes.get(("input", tensor.name), ())])
            for tensor in spec.inputs
        ]
        self._known: dict[tuple[tuple[int, ...], ...], int] = {}

    def __call__(self, tensors: Mapping[str, Array]) -> int:
        """Check a request's inputs by name.

        Returns:
            Rows of the request; 1 for a model without a batch axis.

        Raises:
            InvalidTensor: an input is missing, unknown, no array, of another dtype, byte order or shape, or the
                inputs do not agree on the number of rows.
            RequestTooLarge: more than `max_rows` rows.
        """
        shapes = []
        if len(tensors) == len(self._dtypes):
            for name, dtype in self._dtypes:
                array = tensors.get(name)
                if array.__class__ is not np.ndarray or array.dtype != dtype:
                    break
                shapes.append(array.shape)
        key = tuple(shapes)
        rows = self._known.get(key)
        if rows is None:
            rows = self._check(tensors)
            if len(key) == len(self._dtypes):
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[key] = rows
        return rows

    def _check(self, tensors: Mapping[str, Array]) -> int:
        known = [name for name, _ in self._dtypes]
        for name in tensors:
            if name not in known:
                raise _unknown(self._spec.name, name, known)
        rows: int | None = None
        for tensor, row in zip(self._spec.inputs, self._rows, strict=True):
            if tensor.name not in tensors:
                raise InvalidTensor(
                    f"input '{tensor.name}' is missing; model '{self._spec.name}' takes {', '.join(known)}"
                )
            array = tensors[tensor.name]
            _check_array(tensor, row, array)
            if not tensor.batched:
                continue
            if rows is not None and len(array) != rows:
                raise InvalidTensor(
                    f"input '{tensor.name}' has {len(array)} rows, but input '{known[0]}' has {rows}: all inputs "
                    "of a request have the same number of rows"
                )
            rows = len(array)
        if rows is None:
            return 1
        if rows > self._max_rows:
            raise RequestTooLarge(
                f"the request has {rows} rows; at most {self._max_rows} are taken: split it"
            )
        return rows


class DeclaredCheck:
    """Checks what requests say of their inputs, so that nothing is read that the model does not take.

    It refuses names, datatypes and sizes; a `TensorCheck` has the last word on what it lets pass.

    Args:
        spec: the model's signature.
        max_rows: tells how many rows one request may have.
    """

    def __init__(self, spec: ModelSpec, max_rows: Callable[[], int]) -> None:
        self._name = spec.name
        self._max_rows = max_rows
        self._inputs = {
            tensor.name: (tensor, max(prod(bucket.shapes[tensor.name]) for bucket in spec.buckets))
            for tensor in spec.inputs
        }

    def __call__(self, name: str, dtype: Datatype, shape: tuple[int, ...]) -> None:
        """Check an input that a request declares.

        Raises:
            InvalidTensor: the model has no such input, or takes another datatype.
            RequestTooLarge: more elements than in `max_rows` of the model's largest rows.
        """
        known = self._inputs.get(name)
        if known is None:
            raise _unknown(self._name, name, list(self._inputs))
        tensor, row_elements = known
        if dtype is not tensor.dtype:
            _check_dtype(tensor, dtype.numpy)
        elements = prod(shape)
        if elements <= _FEW_ELEMENTS:
            return
        rows = self._max_rows() if tensor.batched else 1
        if elements > rows * row_elements:
            raise RequestTooLarge(
                f"input '{name}' has shape {list(shape)}, which is {elements} elements; at most {rows} rows of "
                f"{row_elements} are taken: split the request"
            )


def _unknown(model: str, name: object, known: Sequence[str]) -> InvalidTensor:
    return InvalidTensor(f"model '{model}' has no input {show(name)}{nearest(str(name)[:100], known)}")


def _row(spec: ModelSpec, tensor: TensorSpec, padded: Sequence[int]) -> tuple[_Axis, ...]:
    axes = []
    for axis, size in enumerate(tensor.row_shape):
        there = sorted({bucket.shapes[tensor.name][axis] for bucket in spec.buckets})
        if axis + spec.batched in padded:
            axes.append(_Axis(range(1, there[-1] + 1), f"1~{there[-1]}"))
        elif len(there) == 1:
            axes.append(_Axis((size,), str(there[0])))
        else:
            more = "|…" if len(there) > _MOST_TOLD else ""
            axes.append(_Axis(frozenset(there), "|".join(map(str, there[:_MOST_TOLD])) + more))
    return tuple(axes)


def _check_array(tensor: TensorSpec, row: Sequence[_Axis], array: Array) -> None:
    if not isinstance(array, np.ndarray):
        raise InvalidTensor(f"input '{tensor.name}' is a {type(array).__name__}, but must be a numpy array")
    _check_dtype(tensor, array.dtype)
    shape = array.shape
    fits = len(shape) == len(tensor.shape) and _is_row(row, shape[tensor.batched :])
    if fits and (not tensor.batched or shape[0] >= 1):
        return
    hint = ""
    if fits:
        hint = "; a request has at least one row"
    elif tensor.batched and _is_row(row, shape):
        hint = "; add a leading batch axis, such as [1, ...]"
    expected = ", ".join([*(["-1"] if tensor.batched else []), *(axis.shown for axis in row)])
    raise InvalidTensor(
        f"input '{tensor.name}' has shape {list(shape)}, but the model takes [{expected}]"
        f"{' (-1 is the number of rows)' if tensor.batched else ''}{hint}"
    )


def _check_dtype(tensor: TensorSpec, dtype: np.dtype[Any]) -> None:
    if dtype == tensor.dtype.numpy:
        return
    if (words := _WIRE_ONLY.get(dtype.str[1:])) is not None:
        raise InvalidTensor(
            f"input '{tensor.name}' has dtype {dtype}, which is {words}; the model takes {tensor.dtype.name}"
        )
    rule = f"the model takes {tensor.dtype.name} ({tensor.dtype.numpy}); nothing is converted in silence"
    if dtype == tensor.dtype.numpy.newbyteorder():
        rule = f"in this byte order it is not taken: convert it with .astype('{tensor.dtype.numpy}')"
    raise InvalidTensor(f"input '{tensor.name}' has dtype {dtype}: {rule}")


def _is_row(row: Sequence[_Axis], shape: Sequence[int]) -> bool:
    return len(row) == len(shape) and all(size in axis.sizes for axis, size in zip(row, shape, strict=True))
