"""Events: recordings, waits of streams and threads, levels, times, and the stock of hardware events."""

import threading
from collections.abc import Callable, Iterator

import acl
import pytest

pytestmark = pytest.mark.contract

D2H = 2
BLOCK = 1
SIZE = 1 << 16
WAIT_MS = 10_000
SYNC, STREAM_PROGRESS, TIME_LINE, DEVICE_USE_ONLY, EXTERNAL, IPC = 0x1, 0x2, 0x8, 0x10, 0x20, 0x40


class Held:
    """A stream that stands still until it is released: it waits for a callback of this thread."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        assert acl.rt.subscribe_report(threading.get_ident(), stream) == 0
        assert acl.rt.launch_callback(lambda _: None, None, BLOCK, stream) == 0

    def release(self) -> None:
        assert acl.rt.process_report(WAIT_MS) == 0
        assert acl.rt.unsubscribe_report(threading.get_ident(), self.stream) == 0


@pytest.fixture
def pinned(device: int) -> Iterator[int]:
    address, ret = acl.rt.malloc_host(SIZE)
    assert ret == 0
    yield address
    assert acl.rt.free_host(address) == 0


@pytest.fixture
def block(device: int) -> Iterator[int]:
    address, ret = acl.rt.malloc(SIZE, 0)
    assert ret == 0
    yield address
    assert acl.rt.free(address) == 0


@pytest.fixture
def second(device: int) -> Iterator[int]:
    handle, ret = acl.rt.create_stream()
    assert ret == 0
    yield handle
    assert acl.rt.destroy_stream(handle) == 0


def new_event(flag: int | None = None) -> int:
    handle, ret = acl.rt.create_event() if flag is None else acl.rt.create_event_with_flag(flag)
    assert ret == 0
    return handle


def passes(stream: int) -> bool:
    """Whether a stream gets through what is queued on it, however busy the machine is."""
    return bool(acl.rt.synchronize_stream_with_timeout(stream, WAIT_MS) == 0)


def stands(stream: int) -> bool:
    """Whether a stream still has something queued after a while."""
    return bool(acl.rt.synchronize_stream_with_timeout(stream, 50) == 507046)


def test_an_event_carries_the_order_between_streams(stream: int, pinned: int, block: int) -> None:
    """Record and wait order two streams (facts §6.3)."""
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


@pytest.mark.ascend_findings("double-free")
def test_the_two_queries_of_an_event_are_inverted(stream: int) -> None:
    """`query_event` 0 complete, `query_event_status` 1 complete (facts §6.3)."""
    event, _ = acl.rt.create_event()
    assert acl.rt.query_event_status(event) == (0, 0)
    assert acl.rt.query_event(event) == (0, 0)
    assert acl.rt.record_event(event, stream) == 0
    assert acl.rt.synchronize_event(event) == 0
    assert acl.rt.query_event_status(event) == (1, 0)
    assert acl.rt.query_event(event) == (0, 0)
    assert acl.rt.reset_event(event, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.query_event_status(event) == (0, 0)
    assert acl.rt.destroy_event(event) == 0
    assert acl.rt.destroy_event(event) == 100000


def test_an_event_never_recorded_is_no_wait(stream: int) -> None:
    """No wait for threads, 107000 for streams, nothing to wait for in the ex form ([C] event.cc)."""
    event, _ = acl.rt.create_event()
    assert acl.rt.synchronize_event(event) == 0
    assert acl.rt.stream_wait_event(stream, event) == 107000
    assert acl.rt.destroy_event(event) == 0
    capturing, _ = acl.rt.create_event_ex_with_flag(SYNC | TIME_LINE)
    assert acl.rt.stream_wait_event(stream, capturing) == 0
    assert acl.rt.query_event_status(capturing) == (1, 0)
    assert acl.rt.query_event(capturing) == (0, 207000)
    assert acl.rt.destroy_event(capturing) == 0


def test_time_between_events(stream: int, block: int) -> None:
    """107006 without both times, 107007 when reversed (facts §6.3)."""
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


def test_a_reset_happens_in_stream_order(stream: int) -> None:
    """`ResetEvent` is a task of the stream ([C] event.cc Reset; docs: asynchronous)."""
    event = new_event(SYNC)
    assert acl.rt.record_event(event, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    held = Held(stream)
    assert acl.rt.reset_event(event, stream) == 0
    assert acl.rt.query_event_status(event) == (1, 0)
    held.release()
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.query_event_status(event) == (0, 0)
    assert acl.rt.destroy_event(event) == 0


def test_a_reset_leaves_a_newer_recording_alone(stream: int) -> None:
    """The order of the calls on one stream is the order of what they do."""
    event = new_event()
    for call in (acl.rt.record_event, acl.rt.reset_event, acl.rt.record_event):
        assert call(event, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.query_event_status(event) == (1, 0)
    assert acl.rt.destroy_event(event) == 0


def test_an_event_with_sync_is_a_flag(stream: int, second: int) -> None:
    """`create_event_with_flag(SYNC)`: waited for before it is recorded, set until reset ([C] event.cc Wait)."""
    event = new_event(SYNC)
    assert acl.rt.stream_wait_event(second, event) == 0
    assert stands(second)
    assert acl.rt.record_event(event, stream) == 0
    assert passes(second)
    assert acl.rt.stream_wait_event(second, event) == 0
    assert passes(second)
    assert acl.rt.reset_event(event, second) == 0
    assert acl.rt.stream_wait_event(second, event) == 0
    assert stands(second)
    assert acl.rt.record_event(event, stream) == 0
    assert passes(second)
    assert acl.rt.destroy_event(event) == 0


def test_a_wait_is_for_the_recording_that_was_the_latest(stream: int, second: int) -> None:
    """An event of `create_event` takes a new hardware event at each record ([C] event.cc Record)."""
    event = new_event()
    assert acl.rt.record_event(event, stream) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    held = Held(stream)
    assert acl.rt.stream_wait_event(second, event) == 0
    assert acl.rt.record_event(event, stream) == 0
    assert passes(second)
    assert acl.rt.stream_wait_event(second, event) == 0
    assert stands(second)
    assert acl.rt.query_event(event) == (1, 0)
    assert acl.rt.query_event_status(event) == (0, 0)
    assert acl.rt.synchronize_event_with_timeout(event, 20) == 507047
    held.release()
    assert passes(second)
    assert acl.rt.destroy_event(event) == 0


def test_waits_under_way_are_known(stream: int, second: int) -> None:
    """`query_event_wait_status`: 0 complete, 1 not ready (facts §6.3; docs `aclrtQueryEventWaitStatus`)."""
    event = new_event()
    assert acl.rt.query_event_wait_status(event) == (0, 0)
    held = Held(stream)
    assert acl.rt.record_event(event, stream) == 0
    assert acl.rt.query_event_wait_status(event) == (0, 0)
    assert acl.rt.stream_wait_event(second, event) == 0
    assert acl.rt.query_event_wait_status(event) == (1, 0)
    held.release()
    assert acl.rt.synchronize_stream(second) == 0
    assert acl.rt.query_event_wait_status(event) == (0, 0)
    assert acl.rt.destroy_event(event) == 0


def test_an_event_without_sync_is_not_waited_for(stream: int) -> None:
    """207000 from wait and reset ([C] api_error.cc: `IsEventWithoutWaitTask`)."""
    for flag in (TIME_LINE, STREAM_PROGRESS, TIME_LINE | STREAM_PROGRESS):
        event = new_event(flag)
        assert acl.rt.record_event(event, stream) == 0
        assert acl.rt.stream_wait_event(stream, event) == 207000
        assert acl.rt.reset_event(event, stream) == 207000
        assert acl.rt.synchronize_event(event) == 0
        assert acl.rt.query_event_status(event) == (1, 0)
        assert acl.rt.query_event_wait_status(event) == (0, 0)
        assert acl.rt.get_event_id(event) == (0, 507000)
        assert acl.rt.destroy_event(event) == 0


def test_an_event_of_the_ex_form_is_not_reset(stream: int) -> None:
    """Refused by reset and both old queries (docs `aclrtCreateEventExWithFlag`; [C] api_error.cc)."""
    event, ret = acl.rt.create_event_ex_with_flag(SYNC | TIME_LINE)
    assert ret == 0
    assert acl.rt.record_event(event, stream) == 0
    assert acl.rt.stream_wait_event(stream, event) == 0
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.reset_event(event, stream) == 207000
    assert acl.rt.query_event(event) == (0, 207000)
    assert acl.rt.query_event_wait_status(event) == (0, 207000)
    assert acl.rt.query_event_status(event) == (1, 0)
    assert acl.rt.event_get_timestamp(event)[1] == 0
    assert acl.rt.destroy_event(event) == 0


@pytest.mark.parametrize(
    ("flag", "plain", "ex"),
    [
        (0, 107000, 107000),
        (SYNC, 0, 0),
        (SYNC | STREAM_PROGRESS | TIME_LINE, 0, 0),
        (SYNC | EXTERNAL, 107000, 107000),
        (DEVICE_USE_ONLY, 207000, 107000),
        (EXTERNAL, 207000, 107000),
        (SYNC | DEVICE_USE_ONLY, 107000, 107000),
        (IPC, 107000, 207000),
        (IPC | SYNC, 107000, 107000),
        (0x80, 107000, 107000),
    ],
)
@pytest.mark.usefixtures("emulator")
def test_flags_of_events_are_checked(device: int, flag: int, plain: int, ex: int) -> None:
    """[C] api_error.cc EventCreate and EventCreateEx; what is not emulated is 207000."""
    for create, code in ((acl.rt.create_event_with_flag, plain), (acl.rt.create_event_ex_with_flag, ex)):
        event, ret = create(flag)
        assert ret == code
        assert bool(event) == (code == 0)
        if event:
            assert acl.rt.destroy_event(event) == 0


def test_hardware_events_are_counted(stream: int) -> None:
    """`create_event` takes one when it is recorded first, SYNC at once (docs `aclrtCreateEvent`, `..WithFlag`)."""
    free, ret = acl.rt.get_event_avail_num()
    assert ret == 0
    late, early = new_event(), new_event(SYNC)
    assert acl.rt.get_event_avail_num() == (free - 1, 0)
    assert acl.rt.get_event_id(late) == (0, 507000)
    assert acl.rt.record_event(late, stream) == 0
    ids = {acl.rt.get_event_id(event)[0] for event in (late, early)}
    assert len(ids) == 2
    assert acl.rt.get_event_avail_num() == (free - 2, 0)
    assert [acl.rt.destroy_event(event) for event in (late, early)] == [0, 0]
    assert acl.rt.get_event_avail_num() == (free, 0)


@pytest.mark.usefixtures("emulator")
def test_hardware_events_run_out(run_python: Callable[..., str]) -> None:
    """1023 on the 310P (docs `aclrtCreateEvent`), then 207007; a recording without one fails its stream (emulator)."""
    program = """
