"""The engine with a runner that runs a batch when the test says so, and a clock that the test holds."""

import asyncio
import threading

import numpy as np
import pytest

from ascend_serve.batching.packing import Packer
from ascend_serve.errors import (
    AclDeviceFault,
    AclServiceError,
    ConfigError,
    DeadlineExpired,
    DeadlineUnmet,
    DeviceError,
    Draining,
    InvalidTensor,
    LaneStalled,
    QueueFull,
    RequestTooLarge,
    TicketCancelled,
)
from ascend_serve.metrics import Outcome
from ascend_serve.spec.timing import Stages, Timing
from tests.unit.engine_bench import FAULT, SERVICE, TIMES, Bench, doubled, tensors, turns

pytestmark = pytest.mark.unit


# --- batches -------------------------------------------------------------------------------------


async def test_a_request_comes_back_with_its_own_rows() -> None:
    bench = Bench()
    task = asyncio.ensure_future(bench.engine.submit(tensors(3, first=10)))
    await turns()
    packed = bench.lane.run()
    np.testing.assert_array_equal(packed, [[20, 21], [22, 23], [24, 25], [0, 0]])
    results = await task
    np.testing.assert_array_equal(results["y"], doubled(3, first=10), strict=True)


async def test_requests_of_one_turn_run_as_one_batch() -> None:
    bench = Bench()
    requests = [bench.offer(1, first) for first in range(8)]
    assert bench.lane.batches == [], "offering launches nothing by itself"
    await turns()
    assert bench.lane.gears == [8]
    bench.lane.run()
    for first, request in enumerate(requests):
        np.testing.assert_array_equal((await request.result)["y"], doubled(1, first))


async def test_arrivals_while_the_device_is_busy_merge_into_the_next_batch() -> None:
    bench = Bench()
    bench.offer(1)
    await turns()
    for first in range(5):
        bench.offer(1, first)
        await turns()
    assert bench.lane.gears == [1]
    bench.lane.run()
    await turns()
    assert bench.lane.gears == [1, 8]
    assert bench.engine.state().running_batches == 1


async def test_a_full_best_gear_is_launched_beside_the_one_that_runs() -> None:
    bench = Bench()
    bench.offer(1)
    await turns()
    bench.offer(7)
    await turns()
    assert bench.lane.gears == [1]
    bench.offer(1)
    await turns()
    assert bench.lane.gears == [1, 8]


async def test_in_flight_one_holds_even_a_full_batch_back() -> None:
    bench = Bench(in_flight=1)
    for _ in range(3):
        bench.offer(8)
    await turns()
    assert bench.lane.gears == [8]
    bench.lane.run()
    await turns()
    assert bench.lane.gears == [8, 8]


async def test_a_large_request_is_put_together_again_in_order() -> None:
    bench = Bench()
    small, large = bench.offer(2, 500), bench.offer(21, 0)
    while not large.result.done():
        await turns()
        bench.lane.run()
        await turns()
    assert bench.lane.gears == [8, 8, 8]
    np.testing.assert_array_equal((await large.result)["y"], doubled(21), strict=True)
    np.testing.assert_array_equal((await small.result)["y"], doubled(2, 500), strict=True)


async def test_batches_that_come_back_from_another_thread_land_on_the_loop() -> None:
    bench = Bench()
    request = bench.offer(2, 3)
    await turns()
    thread = threading.Thread(target=bench.lane.run)
    thread.start()
    results = await asyncio.wait_for(request.result, 10)
    thread.join()
    np.testing.assert_array_equal(results["y"], doubled(2, 3))


async def test_a_batch_that_comes_back_after_the_loop_is_closed_disturbs_nobody() -> None:
    bench = []

    async def leave_at_once() -> None:
        bench.append(Bench())
        bench[0].offer(1)
        await turns()

    def other_life() -> None:
        asyncio.run(leave_at_once())
        bench[0].lane.run()

    await asyncio.to_thread(other_life)
    assert bench[0].engine.state().live_requests == 1


