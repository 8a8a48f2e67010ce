"""Which models this process has loaded, and whether it may load any."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from ascend_emulator.codes import GE_MODEL_ID_INVALID, GE_NOT_INITIALISED, Failure

if TYPE_CHECKING:
    from ascend_emulator.client.process import Device
    from ascend_emulator.gears import GearKind
    from ascend_emulator.om import OmFile

_model_ids = count(1)


class GearWrite(NamedTuple):
    """Choosing a gear with a dataset, checked: good as long as nothing of what was looked at has changed.

    Attributes:
        datasets: the state of all datasets.
        memory: the state of this process's memory.
        address: where the gear goes.
        data: what goes there.
    """

    datasets: int
    memory: object
    address: int
    data: bytes


class Model:
    """A loaded model.

    Attributes:
        device: where it is loaded.
        om: the file, without its network.
        gear: what was set last: kind and numbers; None if nothing was.
        gear_writes: (dataset, index, gear) -> what writes that gear into that buffer.
        prepared: (input dataset, output dataset) -> state of the datasets and the message that executes on them.
    """

    __slots__ = ("device", "gear", "gear_writes", "om", "prepared")

    def __init__(self, device: Device, om: OmFile) -> None:
        self.device = device
        self.om = om
        self.gear: tuple[GearKind, tuple[int, ...]] | None = None
        self.gear_writes: dict[tuple[int, int, tuple[int, ...]], GearWrite] = {}
        self.prepared: dict[tuple[int, int], tuple[int, bytes]] = {}


_models: dict[int, Model] = {}
_executor_ready = False


def set_executor(*, ready: bool) -> None:
    """Note whether `acl.init` was called: models load only then."""
    global _executor_ready
    _executor_ready = ready


def is_ready() -> bool:
    """Whether `acl.init` was called."""
    return _executor_ready


def check_ready() -> None:
    """Refuse to go on before `acl.init`.

    Raises:
        Failure: 145001.
    """
    if not _executor_ready:
        raise Failure(GE_NOT_INITIALISED, "E19999: the executor is not initialised: call acl.init() first.")


def new_id() -> int:
    """A number for a model or a bundle, from 1 on."""
    return next(_model_ids)


def add(model_id: int, model: Model) -> None:
    """Note a loaded model."""
    _models[model_id] = model


def remove(model_id: int) -> Model:
    """Forget a model.

    Raises:
        Failure: 145003, no such model.
    """
    model = get(model_id)
    del _models[model_id]
    return model


def find(model_id: int) -> Model | None:
    """The model with that id, None if there is none."""
    return _models.get(model_id)


def get(model_id: int) -> Model:
    """The model with that id.

    Raises:
        Failure: 145003, no such model.
    """
    model = _models.get(model_id)
    if model is None:
        raise Failure(GE_MODEL_ID_INVALID, f"E19999: no model with id {model_id} is loaded.")
    return model


def check_model(model_id: int) -> None:
    """Raise 145003 unless a model with that id is loaded."""
    get(model_id)
