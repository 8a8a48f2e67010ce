"""Shapes of a model at each of its gears.

Outputs as the file lists them. Inputs by putting a gear's sizes where the shape has -1, as ATC does: a batch size
in all of them, an image's two sizes in each input that has two, `dims` one after the other in the order in which
the user gave the shapes (facts: ATC §1.5, §3.7).
"""

from __future__ import annotations

from ascend_serve.artifacts.om.facts import GearShapes
from ascend_serve.artifacts.om.inout import InOut, OmTensor
from ascend_serve.spec.tensors import BATCH_AXIS

Dims = tuple[int, ...]


def gear_shapes(told: InOut, visible: tuple[OmTensor, ...]) -> tuple[GearShapes, ...]:
    """Shapes at each gear, in the file's order.

    Args:
        told: what the file says.
        visible: its inputs without the hidden one.
    """
    by_name = {tensor.name: tensor for tensor in visible}
    order = [by_name[name] for name in told.input_order if name in by_name]
    order += [tensor for tensor in visible if tensor not in order]
    shapes = []
    for number, gear in enumerate(told.gears):
        filled = _filled(order, told.gear_kind, gear)
        outputs = tuple(
            told.output_dims.get((number, position), told.output_dims.get((-1, position)))
            for position in range(len(told.outputs))
        )
        shapes.append(GearShapes(gear, tuple(filled[tensor.name] for tensor in visible), outputs))
    return tuple(shapes)


def _filled(tensors: list[OmTensor], kind: str, gear: Dims) -> dict[str, Dims | None]:
    """Input name → its shape at a gear; None where the sizes do not fit the open axes."""
    left = list(gear)
    found: dict[str, Dims | None] = {}
    for tensor in tensors:
        count = tensor.dims.count(BATCH_AXIS)
        if kind == "dims":
            sizes, left = left[:count], left[count:]
        else:
            sizes = list(gear) * count if len(gear) == 1 else list(gear)
        fits = not count or len(sizes) == count
        numbers = iter(sizes)
        found[tensor.name] = (
            tuple(next(numbers) if size == BATCH_AXIS else size for size in tensor.dims) if fits else None
        )
    return found if not (kind == "dims" and left) else dict.fromkeys(found)