# --- callers that leave --------------------------------------------------------------------------


async def test_a_caller_that_leaves_before_the_launch_leaves_nothing_to_run() -> None:
    bench = Bench()
    bench.offer(1)
    await turns()
    leaver = asyncio.ensure_future(bench.engine.submit(tensors(3, 50)))
    stayer = bench.offer(1, 7)
    await turns()
    leaver.cancel()
    await turns()
    assert leaver.cancelled()
    bench.lane.run()
    await turns()
    np.testing.assert_array_equal(bench.lane.run(), tensors(1, 7)["x"])
    np.testing.assert_array_equal((await stayer.result)["y"], doubled(1, 7))
    assert bench.engine.state().live_requests == 0


async def test_a_request_cancelled_while_it_runs_ends_at_once_and_its_results_are_dropped() -> None:
    bench = Bench()
    gone, stayer = bench.offer(1, 1), bench.offer(1, 2)
    await turns()
    gone.cancel()
    with pytest.raises(TicketCancelled):
        await gone.result
    bench.lane.run()
    np.testing.assert_array_equal((await stayer.result)["y"], doubled(1, 2))
    assert bench.notes.outcomes() == [Outcome.CANCELLED, Outcome.DONE]


async def test_cancelling_what_has_ended_changes_nothing() -> None:
    bench = Bench()
    request = bench.offer(1, 4)
    await turns()
    bench.lane.run()
    await request.result
    request.cancel()
    np.testing.assert_array_equal(request.result.result()["y"], doubled(1, 4))
    assert bench.notes.outcomes() == [Outcome.DONE]


async def test_a_result_whose_awaiter_was_cancelled_does_not_upset_its_batch() -> None:
    bench = Bench()
    left, stayer = bench.offer(1, 1), bench.offer(1, 2)
    await turns()
    left.result.cancel()
    bench.lane.run()
    np.testing.assert_array_equal((await stayer.result)["y"], doubled(1, 2))


# --- failures ------------------------------------------------------------------------------------


async def test_a_failed_batch_fails_its_own_requests_and_no_others() -> None:
    bench = Bench()
    first = [bench.offer(4, 0), bench.offer(4, 4)]
    second = bench.offer(8, 8)
    await turns()
    bench.lane.fail(SERVICE)
    await turns()
    errors = [request.result.exception() for request in first]
    for error in errors:
        assert isinstance(error, AclServiceError)
        assert error.__cause__ is SERVICE
        assert (error.code, str(error)) == (SERVICE.code, str(SERVICE))
    assert errors[0] is not errors[1], "a shared exception gathers everybody's traceback"
    bench.lane.run()
    np.testing.assert_array_equal((await second.result)["y"], doubled(8, 8))
    assert bench.engine.state().fault is None


async def test_an_error_without_a_name_of_ours_gets_one() -> None:
    bench = Bench()
    request = bench.offer(1)
    await turns()
    cause = ZeroDivisionError("row 0")
    bench.lane.fail(cause)
    with pytest.raises(DeviceError, match=r"a batch at gear 1 failed: ZeroDivisionError: row 0") as caught:
        await request.result
    original = caught.value.__cause__
    assert isinstance(original, DeviceError)
    assert original.__cause__ is cause


async def test_a_launch_that_raises_fails_its_batch() -> None:
    bench = Bench()
    bench.lane.refusal = RuntimeError("closed")
    request = bench.offer(1)
    with pytest.raises(DeviceError, match="RuntimeError: closed"):
        await asyncio.wait_for(request.result, 10)
    bench.lane.refusal = None
    after = bench.offer(1, 5)
    await turns()
    bench.lane.run()
    np.testing.assert_array_equal((await after.result)["y"], doubled(1, 5))


