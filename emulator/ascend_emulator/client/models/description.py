"""What a model says of its inputs and outputs (facts/pyacl.md §9.2, §12.2)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, TypedDict

from ascend_emulator.client import handles
from ascend_emulator.client.datasets import type_size
from ascend_emulator.client.models import content, registry
from ascend_emulator.codes import API_NOT_SUPPORT, FAILURE, INVALID_PARAM, STORAGE_OVER_LIMIT, Failure
from ascend_emulator.gears import GearKind, dims_at

if TYPE_CHECKING:
    from ascend_emulator.om import OmFile, TensorInfo

_LONGEST_NAME = 127
_MOST_GEARS = 128
_LONGEST_SUFFIX = 3
_ORIGINAL_NAMES = "_datadump_original_op_names"


class Dims(TypedDict, total=False):
    """The dict that the dims functions return; empty when they fail."""

    name: str
    dimCount: int
    dims: list[int]


class Description:
    """What `create_desc` makes, and `get_desc` and its kin fill.

    Attributes:
        om: the file described, None until filled.
        model_id: the model described; 0 where none is loaded.
    """

    def __init__(self) -> None:
        self.om: OmFile | None = None
        self.model_id = 0

    def tensors(self, *, output: bool) -> Sequence[TensorInfo]:
        """Inputs, the hidden one included, or outputs; none while it is empty."""
        if self.om is None:
            return ()
        return self.om.outputs if output else self.om.inputs

    def gears_of(self, kind: GearKind) -> tuple[tuple[int, ...], ...]:
        """The gears of a model with gears of that kind; none of any other.

        Raises:
            Failure: 300000, more than the structures of C hold.
        """
        gears = None if self.om is None else self.om.gears
        values = gears.values if gears is not None and gears.kind is kind else ()
        if len(values) > _MOST_GEARS:
            text = f"EH0001: the model has {len(values)} gears, {_MOST_GEARS} can be told."
            raise Failure(STORAGE_OVER_LIMIT, text)
        return values


def fill(handle: int, model_id: int) -> None:
    """Fill a description with a loaded model; one that cannot be filled is empty afterwards.

    Raises:
        Failure: 100000 (no description), 145003 (no such model).
    """
    description = handles.get(handle, Description)
    description.om, description.model_id = None, 0
    description.om = registry.get(model_id).om
    description.model_id = model_id


def fill_from(handle: int, data: bytes) -> None:
    """Fill a description from the content of an .om, which is not loaded.

    Raises:
        Failure: 100000 (no description), 145001 (no init), 145006 (no whole .om).
    """
    description = handles.get(handle, Description)
    description.om, description.model_id = None, 0
    registry.check_ready()
    description.om = content.parse(data)


def tensor(handle: int, index: int, *, output: bool) -> TensorInfo:
    """One input or output of a description.

    Raises:
        Failure: 100000, a bad description or index.
    """
    tensors = handles.get(handle, Description).tensors(output=output)
    if not 0 <= index < len(tensors):
        raise Failure(
            INVALID_PARAM, f"EH0001: index {index} is invalid, the valid range is [0, {len(tensors)})."
        )
    return tensors[index]


def size(handle: int, index: int, *, output: bool) -> int:
    """Bytes of a tensor: at the largest gear, or at the upper ends of its ranges, 0 where one has none.

    Raises:
        Failure: 100000, a bad description or index.
    """
    info = tensor(handle, index, output=output)
    if info.ranges and min(info.dims, default=0) < 0:
        return prod(max(highest, 0) for _, highest in info.ranges) * type_size(info.dtype)
    return info.size


def index_of(handle: int, name: str, *, output: bool) -> int:
    """The index of the input or output with that name, which is its full one.

    Raises:
        Failure: 100000, no such name.
    """
    for index, info in enumerate(handles.get(handle, Description).tensors(output=output)):
        if name == info.name:
            return index
    raise Failure(INVALID_PARAM, f"EH0001: the model has no {'output' if output else 'input'} {name!r}.")


def dims(handle: int, index: int, *, output: bool, in_memory: bool = False) -> Dims:
    """A tensor's dims: -1 where an input is dynamic, those of the largest gear for an output.

    Args:
        handle: of the description.
        index: of the tensor.
        output: whether it is an output.
        in_memory: those in memory, where they differ from the image's with static AIPP.

    Raises:
        Failure: 100000, a bad description or index.
    """
    info = tensor(handle, index, output=output)
    return _as_dict(handle, index, info.physical_dims if in_memory else info.dims, output=output)


def current_output_dims(handle: int, index: int) -> Dims:
    """An output's dims at the gear set last on the model (GE: api/acl/acl_model/model/model.cpp).

    Raises:
        Failure: 100000 (description, index), 145003 (the model is not loaded), 200001 (truly dynamic shape),
            500001 (the gear was set by the setter of another kind).
    """
    description = handles.get(handle, Description)
    if description.om is not None and description.model_id and description.om.dynamic:
        registry.get(description.model_id)
        raise Failure(
            API_NOT_SUPPORT, "EH0001: the model's shape is dynamic: ask the dataset's tensor description."
        )
    info = tensor(handle, index, output=True)
    model = registry.get(description.model_id)
    if model.gear is None or model.om.gears is None:
        return _as_dict(handle, index, info.dims, output=True)
    kind, value = model.gear
    place = model.om.gears.index(value) if kind is model.om.gears.kind else None
    if place is None:
        raise Failure(
            FAILURE, f"E19999: {list(value)} was set as {kind.name}, which the model's gears are not."
        )
    return _as_dict(handle, index, model.om.gear_output_dims[place][index], output=True)


def dims_range(handle: int, index: int) -> list[list[int]]:
    """The least and the largest size of each axis of an input; none of a model with gears.

    Raises:
        Failure: 100000, a bad description or index.
    """
    description = handles.get(handle, Description)
    if description.om is not None and description.om.gears is not None:
        return []
    info = tensor(handle, index, output=False)
    return [list(pair) for pair in info.ranges] or [[dim, dim] for dim in info.dims]


def gear_dims(handle: int) -> list[Dims]:
    """Of each gear of arbitrary dims all inputs' full shapes, one after another in the user's order.

    Raises:
        Failure: 100000, no description.
    """
    description = handles.get(handle, Description)
    values = description.gears_of(GearKind.DIMS)
    if description.om is None or not values:
        return []
    shapes = shapes_in_order(description.om)
    found: list[Dims] = []
    for value in values:
        flat = [dim for shape in dims_at(shapes, GearKind.DIMS, value) for dim in shape]
        found.append({"name": "", "dimCount": len(flat), "dims": flat})
    return found


def shapes_in_order(om: OmFile) -> list[tuple[int, ...]]:
    """The inputs' dims with their -1s in the order of `--input_shape`; none where the file does not tell it."""
    by_name = {info.name: info.dims for info in om.inputs}
    return [by_name[name] for name in om.input_order if name in by_name]


