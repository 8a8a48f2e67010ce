"""How every pyACL function is called and what it gives back when it cannot do its work."""

import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import acl
import numpy as np
import pytest

pytestmark = pytest.mark.contract

# A call of every function that takes arguments, with a 0 for each handle: the codes are what the runtime answers.
NULL_CALLS: list[tuple[str, tuple[Any, ...], Any]] = [
    ("destroy_data_buffer", (0,), 100000),
    ("get_data_buffer_addr", (0,), 0),
    ("get_data_buffer_size", (0,), 0),
    ("get_data_buffer_size_v2", (0,), 0),
    ("update_data_buffer", (0, 1, 1), 100000),
    ("get_tensor_desc_type", (0,), -1),
    ("get_tensor_desc_dim_v2", (0, 0), (0, 100000)),
    ("rt.set_context", (0,), 100000),
    ("rt.destroy_context", (0,), 100000),
    ("rt.destroy_stream", (0,), 100000),
    ("rt.destroy_event", (0,), 100000),
    ("rt.free", (0,), 100000),
    ("rt.free_host", (0,), 100000),
    ("mdl.unload", (4_000_000_000,), 145003),
    ("mdl.get_desc", (0, 1), 100000),
    ("mdl.destroy_desc", (0,), 100000),
    ("mdl.get_num_inputs", (0,), 0),
    ("mdl.get_num_outputs", (0,), 0),
    ("mdl.get_input_size_by_index", (0, 0), 0),
    ("mdl.get_output_size_by_index", (0, 0), 0),
    ("mdl.get_input_dims", (0, 0), ({}, 100000)),
    ("mdl.get_input_dims_v2", (0, 0), ({}, 100000)),
    ("mdl.get_output_dims", (0, 0), ({}, 100000)),
    ("mdl.get_cur_output_dims", (0, 0), ({}, 100000)),
    ("mdl.get_input_name_by_index", (0, 0), ""),
    ("mdl.get_output_name_by_index", (0, 0), ""),
    ("mdl.get_input_index_by_name", (0, "x"), (0, 100000)),
    ("mdl.get_output_index_by_name", (0, "x"), (0, 100000)),
    ("mdl.get_input_format", (0, 0), -1),
    ("mdl.get_output_format", (0, 0), -1),
    ("mdl.get_input_data_type", (0, 0), -1),
    ("mdl.get_output_data_type", (0, 0), -1),
    ("mdl.get_dynamic_batch", (0,), ({}, 100000)),
    ("mdl.get_dynamic_hw", (0, -1), ({}, 100000)),
    ("mdl.get_input_dynamic_gear_count", (0, -1), (0, 100000)),
    ("mdl.get_input_dynamic_dims", (0, -1, 0), ([], 100000)),
    ("mdl.set_dynamic_batch_size", (4_000_000_000, 0, 0, 1), 100000),
    ("mdl.add_dataset_buffer", (0, 0), (0, 100000)),
    ("mdl.get_dataset_num_buffers", (0,), 0),
    ("mdl.get_dataset_buffer", (0, 0), 0),
    ("mdl.destroy_dataset", (0,), 100000),
]

# What needs a context, with the answer of a thread that has none. No model ever had that number.
CONTEXT_CALLS: list[tuple[str, tuple[Any, ...], Any]] = [
    ("rt.get_device", (), (0, 107002)),
    ("rt.get_context", (), (0, 107002)),
    ("rt.create_stream", (), (0, 107002)),
    ("rt.create_event", (), (0, 107002)),
    ("rt.synchronize_stream", (0,), 107002),
    ("rt.synchronize_device", (), 107002),
    ("rt.malloc", (64, 0), (0, 107002)),
    ("rt.malloc_align32", (64, 0), (0, 107002)),
    ("rt.malloc_host", (64,), (0, 107002)),
    ("rt.memcpy", (4096, 1, 8192, 1, 1), 107002),
    ("rt.memcpy_async", (4096, 1, 8192, 1, 1, 0), 107002),
    ("rt.memset", (4096, 1, 0, 1), 107002),
    ("rt.memset_async", (4096, 1, 0, 1, 0), 107002),
    ("rt.get_mem_info", (0,), (0, 0, 107002)),
    ("mdl.execute", (4_000_000_000, 0, 0), 107002),
    ("mdl.execute_async", (4_000_000_000, 0, 0, 0), 107002),
]

NO_ARGUMENTS = [
    "finalize_reference",
    "get_version",
    "get_soc_name",
    "get_recent_err_msg",
    "rt.get_run_mode",
    "rt.get_device_count",
    "mdl.create_desc",
    "mdl.create_dataset",
]