async def test_a_batch_whose_results_find_no_room_fails_and_frees_its_slot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(slots=1)

    def no_room(*_):
        raise MemoryError("outputs of 2 rows")

    with monkeypatch.context() as patch:
        patch.setattr(Packer, "room", no_room)
        request = bench.offer(2)
        await turns()
    with pytest.raises(DeviceError, match="MemoryError: outputs of 2 rows"):
        await request.result
    task = asyncio.ensure_future(bench.engine.submit(tensors(1)))
    await turns()
    bench.lane.run()
    np.testing.assert_array_equal((await task)["y"], doubled(1))


async def test_a_fault_of_the_device_ends_everything_and_refuses_what_comes_later() -> None:
    bench = Bench(in_flight=1)
    requests = [bench.offer(8), bench.offer(8), bench.offer(3)]
    await turns()
    bench.lane.fail(FAULT)
    await turns()
    for request in requests:
        assert isinstance(request.result.exception(), AclDeviceFault)
    with pytest.raises(AclDeviceFault) as caught:
        bench.offer(1)
    assert caught.value is not FAULT
    assert bench.lane.batches == []
    assert bench.engine.state().fault is FAULT


async def test_a_lane_that_never_comes_back_can_be_given_up_and_may_come_back_after_all() -> None:
    bench = Bench()
    request = bench.offer(1)
    await turns()
    bench.engine.fail(LaneStalled("30 s without a sign"))
    assert isinstance(request.result.exception(), LaneStalled)
    bench.lane.run()
    await turns()
    assert bench.engine.state().running_batches == 0
    assert bench.notes.outcomes() == [Outcome.FAILED]


# --- deadlines -----------------------------------------------------------------------------------


async def test_a_request_whose_deadline_comes_while_it_waits_never_runs() -> None:
    bench = Bench()
    bench.offer(1)
    await turns()
    late = bench.offer(1, 1, deadline=bench.now + 5)
    await turns()
    bench.now += 5
    bench.engine.pump()
    with pytest.raises(DeadlineExpired, match=r"after 5000\.0 ms in the queue"):
        await late.result
    bench.lane.run()
    await turns()
    assert bench.lane.batches == []


async def test_a_deadline_wakes_the_engine_though_nothing_else_happens() -> None:
    bench = Bench()
    bench.offer(1)
    await turns()
    patient = bench.offer(1, deadline=bench.now + 3600)
    await turns()
    late = bench.offer(1, deadline=bench.now + 0.01)
    await turns()
    bench.now += 1.0
    with pytest.raises(DeadlineExpired):
        await asyncio.wait_for(late.result, 10)
    assert not patient.result.done()
    patient.cancel()


async def test_a_request_that_comes_too_late_is_refused_though_the_device_is_idle() -> None:
    bench = Bench()
    with pytest.raises(DeadlineUnmet):
        bench.offer(1, deadline=bench.now - 1)
    await turns()
    assert bench.lane.batches == []


async def test_what_waits_ends_as_soon_as_its_deadline_cannot_be_met_any_more() -> None:
    bench = Bench()
    bench.offer(8)
    await turns()
    late = bench.offer(8, 1, deadline=bench.now + 0.010)
    bench.now += 0.009
    bench.engine.pump()
    with pytest.raises(DeadlineExpired, match=r"after 9\.0 ms in the queue"):
        await late.result


async def test_a_request_without_a_deadline_gets_the_default() -> None:
    bench = Bench(default_deadline_s=5.0)
    bench.offer(1)
    await turns()
    usual, patient = bench.offer(1, 1), bench.offer(1, 2, deadline=bench.now + 60)
    await turns()
    bench.now += 5.0
    bench.engine.pump()
    with pytest.raises(DeadlineExpired):
        await usual.result
    assert not patient.result.done()
    patient.cancel()


async def test_a_deadline_that_cannot_be_met_is_refused_at_once_with_the_reason() -> None:
    bench = Bench()
    with pytest.raises(DeadlineUnmet, match="ms"):
        bench.offer(8, deadline=bench.now + 0.001)
    assert bench.notes.refused == [8]
    assert bench.engine.state().live_requests == 0


