"""The fence: the only file that imports `acl`.

A call leaves here as a value or as an exception of `ascend_serve.errors`, never as pyACL's `(value, ret)`.
`acl` is imported at the first call, so that this package can be imported where there is none. Signatures and
return shapes rest on the pyACL binding's source (facts: pyACL §2-§13): arguments are positional and real
ints; most calls return `ret` or `(value, ret)`, the `create_*` makers of descriptions and data sets return a
bare handle that is 0 on failure, and the accessors of a description return a bare value.

Integers that pyACL names nowhere are named here.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from ascend_serve.errors import AclError, AclMissing
from ascend_serve.runtime import _codes

HOST_TO_DEVICE = 1
"""aclrtMemcpyKind."""
DEVICE_TO_HOST = 2
"""aclrtMemcpyKind."""

RUN_MODE_BOARD = 0
"""ACL_DEVICE: the host is the SoC itself, and host and device memory are one."""
RUN_MODE_CARD = 1
"""ACL_HOST: a card behind PCIe with memory of its own."""

MALLOC_HUGE_FIRST = 0
"""aclrtMemMallocPolicy: 2 MiB pages for blocks above 1 MiB, else normal ones."""

DEVICE_NORMAL = 0
"""`aclrtDeviceStatus`: the device is in order; anything else is not (`acl_rt.h`)."""

MEMORY_DDR = 0
"""aclrtMemAttr of chips with DDR, such as the 310 and 310P families."""
MEMORY_HBM = 1
"""aclrtMemAttr of chips with high-bandwidth memory, such as the 910 family."""

STOP_ON_FAILURE = 1
"""aclrtSetStreamFailureMode: after the first failed task nothing further runs in the context."""

ANY_INPUT = -1
"""What the functions that tell of gears take for an input's index: gears belong to the model."""

_PACKAGE_CANN = 0
"""aclCANNPackageName: the toolkit as a whole."""

PROF_ACL_API = 0x1
"""Kind of profile data (`acl_prof.h`): calls of ACL."""
PROF_TASK_TIME = 0x2
"""Kind of profile data: when each task of a stream began and ended."""
PROF_AICORE_METRICS = 0x4
"""Kind of profile data: counters of the AI core, for each task."""

_NO_EVENTS = 0
"""The events of `acl.prof.create_config`, which are reserved."""


@cache
def _acl() -> Any:
    """The module `acl`, imported once.

    Raises:
        AclMissing: it cannot be imported; the message says how to get it.
    """
    try:
        import acl
    except ImportError as error:
        raise AclMissing(str(error)) from error
    return acl


def _failure(call: str, code: int) -> AclError:
    # The text belongs to the calling thread and is cleared by reading, so it is read on the spot.
    return _codes.error_for(call, code, _acl().get_recent_err_msg() or None)


def _check(call: str, code: int) -> None:
    if code:
        raise _failure(call, code)


def _made(call: str, handle: int) -> int:
    """A bare handle; 0 means that it could not be made (pyACL gives no code for it)."""
    if not handle:
        raise _failure(call, _codes.BAD_ALLOC)
    return handle


# --- the process -----------------------------------------------------------------------------------


def init() -> bool:
    """Initialise ACL in this process (`acl.init`).

    Returns:
        True when this call did it, False when it was done before by someone else, who then also finalises.
    """
    code = _acl().init()
    if code == _codes.REPEAT_INITIALIZE:
        return False
    _check("acl.init", code)
    return True


def finalize() -> None:
    """Release everything ACL holds in this process (`acl.finalize`)."""
    _check("acl.finalize", _acl().finalize())


def soc_name() -> str | None:
    """Full name of the SoC, such as `Ascend310P3`; None when the runtime cannot tell (`acl.get_soc_name`)."""
    name: str | None = _acl().get_soc_name()
    return name or None


def cann_version() -> str:
    """Version of the CANN toolkit, or `""` where the runtime is too old to say (`acl.get_cann_version`)."""
    ask = getattr(_acl(), "get_cann_version", None)
    if ask is None:
        return ""
    answer, code = ask(_PACKAGE_CANN)
    return str(answer.get("version", "")) if code == _codes.SUCCESS else ""