import acl
acl.rt.set_device(0)
print(acl.rt.get_event_avail_num())
made = [acl.rt.create_event_with_flag(1) for _ in range(1023)]
print({ret for _, ret in made}, acl.rt.create_event_with_flag(1))
stream, late = acl.rt.create_stream()[0], acl.rt.create_event()[0]
print(acl.rt.record_event(late, stream), acl.rt.synchronize_stream(stream), acl.rt.query_event_status(late))
print({acl.rt.destroy_event(event) for event, _ in made}, acl.rt.get_event_avail_num())
print(acl.rt.record_event(late, stream), acl.rt.synchronize_stream(stream), acl.rt.query_event_status(late))
print(acl.rt.reset_device(0))
"""
    assert run_python(
        program, ASCEND_EMULATOR_SOC="Ascend310P3", ASCEND_EMULATOR_NODE="events"
    ).splitlines() == [
        "(1023, 0)",
        "{0} (0, 207007)",
        "0 207007 (0, 0)",
        "{0} (1023, 0)",
        "0 0 (1, 0)",
        "0",
    ]


@pytest.mark.usefixtures("emulator")
def test_events_order_streams_of_two_devices(device: int, stream: int, block: int, pinned: int) -> None:
    """A stream may wait for an event of another device of the process ([C] event.cc CrossDeviceEventWait)."""
    home, _ = acl.rt.get_context()
    event = new_event()
    assert acl.rt.set_device(1) == 0
    away, _ = acl.rt.get_context()
    far, _ = acl.rt.create_stream()
    for round_ in range(1, 20):
        assert acl.rt.set_context(home) == 0
        held = Held(stream)
        assert acl.rt.memset_async(block, SIZE, round_, SIZE, stream) == 0
        assert acl.rt.memcpy_async(pinned, SIZE, block, SIZE, D2H, stream) == 0
        assert acl.rt.record_event(event, stream) == 0
        assert acl.rt.set_context(away) == 0
        assert acl.rt.stream_wait_event(far, event) == 0
        assert acl.rt.stream_query(far) == (1, 0)
        held.release()
        assert acl.rt.synchronize_stream(far) == 0
        assert acl.util.ptr_to_bytes(pinned, SIZE) == bytes([round_]) * SIZE
    assert acl.rt.record_event(event, far) == 207000
    assert acl.rt.stream_wait_event(far, event) == 0
    assert acl.rt.synchronize_stream(far) == 0
    assert [acl.rt.destroy_stream(far), acl.rt.reset_device(1), acl.rt.set_context(home)] == [0, 0, 0]
    assert acl.rt.destroy_event(event) == 0


@pytest.mark.usefixtures("emulator")
def test_a_stream_that_waits_for_a_device_that_leaves_is_told(device: int, stream: int) -> None:
    """Nobody waits for ever: the wait fails with 507010 (emulator)."""
    home, _ = acl.rt.get_context()
    assert acl.rt.set_device(1) == 0
    event = new_event(SYNC)
    away, _ = acl.rt.get_context()
    assert acl.rt.set_context(home) == 0
    assert acl.rt.stream_wait_event(stream, event) == 0
    assert stands(stream)
    assert acl.rt.set_context(away) == 0
    assert acl.rt.reset_device(1) == 0
    assert acl.rt.set_context(home) == 0
    assert acl.rt.synchronize_stream(stream) == 507010
    assert acl.rt.synchronize_stream(stream) == 0
    assert acl.rt.destroy_event(event) == 0


@pytest.mark.usefixtures("emulator")
def test_a_recording_that_is_dropped_fails_who_waits_for_it(device: int, stream: int, second: int) -> None:
    """On hardware who waits may be stuck (docs `aclrtStreamAbort`); here the wait fails with 107023."""
    doomed, _ = acl.rt.create_stream()
    event = new_event()
    Held(doomed)
    assert acl.rt.record_event(event, doomed) == 0
    assert acl.rt.stream_wait_event(second, event) == 0
    assert stands(second)
    assert acl.rt.destroy_stream_force(doomed) == 0
    assert acl.rt.synchronize_stream(second) == 107023
    assert acl.rt.synchronize_stream(second) == 0
    assert acl.rt.synchronize_event(event) == 107023
    assert acl.rt.query_event_status(event) == (0, 0)
    assert acl.rt.record_event(event, stream) == 0
    assert acl.rt.synchronize_event(event) == 0
    assert acl.rt.destroy_event(event) == 0


@pytest.mark.usefixtures("emulator")
def test_waits_can_be_limited(run_python: Callable[..., str]) -> None:
    """A wait that takes longer than `set_op_wait_timeout` fails the next synchronise (facts §6.2; code 107020)."""
    program = """
