"""Whether a file describes its own network.

A damaged file must fail when it is loaded: on the engine it would end the card, and with it every client's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from ascend_emulator.codes import GE_LOAD_MODEL, Failure
from ascend_emulator.dtypes import BY_ACL
from ascend_emulator.om import SHAPE_INPUT

if TYPE_CHECKING:
    from ascend_emulator.card.models.network import Network
    from ascend_emulator.om import OmFile, TensorInfo


def check_description(om: OmFile, inputs: Sequence[TensorInfo], network: Network | None) -> None:
    """Check that tensors, gears and network fit each other.

    Args:
        om: the file.
        inputs: its inputs without the hidden one.
        network: what it holds; None when values are cheap.

    Raises:
        Failure: 545001, they do not.
    """
    tensors = (*inputs, *om.outputs)
    fits = bool(inputs and om.outputs) and all(info.dtype in BY_ACL for info in tensors)
    if fits and om.gears:
        fits = _gears_fit(om, inputs)
    elif fits and not om.dynamic:
        fits = all(_bytes(info, info.physical_dims) == info.size for info in tensors)
    if fits and network is not None:
        fits = (len(network.input_names), len(network.output_names)) == (len(inputs), len(om.outputs))
    if not fits:
        raise Failure(GE_LOAD_MODEL, "E19999: the model's inputs and outputs are not those of its network.")


def _gears_fit(om: OmFile, inputs: Sequence[TensorInfo]) -> bool:
    if om.gears is None:
        raise ValueError("only a model with gears has them checked")
    count = len(om.gears.values)
    hidden = om.inputs[-1]
    if hidden.name != SHAPE_INPUT or {len(value) for value in om.gears.values} != {prod(hidden.dims)}:
        return False
    if (len(om.gear_input_dims), len(om.gear_output_dims)) != (count, count):
        return False
    return all(
        len(shapes) == len(infos)
        and all(0 <= _bytes(info, dims) <= info.size for info, dims in zip(infos, shapes, strict=True))
        for infos, table in ((inputs, om.gear_input_dims), (om.outputs, om.gear_output_dims))
        for shapes in table
    )


def _bytes(info: TensorInfo, dims: Sequence[int]) -> int:
    """Bytes of a tensor of that shape; -1 for a shape that no tensor has."""
    return -1 if min(dims, default=0) < 0 else prod(dims) * BY_ACL[info.dtype].itemsize
