"""Loaded models: an onnxruntime session and the way buffers are bound to it.

Inputs are read and outputs written in place, at the addresses the client gave, when the compute engine runs
the task and not when it is queued. The gear is what the hidden input's buffer holds at that moment
(facts/pyacl.md §12.1).
"""

from __future__ import annotations

import ctypes
import hashlib
import weakref
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ascend_emulator import libc
from ascend_emulator.codes import GE_LOAD_MODEL, GE_PARAM_INVALID, RT_MODEL_EXECUTE, Failure
from ascend_emulator.dtypes import BY_ACL
from ascend_emulator.om_definition import SHAPE_INPUT
from ascend_emulator.shapes import gear_dims

if TYPE_CHECKING:
    from ascend_emulator.om import OmFile, TensorInfo
    from ascend_emulator.timing import Timing, Work

_MOST_BATCHES = 64

Buffer = tuple[int, int]
"""Address in this process and bytes."""


class Network:
    """One network made ready to run; shared by all loads of the same content on a card."""

    def __init__(self, content: bytes) -> None:
        import onnxruntime  # type: ignore[import-untyped]  # it ships no types

        from ascend_emulator.ort_errors import RUNTIME_ERRORS

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except RUNTIME_ERRORS as error:
            raise Failure(GE_LOAD_MODEL, f"E19999: the network cannot be loaded: {error}") from error
        self._errors = RUNTIME_ERRORS
        self.input_names = [value.name for value in self.session.get_inputs()]
        self.output_names = [value.name for value in self.session.get_outputs()]

    def run(self, binding: Any) -> None:
        """Run on bound buffers.

        Raises:
            Failure: 507011, the network failed on these values.
        """
        try:
            self.session.run_with_iobinding(binding)
        except self._errors as error:
            raise Failure(RT_MODEL_EXECUTE, f"E19999: the execution failed: {error}") from error


class Networks:
    """The networks in use on a card, by content, so that a second load of the same file is quick."""

    def __init__(self) -> None:
        self._networks: weakref.WeakValueDictionary[bytes, Network] = weakref.WeakValueDictionary()

    def get(self, content: bytes) -> Network:
        """The network with that ONNX content.

        Raises:
            Failure: 545001, onnxruntime refuses it.
        """
        key = hashlib.sha256(content).digest()
        network = self._networks.get(key)
        if network is None:
            network = self._networks[key] = Network(content)
        return network


class LoadedModel:
    """One load of an .om.

    Args:
        om: the file; its `network` may be dropped by the caller afterwards.
        network: made from `om.network`; None when values are cheap.
        timing: the card's time model, or None.
        work: what the model asks of the cores; only needed with a time model that has no table for it.

    Raises:
        Failure: 545001, the file does not describe its own network.
    """

    def __init__(self, om: OmFile, network: Network | None, timing: Timing | None, work: Work | None) -> None:
        self.om = om
        self.size = om.memory_size + om.weight_size
        self._network = network
        self._timing = timing
        self._work = work
        self._inputs = om.inputs[:-1] if om.batch_gears else om.inputs
        _check_description(om, self._inputs, network)
        self._batches: dict[tuple[int | Buffer, ...], _Batch] = {}
        self._output_dims = dict(zip(om.batch_gears, om.gear_output_dims, strict=True))

    def gear(self, buffers: Sequence[Buffer]) -> int:
        """Rows to run: what the hidden input's buffer says, the largest gear if it says no gear, 0 if static."""
        if not self.om.batch_gears:
            return 0
        address, size = buffers[-1]
        number = ctypes.c_int64 if size >= ctypes.sizeof(ctypes.c_int64) else ctypes.c_int32
        # Only its low half is the value when the buffer is larger than the int32 that the file declares.
        value = number.from_address(address).value & 0xFFFFFFFF
        return value if value in self._output_dims else max(self.om.batch_gears)

    def duration_ns(self, gear: int) -> int:
        """Modelled time of one execution."""
        if self._timing is None:
            raise ValueError("there is no time model in functional timing")
        return self._timing.execute_ns(self.om.name, gear, self._work)

    def run(self, gear: int, inputs: Sequence[Buffer], outputs: Sequence[Buffer]) -> None:
        """Compute one batch in place.

        Args:
            gear: rows, 0 for a static model.
            inputs: buffers of the model's inputs, the hidden one left out or last.
            outputs: buffers of its outputs; a smaller one gets as much as it holds.

        Raises:
            Failure: 507011, the network failed; 145000, an input buffer ends before its tensor does.
        """
        key: tuple[int | Buffer, ...] = (gear, *inputs[: len(self._inputs)], *outputs)
        batch = self._batches.get(key)
        if batch is None:
            if len(self._batches) >= _MOST_BATCHES:
                del self._batches[next(iter(self._batches))]
            batch = self._batches[key] = self._bind(gear, inputs, outputs)
        if batch.binding is None:
            _checksum(batch.inputs, batch.outputs, gear)
        else:
            batch.compute()
        for address, result, size in batch.short:
            libc.move_freeing_gil(address, result.ctypes.data, size)

    def _bind(self, gear: int, inputs: Sequence[Buffer], outputs: Sequence[Buffer]) -> _Batch:
        arrays = [
            _view(address, size, gear_dims(info.dims, gear), BY_ACL[info.dtype].numpy)
            for info, (address, size) in zip(self._inputs, inputs, strict=False)
        ]
        dims = self._output_dims[gear] if gear else [info.dims for info in self.om.outputs]
        results: list[NDArray[Any]] = []
        short = []
        for info, shape, (address, size) in zip(self.om.outputs, dims, outputs, strict=True):
            dtype = np.dtype(BY_ACL[info.dtype].numpy)
            if prod(shape) * dtype.itemsize > size:
                results.append(np.empty(shape, dtype))
                short.append((address, results[-1], size))
            else:
                results.append(_view(address, size, shape, dtype.name))
        return _Batch(self._network, arrays, results, short)