async def test_the_more_urgent_level_goes_first() -> None:
    bench = Bench(in_flight=1, priority_levels=3)
    bench.offer(8)
    await turns()
    usual, urgent = bench.offer(8, 10), bench.offer(8, 20, priority=1)
    await turns()
    bench.lane.run()
    await turns()
    bench.lane.run()
    await turns()
    assert urgent.result.done()
    assert not usual.result.done()
    bench.lane.run()
    np.testing.assert_array_equal((await usual.result)["y"], doubled(8, 10))


# --- refusals, draining --------------------------------------------------------------------------


async def test_a_full_queue_refuses_and_recovers() -> None:
    bench = Bench(max_queued_rows=8)
    bench.offer(8)
    with pytest.raises(QueueFull):
        bench.offer(1)
    with pytest.raises(RequestTooLarge):
        bench.offer(9)
    await turns()
    bench.offer(1)
    assert bench.notes.refused == [1]


async def test_tensors_that_do_not_fit_harm_nobody_else() -> None:
    bench = Bench()
    good = bench.offer(1, 6)
    with pytest.raises(InvalidTensor):
        bench.engine.offer({"x": np.zeros((2, 3), np.int32)})
    await turns()
    bench.lane.run()
    np.testing.assert_array_equal((await good.result)["y"], doubled(1, 6))


async def test_draining_finishes_what_was_accepted_and_takes_nothing_new() -> None:
    bench = Bench(in_flight=1)
    accepted = [bench.offer(8), bench.offer(2)]
    drained = asyncio.ensure_future(bench.engine.drain())
    await turns()
    with pytest.raises(Draining):
        bench.offer(1)
    bench.lane.run()
    await turns()
    assert not drained.done()
    bench.lane.run()
    await asyncio.wait_for(drained, 10)
    assert all(request.result.done() for request in accepted)


async def test_draining_an_idle_engine_returns() -> None:
    bench = Bench()
    await asyncio.wait_for(bench.engine.drain(), 10)
    assert bench.engine.state().draining


async def test_costs_that_do_not_fit_the_gears_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"costs are given for gears \[1\]"):
        Bench(times={(0, 1): TIMES[0, 1]})


async def test_whoever_leaves_leaves_no_alarm_behind():
    """Nor does a device that fails: an alarm that nobody wants any more would ring again and again."""
    times = {(0, gear): Timing(Stages(ms, ms, ms), 0.0, 5) for gear, ms in ((1, 30.0), (4, 60.0), (8, 90.0))}
    for end in ("cancel", "fail"):
        bench = Bench(times=times)
        bench.offer(1)
        await turns()
        second = bench.offer(1)
        await turns()
        assert bench.engine._alarm is not None, "the second is chosen just before the first is back"
        if end == "cancel":
            second.cancel()
        else:
            bench.engine.fail(FAULT)
            assert second.result.exception() is not None
        bench.now += 1.0
        bench.engine.pump()
        await turns()
        assert bench.engine._alarm is None, end


async def test_an_alarm_is_set_in_whole_milliseconds_and_never_early(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, delays = asyncio.get_running_loop(), []
    call_later = loop.call_later

    def noted(delay, call, *given):
        if call == bench.engine._ring:
            delays.append(delay)
        return call_later(delay, call, *given)

    monkeypatch.setattr(loop, "call_later", noted)
    times = {(0, gear): Timing(Stages(ms, ms, ms), 0.0, 5) for gear, ms in ((1, 30.27), (4, 60.0), (8, 90.0))}
    bench = Bench(times=times)
    bench.offer(1)
    await turns()
    bench.offer(1)  # chosen just before the first is back
    await turns()
    wanted = bench.engine._planner.next_wakeup() - bench.now
    [delay] = delays
    assert wanted * 1e3 != pytest.approx(round(wanted * 1e3), abs=0.01)
    assert wanted <= delay < wanted + 0.001
    assert delay * 1e3 == pytest.approx(round(delay * 1e3))
