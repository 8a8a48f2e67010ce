"""The device as every rival has it: one synchronous call that runs some rows at the smallest gear that holds them.

Plain pyACL, as well as it can be done in one call: pinned memory on the host and device memory made once, one stream,
and a wait that lets go of the GIL. It is that of a careful user, not of the product, and needs nothing but `acl`. The
sequence is that of facts/pyacl.md §19.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import acl

from benchmarks.baselines.model import Model

_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2
_HUGE_FIRST = 0
_ALREADY_INITIALISED = 100002


class Device:
    """One model on card 0 of this process. Not for two threads at once.

    Args:
        model: what to load.

    Raises:
        RuntimeError: a call failed; it is named.
    """

    def __init__(self, model: Model) -> None:
        self._gears = [int(gear) for gear in model.gears.split(",")]
        self._row_bytes, self._output_row_bytes = model.row_bytes, model.output_row_bytes
        _check(acl.init(), "acl.init", _ALREADY_INITIALISED)
        _check(acl.rt.set_device(0), "acl.rt.set_device")
        self._context = _made(acl.rt.create_context(0), "acl.rt.create_context")
        self._stream = _made(acl.rt.create_stream(), "acl.rt.create_stream")
        self._model = _made(acl.mdl.load_from_file(model.path), "acl.mdl.load_from_file")
        desc = acl.mdl.create_desc()
        _check(acl.mdl.get_desc(desc, self._model), "acl.mdl.get_desc")
        sizes = [acl.mdl.get_input_size_by_index(desc, i) for i in range(acl.mdl.get_num_inputs(desc))]
        self._inputs, self._device_in = _dataset(sizes)
        self._outputs, self._device_out = _dataset([acl.mdl.get_output_size_by_index(desc, 0)])
        self._gear_input = _made(
            acl.mdl.get_input_index_by_name(desc, "ascend_mbatch_shape_data"), "get_input_index_by_name"
        )
        acl.mdl.destroy_desc(desc)
        self._host_in, self._rows = _pinned(model.largest * model.row_bytes)
        self._host_out, self._answers = _pinned(model.largest * model.output_row_bytes)

    def run(self, rows: Sequence[bytes]) -> list[bytes]:
        """Run rows, at most the largest gear, and return the output of each. Blocks; any thread, one at a time.

        Raises:
            ValueError: more rows than the largest gear has, or none.
            RuntimeError: a call failed; it is named.
        """
        gear = next((gear for gear in self._gears if gear >= len(rows)), 0)
        if not gear or not rows:
            raise ValueError(f"{len(rows)} rows: the model takes 1 to {self._gears[-1]}")
        _check(acl.rt.set_context(self._context), "acl.rt.set_context")
        size, into = self._row_bytes, self._rows
        for number, row in enumerate(rows):
            into[number * size : (number + 1) * size] = row
        bytes_in, bytes_out = gear * size, gear * self._output_row_bytes
        _check(
            acl.mdl.set_dynamic_batch_size(self._model, self._inputs, self._gear_input, gear),
            "acl.mdl.set_dynamic_batch_size",
        )
        _check(
            acl.rt.memcpy_async(
                self._device_in, bytes_in, self._host_in, bytes_in, _HOST_TO_DEVICE, self._stream
            ),
            "acl.rt.memcpy_async in",
        )
        _check(
            acl.mdl.execute_async(self._model, self._inputs, self._outputs, self._stream),
            "acl.mdl.execute_async",
        )
        _check(
            acl.rt.memcpy_async(
                self._host_out, bytes_out, self._device_out, bytes_out, _DEVICE_TO_HOST, self._stream
            ),
            "acl.rt.memcpy_async out",
        )
        _check(acl.rt.synchronize_stream(self._stream), "acl.rt.synchronize_stream")
        size = self._output_row_bytes
        return [bytes(self._answers[i * size : (i + 1) * size]) for i in range(len(rows))]


def _check(code: int, what: str, *good: int) -> None:
    if code and code not in good:
        raise RuntimeError(f"{what} returned {code}: {acl.get_recent_err_msg()}")


def _made(answer: tuple[Any, int], what: str) -> Any:
    value, code = answer
    _check(code, what)
    return value


def _dataset(sizes: list[int]) -> tuple[int, int]:
    """A data set with a device buffer of each size, and the address of the first."""
    dataset = acl.mdl.create_dataset()
    addresses = [_made(acl.rt.malloc(size, _HUGE_FIRST), "acl.rt.malloc") for size in sizes]
    for address, size in zip(addresses, sizes, strict=True):
        buffer = acl.create_data_buffer(address, size)
        _made(acl.mdl.add_dataset_buffer(dataset, buffer), "acl.mdl.add_dataset_buffer")
    return dataset, addresses[0]


def _pinned(size: int) -> tuple[int, memoryview]:
    address = _made(acl.rt.malloc_host(size), "acl.rt.malloc_host")
    return address, memoryview((ctypes.c_char * size).from_address(address)).cast("B")