def find(name: str) -> Callable[..., Any]:
    thing: Any = acl
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


def in_thread(call: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join()
    return results[0]


@pytest.mark.parametrize(("name", "arguments", "expected"), NULL_CALLS, ids=[call[0] for call in NULL_CALLS])
def test_null_handles_give_codes_not_exceptions(name: str, arguments: tuple[Any, ...], expected: Any) -> None:
    assert find(name)(*arguments) == expected


def misuses(name: str) -> list[str]:
    """What strict mode says of a call from a thread without a context."""
    if name in ("rt.get_device", "rt.get_context"):  # these ask whether there is one
        return []
    return ["no-context", *(["unpinned-copy"] if name == "rt.memcpy_async" else [])]


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        pytest.param(*call, id=call[0], marks=pytest.mark.ascend_findings(*misuses(call[0])))
        for call in CONTEXT_CALLS
    ],
)
def test_a_fresh_thread_has_no_context(
    device: int, name: str, arguments: tuple[Any, ...], expected: Any
) -> None:
    assert in_thread(lambda: find(name)(*arguments)) == expected


@pytest.mark.parametrize(
    ("name", "arguments"),
    [call[:2] for call in NULL_CALLS + CONTEXT_CALLS if call[1]],
    ids=lambda value: str(value),
)
def test_wrong_calls_raise_type_error(name: str, arguments: tuple[Any, ...]) -> None:
    function = find(name)
    for wrong in (arguments[:-1], (*arguments, 0), (None, *arguments[1:]), (1.0, *arguments[1:])):
        with pytest.raises(TypeError, match=rf"acl\.{name} args parse failed"):
            function(*wrong)
    with pytest.raises(TypeError, match="takes no keyword arguments"):
        function(*arguments, stream=0)


@pytest.mark.parametrize("name", NO_ARGUMENTS)
def test_functions_without_arguments_ignore_what_they_get(name: str) -> None:
    if name != "finalize_reference":
        find(name)(1, "two", None)
    with pytest.raises(TypeError):
        find(name)(extra=1)


def test_pointers_are_python_ints_and_nothing_else() -> None:
    with pytest.raises(TypeError):
        acl.rt.free(np.int64(4096))
    with pytest.raises(TypeError):
        acl.rt.free(np.zeros(4))
    assert acl.rt.free(-1) == 107000
    assert acl.rt.free(True) == 107000


def test_model_ids_and_kinds_take_anything_with_an_index() -> None:
    assert acl.mdl.unload(np.uint32(4_000_000_000)) == 145003
    with pytest.raises(TypeError):
        acl.rt.set_device(1 << 31)


def test_paths_are_strings(tmp_path: Any) -> None:
    for path in (tmp_path, b"x.om", "x\0.om"):
        with pytest.raises(TypeError):
            acl.mdl.load_from_file(path)


@pytest.mark.parametrize(
    "name",
    [
        "ACL_SUCCESS",
        "MEM_MALLOC_HUGE_FIRST",
        "ACL_MEMCPY_HOST_TO_DEVICE",
        "rt.MEMORY_DEVICE",
        "mdl.add_dataset_tensor",
    ],
)
def test_no_constant_and_no_fictional_name_exists(name: str) -> None:
    with pytest.raises(AttributeError):
        find(name)


def test_submodules_are_importable_and_list_their_functions() -> None:
    import acl.mdl as mdl
    from acl.rt import memcpy

    assert sys.modules["acl.rt"] is acl.rt
    assert sys.modules["acl.mdl"] is mdl
    assert sys.modules["acl.util"] is acl.util
    assert memcpy is acl.rt.memcpy
    assert {"bytes_to_ptr", "ptr_to_bytes", "numpy_to_ptr"} <= set(dir(acl.util))


def test_functions_travel_by_name() -> None:
    assert pickle.loads(pickle.dumps(acl.rt.malloc)) is acl.rt.malloc
    assert acl.rt.malloc.__name__ == "malloc"


def test_functions_do_not_bind_to_instances() -> None:
    class Holder:
        size_of = acl.data_type_size
        soc = acl.get_soc_name

    assert Holder().size_of(1) == Holder.size_of(1) == 2
    assert Holder().soc() == acl.get_soc_name()
    assert Holder().size_of is acl.data_type_size


def test_the_message_of_a_failure_is_per_thread_and_read_once() -> None:
    acl.get_recent_err_msg()
    assert acl.rt.set_device(10_000) == 107001
    assert in_thread(acl.get_recent_err_msg) is None
    message = acl.get_recent_err_msg()
    assert message is not None
    assert "10000" in message
    assert acl.get_recent_err_msg() is None