def real_name(handle: int, name: str) -> str | None:
    """The full name behind a name that a dims dict gave; None for any other.

    Raises:
        Failure: 100000, no description.
    """
    description = handles.get(handle, Description)
    for output in (False, True):
        for index, info in enumerate(description.tensors(output=output)):
            if name in (info.name, _shown_name(description, index, info.name, output=output)):
                return info.name
    return None


def op_attribute(handle: int, attribute: str) -> str | None:
    """What an operator says of itself: the one attribute there is holds the names it had before fusion.

    Raises:
        Failure: 100000, no description.
    """
    description = handles.get(handle, Description)
    if attribute != _ORIGINAL_NAMES:
        return None
    registry.get(description.model_id)
    return ""  # nothing is fused here, and GE gives an empty text for an operator it has noted nothing of


def _as_dict(handle: int, index: int, shape: Sequence[int], *, output: bool) -> Dims:
    description = handles.get(handle, Description)
    name = description.tensors(output=output)[index].name
    shown = _shown_name(description, index, name, output=output)
    return {"name": shown, "dimCount": len(shape), "dims": list(shape)}


def _shown_name(description: Description, index: int, name: str, *, output: bool) -> str:
    """A name as it fits into a dims dict: replaced by a generated one when it has more than 127 bytes.

    The generated one gets letters appended until no tensor has it (GE: model_common.cpp GetTensorDescNameToDims).
    """
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    taken = {info.name for side in (False, True) for info in description.tensors(output=side)}
    made = f"acl_modelId_{description.model_id}_{'output' if output else 'input'}_{index}"
    if made not in taken:
        return made
    suffixes = [""]
    for _ in range(_LONGEST_SUFFIX):
        suffixes = [suffix + letter for suffix in suffixes for letter in "abcdefghijklmnopqrstuvwxyz"]
        free = next((f"{made}_{suffix}" for suffix in suffixes if f"{made}_{suffix}" not in taken), None)
        if free is not None:
            return free
    return f"{made}_"
