"""The classification extension: an output as its largest values and where they are.

Rests on Triton's classification extension (triton-inference-server/server, docs/protocol/extension_classification.md).
An output for which the parameter `classification` is n comes back as BYTES, in each row its n largest elements, the
largest first, as `value:index`, with `:label` after them where the model has labels. A row that has fewer elements
gives all that it has, and a row of several axes is looked at as flat (src/servers/classification.cc there).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ascend_serve.errors import InvalidTensor
from ascend_serve.protocol.datatypes import array_from_octets
from ascend_serve.protocol.messages import Array
from ascend_serve.protocol.show import show

PARAMETER = "classification"
"""The parameter of a requested output."""

_LARGEST = 2**31 - 1


def classes_of(value: object, output: str) -> int:
    """How many classes the parameter asks for; 0 where it is absent.

    Args:
        value: of the parameter, or None.
        output: the output's name, for the message.

    Raises:
        InvalidTensor: no whole number, or none from 1 up.
    """
    if value is None:
        return 0
    if type(value) is not int or not 1 <= value <= _LARGEST:
        raise InvalidTensor(
            f"output '{output}': classification is {show(value)}, but must be the number of classes to return, at "
            "least 1"
        )
    return value


def top_classes(array: Array, classes: int, *, batched: bool, labels: Sequence[str] = ()) -> Array:
    """The largest elements of each row, as BYTES.

    Elements that are equal stand in the order of their indices, and NaN stands behind all numbers.

    Args:
        array: the output; with `batched`, of shape (rows, *row shape).
        classes: how many of each row, at least 1.
        batched: whether axis 0 counts rows; otherwise the whole array is one.
        labels: of the indices, from 0 on; an index past them has none.

    Returns:
        Shape (rows, n), or (n) without rows; n is `classes`, or all elements of a row where they are fewer.
    """
    rows = array.reshape(len(array), -1) if batched else array.reshape(1, -1)
    # Turned round so that the largest sort first, without an overflow; a stable sort keeps equals in order.
    turned = -rows if rows.dtype.kind == "f" else ~rows
    best = np.argsort(turned, axis=1, kind="stable")[:, :classes]
    named = [
        _named(value, index, labels)
        for row, indices in zip(rows, best, strict=True)
        for value, index in zip(row[indices], indices.tolist(), strict=True)
    ]
    return array_from_octets(named, best.shape if batched else best.shape[1:])


def _named(value: object, index: int, labels: Sequence[str]) -> bytes:
    text = f"{int(value) if isinstance(value, np.bool_) else value}:{index}"
    return (f"{text}:{labels[index]}" if index < len(labels) else text).encode()