def run_mode() -> int:
    """`RUN_MODE_BOARD` or `RUN_MODE_CARD` (`acl.rt.get_run_mode`)."""
    mode: int
    mode, code = _acl().rt.get_run_mode()
    _check("acl.rt.get_run_mode", code)
    return mode


# --- device and context ----------------------------------------------------------------------------


def device_count() -> int:
    """How many devices this process sees (`acl.rt.get_device_count`)."""
    count: int
    count, code = _acl().rt.get_device_count()
    _check("acl.rt.get_device_count", code)
    return count


def set_device(ordinal: int) -> None:
    """Take the device and count one use of it (`acl.rt.set_device`)."""
    _check("acl.rt.set_device", _acl().rt.set_device(ordinal))


def reset_device(ordinal: int) -> None:
    """Give one use of the device back (`acl.rt.reset_device`)."""
    _check("acl.rt.reset_device", _acl().rt.reset_device(ordinal))


def create_context(ordinal: int) -> int:
    """Make a context on the device and make it current for the calling thread (`acl.rt.create_context`)."""
    context: int
    context, code = _acl().rt.create_context(ordinal)
    _check("acl.rt.create_context", code)
    return context


def set_context(context: int) -> None:
    """Make the context current for the calling thread (`acl.rt.set_context`)."""
    _check("acl.rt.set_context", _acl().rt.set_context(context))


def destroy_context(context: int) -> None:
    """Destroy an explicit context (`acl.rt.destroy_context`)."""
    _check("acl.rt.destroy_context", _acl().rt.destroy_context(context))


def device_status(ordinal: int) -> int:
    """0 for a device in order (`acl.rt.query_device_status`); also where the runtime is too old to be asked."""
    ask = getattr(_acl().rt, "query_device_status", None)
    if ask is None:
        return DEVICE_NORMAL
    status: int
    status, code = ask(ordinal)
    _check("acl.rt.query_device_status", code)
    return status


def mem_info(kind: int) -> tuple[int, int]:
    """Free and total bytes of one kind of memory on the current device (`acl.rt.get_mem_info`)."""
    free: int
    total: int
    free, total, code = _acl().rt.get_mem_info(kind)
    _check("acl.rt.get_mem_info", code)
    return free, total


# --- memory ----------------------------------------------------------------------------------------


def malloc(size: int) -> int:
    """Device memory of `size` bytes, 64-byte aligned, uninitialised (`acl.rt.malloc`)."""
    address: int
    address, code = _acl().rt.malloc(size, MALLOC_HUGE_FIRST)
    _check("acl.rt.malloc", code)
    return address


def free(address: int) -> None:
    """Free device memory; does not wait for work that uses it (`acl.rt.free`)."""
    _check("acl.rt.free", _acl().rt.free(address))


def malloc_host(size: int) -> int:
    """Page-locked host memory of `size` bytes, 64-byte aligned, uninitialised (`acl.rt.malloc_host`)."""
    address: int
    address, code = _acl().rt.malloc_host(size)
    _check("acl.rt.malloc_host", code)
    return address


def free_host(address: int) -> None:
    """Free page-locked host memory (`acl.rt.free_host`)."""
    _check("acl.rt.free_host", _acl().rt.free_host(address))


def memcpy_async(target: int, capacity: int, source: int, count: int, kind: int, stream: int) -> None:
    """Queue a copy of `count` bytes; success means queued, not copied (`acl.rt.memcpy_async`)."""
    code = _acl().rt.memcpy_async(target, capacity, source, count, kind, stream)
    if code:
        raise _failure("acl.rt.memcpy_async", code)


# --- streams and events ----------------------------------------------------------------------------


def create_stream() -> int:
    """A stream of the current context (`acl.rt.create_stream`)."""
    stream: int
    stream, code = _acl().rt.create_stream()
    _check("acl.rt.create_stream", code)
    return stream


def destroy_stream(stream: int) -> None:
    """Wait for the stream's work, then destroy it (`acl.rt.destroy_stream`)."""
    _check("acl.rt.destroy_stream", _acl().rt.destroy_stream(stream))