import acl, time
acl.rt.set_device(0)
first, second = acl.rt.create_stream()[0], acl.rt.create_stream()[0]
event = acl.rt.create_event_with_flag(1)[0]
print(acl.rt.set_op_wait_timeout(1), acl.rt.stream_wait_event(first, event), acl.rt.stream_wait_event(first, event))
began = time.monotonic()
print(acl.rt.synchronize_stream(first), 2 <= time.monotonic() - began < 30, acl.rt.synchronize_stream(first))
print(acl.rt.set_op_wait_timeout(60), acl.rt.stream_wait_event(first, event))
print(acl.rt.synchronize_stream_with_timeout(first, 50), acl.rt.record_event(event, second))
print(acl.rt.synchronize_stream(first), acl.rt.set_op_wait_timeout(0), acl.rt.reset_device(0))
"""
    found = run_python(program, ASCEND_EMULATOR_SOC="Ascend910B3", ASCEND_EMULATOR_NODE="waits")
    assert found.splitlines() == ["0 0 0", "107020 True 0", "0 0", "507046 0", "0 0 0"]


@pytest.mark.usefixtures("emulator")
def test_the_310p_does_not_limit_waits(device: int) -> None:
    """Not supported there (docs `aclrtSetOpWaitTimeout`; [C] needs a newer task scheduler)."""
    assert acl.rt.set_op_wait_timeout(1) == 207000


def test_the_time_of_operators_is_counted_in_steps(device: int) -> None:
    """`set_op_execute_timeout_v2` tells what the hardware makes of it ([C] task_execute_time.cc)."""
    assert acl.rt.set_op_execute_timeout(10) == 0
    most, ret = acl.rt.set_op_execute_timeout_v2(0)
    assert ret == 0
    step, ret = acl.rt.set_op_execute_timeout_v2(1)
    assert ret == 0
    assert 0 < step <= most
    assert acl.rt.set_op_execute_timeout_v2(1 << 60) == (most, 0)
    assert most // 255 <= step <= most // 253
