"""What a slot is made of on the device: its memory, data sets and events, and its way at each gear.

Everything is entered on an `ExitStack` in the order it is made, so that it goes in the reverse order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from ascend_serve.runtime.device import Device
from ascend_serve.runtime.gears import Key
from ascend_serve.runtime.memory import DeviceBuffer, HostBuffer
from ascend_serve.runtime.model import Dataset, DeviceTensor, Gear, OmModel
from ascend_serve.runtime.slot import Arrays, Slot
from ascend_serve.runtime.stream import Event
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class Copy:
    """One tensor's way between pinned host memory and device memory: its first `count` bytes."""

    device: DeviceBuffer
    host: HostBuffer
    count: int


@dataclass(frozen=True, slots=True)
class Way:
    """What a batch of one bucket and gear does on the device.

    Attributes:
        gear: what to set; None for a model without gears.
        copies_in: what is copied in; empty on a board.
        copies_out: what is copied out; empty on a board.
    """

    gear: Gear | None
    copies_in: tuple[Copy, ...]
    copies_out: tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class Beginnings:
    """Events that begin the stages of a timed batch; each stage ends at the event of the same stream in `Wiring`."""

    copy_in: Event
    compute: Event
    copy_out: Event


@dataclass(frozen=True, slots=True)
class Wiring:
    """One slot on the device.

    Attributes:
        staged: whether rows are copied between host and device; False on a board, which has one memory.
        ways: the way of each bucket and gear.
        dataset_in: all inputs, the gear input included.
        dataset_out: all outputs.
        copied_in: reached when the inputs are on the device.
        computed: reached when the model has run.
        done: reached when the outputs can be read by the host.
        begins: what a timed batch begins with.
    """

    slot: Slot
    staged: bool
    ways: Mapping[Key, Way]
    dataset_in: Dataset
    dataset_out: Dataset
    copied_in: Event
    computed: Event
    done: Event
    begins: Beginnings

    @classmethod
    def make(
        cls,
        index: int,
        device: Device,
        model: OmModel,
        spec: ModelSpec,
        gears: Mapping[Key, Gear | None],
        stack: ExitStack,
    ) -> Wiring:
        """All that slot number `index` needs, at the largest gear.

        Sizes are the device's (`get_*_size_by_index`), which may be larger than the tensors themselves.

        Args:
            index: the slot's number.
            device: where.
            model: the loaded model.
            spec: its signature.
            gears: what to set on the device for each bucket and gear.
            stack: closes what is made.

        Raises:
            AclResourceError: memory, or another resource, ran out.
        """
        staged = not device.shares_memory
        sides_in = _side(model.visible_inputs, device, stack)
        sides_out = _side(model.outputs, device, stack)
        buffers_in = [side.device for side in sides_in]
        if model.gear_input is not None:
            gear = stack.enter_context(device.device_buffer(model.inputs[model.gear_input].size))
            buffers_in.insert(model.gear_input, gear)

        def event() -> Event:
            return stack.enter_context(device.event())

        computed = event()
        return cls(
            slot=Slot(index, _arrays(spec, spec.inputs, sides_in), _arrays(spec, spec.outputs, sides_out)),
            staged=staged,
            ways={
                key: Way(
                    gear,
                    _copies(spec, spec.inputs, sides_in, key),
                    _copies(spec, spec.outputs, sides_out, key),
                )
                for key, gear in gears.items()
            },
            dataset_in=stack.enter_context(device.dataset(buffers_in)),
            dataset_out=stack.enter_context(device.dataset([side.device for side in sides_out])),
            copied_in=event() if staged else computed,
            computed=computed,
            done=event() if staged else computed,
            begins=Beginnings(event(), event(), event()) if staged else Beginnings(*[event()] * 3),
        )


@dataclass(frozen=True, slots=True)
class _Side:
    """One tensor's memory; without `host` on a board."""

    device: DeviceBuffer
    host: HostBuffer | None


def _side(tensors: Sequence[DeviceTensor], device: Device, stack: ExitStack) -> list[_Side]:
    return [
        _Side(
            stack.enter_context(device.device_buffer(tensor.size)),
            None if device.shares_memory else stack.enter_context(device.host_buffer(tensor.size)),
        )
        for tensor in tensors
    ]


def _arrays(spec: ModelSpec, tensors: Sequence[TensorSpec], sides: Sequence[_Side]) -> list[Arrays]:
    return [
        {
            tensor.name: (side.host or side.device).view(
                spec.shape_at(tensor.name, index, bucket.gears.largest), tensor.dtype
            )
            for tensor, side in zip(tensors, sides, strict=True)
        }
        for index, bucket in enumerate(spec.buckets)
    ]


def _copies(
    spec: ModelSpec, tensors: Sequence[TensorSpec], sides: Sequence[_Side], key: Key
) -> tuple[Copy, ...]:
    return tuple(
        Copy(side.device, side.host, spec.bytes_at(tensor.name, *key))
        for tensor, side in zip(tensors, sides, strict=True)
        if side.host is not None
    )