def synchronize_stream(stream: int) -> None:
    """Wait, without the GIL, until all work queued so far has ended; raises what failed in it."""
    code = _acl().rt.synchronize_stream(stream)
    if code:
        raise _failure("acl.rt.synchronize_stream", code)


def stop_on_failure(stream: int) -> bool:
    """Let the stream's context stop at its first failed task (`acl.rt.set_stream_failure_mode`).

    Returns:
        Whether this runtime can do it.
    """
    ask = getattr(_acl().rt, "set_stream_failure_mode", None)
    if ask is None:
        return False
    code = ask(stream, STOP_ON_FAILURE)
    if code in (_codes.RT_FEATURE_NOT_SUPPORT, _codes.API_NOT_SUPPORT, _codes.FEATURE_UNSUPPORTED):
        return False
    _check("acl.rt.set_stream_failure_mode", code)
    return True


def create_event() -> int:
    """An event that orders streams and keeps time (`acl.rt.create_event`)."""
    event: int
    event, code = _acl().rt.create_event()
    _check("acl.rt.create_event", code)
    return event


def destroy_event(event: int) -> None:
    """Destroy an event (`acl.rt.destroy_event`)."""
    _check("acl.rt.destroy_event", _acl().rt.destroy_event(event))


def record_event(event: int, stream: int) -> None:
    """Let the event stand for all work queued on the stream so far (`acl.rt.record_event`)."""
    code = _acl().rt.record_event(event, stream)
    if code:
        raise _failure("acl.rt.record_event", code)


def stream_wait_event(stream: int, event: int) -> None:
    """Let the stream's later work wait for the event's last record (`acl.rt.stream_wait_event`)."""
    code = _acl().rt.stream_wait_event(stream, event)
    if code:
        raise _failure("acl.rt.stream_wait_event", code)


def synchronize_event(event: int) -> None:
    """Wait, without the GIL, until the event's last record has been reached (`acl.rt.synchronize_event`)."""
    code = _acl().rt.synchronize_event(event)
    if code:
        raise _failure("acl.rt.synchronize_event", code)


def event_elapsed_ms(start: int, end: int) -> float:
    """Milliseconds between two reached events of one stream (`acl.rt.event_elapsed_time`)."""
    elapsed: float
    elapsed, code = _acl().rt.event_elapsed_time(start, end)
    _check("acl.rt.event_elapsed_time", code)
    return elapsed


# --- models ----------------------------------------------------------------------------------------


def query_size(path: str) -> tuple[int, int]:
    """Bytes of working memory and of weights that loading an offline model takes (`acl.mdl.query_size`)."""
    work: int
    weights: int
    work, weights, code = _acl().mdl.query_size(path)
    _check("acl.mdl.query_size", code)
    return work, weights


def load_from_file(path: str) -> int:
    """Load an offline model into the current context; the runtime manages its memory."""
    model: int
    model, code = _acl().mdl.load_from_file(path)
    _check("acl.mdl.load_from_file", code)
    return model


def unload(model: int) -> None:
    """Unload a model on which nothing runs any more (`acl.mdl.unload`)."""
    _check("acl.mdl.unload", _acl().mdl.unload(model))


def create_desc(model: int) -> int:
    """The description of a loaded model (`acl.mdl.create_desc`, `acl.mdl.get_desc`)."""
    mdl = _acl().mdl
    desc = _made("acl.mdl.create_desc", mdl.create_desc())
    code = mdl.get_desc(desc, model)
    if code:
        error = _failure("acl.mdl.get_desc", code)
        mdl.destroy_desc(desc)
        raise error
    return desc


def destroy_desc(desc: int) -> None:
    """Destroy a description (`acl.mdl.destroy_desc`)."""
    _check("acl.mdl.destroy_desc", _acl().mdl.destroy_desc(desc))


def num_inputs(desc: int) -> int:
    """Number of inputs, the hidden one of gear models included (`acl.mdl.get_num_inputs`)."""
    count: int = _acl().mdl.get_num_inputs(desc)
    return count