def _check_description(om: OmFile, inputs: Sequence[TensorInfo], network: Network | None) -> None:
    # A damaged file must fail here: on the engine it would end the card, and with it every client's work.
    largest = max(om.batch_gears, default=1)
    fits = (
        bool(inputs and om.outputs)
        and (not om.batch_gears or om.inputs[-1].name == SHAPE_INPUT)
        and all(_bytes(info, gear_dims(info.dims, largest)) == info.size for info in (*inputs, *om.outputs))
        and all(
            0 <= _bytes(info, dims) <= info.size
            for shapes in om.gear_output_dims
            for info, dims in zip(om.outputs, shapes, strict=True)
        )
    )
    if fits and network is not None:
        fits = (len(network.input_names), len(network.output_names)) == (len(inputs), len(om.outputs))
    if not fits:
        raise Failure(GE_LOAD_MODEL, "E19999: the model's inputs and outputs are not those of its network.")


def _bytes(info: TensorInfo, dims: Sequence[int]) -> int:
    """Bytes of a tensor of that shape; -1 for a type or a shape that no tensor here has."""
    if info.dtype not in BY_ACL or min(dims, default=0) < 0:
        return -1
    return prod(dims) * BY_ACL[info.dtype].itemsize


class _Batch:
    """Buffers bound to a network: made once per set of buffers, since programs use the same ones again and again.

    Attributes:
        inputs: views of the input buffers.
        outputs: views of the output buffers, or arrays of their own where a buffer is too short.
        short: (address, array, bytes) of outputs to copy as far as their buffers go.
        binding: onnxruntime's binding; None when values are cheap.
    """

    def __init__(
        self,
        network: Network | None,
        inputs: list[NDArray[Any]],
        outputs: list[NDArray[Any]],
        short: list[tuple[int, NDArray[Any], int]],
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.short = short
        self.binding: Any = None
        self._network = network
        if network is not None:
            self.binding = network.session.io_binding()
            for name, array in zip(network.input_names, inputs, strict=True):
                self.binding.bind_input(*_bound(name, array))
            for name, array in zip(network.output_names, outputs, strict=True):
                self.binding.bind_output(*_bound(name, array))

    def compute(self) -> None:
        """Run the network on the bound buffers."""
        if self._network is not None:
            self._network.run(self.binding)


def _bound(name: str, array: NDArray[Any]) -> tuple[str, str, int, type[Any], list[int], int]:
    return name, "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data


def _view(address: int, size: int, dims: Sequence[int], dtype: str) -> NDArray[Any]:
    array_bytes = prod(dims) * np.dtype(dtype).itemsize
    if array_bytes > size:
        text = f"E13025: a buffer of {size} bytes is too small for {list(dims)} of {dtype}."
        raise Failure(GE_PARAM_INVALID, text)
    memory = memoryview((ctypes.c_uint8 * array_bytes).from_address(address)).cast("B")
    view: NDArray[Any] = np.ndarray(tuple(dims), dtype, memory)
    return view


def _checksum(inputs: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], gear: int) -> None:
    from ascend_emulator.card.cheap import fill_output, row_sums

    leading = {array.shape[:1] for array in (*inputs, *outputs)}
    rows = gear or (leading.pop()[0] if len(leading) == 1 and leading != {()} else 1)
    # An input that every row shares, such as a table beside a batched input, cannot be told from another's row.
    batched = [array for array in inputs if array.shape[:1] == (rows,)] or inputs[:1]
    sums = row_sums([array.reshape(rows, -1).view(np.uint8) for array in batched])
    for array in outputs:
        if array.size % rows == 0:
            fill_output(sums, array.reshape(rows, -1))
        else:
            fill_output(sums[:1], array.reshape(1, -1))