def test_the_last_error_is_per_thread() -> None:
    assert acl.rt.set_device(10_000) == 107001
    assert acl.rt.peek_at_last_error(0) == 107001
    assert in_thread(lambda: acl.rt.peek_at_last_error(0)) == 0
    assert acl.rt.get_last_error(0) == 107001
    assert acl.rt.get_last_error(0) == 0


@pytest.mark.parametrize(
    ("dtype", "size"), [(0, 4), (1, 2), (3, 4), (9, 8), (12, 1), (27, 2), (13, 0), (-1, 0), (17, 16)]
)
def test_sizes_of_data_types(dtype: int, size: int) -> None:
    assert acl.data_type_size(dtype) == size


def test_half_precision_is_not_ieee_at_the_edges() -> None:
    assert acl.float16_to_float(0x3C00) == 1.0
    assert acl.float16_to_float(0xC000) == -2.0
    assert acl.float16_to_float(0x0001) == 2.0**-24
    assert (acl.float16_to_float(0x7C00), acl.float16_to_float(0xFC00)) == (65536.0, -65536.0)
    assert acl.float16_to_float(0x7E00) == 98304.0
    assert acl.float_to_float16(1.0) == 0x3C00
    assert acl.float_to_float16(1e9) == acl.float_to_float16(float("inf")) == 0x7BFF
    assert acl.float_to_float16(float("-inf")) == 0xFBFF


@pytest.mark.ascend_findings("double-free")
def test_data_buffers_name_memory() -> None:
    buffer = acl.create_data_buffer(4096, 1 << 33)
    assert isinstance(buffer, int)
    assert buffer
    assert (acl.get_data_buffer_addr(buffer), acl.get_data_buffer_size_v2(buffer)) == (4096, 1 << 33)
    assert acl.get_data_buffer_size(buffer) == 0
    assert acl.update_data_buffer(buffer, 8192, 8) == 0
    assert (acl.get_data_buffer_addr(buffer), acl.get_data_buffer_size(buffer)) == (8192, 8)
    assert acl.destroy_data_buffer(buffer) == 0
    assert acl.destroy_data_buffer(buffer) == 100000


@pytest.mark.ascend_findings("wrong-free")
def test_a_dataset_handle_is_no_data_buffer() -> None:
    dataset = acl.mdl.create_dataset()
    assert acl.destroy_data_buffer(dataset) == 100000
    assert acl.mdl.destroy_dataset(dataset) == 0


def test_datasets_keep_buffers_in_order() -> None:
    dataset = acl.mdl.create_dataset()
    buffers = [acl.create_data_buffer(4096, size) for size in (1, 2, 3)]
    assert [acl.mdl.add_dataset_buffer(dataset, buffer) for buffer in buffers] == [(dataset, 0)] * 3
    assert acl.mdl.get_dataset_num_buffers(dataset) == 3
    assert [acl.mdl.get_dataset_buffer(dataset, index) for index in range(4)] == [*buffers, 0]
    assert acl.mdl.destroy_dataset(dataset) == 0
    assert [acl.destroy_data_buffer(buffer) for buffer in buffers] == [0, 0, 0]


def test_tensor_descriptions_are_copied_into_datasets() -> None:
    desc = acl.create_tensor_desc(0, [2, 3], 2)
    acl.set_tensor_desc_name(desc, "x")
    dataset = acl.mdl.create_dataset()
    acl.mdl.add_dataset_buffer(dataset, acl.create_data_buffer(4096, 24))
    assert acl.mdl.set_dataset_tensor_desc(dataset, desc, 0) == (dataset, 0)
    acl.destroy_tensor_desc(desc)
    copy = acl.mdl.get_dataset_tensor_desc(dataset, 0)
    assert acl.get_tensor_desc_num_dims(copy) == 2
    assert acl.get_tensor_desc_dim_v2(copy, 1) == (3, 0)
    assert acl.get_tensor_desc_size(copy) == 24
    assert acl.get_tensor_desc_name(copy) == "x"
    assert acl.mdl.set_dataset_tensor_desc(dataset, 0, 5) == (0, 100000)
    assert acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(dataset, 0)) == 0
    assert acl.mdl.destroy_dataset(dataset) == 0


def test_dims_of_a_tensor_are_a_list_of_ints() -> None:
    for dims in ((2, 3), ["2"], [2.0], None):
        with pytest.raises(TypeError, match=r"acl\.create_tensor_desc args parse failed"):
            acl.create_tensor_desc(0, dims, 2)
