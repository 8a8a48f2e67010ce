"""From a model's buckets to the gears that its device tells, and back. Pure.

A spec counts rows in buckets of row shapes; a device takes one batch size, a height and a width, or the shapes of
all inputs one after another (facts: pyACL §12.2). The last come in the order of the compile command's
`--input_shape`, which a model does not have to follow and its device does not tell. What tells is the shapes: an
order fits if it makes the device's gears out of the spec's shapes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ascend_serve.errors import ArtifactError
from ascend_serve.runtime.model import Gear, OmModel
from ascend_serve.spec.model import ModelSpec

OPEN = -1
"""Stands in the device's dims of an input where a gear decides."""

Shape = tuple[int, ...]
Key = tuple[int, int]
"""A gear of a spec: index of the bucket, and rows."""


def keys(spec: ModelSpec) -> tuple[Key, ...]:
    """All gears of all buckets, in their order."""
    return tuple((index, gear) for index, bucket in enumerate(spec.buckets) for gear in bucket.gears)


def input_shapes(model: OmModel, order: Sequence[str] = ()) -> dict[Gear, dict[str, Shape]]:
    """Whole shape of each input at each gear of the device; empty for a model without gears.

    Args:
        model: a loaded model.
        order: names of the inputs in the order of `--input_shape`, in which dims gears count; the model's own order
            when empty.

    Raises:
        ArtifactError: the gears do not fit the inputs in that order.
    """
    dims = {tensor.name: tensor.dims for tensor in model.visible_inputs}
    if model.gear_kind == "batch":
        return {gear: {name: _filled(shape, gear) for name, shape in dims.items()} for gear in model.gears}
    if model.gear_kind == "image":
        # A height and a width stand in each input that has two open sizes.
        return {
            gear: {name: _filled(shape, gear) if OPEN in shape else shape for name, shape in dims.items()}
            for gear in model.gears
        }
    names = _whole_order(model, order)
    return {gear: _cut(model, gear, names, dims) for gear in model.gears}


def gears_of(model: OmModel, spec: ModelSpec, order: Sequence[str] = ()) -> dict[Key, Gear | None]:
    """What to set on the device for each gear of each bucket; None for a model without gears.

    Args:
        model: a loaded model.
        spec: its signature.
        order: names of the inputs in the order of `--input_shape`; found by the shapes when empty.

    Raises:
        ArtifactError: device and spec have not the same gears, or the shapes leave the order of dims gears open.
    """
    wanted = {
        key: {tensor.name: spec.shape_at(tensor.name, *key) for tensor in spec.inputs} for key in keys(spec)
    }
    if not model.gear_kind:
        return dict.fromkeys(wanted)
    if model.gear_kind == "dims" and not order:
        order = _order_by_shapes(model, list(wanted.values()))
    told = {tuple(sorted(shapes.items())): gear for gear, shapes in input_shapes(model, order).items()}
    found = {key: told.get(tuple(sorted(shapes.items()))) for key, shapes in wanted.items()}
    missing = [wanted[key] for key, gear in found.items() if gear is None]
    if missing or len(found) != len(model.gears):
        raise ArtifactError(
            f"{model.path}: the device tells the {model.gear_kind} gears {[list(gear) for gear in model.gears]}, the "
            f"spec has {len(found)} gears" + (f" and among them {missing[0]}" if missing else "")
        )
    return found


def _filled(dims: Shape, sizes: Sequence[int]) -> Shape:
    left = iter(sizes)
    return tuple(next(left, OPEN) if dim == OPEN else dim for dim in dims)


def _whole_order(model: OmModel, order: Sequence[str]) -> tuple[str, ...]:
    names = tuple(tensor.name for tensor in model.visible_inputs)
    if order and sorted(order) != sorted(names):
        raise ArtifactError(f"{model.path}: the order names {list(order)}, the inputs are {list(names)}")
    return tuple(order) or names


def _cut(model: OmModel, gear: Gear, names: Sequence[str], dims: Mapping[str, Shape]) -> dict[str, Shape]:
    pattern = [dim for name in names for dim in dims[name]]
    if len(gear) != len(pattern) or any(
        dim not in (OPEN, given) for dim, given in zip(pattern, gear, strict=True)
    ):
        raise ArtifactError(
            f"{model.path} has the gear {list(gear)}, which does not fit its inputs in the order {list(names)}, "
            f"{pattern}: give the order of --input_shape"
        )
    shapes, start = {}, 0
    for name in names:
        shapes[name] = gear[start : start + len(dims[name])]
        start += len(dims[name])
    return {name: shapes[name] for name in dims}


def _order_by_shapes(model: OmModel, wanted: Sequence[Mapping[str, Shape]]) -> tuple[str, ...]:
    """The order of inputs in which the shapes of all gears, one after another, are the device's gears."""
    names = [tensor.name for tensor in model.visible_inputs]
    orders = _orders(model.gears, wanted, names)
    first = next(orders, None)
    if first is None:
        return tuple(names)  # whose refusal has the words for it
    for other in orders:
        # Orders that list every gear alike, as those of [2, 2] before [2] and after it, are one.
        if any(_listed(shapes, other) != _listed(shapes, first) for shapes in wanted):
            raise ArtifactError(
                f"{model.path}: its gears {[list(gear) for gear in model.gears]} fit the inputs in the order "
                f"{list(first)} and in the order {list(other)}: give the order of --input_shape"
            )
    return first


def _listed(shapes: Mapping[str, Shape], order: Sequence[str]) -> Gear:
    return tuple(dim for name in order for dim in shapes[name])


def _orders(
    gears: Sequence[Gear],
    wanted: Sequence[Mapping[str, Shape]],
    left: Sequence[str],
    begun: tuple[str, ...] = (),
) -> Iterator[tuple[str, ...]]:
    if not left:
        yield begun
        return
    tried = set()
    for name in left:
        column = tuple(shapes[name] for shapes in wanted)
        if column in tried:
            continue  # inputs that are of one shape at every gear may change places
        tried.add(column)
        longer = (*begun, name)
        ours = Counter(_listed(shapes, longer) for shapes in wanted)
        length = sum(len(wanted[0][each]) for each in longer)
        if ours == Counter(gear[:length] for gear in gears):
            yield from _orders(gears, wanted, [other for other in left if other != name], longer)
