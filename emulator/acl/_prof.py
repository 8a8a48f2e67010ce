"""`acl.prof`: profiles, marks in them, and subscriptions to what a model's operators take (facts/pyacl.md §14.1)."""

from __future__ import annotations

from ascend_emulator.client import handles
from ascend_emulator.client.calling import function, nothing, ret, value_ret, zero
from ascend_emulator.client.profiling import marks, profiles, records
from ascend_emulator.codes import INVALID_PARAM, Failure

__all__ = [
    "create_config",
    "create_stamp",
    "create_step_info",
    "create_subscribe_config",
    "destroy_config",
    "destroy_stamp",
    "destroy_step_info",
    "destroy_subscribe_config",
    "finalize",
    "get_model_id",
    "get_op_desc_size",
    "get_op_duration",
    "get_op_end",
    "get_op_name",
    "get_op_name_len",
    "get_op_name_v2",
    "get_op_num",
    "get_op_start",
    "get_op_type",
    "get_op_type_len",
    "get_op_type_v2",
    "get_step_timestamp",
    "init",
    "mark",
    "mark_ex",
    "model_subscribe",
    "model_un_subscribe",
    "model_unsubscribe",
    "pop",
    "push",
    "range_start",
    "range_stop",
    "set_config",
    "set_stamp_trace_message",
    "start",
    "stop",
]

_LONGEST_TEXT = 4096


def _text_ret(code: int) -> tuple[str, int]:
    return "", code


def _none_ret(code: int) -> tuple[None, int]:
    return None, code


# --- profiles --------------------------------------------------------------------------------------


@function("OikK", zero)
def create_config(devices: object, metrics: int, events: int, bits: int) -> int:
    """What to collect: devices, AI core metrics, 0, bits for the kinds of data; a handle, 0 when it cannot be."""
    if not isinstance(devices, list) or not all(isinstance(device, int) for device in devices):
        raise TypeError("acl.prof.create_config args parse failed")
    return profiles.create_config(devices, metrics, events, bits)


@function("k", ret)
def destroy_config(config: int) -> int:
    """End a configuration."""
    handles.remove(config, profiles.Config)
    return 0


@function("s", ret)
def init(path: str) -> int:
    """Say in which folder profiles are written."""
    profiles.init(path)
    return 0


@function("is", ret)
def set_config(kind: int, value: str) -> int:
    """Set an option by its `aclprofConfigType`; 16 is the folder."""
    profiles.set_config(kind, value)
    return 0


@function("k", ret)
def start(config: int) -> int:
    """Begin a profile; 0 stands for everything this process uses."""
    profiles.start(config)
    return 0


@function("k", ret)
def stop(config: int) -> int:
    """End the profile and write it."""
    profiles.stop(config)
    return 0


@function("", ret)
def finalize() -> int:
    """End profiling; 0 as well when it was not initialised."""
    profiles.finalize()
    return 0


# --- marks -----------------------------------------------------------------------------------------


@function("", zero)
def create_stamp() -> int:
    """A stamp; its handle alone, 0 while no profile collects marks."""
    return marks.create_stamp()


@function("k", nothing)
def destroy_stamp(stamp: int) -> None:
    """End a stamp."""
    handles.remove(stamp, marks.Stamp)


@function("ksI", ret)
def set_stamp_trace_message(stamp: int, message: str, length: int) -> int:
    """Give a stamp its text."""
    marks.set_message(stamp, message, length)
    return 0


@function("k", ret)
def mark(stamp: int) -> int:
    """Mark this moment."""
    marks.mark(stamp)
    return 0


@function("sk", ret)
def mark_ex(message: str, stream: int) -> int:
    """Mark this moment with a text and a stream."""
    marks.mark_stream(message, stream)
    return 0


@function("k", ret)
def push(stamp: int) -> int:
    """Begin a span in this thread."""
    marks.push(stamp)
    return 0


@function("", ret)
def pop() -> int:
    """End the span of this thread that began last."""
    marks.pop()
    return 0


@function("k", value_ret)
def range_start(stamp: int) -> tuple[int, int]:
    """`(number, ret)`: begin a span that any thread may end."""
    return marks.start_range(stamp), 0


@function("I", ret)
def range_stop(number: int) -> int:
    """End a span by its number."""
    marks.stop_range(number)
    return 0


@function("", zero)
def create_step_info() -> int:
    """A step; its handle alone."""
    return handles.add(marks.Step())


@function("k", nothing)
def destroy_step_info(step: int) -> None:
    """End a step."""
    handles.remove(step, marks.Step)


