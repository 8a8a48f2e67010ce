"""Requests that make the device fail end alone, and everybody beside them is answered."""

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.planner import Batch, Piece
from ascend_serve.batching.sharing import Share
from ascend_serve.engine.isolating import MOST_RUNS, Isolation
from ascend_serve.errors import (
    AclDeviceFault,
    AclResourceError,
    AclTaskFault,
    DeadlineExpired,
    LaneStalled,
    PoisonRequest,
)
from ascend_serve.metrics import Outcome
from tests.unit.engine_bench import FAULT, Bench, doubled, tensors, turns

pytestmark = pytest.mark.unit

TASK = AclTaskFault("acl.rt.synchronize_event", 507015, "AICORE_EXCEPTION", "an AI core raised an exception")
NO_ROOM = AclResourceError("acl.rt.memcpy_async", 207001, "RT_MEMORY_ALLOCATION", "device memory ran out")
POISON = 1000


def run(bench: Bench, error: Exception = TASK) -> bool:
    """Run the oldest batch at the lane; it fails if a poisoned row is in it. Whether it did."""
    batch = bench.lane.batches[0]
    slot = bench.lane.inputs[batch.slot][batch.bucket]
    batch.pack(slot)
    if (slot["x"][: batch.gear] >= 2 * POISON).any():
        bench.lane.fail(error)
        return True
    bench.lane.run()
    return False


async def run_all(bench: Bench, error: Exception = TASK) -> int:
    """Run whatever comes to the lane until nothing does; how many of them failed."""
    failed = 0
    await turns()
    while bench.lane.batches:
        failed += run(bench, error)
        await turns()
    return failed


async def test_one_poisoned_request_fails_alone_and_its_neighbours_are_answered() -> None:
    bench = Bench()
    requests = {first: bench.offer(1, first) for first in (1, 2, 3, POISON, 5, 6, 7, 8)}
    failed = await run_all(bench)
    assert failed == 4, "of eight, of four, of two, and alone"
    for first, request in requests.items():
        if first == POISON:
            with pytest.raises(PoisonRequest, match=r"this request of 1 row.*AICORE_EXCEPTION"):
                await request.result
        else:
            np.testing.assert_array_equal((await request.result)["y"], doubled(1, first))
    state = bench.engine.state()
    assert (state.fault, state.running_batches, state.live_requests) == (None, 0, 0)
    assert sorted(outcome.value for outcome in bench.notes.outcomes()) == ["done"] * 7 + ["failed"]


async def test_a_task_that_failed_once_costs_nobody_anything() -> None:
    bench = Bench()
    alone = bench.offer(3, 1)
    await turns()
    bench.lane.fail(TASK)
    await run_all(bench)
    np.testing.assert_array_equal((await alone.result)["y"], doubled(3, 1))


async def test_nothing_else_starts_until_the_failed_batch_is_settled() -> None:
    bench = Bench()
    bench.offer(1, POISON)
    await turns()
    beside = bench.offer(8, 1)
    await turns()
    assert bench.lane.gears == [1, 8]
    run(bench)
    later = bench.offer(2, 30)
    await turns()
    assert bench.lane.gears == [1, 8], (
        "its trial waits for the batch beside it, and new ones wait for its trial"
    )
    run(bench)
    await turns()
    assert bench.lane.gears == [1, 8, 1]
    run(bench)
    await turns()
    assert bench.lane.gears == [1, 8, 1, 4]
    await run_all(bench)
    np.testing.assert_array_equal((await beside.result)["y"], doubled(8, 1))
    np.testing.assert_array_equal((await later.result)["y"], doubled(2, 30))


async def test_of_two_batches_that_fail_together_the_innocent_one_is_answered() -> None:
    bench = Bench()
    guilty = bench.offer(8, POISON)
    innocent = bench.offer(8, 1)
    await turns()
    bench.lane.fail(TASK)
    bench.lane.fail(TASK)
    await run_all(bench)
    assert isinstance(guilty.result.exception(), PoisonRequest)
    np.testing.assert_array_equal((await innocent.result)["y"], doubled(8, 1))


async def test_a_large_request_that_is_poisoned_fails_whole() -> None:
    bench = Bench()
    large, small = bench.offer(20, POISON - 10), bench.offer(1, 1)
    await run_all(bench)
    assert isinstance(large.result.exception(), PoisonRequest)
    np.testing.assert_array_equal((await small.result)["y"], doubled(1, 1))
    assert bench.engine.state().running_batches == 0


async def test_what_finds_no_room_is_tried_in_smaller_parts_and_keeps_its_own_error() -> None:
    bench = Bench()
    rows = [bench.offer(1, first) for first in range(7)]
    unlucky = bench.offer(1, POISON)
    await run_all(bench, NO_ROOM)
    for first, request in enumerate(rows):
        np.testing.assert_array_equal((await request.result)["y"], doubled(1, first))
    assert isinstance(unlucky.result.exception(), AclResourceError)