def num_outputs(desc: int) -> int:
    """Number of outputs (`acl.mdl.get_num_outputs`)."""
    count: int = _acl().mdl.get_num_outputs(desc)
    return count


def input_tensor(desc: int, index: int) -> tuple[str, int, tuple[int, ...], int]:
    """Name, ACL datatype, dims (-1 where dynamic) and bytes at the largest gear of an input.

    The dims are those of `get_input_dims_v2`, whose product agrees with the bytes also where AIPP is baked
    in.
    """
    mdl = _acl().mdl
    dims, code = mdl.get_input_dims_v2(desc, index)
    _check("acl.mdl.get_input_dims_v2", code)
    name = mdl.get_input_name_by_index(desc, index)
    return (
        _full_name(desc, name),
        mdl.get_input_data_type(desc, index),
        tuple(dims["dims"]),
        mdl.get_input_size_by_index(desc, index),
    )


def output_tensor(desc: int, index: int) -> tuple[str, int, tuple[int, ...], int]:
    """Name, ACL datatype, dims and bytes, all at the largest gear, of an output."""
    mdl = _acl().mdl
    dims, code = mdl.get_output_dims(desc, index)
    _check("acl.mdl.get_output_dims", code)
    name = mdl.get_output_name_by_index(desc, index)
    return (
        _full_name(desc, name),
        mdl.get_output_data_type(desc, index),
        tuple(dims["dims"]),
        mdl.get_output_size_by_index(desc, index),
    )


def _full_name(desc: int, name: str) -> str:
    # Names above 127 characters are replaced by generated ones of this form (facts: pyACL §9.2).
    if not name.startswith("acl_modelId_"):
        return name
    full: str = _acl().mdl.get_tensor_real_name(desc, name)
    return full or name


def batch_gears(desc: int) -> tuple[int, ...]:
    """Compiled batch sizes in the model's order; empty when it has none (`acl.mdl.get_dynamic_batch`)."""
    gears, code = _acl().mdl.get_dynamic_batch(desc)
    _check("acl.mdl.get_dynamic_batch", code)
    return tuple(gears["batch"][: gears["batchCount"]])


def image_gears(desc: int) -> tuple[tuple[int, int], ...]:
    """Compiled heights and widths in the model's order; empty when it has none (`acl.mdl.get_dynamic_hw`)."""
    gears, code = _acl().mdl.get_dynamic_hw(desc, ANY_INPUT)
    _check("acl.mdl.get_dynamic_hw", code)
    return tuple((height, width) for height, width in gears["hw"][: gears["hwCount"]])


def dims_gears(desc: int) -> tuple[tuple[int, ...], ...]:
    """Per gear of arbitrary dims all inputs' shapes, one after another; empty when the model has none.

    The inputs stand in the order of `--input_shape`, which need not be the model's (facts: pyACL §12.2).
    """
    mdl = _acl().mdl
    count, code = mdl.get_input_dynamic_gear_count(desc, ANY_INPUT)
    _check("acl.mdl.get_input_dynamic_gear_count", code)
    if not count:
        return ()
    gears, code = mdl.get_input_dynamic_dims(desc, ANY_INPUT, count)
    _check("acl.mdl.get_input_dynamic_dims", code)
    return tuple(tuple(gear["dims"][: gear["dimCount"]]) for gear in gears)


def current_output_dims(desc: int, index: int) -> tuple[int, ...]:
    """Dims of an output at the gear set last on the model (`acl.mdl.get_cur_output_dims`)."""
    dims, code = _acl().mdl.get_cur_output_dims(desc, index)
    _check("acl.mdl.get_cur_output_dims", code)
    return tuple(dims["dims"])


def input_index(desc: int, name: str) -> int | None:
    """Index of the input of that name, or None (`acl.mdl.get_input_index_by_name`)."""
    index: int
    index, code = _acl().mdl.get_input_index_by_name(desc, name)
    if code == _codes.INVALID_PARAM:
        return None
    _check("acl.mdl.get_input_index_by_name", code)
    return index


# --- data sets and execution -----------------------------------------------------------------------


