"""How far two arrays are apart, in four numbers, and whether a tolerance lets that pass. Pure.

The numbers, for an output `a` of the source and `b` of the compiled model:

- absolute error: the largest `|a - b|`;
- relative error: the largest `|a - b| / max(|a|, rms(a))`, where `rms(a)` is the root of the mean square of `a`.
  Half precision errs by a share of what an operator adds up, not of the sum, so an element near zero is off by
  a share of its neighbours' size; divided by itself it would look ruined while nothing is;
- cosine similarity of both as vectors, which says whether they point the same way;
- top 1: along the last axis, the share of rows whose largest element in `b` is (one of) the largest in `a`.

Elements that are infinite or not a number in both, in the same way, agree. Where only one is, no number can say
how far apart they are: it is told as a fault, which no tolerance lets pass, and the cosine is that of the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ascend_serve.spec.verification import Tolerance

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class OutputReport:
    """How an output of the compiled model compares with the source's.

    Attributes:
        name: the tensor's name.
        shape: its shape, in the source.
        max_abs_error: largest absolute difference of an element; None when the shapes differ.
        max_rel_error: largest relative difference (see the module); None when the shapes differ.
        cosine: cosine similarity; None when the shapes differ, or nothing is finite in both and not all agrees.
        top1: share of rows that agree on their largest element; None when there is nothing to choose from.
        fault: what is wrong that no number tells, or empty.
    """

    name: str
    shape: tuple[int, ...]
    max_abs_error: float | None
    max_rel_error: float | None
    cosine: float | None
    top1: float | None
    fault: str = ""


def compare(name: str, expected: Array, got: Array) -> OutputReport:
    """Compare an output of the compiled model with the source's.

    Args:
        name: what to call it.
        expected: what the source gives, of any numeric or boolean type.
        got: what the compiled model gives; another type is compared by value.
    """
    shape = expected.shape
    if got.shape != shape:
        fault = f"its shape is {list(got.shape)}, the source's {list(shape)}"
        return OutputReport(name, shape, None, None, None, None, fault)
    a, b = expected.astype(np.float64), got.astype(np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    unlike = ~both & ~((a == b) | (np.isnan(a) & np.isnan(b)))
    error = np.where(both, _distance(expected, got, both), 0.0)
    error[unlike] = math.inf
    finite = np.where(both, a, 0.0)
    return OutputReport(
        name,
        shape,
        max_abs_error=float(error.max(initial=0.0)),
        max_rel_error=_relative(error, finite),
        cosine=None if unlike.any() and not both.any() else _cosine(a[both], b[both]),
        top1=_top1(a, b),
        fault=_words(a, b, unlike),
    )


def _distance(expected: Array, got: Array, both: Array) -> Array:
    if expected.dtype == got.dtype and expected.dtype.kind in "iu":
        # Modulo 2^64 the difference of the larger and the smaller is exact, where float64 has 53 bits.
        wide, wide_got = expected.astype(np.uint64), got.astype(np.uint64)
        return np.where(expected >= got, wide - wide_got, wide_got - wide).astype(np.float64)
    a, b = (np.where(both, array.astype(np.float64), 0.0) for array in (expected, got))
    with np.errstate(over="ignore"):
        distance: Array = np.abs(a - b)
    return distance


def _relative(error: Array, finite: Array) -> float:
    if not error.any():
        return 0.0
    scale = np.maximum(np.abs(finite), _rms(finite))
    with np.errstate(divide="ignore", over="ignore"):
        return float(np.divide(error, scale, out=np.zeros_like(error), where=error > 0).max(initial=0.0))


def _rms(values: Array) -> float:
    """Root of the mean square, also of values whose squares a float64 cannot hold."""
    largest = float(np.abs(values).max(initial=0.0))
    return largest * math.sqrt(float(np.mean(np.square(values / largest)))) if largest else 0.0


def _cosine(a: Array, b: Array) -> float:
    if np.array_equal(a, b):
        return 1.0
    lengths = [float(np.abs(values).max(initial=0.0)) for values in (a, b)]
    if not all(lengths):
        return 0.0
    a, b = a / lengths[0], b / lengths[1]
    value = float(np.dot(a, b)) / math.sqrt(float(np.dot(a, a)) * float(np.dot(b, b)))
    return min(1.0, max(-1.0, value))


def _top1(a: Array, b: Array) -> float | None:
    if not a.size or a.ndim == 0 or a.shape[-1] < 2:
        return None
    chosen = np.take_along_axis(a, b.argmax(axis=-1)[..., np.newaxis], axis=-1)[..., 0]
    largest = a.max(axis=-1)
    return float(np.mean((chosen == largest) | (np.isnan(chosen) & np.isnan(largest))))


def _words(a: Array, b: Array, unlike: Array) -> str:
    count = int(unlike.sum())
    if not count:
        return ""
    lost, gained = (int((unlike & ~np.isfinite(values)).sum()) for values in (b, a))
    told = [
        f"{part} of {a.size} elements {'is' if part == 1 else 'are'} not finite {where}"
        for part, where in ((lost, "where the source's are"), (gained, "in the source alone"))
        if part
    ]
    return "; ".join(told)


def departures(report: OutputReport, tolerance: Tolerance) -> Iterator[str]:
    """What of a comparison passes a bound, each with value and bound; nothing when all is well."""
    if report.fault:
        yield report.fault
    for words, value, bound in (
        ("absolute error", report.max_abs_error, tolerance.max_abs_error),
        ("relative error", report.max_rel_error, tolerance.max_rel_error),
    ):
        if value is not None and bound is not None and value > bound:
            yield f"{words} {value:.3g} is above {bound:.15g}"
    for words, value, bound in (
        ("cosine similarity", report.cosine, tolerance.min_cosine),
        ("top-1 agreement", report.top1, tolerance.min_top1),
    ):
        if value is not None and bound is not None and value < bound:
            yield f"{words} {value:.9g} is below {bound:.15g}"