async def test_who_leaves_meanwhile_is_not_run_again() -> None:
    bench = Bench()
    leaver, stayer = bench.offer(1, POISON), bench.offer(1, 1)
    await turns()
    run(bench)
    leaver.cancel()
    await run_all(bench)
    np.testing.assert_array_equal((await stayer.result)["y"], doubled(1, 1))
    assert bench.lane.gears[-1] == 1
    assert bench.notes.outcomes() == [Outcome.CANCELLED, Outcome.DONE]


@pytest.mark.parametrize("fault", [FAULT, LaneStalled("30 s")])
async def test_a_device_that_is_lost_while_parts_are_tried_ends_everything(fault: Exception) -> None:
    bench = Bench()
    requests = [bench.offer(1, first) for first in range(4)]
    await turns()
    bench.lane.fail(TASK)
    await turns()
    waiting = bench.offer(1)
    bench.lane.fail(fault)
    await turns()
    for request in (*requests, waiting):
        assert isinstance(request.result.exception(), type(fault))
    assert bench.engine.state().running_batches == 0
    assert bench.lane.batches == []


async def test_a_health_check_may_give_the_device_up_while_a_part_is_tried() -> None:
    bench = Bench()
    request = bench.offer(2)
    await turns()
    bench.lane.fail(TASK)
    await turns()
    bench.engine.fail(LaneStalled("30 s"))
    assert isinstance(request.result.exception(), LaneStalled)
    bench.lane.run()
    await turns()
    assert bench.engine.state().running_batches == 0


async def test_deadlines_hold_while_parts_are_tried() -> None:
    bench = Bench()
    bench.offer(2, POISON)
    await turns()
    waiting = bench.offer(1, deadline=bench.now + 0.02)
    run(bench)
    await turns()
    bench.now += 1.0
    with pytest.raises(DeadlineExpired):
        await asyncio.wait_for(waiting.result, 10)


async def test_draining_settles_a_failed_batch() -> None:
    bench = Bench()
    request = bench.offer(2, 1)
    await turns()
    bench.lane.fail(TASK)
    drained = asyncio.ensure_future(bench.engine.drain())
    await run_all(bench)
    await asyncio.wait_for(drained, 10)
    np.testing.assert_array_equal((await request.result)["y"], doubled(2, 1))


async def test_a_part_that_cannot_be_launched_fails() -> None:
    bench = Bench()
    request = bench.offer(1)
    await turns()
    bench.lane.refusal = RuntimeError("closed")
    bench.lane.fail(TASK)
    await turns(6)
    assert "closed" in str(request.result.exception())
    assert bench.engine.state().running_batches == 0


async def test_another_models_batch_may_be_to_blame_for_a_while() -> None:
    share = Share(in_flight=4)
    bench, other = Bench(share=share), Bench(share=share)
    request = bench.offer(1, 3)
    await turns()
    bench.lane.fail(TASK)
    other.offer(1)
    await turns()
    bench.lane.fail(TASK)
    await turns()
    assert not request.result.done(), "the other model's batch was there"
    await run_all(bench)
    np.testing.assert_array_equal((await request.result)["y"], doubled(1, 3))


async def test_the_trials_of_two_models_take_turns_so_that_the_innocent_one_is_not_blamed() -> None:
    share = Share(in_flight=4)
    bench, other = Bench(share=share), Bench(share=share)
    guilty, innocent = bench.offer(1, POISON), other.offer(1, 3)
    await turns()
    bench.lane.fail(TASK)
    other.lane.fail(TASK)
    await turns()
    assert (len(bench.lane.batches), len(other.lane.batches)) == (1, 0), "one part at a time"
    while bench.lane.batches or other.lane.batches:
        assert run(bench) if bench.lane.batches else not run(other)
        await turns()
    with pytest.raises(PoisonRequest):
        await guilty.result
    np.testing.assert_array_equal((await innocent.result)["y"], doubled(1, 3))


@pytest.mark.parametrize("lost", [False, True])
async def test_a_model_that_has_nothing_to_try_any_more_gives_its_turn_away(lost: bool) -> None:
    share = Share(in_flight=4)
    benches = [Bench(share=share) for _ in range(3)]
    requests = [bench.offer(1, number) for number, bench in enumerate(benches)]
    await turns()
    for bench in benches:
        bench.lane.fail(TASK)
    await turns()
    first, second, third = benches
    if lost:
        second.engine.fail(FAULT)
    else:
        requests[1].cancel()
    first.lane.run()
    await turns()
    assert (len(second.lane.batches), len(third.lane.batches)) == (0, 1)
    third.lane.run()
    await turns()
    assert all(request.result.done() for request in requests)
    assert [bench.engine.state().running_batches for bench in benches] == [0, 0, 0]


# --- what hangs ----------------------------------------------------------------------------------


