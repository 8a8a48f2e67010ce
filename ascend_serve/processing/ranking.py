"""From the outputs of a classifier to its best classes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ascend_serve.errors import UnusableOutput

Scores = Literal["softmax", "sigmoid", "raw"]
Array = np.ndarray[Any, np.dtype[Any]]


def scored(outputs: Array, scores: Scores) -> Array:
    """Outputs as scores.

    Args:
        outputs: `[rows, classes]` of any real dtype.
        scores: `softmax` for one class of many, `sigmoid` for each class by itself, `raw` for outputs that are scores.

    Returns:
        float64 `[rows, classes]`.

    Raises:
        UnusableOutput: an output is no finite number: in half precision a model may overflow.
    """
    wide = outputs.astype(np.float64)
    if not np.isfinite(wide).all():
        raise UnusableOutput(
            "the model gave an output that is no finite number: its weights, or values past half precision's range "
            "(a recipe with `precision: fp32` tells which)"
        )
    if scores == "raw":
        return wide
    if scores == "sigmoid":
        # Both signs by a power that cannot overflow.
        power = np.exp(-np.abs(wide))
        return np.where(wide >= 0, 1.0, power) / (1.0 + power)
    power = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def best(scores: Array, count: int) -> Array:
    """Indices of the `count` best classes of each row, best first, equals in their own order: `[rows, count]`."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]