def create_dataset() -> int:
    """An empty data set (`acl.mdl.create_dataset`)."""
    return _made("acl.mdl.create_dataset", _acl().mdl.create_dataset())


def destroy_dataset(dataset: int) -> None:
    """Destroy a data set, but neither its data buffers nor their memory (`acl.mdl.destroy_dataset`)."""
    _check("acl.mdl.destroy_dataset", _acl().mdl.destroy_dataset(dataset))


def create_data_buffer(address: int, size: int) -> int:
    """A data buffer: an address and a size, owning nothing (`acl.create_data_buffer`)."""
    return _made("acl.create_data_buffer", _acl().create_data_buffer(address, size))


def destroy_data_buffer(data_buffer: int) -> None:
    """Destroy a data buffer, not the memory it points to (`acl.destroy_data_buffer`)."""
    _check("acl.destroy_data_buffer", _acl().destroy_data_buffer(data_buffer))


def add_dataset_buffer(dataset: int, data_buffer: int) -> None:
    """Append a data buffer; its place is the tensor's index (`acl.mdl.add_dataset_buffer`)."""
    _, code = _acl().mdl.add_dataset_buffer(dataset, data_buffer)
    _check("acl.mdl.add_dataset_buffer", code)


def set_dynamic_batch_size(model: int, inputs: int, index: int, rows: int) -> None:
    """Write the gear into the hidden input of a data set (`acl.mdl.set_dynamic_batch_size`)."""
    code = _acl().mdl.set_dynamic_batch_size(model, inputs, index, rows)
    if code:
        raise _failure("acl.mdl.set_dynamic_batch_size", code)


def set_dynamic_hw_size(model: int, inputs: int, index: int, height: int, width: int) -> None:
    """Write an image gear into the hidden input of a data set (`acl.mdl.set_dynamic_hw_size`)."""
    _check("acl.mdl.set_dynamic_hw_size", _acl().mdl.set_dynamic_hw_size(model, inputs, index, height, width))


def set_input_dynamic_dims(model: int, inputs: int, index: int, dims: tuple[int, ...]) -> None:
    """Write a dims gear into the hidden input of a data set (`acl.mdl.set_input_dynamic_dims`).

    Args:
        model: its id.
        inputs: the data set.
        index: of the hidden input.
        dims: all inputs' shapes one after another, as `dims_gears` gives them.
    """
    gear = {"name": "", "dimCount": len(dims), "dims": list(dims)}
    _check("acl.mdl.set_input_dynamic_dims", _acl().mdl.set_input_dynamic_dims(model, inputs, index, gear))


def execute_async(model: int, inputs: int, outputs: int, stream: int) -> None:
    """Queue one execution; success means queued (`acl.mdl.execute_async`)."""
    code = _acl().mdl.execute_async(model, inputs, outputs, stream)
    if code:
        raise _failure("acl.mdl.execute_async", code)


# --- profiling -------------------------------------------------------------------------------------


def prof_init(folder: str) -> None:
    """Say in which folder, which exists, profiles are written (`acl.prof.init`)."""
    _check("acl.prof.init", _acl().prof.init(folder))


def prof_create_config(ordinals: list[int], metrics: int, bits: int) -> int:
    """What to collect: devices, counters of the AI core, kinds of data (`acl.prof.create_config`)."""
    return _made("acl.prof.create_config", _acl().prof.create_config(ordinals, metrics, _NO_EVENTS, bits))


def prof_destroy_config(config: int) -> None:
    """End a configuration (`acl.prof.destroy_config`)."""
    _check("acl.prof.destroy_config", _acl().prof.destroy_config(config))


def prof_start(config: int) -> None:
    """Begin to collect (`acl.prof.start`)."""
    _check("acl.prof.start", _acl().prof.start(config))


def prof_stop(config: int) -> None:
    """End what `prof_start` began, with the same configuration, and write it (`acl.prof.stop`)."""
    _check("acl.prof.stop", _acl().prof.stop(config))


def prof_finalize() -> None:
    """End profiling in this process (`acl.prof.finalize`)."""
    _check("acl.prof.finalize", _acl().prof.finalize())
