"""A model called by hand through pyACL, as the public samples do it: copy in, execute, copy out, all synchronous.

Only what those samples do: one context, device memory made once, pageable host memory, every return code
checked. The sequence is that of facts/pyacl.md §19.
"""

from __future__ import annotations

from typing import Any

import acl

_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2
_HUGE_FIRST = 0
_ALREADY_INITIALISED = 100002


def _check(code: int, what: str) -> None:
    if code not in (0, _ALREADY_INITIALISED):
        raise RuntimeError(f"{what} returned {code}: {acl.get_recent_err_msg()}")


def _made(answer: tuple[Any, int], what: str) -> Any:
    value, code = answer
    _check(code, what)
    return value


class HandModel:
    """One compiled model with one input and one output, at one gear. Not for two threads at once.

    Args:
        path: an `.om` with batch gears.
        gear: the batch size that every run has.
        row_bytes: bytes of one row of the input.
        output_row_bytes: bytes of one row of the output.

    Raises:
        RuntimeError: a call failed; it is named.
    """

    def __init__(self, path: str, gear: int, row_bytes: int, output_row_bytes: int) -> None:
        _check(acl.init(), "acl.init")
        _check(acl.rt.set_device(0), "acl.rt.set_device")
        self._context = _made(acl.rt.create_context(0), "acl.rt.create_context")
        self._model = _made(acl.mdl.load_from_file(path), "acl.mdl.load_from_file")
        desc = acl.mdl.create_desc()
        _check(acl.mdl.get_desc(desc, self._model), "acl.mdl.get_desc")
        self._inputs, addresses = self._dataset(
            [acl.mdl.get_input_size_by_index(desc, i) for i in range(acl.mdl.get_num_inputs(desc))]
        )
        self._input = addresses[0]
        self._outputs, addresses = self._dataset([acl.mdl.get_output_size_by_index(desc, 0)])
        self._output = addresses[0]
        index = _made(
            acl.mdl.get_input_index_by_name(desc, "ascend_mbatch_shape_data"), "get_input_index_by_name"
        )
        _check(
            acl.mdl.set_dynamic_batch_size(self._model, self._inputs, index, gear), "set_dynamic_batch_size"
        )
        acl.mdl.destroy_desc(desc)
        self._room_bytes = gear * row_bytes
        self._output_bytes = gear * output_row_bytes
        self._output_row_bytes = output_row_bytes
        self._host = _made(acl.rt.malloc_host(self._output_bytes), "acl.rt.malloc_host")

    @staticmethod
    def _dataset(sizes: list[int]) -> tuple[int, list[int]]:
        dataset = acl.mdl.create_dataset()
        addresses = []
        for size in sizes:
            address = _made(acl.rt.malloc(size, _HUGE_FIRST), "acl.rt.malloc")
            _made(
                acl.mdl.add_dataset_buffer(dataset, acl.create_data_buffer(address, size)),
                "acl.mdl.add_dataset_buffer",
            )
            addresses.append(address)
        return dataset, addresses

    def run(self, rows: list[bytes]) -> list[bytes]:
        """Run rows, at most the gear's, and return the output of each. Blocks; any thread, one at a time."""
        _check(acl.rt.set_context(self._context), "acl.rt.set_context")
        packed = b"".join(rows)
        _check(
            acl.rt.memcpy(
                self._input, self._room_bytes, acl.util.bytes_to_ptr(packed), len(packed), _HOST_TO_DEVICE
            ),
            "acl.rt.memcpy in",
        )
        _check(acl.mdl.execute(self._model, self._inputs, self._outputs), "acl.mdl.execute")
        _check(
            acl.rt.memcpy(self._host, self._output_bytes, self._output, self._output_bytes, _DEVICE_TO_HOST),
            "acl.rt.memcpy out",
        )
        size = self._output_row_bytes
        return [acl.util.ptr_to_bytes(self._host + i * size, size) for i in range(len(rows))]
