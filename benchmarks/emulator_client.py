"""What `benchmarks.emulator` runs in processes of their own: bare pyACL programs against the emulated card.

`rounds` and `saturate` print one JSON object; both take the path of an .om first.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import acl

_H2D, _D2H = 1, 2
_WARM_UP = 50
_AHEAD = 8


class Slot:
    """One batch's memory on both sides, its datasets and its event."""

    def __init__(self, model: int) -> None:
        desc = acl.mdl.create_desc()
        check(acl.mdl.get_desc(desc, model))
        sizes_in = [acl.mdl.get_input_size_by_index(desc, i) for i in range(acl.mdl.get_num_inputs(desc))]
        sizes_out = [acl.mdl.get_output_size_by_index(desc, i) for i in range(acl.mdl.get_num_outputs(desc))]
        self.inputs, self.device_in = _dataset(sizes_in)
        self.outputs, self.device_out = _dataset(sizes_out)
        self.size_in, self.size_out = sizes_in[0], sizes_out[0]
        self.host_in = _value(acl.rt.malloc_host(self.size_in))
        self.host_out = _value(acl.rt.malloc_host(self.size_out))
        check(acl.rt.memset(self.host_in, self.size_in, 1, self.size_in))
        self.event = _value(acl.rt.create_event())
        self.hidden = len(sizes_in) - 1


def check(ret: int) -> None:
    """Stop at a code other than 0."""
    if ret:
        raise RuntimeError(f"ret {ret}: {acl.get_recent_err_msg()}")


def rounds(model: int, count: int) -> dict[str, float]:
    """Time `count` rounds of copy in, execute, copy out and synchronise on one stream, one after another.

    Returns:
        `wall_us` and `cpu_us` of a round: medians would hide what a round costs now and then, so both are means;
        CPU is that of the whole client process.
    """
    slot, stream = Slot(model), _value(acl.rt.create_stream())

    def one() -> None:
        enqueue(slot, model, stream)
        check(acl.rt.synchronize_stream(stream))

    _repeat(_WARM_UP, one)
    cpu_ns, wall_ns = time.process_time_ns(), time.perf_counter_ns()
    _repeat(count, one)
    return {
        "wall_us": (time.perf_counter_ns() - wall_ns) / 1e3 / count,
        "cpu_us": (time.process_time_ns() - cpu_ns) / 1e3 / count,
    }


def saturate(model: int, gear: int, batches: int) -> dict[str, list[int]]:
    """Keep the device's queue filled and note the moment each batch was seen to have ended.

    With `_AHEAD` batches queued the device always has the next one, however late this process is woken.

    Returns:
        `seen_ns`: the moment this process saw each batch, `ended_us`: when it ended by the device's own clock, in
        the units of `event_get_timestamp`.
    """
    slots = [Slot(model) for _ in range(_AHEAD)]
    streams = [_value(acl.rt.create_stream()) for _ in slots]
    for slot in slots:
        check(acl.mdl.set_dynamic_batch_size(model, slot.inputs, slot.hidden, gear))
    seen_ns: list[int] = []
    ended_us: list[int] = []
    for number in range(batches + len(slots)):
        slot, stream = slots[number % len(slots)], streams[number % len(slots)]
        if number >= len(slots):
            check(acl.rt.synchronize_event(slot.event))
            seen_ns.append(time.monotonic_ns())
            ended_us.append(_value(acl.rt.event_get_timestamp(slot.event)))
        if number < batches:
            enqueue(slot, model, stream)
            check(acl.rt.record_event(slot.event, stream))
    return {"seen_ns": seen_ns, "ended_us": ended_us}


def enqueue(slot: Slot, model: int, stream: int) -> None:
    """Queue copy in, execution and copy out."""
    check(acl.rt.memcpy_async(slot.device_in, slot.size_in, slot.host_in, slot.size_in, _H2D, stream))
    check(acl.mdl.execute_async(model, slot.inputs, slot.outputs, stream))
    check(acl.rt.memcpy_async(slot.host_out, slot.size_out, slot.device_out, slot.size_out, _D2H, stream))


def _repeat(count: int, call: Callable[[], None]) -> None:
    for _ in range(count):
        call()


def _dataset(sizes: list[int]) -> tuple[int, int]:
    made, first = acl.mdl.create_dataset(), 0
    for size in sizes:
        address = _value(acl.rt.malloc(size, 0))
        first = first or address
        acl.mdl.add_dataset_buffer(made, acl.create_data_buffer(address, size))
    return made, first


def _value(answer: tuple[int, int]) -> int:
    value, ret = answer
    check(ret)
    return value


def main(arguments: list[str]) -> None:
    """Run one measurement; its name, the .om, then its numbers."""
    name, path, *numbers = arguments
    check(acl.init())
    check(acl.rt.set_device(0))
    model = _value(acl.mdl.load_from_file(path))
    measures: dict[str, Callable[..., object]] = {"rounds": rounds, "saturate": saturate}
    print(json.dumps(measures[name](model, *map(int, numbers))))
    check(acl.rt.reset_device(0))
    check(acl.finalize())


if __name__ == "__main__":
    main(sys.argv[1:])
