"""Streams and events: order within a stream, independence between streams, and what the waits say."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import acl
import pytest

pytestmark = pytest.mark.contract

H2D, D2H, D2D = 1, 2, 3
SIZE = 1 << 16


@pytest.fixture
def pinned(device: int) -> int:
    address, ret = acl.rt.malloc_host(SIZE)
    assert ret == 0
    yield address
    assert acl.rt.free_host(address) == 0


@pytest.fixture
def block(device: int) -> int:
    address, ret = acl.rt.malloc(SIZE, 0)
    assert ret == 0
    yield address
    assert acl.rt.free(address) == 0


def write(address: int, data: bytes) -> None:
    assert acl.rt.memcpy(address, len(data), acl.util.bytes_to_ptr(data), len(data), 0) == 0


def test_a_stream_keeps_its_order(stream: int, pinned: int, block: int) -> None:
    """A stream is an in-order queue (facts §6.1)."""
    for round_ in range(50):
        for step in range(8):
            assert acl.rt.memset_async(block, SIZE, round_ * 8 + step & 0xFF, SIZE, stream) == 0
        assert acl.rt.memcpy_async(pinned, SIZE, block, SIZE, D2H, stream) == 0
        assert acl.rt.synchronize_stream(stream) == 0
        assert acl.util.ptr_to_bytes(pinned, SIZE) == bytes([round_ * 8 + 7 & 0xFF]) * SIZE


def test_pinned_memory_goes_there_and_back(stream: int, pinned: int, block: int) -> None:
    """Copies of pinned and device memory are queued (facts §8.5)."""
    write(pinned, bytes(range(256)) * (SIZE // 256))
    assert acl.rt.memcpy_async(block, SIZE, pinned, SIZE // 2, H2D, stream) == 0
    assert acl.rt.memcpy_async(block + SIZE // 2, SIZE // 2, block, SIZE // 2, D2D, stream) == 0
    assert acl.rt.memset_async(pinned, SIZE, 0, SIZE, stream) == 0
    assert acl.rt.memcpy_async(pinned, SIZE, block, SIZE, D2H, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.util.ptr_to_bytes(pinned, SIZE) == bytes(range(256)) * (SIZE // 256)


@pytest.mark.ascend_findings("unpinned-copy")
def test_pageable_memory_is_copied_before_the_call_returns(stream: int, block: int) -> None:
    """Pageable memory falls back to draining and copying at once (facts §8.5, [C])."""
    data = bytes(range(256))
    assert acl.rt.memset_async(block, SIZE, 1, SIZE, stream) == 0
    assert acl.rt.memcpy_async(block, SIZE, acl.util.bytes_to_ptr(data), 256, H2D, stream) == 0
    back = bytes(257)
    assert acl.rt.memcpy(acl.util.bytes_to_ptr(back), 257, block, 257, D2H) == 0
    assert back == data + b"\x01"
    again = bytes(256)
    assert acl.rt.memcpy_async_with_condition(acl.util.bytes_to_ptr(again), 256, block, 256, D2H, stream) == 0
    assert again == data


def test_asynchronous_copies_check_their_arguments(stream: int, pinned: int, block: int) -> None:
    """Too many bytes 107000, null or a bad kind 100000 (facts §8.4, §8.5)."""
    assert acl.rt.memcpy_async(block, 8, pinned, 9, H2D, stream) == 107000
    assert acl.rt.memcpy_async(0, 8, pinned, 8, H2D, stream) == 100000
    assert acl.rt.memcpy_async(block, 8, pinned, 8, 17, stream) == 100000
    assert acl.rt.memcpy_async(block, 8, pinned, 8, H2D, block) == 100000
    assert acl.rt.memset_async(block, 8, 0, 9, stream) == 107000


@pytest.mark.usefixtures("emulator")
def test_host_to_host_is_not_a_device_copy(stream: int, pinned: int) -> None:
    """Host to host is 207000 (facts §8.5)."""
    assert acl.rt.memcpy_async(pinned, 8, pinned + 8, 8, 0, stream) == 207000


def test_stream_zero_is_the_default_stream(pinned: int, block: int) -> None:
    """Stream 0 is the default stream of the current context (facts §6.1)."""
    default, ret = acl.rt.ctx_get_current_default_stream()
    assert ret == 0
    write(pinned, b"a" * 64)
    assert acl.rt.memcpy_async(block, 64, pinned, 64, H2D, 0) == 0
    assert acl.rt.synchronize_stream(default) == 0
    assert acl.rt.destroy_stream(default) != 0


def test_a_stream_belongs_to_its_context(stream: int, block: int) -> None:
    """Work on a stream of another context is 107003, waiting for one is allowed (facts §6.1, [C] StreamSynchronize)."""
    own, _ = acl.rt.get_context()
    other, ret = acl.rt.create_context(0)
    assert ret == 0
    assert acl.rt.memset_async(block, SIZE, 0, SIZE, stream) == 107003
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.set_context(own) == 0
    assert acl.rt.memset_async(block, SIZE, 0, SIZE, stream) == 0
    assert acl.rt.synchronize_device() == 0
    assert acl.rt.destroy_context(other) == 0


@pytest.mark.ascend_findings("no-context")
def test_a_stream_is_destroyed_by_a_thread_with_a_context(device: int) -> None:
    """`destroy_stream` needs a context (facts §6.1)."""
    stream, ret = acl.rt.create_stream()
    assert ret == 0
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(acl.rt.destroy_stream, stream).result() == 107002
    assert acl.rt.destroy_stream(stream) == 0


@pytest.mark.ascend_findings("double-free")
def test_streams_are_counted(device: int) -> None:
    """`get_stream_available_num` counts them; a destroyed handle is 100000 (facts §6.1)."""
    before, ret = acl.rt.get_stream_available_num()
    assert ret == 0
    made = [acl.rt.create_stream_with_config(0, 0x3)[0] for _ in range(5)]
    assert acl.rt.get_stream_available_num() == (before - 5, 0)
    assert len({acl.rt.stream_get_id(stream)[0] for stream in made}) == 5
    assert [acl.rt.destroy_stream(stream) for stream in made] == [0] * 5
    assert acl.rt.destroy_stream(made[0]) == 100000
    assert acl.rt.get_stream_available_num() == (before, 0)


@pytest.mark.usefixtures("emulator")
def test_streams_run_out(device: int) -> None:
    """207008 (facts §6.1)."""
    room, _ = acl.rt.get_stream_available_num()
    made = []
    # A process that just ended may give its own back meanwhile, so the card may have more than it told.
    while (answer := acl.rt.create_stream())[1] == 0:
        made.append(answer[0])
    assert answer == (0, 207008)
    assert len(made) >= room
    assert acl.rt.get_stream_available_num() == (0, 0)
    assert {acl.rt.destroy_stream(stream) for stream in made} == {0}


def test_time_outs_are_checked(stream: int) -> None:
    """0 and below -1 are 107000, -1 is for ever (facts §6.1, §6.2)."""
    event, _ = acl.rt.create_event()
    for timeout in (0, -2):
        assert acl.rt.synchronize_stream_with_timeout(stream, timeout) == 107000
        assert acl.rt.synchronize_event_with_timeout(event, timeout) == 107000
        assert acl.rt.synchronize_device_with_timeout(timeout) == 107000
    for timeout in (-1, 1000):
        assert acl.rt.synchronize_stream_with_timeout(stream, timeout) == 0
        assert acl.rt.synchronize_event_with_timeout(event, timeout) == 0
        assert acl.rt.synchronize_device_with_timeout(timeout) == 0
    assert acl.rt.destroy_event(event) == 0


@pytest.mark.usefixtures("emulator")
@pytest.mark.ascend_findings("use-after-free")
def test_a_failing_task_is_told_by_the_next_synchronise_only(stream: int, pinned: int) -> None:
    """A failure comes out at the next synchronise and is forgotten then ([C])."""
    freed, _ = acl.rt.malloc(64, 0)
    assert acl.rt.free(freed) == 0
    assert acl.rt.memcpy_async(freed, 64, pinned, 64, H2D, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 507013
    message = acl.get_recent_err_msg()
    assert message is not None
    assert "64 bytes" in message
    assert acl.rt.synchronize_stream(stream) == 0


@pytest.mark.usefixtures("emulator")
@pytest.mark.ascend_findings("use-after-free")
def test_stop_on_failure_stops_the_context(device: int) -> None:
    """Failure mode 1 holds for the context, which then refuses new work ([C] stream.cc, StreamSetMode)."""
    context, ret = acl.rt.create_context(0)
    assert ret == 0
    first, second = acl.rt.create_stream()[0], acl.rt.create_stream()[0]
    block, host = acl.rt.malloc(64, 0)[0], acl.rt.malloc_host(64)[0]
    event, _ = acl.rt.create_event()
    write(host, b"\x01" * 64)
    assert acl.rt.memset(block, 64, 7, 64) == 0
    freed, _ = acl.rt.malloc(64, 0)
    assert acl.rt.free(freed) == 0
    assert acl.rt.set_stream_failure_mode(first, 2) == 107000
    assert acl.rt.set_stream_failure_mode(first, 1) == 0
    assert acl.rt.set_stream_failure_mode(first, 0) == 207000
    assert acl.rt.memcpy_async(freed, 64, host, 64, H2D, first) == 0
    assert acl.rt.record_event(event, first) == 0
    assert acl.rt.synchronize_event(event) == 507013
    for stream in (first, second, first):
        assert acl.rt.synchronize_stream(stream) == 507013
    assert acl.rt.memcpy_async(block, 64, host, 64, H2D, second) == 507013
    assert acl.rt.record_event(event, second) == 507013
    assert acl.rt.stream_get_id(second)[1] == 0
    assert acl.rt.synchronize_stream(second) == 507013
    back = bytes(64)
    assert acl.rt.memcpy(acl.util.bytes_to_ptr(back), 64, block, 64, D2H) == 0
    assert back == b"\x07" * 64
    assert [acl.rt.free(block), acl.rt.free_host(host), acl.rt.destroy_event(event)] == [0, 0, 0]
    assert [acl.rt.destroy_stream(first), acl.rt.destroy_stream(second), acl.rt.destroy_context(context)] == [
        0,
        0,
        0,
    ]
    assert acl.rt.set_device(0) == 0
    assert acl.rt.synchronize_stream(0) == 0
    assert acl.rt.reset_device(0) == 0


@pytest.mark.usefixtures("emulator")
@pytest.mark.ascend_findings("use-after-free")
def test_by_default_an_event_behind_a_failure_is_reached(stream: int, pinned: int) -> None:
    """Failure mode 0: what is queued behind a failure runs all the same ([C])."""
    event, _ = acl.rt.create_event()
    freed, _ = acl.rt.malloc(64, 0)
    assert acl.rt.free(freed) == 0
    assert acl.rt.memcpy_async(freed, 64, pinned, 64, H2D, stream) == 0
    assert acl.rt.record_event(event, stream) == 0
    assert acl.rt.synchronize_event(event) == 0
    assert acl.rt.synchronize_stream(stream) == 507013
    assert acl.rt.destroy_event(event) == 0


@pytest.mark.usefixtures("emulator")
@pytest.mark.ascend_findings("use-after-free")
def test_a_failure_waits_for_who_is_still_there(stream: int, pinned: int) -> None:
    """A wait that ran out of time takes no failure with it (emulator)."""
    me = threading.get_ident()
    freed, _ = acl.rt.malloc(64, 0)
    assert acl.rt.free(freed) == 0
    assert acl.rt.subscribe_report(me, stream) == 0
    assert acl.rt.launch_callback(lambda _: None, None, 1, stream) == 0
    assert acl.rt.memcpy_async(freed, 64, pinned, 64, H2D, stream) == 0
    assert acl.rt.synchronize_stream_with_timeout(stream, 20) == 507046
    assert acl.rt.synchronize_device_with_timeout(20) == 507046
    assert acl.rt.process_report(10_000) == 0
    assert acl.rt.unsubscribe_report(me, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 507013


def test_unknown_flags_and_priorities_make_an_ordinary_stream(device: int) -> None:
    """Other flags count for nothing, priorities are clamped (docs `aclrtCreateStreamWithConfig`; [C] StreamCreate)."""
    for priority, kept in ((0, 0), (7, 7), (9, 7), (-3, 0)):
        stream, ret = acl.rt.create_stream_with_config(priority, 0x1C0 | 0x3)
        assert ret == 0
        assert acl.rt.get_stream_attribute(stream, 5) == ({"reserved": [kept, 0, 0, 0]}, 0)
        assert acl.rt.destroy_stream(stream) == 0
    with pytest.raises(TypeError):
        acl.rt.create_stream_with_config(1 << 31, 0)


@pytest.mark.usefixtures("emulator")
def test_persistent_streams_are_refused(device: int) -> None:
    """They hold their work for a model that binds them, which is not emulated."""
    assert acl.rt.create_stream_with_config(0, 0x4) == (0, 207000)


def test_attributes_are_dicts(stream: int) -> None:
    """The key goes by the attribute; numbers that are none are passed over ([B] rt_stream.cpp)."""
    assert acl.rt.get_stream_attribute(stream, 1) == ({"failureMode": 0}, 0)
    assert acl.rt.get_stream_attribute(stream, 3) == ({"userCustomTag": 0}, 0)
    assert acl.rt.set_stream_attribute(stream, 4, {"reserved": [1, 0, 0, 0]}) == 0
    assert acl.rt.get_stream_attribute(stream, 4) == ({"reserved": [1, 0, 0, 0]}, 0)
    assert acl.rt.set_stream_attribute(stream, 5, {"reserved": [3, 0, 0, 0]}) == 0
    assert acl.rt.get_stream_attribute(stream, 5) == ({"reserved": [3, 0, 0, 0]}, 0)
    assert acl.rt.set_stream_attribute(stream, 1, {"failureMode": "one"}) == 0
    assert acl.rt.set_stream_attribute(stream, 1, {"failureMode": 2}) == 107000
    assert acl.rt.set_stream_attribute(stream, 0, {}) == 107000
    assert acl.rt.set_stream_attribute(stream, 6, {}) == 107000
    assert acl.rt.get_stream_attribute(stream, 6) == ({"reserved": [0, 0, 0, 0]}, 107000)
    assert acl.rt.get_stream_attribute(12, 1) == ({"failureMode": 0}, 100000)
    with pytest.raises(TypeError, match="the aclrtStreamAttrValue argument is not dict"):
        acl.rt.set_stream_attribute(stream, 1, [0])
    with pytest.raises(ValueError, match="PyLong_AsUnsignedLong failed"):
        acl.rt.set_stream_attribute(stream, 1, {"failureMode": -1})


_SWITCHES = """
import acl
acl.rt.set_device(0)
stream, _ = acl.rt.create_stream()
print(acl.rt.get_stream_overflow_switch(stream), acl.rt.set_stream_overflow_switch(stream, 1))
print(acl.rt.get_stream_overflow_switch(stream), acl.rt.get_stream_attribute(stream, 2))
print(acl.rt.set_stream_overflow_switch(stream, 2), acl.rt.set_stream_attribute(stream, 2, {"overflowSwitch": 0}))
print(acl.rt.get_stream_overflow_switch(stream), acl.rt.set_stream_attribute(stream, 2, {"overflowSwitch": 2}))
print(acl.rt.set_stream_attribute(stream, 3, {"userCustomTag": 9}), acl.rt.get_stream_attribute(stream, 3))
print(acl.rt.reset_device(0))
"""


@pytest.mark.usefixtures("emulator")
@pytest.mark.parametrize(
    ("soc", "expected"),
    [
        (
            "Ascend910B3",
            [
                "(0, 0) 0",
                "(1, 0) ({'overflowSwitch': 1}, 0)",
                "100000 0",
                "(0, 0) 107000",
                "0 ({'userCustomTag': 9}, 0)",
                "0",
            ],
        ),
        (
            "Ascend310P3",
            [
                "(1, 0) 0",
                "(1, 0) ({'overflowSwitch': 1}, 0)",
                "100000 0",
                "(1, 0) 0",
                "0 ({'userCustomTag': 0}, 0)",
                "0",
            ],
        ),
        (
            "Ascend310B4",
            [
                "(0, 0) 0",
                "(0, 0) ({'overflowSwitch': 0}, 0)",
                "100000 0",
                "(0, 0) 0",
                "0 ({'userCustomTag': 0}, 0)",
                "0",
            ],
        ),
    ],
)
def test_overflow_switch_and_tag_are_those_of_newer_socs(
    run_python: Callable[..., str], soc: str, expected: list[str]
) -> None:
    """Elsewhere setting them succeeds and does nothing ([C] api_c_stream.cc; docs `aclrtSetStreamOverflowSwitch`)."""
    assert (
        run_python(_SWITCHES, ASCEND_EMULATOR_SOC=soc, ASCEND_EMULATOR_NODE=f"switch-{soc}").splitlines()
        == expected
    )


@pytest.mark.usefixtures("emulator")
def test_an_aborted_stream_says_so_to_who_waits_for_it(run_python: Callable[..., str]) -> None:
    """107023 from the waits that are under way, then it goes on (docs `aclrtStreamAbort`)."""
    program = """
