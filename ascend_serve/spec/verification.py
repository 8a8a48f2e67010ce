"""How close a compiled model has to be to its source: the `verify:` section of a recipe."""

from __future__ import annotations

from pydantic import Field

from ascend_serve.spec.closed import Closed


class Tolerance(Closed):
    """Bounds on how the outputs of the compiled model and of its source may differ, at each gear.

    An output of another shape, or with infinities or NaN where the source has none (or the reverse), passes no bound.

    A bound that is None is not looked at. With the section in a recipe, a build that passes a bound is not
    published; building then needs a card of the target.
    """

    inputs: str | None = None
    """An `.npz` file with an array for each input, relative to the recipe's folder; its rows are cut or repeated
    for each gear. Random values, the same each time, when not given."""

    min_cosine: float | None = Field(default=0.99, ge=-1, le=1)
    """Least cosine similarity of each output."""

    max_abs_error: float | None = Field(default=None, ge=0)
    """Largest absolute difference of an element."""

    max_rel_error: float | None = Field(default=None, ge=0)
    """Largest relative difference of an element: |a - b| / max(|a|, rms(a)), a being the source's output. An element
    smaller than the root mean square is measured by that, since half precision errs by a share of what is added up."""

    min_top1: float | None = Field(default=None, ge=0, le=1)
    """Least share of rows (along the last axis) whose largest element is at the same place: for classifiers."""
