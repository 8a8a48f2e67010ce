"""A loaded offline model, what the device says of it, and the data sets it runs on (facts: pyACL §9, §10)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ascend_serve.errors import AclError, ArtifactError, NotAnOm, SocMismatch
from ascend_serve.runtime import _acl, _codes
from ascend_serve.runtime.handle import Handle, Ledger
from ascend_serve.runtime.memory import DeviceBuffer

GEAR_INPUT = "ascend_mbatch_shape_data"
"""The input that ATC appends to a gear model; the gear is written into it (facts: pyACL §12.1)."""

Gear = tuple[int, ...]
"""What the device is told: a batch size; a height and a width; or all inputs' shapes, one after another."""
GearKind = Literal["", "batch", "image", "dims"]


@dataclass(frozen=True, slots=True)
class DeviceTensor:
    """One input or output as the device describes it.

    Attributes:
        name: an input's ONNX name; an output's is usually `node:index:tensor`.
        dtype: ACL's number of the element type.
        dims: -1 where an input is dynamic; an output's dims are those of the largest gear.
        size: bytes at the largest gear, possibly more than the dims say; 0 when only a run can tell.
    """

    name: str
    dtype: int
    dims: tuple[int, ...]
    size: int


class OmModel(Handle):
    """An offline model in the device's memory; `address` is ACL's model id.

    Attributes:
        path: the file it came from.
        inputs: all inputs by index, the gear input included.
        outputs: all outputs by index.
        gear_kind: which gears the model has; empty when it has none.
        gears: its gears in the model's order, as the device tells them; empty when it has none.
        gear_input: index of the gear input, or None.
    """

    kind = "model"
    door = "Device.load()"

    path: Path
    inputs: tuple[DeviceTensor, ...]
    outputs: tuple[DeviceTensor, ...]
    gear_kind: GearKind
    gears: tuple[Gear, ...]
    gear_input: int | None

    @property
    def visible_inputs(self) -> tuple[DeviceTensor, ...]:
        """The inputs that callers feed: all but the gear input."""
        return tuple(tensor for index, tensor in enumerate(self.inputs) if index != self.gear_input)

    def set_gear(self, inputs: Dataset, gear: Gear) -> None:
        """Write one of `gears` into a data set's gear input; needed before every run (QUIRKS.md, Q1).

        Raises:
            AclUsageError: not a gear of this model (145013).
        """
        assert self.gear_input is not None, "a model with gears has the hidden input"
        if self.gear_kind == "batch":
            _acl.set_dynamic_batch_size(self.address, inputs.address, self.gear_input, gear[0])
        elif self.gear_kind == "image":
            _acl.set_dynamic_hw_size(self.address, inputs.address, self.gear_input, *gear)
        else:
            _acl.set_input_dynamic_dims(self.address, inputs.address, self.gear_input, gear)

    def current_output_dims(self) -> tuple[tuple[int, ...], ...]:
        """Dims of each output at the gear that was set last on this model, by whichever data set (QUIRKS.md, Q2)."""
        desc = _acl.create_desc(self.address)
        try:
            return tuple(_acl.current_output_dims(desc, index) for index in range(len(self.outputs)))
        finally:
            _acl.destroy_desc(desc)

    def execute(self, inputs: Dataset, outputs: Dataset, stream: int) -> None:
        """Queue one run on a stream's address; nothing may touch the data sets' memory until it has ended."""
        _acl.execute_async(self.address, inputs.address, outputs.address, stream)

    def _release(self, address: int) -> None:
        _acl.unload(address)


class Dataset(Handle):
    """The buffers of one side of a model, in the order of its tensors. It owns none of their memory."""

    kind = "dataset"
    door = "Device.dataset()"

    _data_buffers: list[int]

    def _release(self, address: int) -> None:
        _acl.destroy_dataset(address)
        for data_buffer in self._data_buffers:
            _acl.destroy_data_buffer(data_buffer)


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Bytes of device memory that loading a model takes.

    Attributes:
        work: for what its operators hand each other.
        weights: for its weights.
    """

    work: int
    weights: int


def size_of(path: Path) -> ModelSize:
    """What loading an `.om` would take, without loading it (`acl.mdl.query_size`).

    Weights that lie in files of their own are not counted.

    Raises:
        ArtifactError: there is no such file.
        NotAnOm: the runtime refuses the file itself.
        AclError: anything else.
    """
    _require_file(path)
    try:
        return ModelSize(*_acl.query_size(str(path)))
    except AclError as error:
        raise _refusal(path, error) from error


def load(path: Path, *, ledger: Ledger, parent: object) -> OmModel:
    """Load an `.om` into the current context and read its description.

    Raises:
        ArtifactError: there is no such file.
        SocMismatch: the model was compiled for another architecture.
        NotAnOm: the runtime refuses the file itself.
        AclError: anything else, such as memory running out.
    """
    _require_file(path)
    try:
        model_id = _acl.load_from_file(str(path))
    except AclError as error:
        raise _refusal(path, error) from error
    try:
        desc = _acl.create_desc(model_id)
        try:
            inputs = tuple(DeviceTensor(*_acl.input_tensor(desc, i)) for i in range(_acl.num_inputs(desc)))
            outputs = tuple(DeviceTensor(*_acl.output_tensor(desc, i)) for i in range(_acl.num_outputs(desc)))
            kind, gears = _gears(desc)
            gear_input = _acl.input_index(desc, GEAR_INPUT)
        finally:
            _acl.destroy_desc(desc)
    except BaseException:
        _acl.unload(model_id)
        raise
    model = OmModel._hand_out(model_id, ledger=ledger, parent=parent)
    model.path = path
    model.inputs = inputs
    model.outputs = outputs
    model.gear_kind = kind
    model.gears = gears
    model.gear_input = gear_input
    return model


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise ArtifactError(f"model file {path} does not exist")


def _gears(desc: int) -> tuple[GearKind, tuple[Gear, ...]]:
    # A model has one kind, and the others' lists are empty then (facts: pyACL §12.2).
    if batches := _acl.batch_gears(desc):
        return "batch", tuple((rows,) for rows in batches)
    if images := _acl.image_gears(desc):
        return "image", images
    if shapes := _acl.dims_gears(desc):
        return "dims", shapes
    return "", ()


def _refusal(path: Path, error: AclError) -> Exception:
    # The architecture has no code of its own: it is E10001 about soc_version in the text (facts: ATC/OM
    # §4.4).
    if error.detail and "soc version" in error.detail.lower().replace("_", " "):
        return SocMismatch(f"{path} was compiled for another architecture than this device's: {error}")
    if error.code in _codes.MODEL_FILE_REFUSALS:
        return NotAnOm(f"the runtime cannot load {path}: {error}")
    return error


def make_dataset(buffers: list[DeviceBuffer], *, ledger: Ledger, parent: object) -> Dataset:
    """A data set over whole buffers, in the order given."""
    made: list[int] = []
    address = _acl.create_dataset()
    try:
        for buffer in buffers:
            made.append(_acl.create_data_buffer(buffer.address, buffer.size))
            _acl.add_dataset_buffer(address, made[-1])
    except BaseException:
        _acl.destroy_dataset(address)
        for data_buffer in made:
            _acl.destroy_data_buffer(data_buffer)
        raise
    dataset = Dataset._hand_out(address, ledger=ledger, parent=parent)
    dataset._data_buffers = made
    return dataset
