"""What the engine tells of itself: to the recorder, and as its state."""

import asyncio

import numpy as np
import pytest

from ascend_serve.errors import (
    AscendServeError,
)
from ascend_serve.metrics import Outcome
from tests.unit.engine_bench import SERVICE, Bench, doubled, tensors, turns

pytestmark = pytest.mark.unit


async def test_the_recorder_hears_of_every_batch_and_every_end() -> None:
    bench = Bench()
    request = bench.offer(3)
    bench.now += 0.010
    await turns()
    [(gear, rows, wait_ms)] = bench.notes.sealed
    assert (gear, rows) == (4, 3)
    assert wait_ms == pytest.approx(10.0)
    bench.now += 0.002
    bench.lane.run()
    await request.result
    [(gear, device_ms)] = bench.notes.batches
    assert gear == 4
    assert device_ms == pytest.approx(2.0)
    [(outcome, rows, times_ms)] = bench.notes.ends
    assert (outcome, rows) == (Outcome.DONE, 3)
    assert times_ms == pytest.approx([12.0])


async def test_what_ends_together_is_told_together_with_the_longest_wait() -> None:
    bench = Bench()
    early = bench.offer(3)
    bench.now += 0.004
    late = bench.offer(2)
    bench.now += 0.001
    await turns()
    assert bench.notes.sealed == [(8, 5, pytest.approx(5.0))]
    bench.lane.run()
    await asyncio.gather(early.result, late.result)
    [(outcome, rows, times_ms)] = bench.notes.ends
    assert (outcome, rows) == (Outcome.DONE, 5)
    assert times_ms == pytest.approx([5.0, 1.0])


async def test_the_recorder_is_flushed_while_there_are_requests_and_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ascend_serve.engine.engine.FLUSH_S", 0.0)
    bench = Bench(in_flight=1)
    requests = [bench.offer(8), bench.offer(3)]
    await turns()
    assert bench.notes.flushed[-1] == 3
    for _ in requests:
        bench.lane.run()
        await turns()
    flushed = len(bench.notes.flushed)
    assert bench.notes.flushed[-1] == 0
    await turns(10)
    assert len(bench.notes.flushed) <= flushed + 1, "an idle engine flushes nothing"


async def test_draining_flushes_the_recorder() -> None:
    bench = Bench()
    await asyncio.wait_for(bench.engine.drain(), 10)
    assert bench.notes.flushed == [0]


async def test_the_device_is_not_busy_twice_when_batches_overlap() -> None:
    bench = Bench()
    requests = [bench.offer(8), bench.offer(8)]
    await turns()
    for _ in requests:
        bench.now += 0.003
        bench.lane.run()
        await turns()
    assert [device_ms for _, device_ms in bench.notes.batches] == pytest.approx([3.0, 3.0])


async def test_the_state_counts_what_waits_and_what_runs() -> None:
    bench = Bench()
    for rows in (8, 8, 3, 2):
        bench.offer(rows)
    await turns()
    state = bench.engine.state()
    assert (state.queued_tickets, state.queued_rows, state.running_batches, state.live_requests) == (
        2,
        5,
        2,
        4,
    )


async def test_hundreds_at_once_never_mix_and_all_end_once() -> None:
    bench = Bench(slots=3, max_queued_rows=4096)
    random = np.random.default_rng(7)
    expected = []
    first = 0
    for step in range(300):
        rows = int(random.integers(1, 12))
        task = asyncio.ensure_future(bench.engine.submit(tensors(rows, first)))
        expected.append((task, doubled(rows, first)))
        first += rows
        if step % 3 == 0:
            await turns()
        if step % 7 == 0 and bench.lane.batches:
            bench.lane.fail(SERVICE) if step % 5 == 0 else bench.lane.run()
        if step % 11 == 0:
            # One of those that have begun: a task cancelled before its first step offers nothing.
            expected[int(random.integers(max(1, len(expected) - 3)))][0].cancel()
    await turns()
    while bench.lane.batches:
        bench.lane.run()
        await turns()
    answers = await asyncio.gather(*(task for task, _ in expected), return_exceptions=True)
    for answer, (_, rows_expected) in zip(answers, expected, strict=True):
        if isinstance(answer, BaseException):
            assert isinstance(answer, AscendServeError | asyncio.CancelledError)
        else:
            np.testing.assert_array_equal(answer["y"], rows_expected, strict=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) > 200
    assert len(bench.notes.outcomes()) == 300
    assert bench.engine.state().live_requests == 0