async def test_a_request_that_hangs_on_the_device_ends_soon_after_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ascend_serve.engine.engine.OVERDUE_S", 0.01)
    bench = Bench()
    patient = bench.offer(4)
    hasty = bench.offer(4, 4, deadline=bench.now + 5.0)
    await turns()
    bench.now += 5.02
    with pytest.raises(DeadlineExpired, match=r"not come back from the device 5020.0 ms"):
        await asyncio.wait_for(hasty.result, 10)
    assert not patient.result.done()
    bench.lane.run()
    np.testing.assert_array_equal((await patient.result)["y"], doubled(4))
    assert bench.notes.outcomes() == [Outcome.EXPIRED, Outcome.DONE]


async def test_overdue_requests_are_looked_for_whenever_there_are_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ascend_serve.engine.engine.OVERDUE_S", 0.0)
    bench = Bench()
    bench.offer(1)
    await turns()
    bench.lane.run()
    await turns(20)
    assert bench.engine.state().live_requests == 0
    late = bench.offer(1, deadline=bench.now + 5.0)
    await turns()
    bench.now += 6.0
    with pytest.raises(DeadlineExpired):
        await asyncio.wait_for(late.result, 10)


# --- elsewhere -----------------------------------------------------------------------------------


def place(bench: Bench, answer: Any) -> list[Any]:
    """Give the engine a place that answers what a fault has ended; what came to it."""
    came: list[Any] = []

    async def elsewhere(error: Any, given: Any, deadline: Any, priority: Any) -> Any:
        came.append((error, given, deadline, priority))
        if isinstance(answer, Exception):
            raise answer
        return answer

    bench.engine._elsewhere = elsewhere
    return came


@pytest.mark.parametrize("fault", [FAULT, LaneStalled("30 s")])
async def test_what_a_fault_ends_is_answered_elsewhere_once(fault: Exception) -> None:
    bench = Bench()
    came = place(bench, {"y": doubled(2)})
    given = tensors(2)
    task = asyncio.ensure_future(bench.engine.submit(given, deadline=bench.now + 9.0, priority=1))
    await turns()
    bench.lane.fail(fault)
    assert (await task)["y"] is not None
    late = await bench.engine.submit(tensors(1))
    assert late["y"] is not None, "what comes later goes there at once"
    [(error, tensors_, deadline, priority), _] = came
    assert isinstance(error, type(fault))
    assert tensors_ is given
    assert (deadline, priority) == (bench.now + 9.0, 1)


async def test_what_elsewhere_says_is_the_end() -> None:
    bench = Bench()
    place(bench, AclDeviceFault("a", 507010, "b", "there neither"))
    task = asyncio.ensure_future(bench.engine.submit(tensors(1)))
    await turns()
    bench.lane.fail(FAULT)
    with pytest.raises(AclDeviceFault, match="there neither"):
        await task


async def test_a_poisoned_request_is_not_sent_elsewhere() -> None:
    bench = Bench()
    came = place(bench, {})
    task = asyncio.ensure_future(bench.engine.submit(tensors(1, POISON)))
    await run_all(bench)
    with pytest.raises(PoisonRequest):
        await task
    assert came == []


# --- the plan alone ------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 19)), st.integers(1, 20))
def test_exactly_the_guilty_are_found_and_everybody_is_run(guilty: set[int], count: int) -> None:
    guilty = {one for one in guilty if one < count}
    tickets: list[Any] = [SimpleNamespace(name=name) for name in range(count)]
    pieces = tuple(Piece(ticket, 0, 1, at) for at, ticket in enumerate(tickets))
    batch = Batch(0, 0, count, count, pieces, 0.0)
    isolation = Isolation()
    isolation.add(batch)
    found, well, runs = set(), set(), 0
    while (group := isolation.next(lambda ticket: True)) is not None:
        names = {piece.ticket.name for piece in group.pieces}  # type: ignore[attr-defined]
        runs += 1
        if not names & guilty:
            well |= names
        elif (piece := isolation.failed(group, alone=True)) is not None:
            found.add(piece.ticket.name)  # type: ignore[attr-defined]
    assert found == guilty
    assert well == set(range(count)) - guilty
    assert isolation.settled() == [batch]
    assert isolation.batches == 0
    assert runs <= 2 * count
    if len(guilty) == 1:
        assert runs <= 2 * max(1, (count - 1).bit_length()) + 1


def test_a_request_that_fails_in_company_is_blamed_in_the_end() -> None:
    ticket: Any = SimpleNamespace()
    isolation = Isolation()
    isolation.add(Batch(0, 0, 1, 1, (Piece(ticket, 0, 1, 0),), 0.0))
    for run in range(MOST_RUNS):
        group = isolation.next(lambda ticket: True)
        assert group is not None
        blamed = isolation.failed(group, alone=False)
        assert (blamed is not None) == (run == MOST_RUNS - 1)
