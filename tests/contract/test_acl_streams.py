"""Streams and events: order within a stream, independence between streams, and what the waits say."""

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
    for round_ in range(50):
        for step in range(8):
            assert acl.rt.memset_async(block, SIZE, round_ * 8 + step & 0xFF, SIZE, stream) == 0
        assert acl.rt.memcpy_async(pinned, SIZE, block, SIZE, D2H, stream) == 0
        assert acl.rt.synchronize_stream(stream) == 0
        assert acl.util.ptr_to_bytes(pinned, SIZE) == bytes([round_ * 8 + 7 & 0xFF]) * SIZE


def test_pinned_memory_goes_there_and_back(stream: int, pinned: int, block: int) -> None:
    write(pinned, bytes(range(256)) * (SIZE // 256))
    assert acl.rt.memcpy_async(block, SIZE, pinned, SIZE // 2, H2D, stream) == 0
    assert acl.rt.memcpy_async(block + SIZE // 2, SIZE // 2, block, SIZE // 2, D2D, stream) == 0
    assert acl.rt.memset_async(pinned, SIZE, 0, SIZE, stream) == 0
    assert acl.rt.memcpy_async(pinned, SIZE, block, SIZE, D2H, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.util.ptr_to_bytes(pinned, SIZE) == bytes(range(256)) * (SIZE // 256)


def test_pageable_memory_is_copied_before_the_call_returns(stream: int, block: int) -> None:
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
    assert acl.rt.memcpy_async(block, 8, pinned, 9, H2D, stream) == 107000
    assert acl.rt.memcpy_async(0, 8, pinned, 8, H2D, stream) == 100000
    assert acl.rt.memcpy_async(block, 8, pinned, 8, 17, stream) == 100000
    assert acl.rt.memcpy_async(block, 8, pinned, 8, H2D, block) == 100000
    assert acl.rt.memset_async(block, 8, 0, 9, stream) == 107000


@pytest.mark.usefixtures("emulator")
def test_host_to_host_is_not_a_device_copy(stream: int, pinned: int) -> None:
    assert acl.rt.memcpy_async(pinned, 8, pinned + 8, 8, 0, stream) == 207000


def test_stream_zero_is_the_default_stream(pinned: int, block: int) -> None:
    default, ret = acl.rt.ctx_get_current_default_stream()
    assert ret == 0
    write(pinned, b"a" * 64)
    assert acl.rt.memcpy_async(block, 64, pinned, 64, H2D, 0) == 0
    assert acl.rt.synchronize_stream(default) == 0
    assert acl.rt.destroy_stream(default) != 0


def test_a_stream_belongs_to_its_context(stream: int, block: int) -> None:
    own, _ = acl.rt.get_context()
    other, ret = acl.rt.create_context(0)
    assert ret == 0
    assert acl.rt.memset_async(block, SIZE, 0, SIZE, stream) == 107003
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.set_context(own) == 0
    assert acl.rt.memset_async(block, SIZE, 0, SIZE, stream) == 0
    assert acl.rt.synchronize_device() == 0
    assert acl.rt.destroy_context(other) == 0


def test_a_stream_is_destroyed_by_a_thread_with_a_context(device: int) -> None:
    stream, ret = acl.rt.create_stream()
    assert ret == 0
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(acl.rt.destroy_stream, stream).result() == 107002
    assert acl.rt.destroy_stream(stream) == 0


def test_streams_are_counted(device: int) -> None:
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
    room, _ = acl.rt.get_stream_available_num()
    made = [acl.rt.create_stream() for _ in range(room)]
    assert {ret for _, ret in made} == {0}
    assert acl.rt.create_stream() == (0, 207008)
    assert {acl.rt.destroy_stream(stream) for stream, _ in made} == {0}


def test_an_event_carries_the_order_between_streams(stream: int, pinned: int, block: int) -> None:
    second, _ = acl.rt.create_stream()
    event, ret = acl.rt.create_event()
    assert ret == 0
    for round_ in range(1, 100):
        assert acl.rt.memset_async(block, SIZE, round_, SIZE, stream) == 0
        assert acl.rt.record_event(event, stream) == 0
        assert acl.rt.stream_wait_event(second, event) == 0
        assert acl.rt.memcpy_async(pinned, SIZE, block, SIZE, D2H, second) == 0
        assert acl.rt.synchronize_stream(second) == 0
        assert acl.util.ptr_to_bytes(pinned, SIZE) == bytes([round_]) * SIZE
    assert acl.rt.destroy_event(event) == 0
    assert acl.rt.destroy_stream(second) == 0


def test_the_two_queries_of_an_event_are_inverted(stream: int) -> None:
    event, _ = acl.rt.create_event()
    assert acl.rt.query_event_status(event) == (0, 0)
    assert acl.rt.query_event(event) == (0, 0)
    assert acl.rt.record_event(event, stream) == 0
    assert acl.rt.synchronize_event(event) == 0
    assert acl.rt.query_event_status(event) == (1, 0)
    assert acl.rt.query_event(event) == (0, 0)
    assert acl.rt.reset_event(event, stream) == 0
    assert acl.rt.query_event_status(event) == (0, 0)
    assert acl.rt.destroy_event(event) == 0
    assert acl.rt.destroy_event(event) == 100000


def test_an_event_never_recorded_is_no_wait(stream: int) -> None:
    event, _ = acl.rt.create_event()
    assert acl.rt.synchronize_event(event) == 0
    assert acl.rt.stream_wait_event(stream, event) == 107000
    assert acl.rt.destroy_event(event) == 0
    capturing, _ = acl.rt.create_event_ex_with_flag(8)
    assert acl.rt.stream_wait_event(stream, capturing) == 0
    assert acl.rt.query_event_status(capturing) == (1, 0)
    assert acl.rt.query_event(capturing) == (0, 207000)
    assert acl.rt.destroy_event(capturing) == 0


def test_time_between_events(stream: int, block: int) -> None:
    start, _ = acl.rt.create_event()
    end, _ = acl.rt.create_event()
    assert acl.rt.event_elapsed_time(start, end) == (0, 107006)
    assert acl.rt.record_event(start, stream) == 0
    assert acl.rt.memset_async(block, SIZE, 0, SIZE, stream) == 0
    assert acl.rt.record_event(end, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    elapsed, ret = acl.rt.event_elapsed_time(start, end)
    assert ret == 0
    assert 0 < elapsed < 10_000
    assert acl.rt.event_elapsed_time(end, start) == (0, 107007)
    stamps = [acl.rt.event_get_timestamp(event)[0] for event in (start, end)]
    assert (stamps[1] - stamps[0]) / 1000 == pytest.approx(elapsed, abs=0.01)
    untimed, _ = acl.rt.create_event_with_flag(1)
    assert acl.rt.record_event(untimed, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.event_elapsed_time(start, untimed) == (0, 107006)
    assert [acl.rt.destroy_event(event) for event in (start, end, untimed)] == [0, 0, 0]


def test_time_outs_are_checked(stream: int) -> None:
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
def test_a_failing_task_is_told_by_the_next_synchronise_only(stream: int, pinned: int) -> None:
    freed, _ = acl.rt.malloc(64, 0)
    assert acl.rt.free(freed) == 0
    assert acl.rt.memcpy_async(freed, 64, pinned, 64, H2D, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 507013
    message = acl.get_recent_err_msg()
    assert message is not None
    assert "64 bytes" in message
    assert acl.rt.synchronize_stream(stream) == 0


@pytest.mark.usefixtures("emulator")
def test_stop_on_failure_stops_the_context(device: int) -> None:
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
    assert acl.rt.memcpy_async(block, 64, host, 64, H2D, second) == 0
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
def test_by_default_an_event_behind_a_failure_is_reached(stream: int, pinned: int) -> None:
    event, _ = acl.rt.create_event()
    freed, _ = acl.rt.malloc(64, 0)
    assert acl.rt.free(freed) == 0
    assert acl.rt.memcpy_async(freed, 64, pinned, 64, H2D, stream) == 0
    assert acl.rt.record_event(event, stream) == 0
    assert acl.rt.synchronize_event(event) == 0
    assert acl.rt.synchronize_stream(stream) == 507013
    assert acl.rt.destroy_event(event) == 0
