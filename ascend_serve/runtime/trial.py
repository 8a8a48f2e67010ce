"""A loaded model that is tried: one run at a time, at any gear, and nothing kept busy beside it.

A `Session` is for serving what has a `ModelSpec`. A trial runs a model as the device describes it, and hands out what
came: to compare a compiled model with its source, or to look at one by hand. It copies in, runs, copies out and
waits, all on one stream.

Every call is made on one thread, the one that opened the device: its context is current there (facts: pyACL §5.2).
Gears, their order and how they are set rest on facts: pyACL §12.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ascend_serve.errors import AclError, ArtifactError, ConfigError
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.memory import DeviceBuffer, HostBuffer
from ascend_serve.runtime.model import Dataset, DeviceTensor, GearKind, OmModel
from ascend_serve.runtime.signature import output_name
from ascend_serve.runtime.stream import Stream
from ascend_serve.spec.shapes import OPEN, fill
from ascend_serve.spec.tensors import DataType

Array = np.ndarray[Any, np.dtype[Any]]
Gear = tuple[int, ...]
"""A batch size; a height and a width; or a size for each open dim."""

_AIPP_INPUT = "ascend_dynamic_aipp_data"
"""The input that dynamic AIPP appends, one for each image (facts: pyACL §12.1)."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output as callers of a trial see it.

    Attributes:
        name: an input's name; an output's tensor name, without its node.
        dtype: type of its elements on the device.
        dims: -1 where gears decide, for an input; those of the largest gear for an output.
        index: its place among the model's inputs or outputs.
    """

    name: str
    dtype: DataType
    dims: tuple[int, ...]
    index: int


@dataclass(frozen=True, slots=True)
class _Memory:
    """Room for one tensor at the largest gear; without `host` on a board, where both memories are one."""

    device: DeviceBuffer
    host: HostBuffer | None

    def view(self, shape: tuple[int, ...], dtype: DataType) -> Array:
        return (self.host or self.device).view(shape, dtype)


class Trial:
    """A model on a device, to be run at one gear after another.

    Attributes:
        inputs: what a run is fed, by name, in the model's order.
        outputs: what it gives, by name, in the model's order.
        gear_kind: which gears the model has; empty when it has none.
        gears: its gears in the model's order; empty when it has none.
    """

    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]
    gear_kind: GearKind
    gears: tuple[Gear, ...]
    _model: OmModel
    _order: tuple[str, ...]
    _whole_dims: Mapping[Gear, tuple[int, ...]]
    _stream: Stream
    _memory_in: Mapping[str, _Memory]
    _memory_out: Mapping[str, _Memory]
    _dataset_in: Dataset
    _dataset_out: Dataset
    _stack: ExitStack

    def __init__(self) -> None:
        raise TypeError("Trial is not constructed but opened: call Trial.open()")

    @classmethod
    def open(cls, device: Device, om_path: Path, *, order: Sequence[str] = ()) -> Trial:
        """Load a model and make all its runs need, at the largest gear.

        Args:
            device: an open device, bound to the calling thread.
            om_path: the compiled model.
            order: names of the inputs in the order of `--input_shape`, in which dims gears count; the model's own
                order when empty.

        Raises:
            ArtifactError: no such file, no `.om`, another SoC's, or a model whose shapes are open without gears or
                whose AIPP is set for each run.
            ConfigError: an element type without a numpy counterpart, or an order that does not fit the gears.
            AclResourceError: the model and its buffers do not fit the device's memory.
        """
        with ExitStack() as stack:
            trial = cls.__new__(cls)
            trial._stream = stack.enter_context(device.stream())
            trial._model = stack.enter_context(device.load(om_path))
            trial._describe(order)
            trial._make_room(device, stack)
            stack.callback(trial._quiesce)  # the memory may go only when nothing runs on it
            trial._stack = stack.pop_all()
        return trial

    def _describe(self, order: Sequence[str]) -> None:
        model = self._model
        if any(tensor.name.startswith(_AIPP_INPUT) for tensor in model.inputs):
            raise ArtifactError(
                f"{model.path} has AIPP that is set for each run (dynamic): a trial sets none, compile it with "
                "static AIPP"
            )
        self.inputs = _ports(
            [(index, tensor) for index, tensor in enumerate(model.inputs) if index != model.gear_input]
        )
        outputs = [output_name(tensor.name) for tensor in model.outputs]
        if len(set(outputs)) < len(outputs):
            outputs = [tensor.name for tensor in model.outputs]
        self.outputs = {
            name: Port(name, DataType.from_acl(tensor.dtype), tensor.dims, index)
            for index, (name, tensor) in enumerate(zip(outputs, model.outputs, strict=True))
        }
        if strange := [name for name in order if name not in self.inputs]:
            raise ConfigError(f"order names {strange}, {model.path} has the inputs {list(self.inputs)}")
        self._order = tuple(order or self.inputs)
        self._whole_dims = {}
        self.gear_kind = model.gear_kind
        if model.gear_kind == "dims":
            self._whole_dims = {self._sizes_in(dims): dims for dims in model.gears}
        self.gears = tuple(self._whole_dims) or model.gears
        opened = [port for port in self.inputs.values() if OPEN in port.dims]
        if opened and not self.gears:
            raise ArtifactError(
                f"{model.path}: input '{opened[0].name}' has the open shape {list(opened[0].dims)} and the model no "
                "gears: a trial runs static models and gears; compile with gears"
            )

    def _sizes_in(self, dims: tuple[int, ...]) -> Gear:
        """The sizes at open places of all inputs' shapes, which stand one after another."""
        pattern = [dim for name in self._order for dim in self.inputs[name].dims]
        if len(dims) != len(pattern) or any(
            wanted not in (OPEN, given) for wanted, given in zip(pattern, dims, strict=True)
        ):
            raise ConfigError(
                f"{self._model.path} has the gear {list(dims)}, which does not fit its inputs in the order "
                f"{list(self._order)}, {pattern}: give the order of --input_shape"
            )
        return tuple(given for wanted, given in zip(pattern, dims, strict=True) if wanted == OPEN)

    def _make_room(self, device: Device, stack: ExitStack) -> None:
        def room(tensor: DeviceTensor) -> _Memory:
            host = None if device.shares_memory else stack.enter_context(device.host_buffer(tensor.size))
            return _Memory(stack.enter_context(device.device_buffer(tensor.size)), host)

        model = self._model
        self._memory_in = {name: room(model.inputs[port.index]) for name, port in self.inputs.items()}
        self._memory_out = {name: room(model.outputs[port.index]) for name, port in self.outputs.items()}
        buffers = [memory.device for memory in self._memory_in.values()]
        if model.gear_input is not None:
            gear = stack.enter_context(device.device_buffer(model.inputs[model.gear_input].size))
            buffers.insert(model.gear_input, gear)
        self._dataset_in = stack.enter_context(device.dataset(buffers))
        self._dataset_out = stack.enter_context(
            device.dataset([memory.device for memory in self._memory_out.values()])
        )

    # --- a run -------------------------------------------------------------------------------------

    def shapes_at(self, gear: Gear | None) -> dict[str, tuple[int, ...]]:
        """Shape of each input at a gear, by name in the model's order.

        Args:
            gear: one of `gears`; None for a model without.

        Raises:
            ConfigError: the model has no such gear.
        """
        if (gear is None) != (not self.gears) or (gear is not None and gear not in self.gears):
            raise ConfigError(
                f"gear {gear and list(gear)}: {self._model.path} was compiled "
                + (f"for {[list(known) for known in self.gears]}" if self.gears else "without gears")
            )
        dims = {name: self.inputs[name].dims for name in (*self._order, *self.inputs)}
        holes = sum(dim == OPEN for shape in dims.values() for dim in shape)
        sizes = gear or ()
        each = sizes if self.gear_kind == "dims" or not sizes else sizes * (holes // len(sizes))
        shapes = fill(dims, each)
        return {name: shapes[name] for name in self.inputs}

    def run(self, inputs: Mapping[str, Array], gear: Gear | None = None) -> dict[str, Array]:
        """Run once and wait for what comes.

        Args:
            inputs: an array for each input, of the device's element type and of the gear's shape (`shapes_at`).
            gear: one of `gears`; None for a model without.

        Returns:
            An array for each output, of the shape it has at this gear; the caller's own.

        Raises:
            ConfigError: no such gear, or inputs of other names, types or shapes.
            AclError: the run failed; nothing of it is under way any more.
        """
        shapes = self.shapes_at(gear)
        self._check(inputs, shapes)
        for name, port in self.inputs.items():
            self._memory_in[name].view(shapes[name], port.dtype)[...] = inputs[name]
        try:
            dims = self._queue(shapes, gear)
            self._stream.synchronize()
        except BaseException:
            self._quiesce()
            raise
        return {
            name: self._memory_out[name].view(dims[name], port.dtype).copy()
            for name, port in self.outputs.items()
        }

    def _check(self, inputs: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
        if set(inputs) != set(self.inputs):
            raise ConfigError(f"inputs {list(inputs)} were given, the model has {list(self.inputs)}")
        for name, port in self.inputs.items():
            array = inputs[name]
            if (array.shape, array.dtype) != (shapes[name], port.dtype.numpy):
                raise ConfigError(
                    f"input '{name}' is {array.dtype} {list(array.shape)}, the gear takes {port.dtype.numpy} "
                    f"{list(shapes[name])}"
                )

    def _queue(self, shapes: Mapping[str, tuple[int, ...]], gear: Gear | None) -> dict[str, tuple[int, ...]]:
        """Queue copies and the run; the outputs' shapes."""
        for name, port in self.inputs.items():
            memory = self._memory_in[name]
            if memory.host is not None:
                self._stream.copy_in(memory.device, memory.host, _bytes(shapes[name], port.dtype))
        if gear is not None:
            self._model.set_gear(self._dataset_in, self._whole_dims.get(gear, gear))
        told = self._model.current_output_dims()
        dims = {name: told[port.index] for name, port in self.outputs.items()}
        self._model.execute(self._dataset_in, self._dataset_out, self._stream.address)
        for name, port in self.outputs.items():
            memory = self._memory_out[name]
            if memory.host is not None and (count := _bytes(dims[name], port.dtype)):
                self._stream.copy_out(memory.host, memory.device, count)
        return dims

    def _quiesce(self) -> None:
        # What went wrong is told by the call that failed; here only the memory has to be let go of.
        with suppress(AclError):
            self._stream.synchronize()

    def close(self) -> None:
        """Unload the model and give everything back; a second call does nothing.

        Raises:
            AclError: something could not be given back; the rest was tried all the same.
        """
        self._stack.close()

    def __enter__(self) -> Trial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _ports(tensors: Sequence[tuple[int, DeviceTensor]]) -> dict[str, Port]:
    return {
        tensor.name: Port(tensor.name, DataType.from_acl(tensor.dtype), tensor.dims, index)
        for index, tensor in tensors
    }


def _bytes(shape: tuple[int, ...], dtype: DataType) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
