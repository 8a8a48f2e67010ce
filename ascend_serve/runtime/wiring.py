"""What a session is made of on the device: three streams, and per slot its memory, data sets and events.

Everything is entered on an `ExitStack` in the order it is made, so that it goes in the reverse order.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from ascend_serve.runtime.device import Device
from ascend_serve.runtime.memory import DeviceBuffer, HostBuffer
from ascend_serve.runtime.model import Dataset, DeviceTensor, OmModel
from ascend_serve.runtime.slot import Arrays, Slot
from ascend_serve.runtime.stream import Event, Stream
from ascend_serve.spec.model import ModelSpec
from ascend_serve.spec.tensors import TensorSpec


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams that all slots share; a board uses only `compute`."""

    copy_in: Stream
    compute: Stream
    copy_out: Stream

    @classmethod
    def make(cls, device: Device, stack: ExitStack) -> Streams:
        """Three new streams."""
        return cls(*(stack.enter_context(device.stream()) for _ in range(3)))

    def all(self) -> tuple[Stream, Stream, Stream]:
        """In the order a batch goes through them."""
        return (self.copy_in, self.compute, self.copy_out)


@dataclass(frozen=True, slots=True)
class Copy:
    """One tensor's way between pinned host memory and device memory; `row_bytes` per row of the gear."""

    device: DeviceBuffer
    host: HostBuffer
    row_bytes: int


@dataclass(frozen=True, slots=True)
class Wiring:
    """One slot on the device.

    Attributes:
        staged: whether rows are copied between host and device; False on a board, which has one memory.
        copies_in: what is copied in; empty when not staged.
        copies_out: what is copied out; empty when not staged.
        dataset_in: all inputs, the gear input included.
        dataset_out: all outputs.
        copied_in: reached when the inputs are on the device.
        computed: reached when the model has run.
        done: reached when the outputs can be read by the host.
    """

    slot: Slot
    staged: bool
    copies_in: tuple[Copy, ...]
    copies_out: tuple[Copy, ...]
    dataset_in: Dataset
    dataset_out: Dataset
    copied_in: Event
    computed: Event
    done: Event

    @classmethod
    def make(cls, index: int, device: Device, model: OmModel, spec: ModelSpec, stack: ExitStack) -> Wiring:
        """All that slot number `index` needs, at the largest gear.

        Sizes are the device's (`get_*_size_by_index`), which may be larger than the tensors themselves.

        Raises:
            AclResourceError: memory, or another resource, ran out.
        """
        visible = [tensor for i, tensor in enumerate(model.inputs) if i != model.gear_input]
        arrays_in, buffers_in, copies_in = _side(spec.inputs, visible, spec.gears.largest, device, stack)
        arrays_out, buffers_out, copies_out = _side(
            spec.outputs, model.outputs, spec.gears.largest, device, stack
        )
        if model.gear_input is not None:
            gear = stack.enter_context(device.device_buffer(model.inputs[model.gear_input].size))
            buffers_in.insert(model.gear_input, gear)
        computed = stack.enter_context(device.event())
        staged = not device.shares_memory
        return cls(
            slot=Slot(index, arrays_in, arrays_out),
            staged=staged,
            copies_in=copies_in,
            copies_out=copies_out,
            dataset_in=stack.enter_context(device.dataset(buffers_in)),
            dataset_out=stack.enter_context(device.dataset(buffers_out)),
            copied_in=stack.enter_context(device.event()) if staged else computed,
            computed=computed,
            done=stack.enter_context(device.event()) if staged else computed,
        )


def _side(
    specs: tuple[TensorSpec, ...],
    tensors: list[DeviceTensor] | tuple[DeviceTensor, ...],
    rows: int,
    device: Device,
    stack: ExitStack,
) -> tuple[Arrays, list[DeviceBuffer], tuple[Copy, ...]]:
    arrays = {}
    buffers = []
    copies = []
    for spec, tensor in zip(specs, tensors, strict=True):
        buffer = stack.enter_context(device.device_buffer(tensor.size))
        buffers.append(buffer)
        if device.shares_memory:
            arrays[spec.name] = buffer.view(spec.at(rows), spec.dtype)
        else:
            host = stack.enter_context(device.host_buffer(tensor.size))
            arrays[spec.name] = host.view(spec.at(rows), spec.dtype)
            copies.append(Copy(buffer, host, spec.row_bytes))
    return arrays, buffers, tuple(copies)