import acl, threading
acl.rt.set_device(0)
context, _ = acl.rt.get_context()
stream, block = acl.rt.create_stream()[0], acl.rt.malloc(64, 0)[0]
acl.rt.memset(block, 64, 1, 64)
acl.rt.subscribe_report(threading.get_ident(), stream)
acl.rt.launch_callback(print, None, 1, stream)
acl.rt.memset_async(block, 64, 2, 64, stream)
codes = []
def wait():
    acl.rt.set_context(context)
    codes.append(acl.rt.synchronize_stream_with_timeout(stream, 1))
    codes.append(acl.rt.synchronize_stream(stream))
waiter = threading.Thread(target=wait)
waiter.start()
while not codes:
    waiter.join(0.01)
waiter.join(0.3)  # until it waits again
print(list(codes), acl.rt.stream_abort(stream))
waiter.join(10)
print(codes, acl.rt.stream_query(stream), acl.rt.synchronize_stream(stream))
acl.rt.memset_async(block, 64, 3, 64, stream)
print(acl.rt.synchronize_stream(stream))
other, _ = acl.rt.create_context(0)
print(acl.rt.stream_abort(stream), acl.rt.stream_abort(0), acl.rt.destroy_context(other), acl.rt.reset_device(0))
"""
    found = run_python(program, ASCEND_EMULATOR_SOC="Ascend910B3", ASCEND_EMULATOR_NODE="aborts").splitlines()
    assert found == ["[507046] 0", "[507046, 107023] (0, 0) 0", "0", "107003 0 0 0"]


@pytest.mark.usefixtures("emulator")
def test_the_310p_aborts_no_stream(stream: int) -> None:
    """Not supported there (docs `aclrtStreamAbort`)."""
    assert acl.rt.stream_abort(stream) == 207000


@pytest.mark.usefixtures("emulator")
def test_a_stream_that_stands_still_can_be_destroyed_by_force(stream: int, block: int) -> None:
    """`destroy_stream_force` gives up what is queued (facts §6.1)."""
    doomed, _ = acl.rt.create_stream()
    event, _ = acl.rt.create_event_with_flag(1)
    free, _ = acl.rt.get_stream_available_num()
    assert acl.rt.memset(block, 64, 1, 64) == 0
    assert acl.rt.stream_wait_event(doomed, event) == 0
    assert acl.rt.memset_async(block, 64, 2, 64, doomed) == 0
    assert acl.rt.stream_query(doomed) == (1, 0)
    assert acl.rt.destroy_stream_force(doomed) == 0
    assert acl.rt.get_stream_available_num() == (free + 1, 0)
    assert acl.rt.record_event(event, stream) == 0
    assert acl.rt.synchronize_device() == 0
    back = bytes(64)
    assert acl.rt.memcpy(acl.util.bytes_to_ptr(back), 64, block, 64, D2H) == 0
    assert back == b"\x01" * 64
    assert acl.rt.destroy_event(event) == 0


@pytest.mark.usefixtures("emulator")
def test_leaving_the_device_gives_up_waits_for_what_nobody_records(run_python: Callable[..., str]) -> None:
    """`reset_device` waits for work, but not for what can never happen (emulator)."""
    program = """
import acl
acl.rt.set_device(0)
first, second = acl.rt.create_stream()[0], acl.rt.create_stream()[0]
event, (block, _), (other, _) = acl.rt.create_event_with_flag(1)[0], acl.rt.malloc(1 << 20, 0), acl.rt.malloc(64, 0)
acl.rt.memset_async(block, 1 << 20, 1, 1 << 20, second)
print(acl.rt.stream_wait_event(first, event), acl.rt.memset_async(other, 64, 1, 64, first), acl.rt.reset_device(0))
"""
    assert run_python(program) == "0 0 0"