@function("kik", ret)
def get_step_timestamp(step: int, tag: int, stream: int) -> int:
    """Begin (tag 0) or end a step."""
    handles.get(step, marks.Step).pass_tag(tag)
    return 0


# --- subscriptions ---------------------------------------------------------------------------------


@function("iii", zero)
def create_subscribe_config(times: int, metrics: int, pipe: int) -> int:
    """Where records go: 0 or 1 for times, AI core metrics, a file descriptor; a handle alone."""
    if times not in (0, 1):
        raise Failure(INVALID_PARAM, f"EK0001: the switch for times is 0 or 1, not {times}.")
    return handles.add(records.Pipe(pipe))


@function("k", ret)
def destroy_subscribe_config(config: int) -> int:
    """End such a configuration."""
    handles.remove(config, records.Pipe)
    return 0


@function("Ik", ret)
def model_subscribe(model: int, config: int) -> int:
    """Note a model's executions from now on."""
    profiles.subscribe(model, config)
    return 0


@function("I", ret)
def model_unsubscribe(model: int) -> int:
    """Write what was noted to the pipe, and stop."""
    profiles.unsubscribe(model)
    return 0


@function("I", ret)
def model_un_subscribe(model: int) -> int:
    """As `model_unsubscribe`; the older spelling."""
    profiles.unsubscribe(model)
    return 0


@function("", value_ret)
def get_op_desc_size() -> tuple[int, int]:
    """`(bytes, ret)` of one record."""
    return records.RECORD_SIZE, 0


@function("kk", value_ret)
def get_op_num(address: int, size: int) -> tuple[int, int]:
    """`(records, ret)` in memory."""
    return records.records_in(address, size), 0


@function("kkI", value_ret)
def get_op_type_len(address: int, size: int, index: int) -> tuple[int, int]:
    """`(bytes, ret)` of an operator's type, its end included."""
    record = records.record_in(address, size, index)
    return len(records.type_of(record, forget=False)) + 1, 0


@function("kkI", value_ret)
def get_op_name_len(address: int, size: int, index: int) -> tuple[int, int]:
    """`(bytes, ret)` of an operator's name, its end included."""
    record = records.record_in(address, size, index)
    return len(records.name_of(record, forget=False)) + 1, 0


@function("kkIk", _text_ret)
def get_op_type(address: int, size: int, index: int, room: int) -> tuple[str, int]:
    """`(text, ret)`: an operator's type, readable once; `room` is what `get_op_type_len` gave."""
    record = records.record_in(address, size, index)
    _check_room(room, records.type_of(record, forget=False))
    return records.type_of(record, forget=True)[: room - 1], 0


@function("kkIk", _text_ret)
def get_op_name(address: int, size: int, index: int, room: int) -> tuple[str, int]:
    """`(text, ret)`: an operator's name, readable once; `room` is what `get_op_name_len` gave."""
    record = records.record_in(address, size, index)
    _check_room(room, records.name_of(record, forget=False))
    return records.name_of(record, forget=True)[: room - 1], 0


@function("kkI", _none_ret)
def get_op_type_v2(address: int, size: int, index: int) -> tuple[str, int]:
    """`(text, ret)`: an operator's type, readable once."""
    return records.type_of(records.record_in(address, size, index), forget=True), 0


@function("kkI", _none_ret)
def get_op_name_v2(address: int, size: int, index: int) -> tuple[str, int]:
    """`(text, ret)`: an operator's name, readable once."""
    return records.name_of(records.record_in(address, size, index), forget=True), 0


@function("kkI", zero)
def get_op_start(address: int, size: int, index: int) -> int:
    """When it began, in us; bare."""
    return records.record_in(address, size, index).start


@function("kkI", zero)
def get_op_end(address: int, size: int, index: int) -> int:
    """When it ended, in us; bare."""
    return records.record_in(address, size, index).end


@function("kkI", zero)
def get_op_duration(address: int, size: int, index: int) -> int:
    """What it took with its wait, in us; bare."""
    return records.record_in(address, size, index).duration


@function("kkI", ret)
def get_model_id(address: int, size: int, index: int) -> int:
    """The model it belongs to; the code in its place on failure."""
    return records.record_in(address, size, index).model


def _check_room(room: int, text: str) -> None:
    if not len(text) <= room <= _LONGEST_TEXT or not room:
        raise Failure(INVALID_PARAM, f"EK0001: {room} bytes are no room for the text.")
