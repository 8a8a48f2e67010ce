"""What the engine makes of timed batches: refined costs, and a policy that is solved again for them."""

import asyncio
import logging
import threading
from collections.abc import Sequence

import pytest

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.policy import Fixed, Policy, View
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages
from tests.unit.engine_bench import SERVICE, TIMES, Bench, tensors, turns

pytestmark = pytest.mark.unit

SLOW = Stages(0.0, 6.0, 0.0)
"""Twice what gear 8 took at warm-up: drift within four batches."""


class Solving:
    """Rounds up until it is solved, then runs gear 8; keeps what it was solved for, and on which thread.

    Args:
        gate: each solve waits for it.
        error: raised by every solve from the second on.
    """

    patience_ms = None

    def __init__(self, gate: threading.Event | None = None, error: Exception | None = None) -> None:
        self.gate = gate
        self.error = error
        self.solved: list[tuple[CostTable, ...]] = []
        self.threads: list[int] = []

    def usable(self, compiled: Gears) -> Gears:
        return compiled

    def choose(self, view: View) -> int:
        return view.gears.cover(view.rows)

    def prepared(self, tables: Sequence[CostTable]) -> Policy:
        self.solved.append(tuple(tables))
        self.threads.append(threading.get_ident())
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.error is not None and len(self.solved) > 1:
            raise self.error
        return Fixed(8)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr("ascend_serve.engine.solving.PAUSE_S", 0.0)


async def run_one(bench, rows, stages=None):
    """Serve one request from end to end."""
    task = asyncio.ensure_future(bench.engine.submit(tensors(rows)))
    await turns()
    bench.lane.run(stages)
    await asyncio.wait_for(task, 10)


async def until(holds):
    """Let the loop run until something holds that another thread brings about."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 10
    while not holds():
        assert loop.time() < end, "it did not come about within 10 s"
        await asyncio.sleep(0.001)


async def test_the_policy_decides_as_it_is_until_it_is_solved():
    bench = Bench(policy=Solving())
    await run_one(bench, 3)
    assert bench.lane.gears == [4]
    await bench.engine.prepared()
    await run_one(bench, 3)
    assert bench.lane.gears == [4, 8]


async def test_the_solve_is_off_the_loop_and_happens_once_for_all_who_ask():
    policy = Solving()
    bench = Bench(policy=policy)
    await asyncio.gather(bench.engine.prepared(), bench.engine.prepared())
    await bench.engine.prepared()
    [[table]] = policy.solved
    assert table.ms == (1.0, 2.0, 3.0)
    assert policy.threads != [threading.get_ident()]


async def test_requests_are_served_while_the_policy_is_being_solved():
    gate = threading.Event()
    bench = Bench(policy=Solving(gate))
    solved = asyncio.ensure_future(bench.engine.prepared())
    await turns()
    await run_one(bench, 3)
    assert bench.lane.gears == [4]
    assert not solved.done()
    gate.set()
    await asyncio.wait_for(solved, 10)


async def test_a_policy_that_cannot_be_solved_tells_who_waits_for_it():
    class Broken(Solving):
        def prepared(self, tables):
            raise ArithmeticError("no solution")

    bench = Bench(policy=Broken())
    with pytest.raises(ArithmeticError, match="no solution"):
        await bench.engine.prepared()
    await run_one(bench, 3)


async def test_timed_batches_refine_the_times():
    bench = Bench()
    assert bench.engine.times() == TIMES
    await run_one(bench, 8, Stages(0.0, 3.16, 0.0))
    await run_one(bench, 8)
    refined = bench.engine.times()
    assert refined[0, 8].stages.compute_ms == pytest.approx(3.01)
    assert refined[0, 8].runs == TIMES[0, 8].runs + 1
    assert refined[0, 1] == TIMES[0, 1]


async def test_a_failed_batch_refines_nothing():
    bench = Bench()
    request = bench.offer(8)
    await turns()
    bench.lane.fail(SERVICE)
    await turns()
    assert request.result.exception() is not None
    assert bench.engine.times() == TIMES


async def test_drift_has_the_policy_solved_again_for_the_new_costs():
    policy = Solving()
    bench = Bench(policy=policy)
    await bench.engine.prepared()
    for _ in range(4):
        await run_one(bench, 8, SLOW)
    await until(lambda: len(policy.solved) == 2)
    [table] = policy.solved[1]
    assert table.ms_of(8) > 3.0 * 1.1
    assert table.ms_of(4) == 2.0


async def test_there_are_never_two_solves_at_once():
    gate = threading.Event()
    policy = Solving(gate)
    bench = Bench(policy=policy)
    first = asyncio.ensure_future(bench.engine.prepared())
    await turns()
    for _ in range(20):
        await run_one(bench, 8, SLOW)
    assert len(policy.solved) == 1
    gate.set()
    await asyncio.wait_for(first, 10)
    await run_one(bench, 8, SLOW)
    await until(lambda: len(policy.solved) == 2)


async def test_costs_that_swing_do_not_keep_a_core_busy(monkeypatch):
    monkeypatch.setattr("ascend_serve.engine.solving.PAUSE_S", 3600.0)
    policy = Solving()
    bench = Bench(policy=policy)
    await bench.engine.prepared()
    for _ in range(20):
        await run_one(bench, 8, SLOW)
    await until(lambda: len(policy.solved) == 2)
    for _ in range(20):
        await run_one(bench, 8, Stages(0.0, 60.0, 0.0))
    assert len(policy.solved) == 2


async def test_the_time_of_the_host_is_learnt_from_batches_that_found_the_device_idle():
    policy = Solving()
    bench = Bench(policy=policy, slots=2)
    await bench.engine.prepared()
    for _ in range(20):
        beside = bench.offer(8)
        await turns()
        task = asyncio.ensure_future(bench.engine.submit(tensors(8)))
        await turns()
        bench.now += 0.0037
        bench.lane.run()
        await turns()
        bench.now += 1.0
        bench.lane.run()
        await asyncio.wait_for(task, 10)
        assert beside.result.done()
    await until(lambda: len(policy.solved) == 2)
    assert [table.host_ms for table in policy.solved[1]] == [pytest.approx(0.7)], "gear 8 takes 3 ms"
    assert [table.host_ms for table in policy.solved[0]] == [0.0]


async def test_a_host_that_was_learnt_wrong_does_not_hold_until_gears_are_solved_again(monkeypatch):
    monkeypatch.setattr("ascend_serve.engine.solving.PAUSE_S", 3600.0)
    monkeypatch.setattr("ascend_serve.engine.solving.HOST_PAUSE_S", 0.0)
    policy = Solving()
    bench = Bench(policy=policy, slots=2)
    await bench.engine.prepared()

    async def runs(count, took_s):
        for _ in range(count):
            task = asyncio.ensure_future(bench.engine.submit(tensors(8)))
            await turns()
            bench.now += took_s
            bench.lane.run()
            await asyncio.wait_for(task, 10)

    await runs(4, 0.006)
    await until(lambda: len(policy.solved) == 2)
    await runs(12, 0.0037)
    await until(lambda: len(policy.solved) == 3)
    await runs(16, 0.0037)
    await until(lambda: len(policy.solved) == 4)
    assert [tables[0].host_ms for tables in policy.solved] == pytest.approx([0.0, 3.0, 1.4, 0.7])


async def test_when_a_later_solve_fails_the_earlier_one_serves_on(caplog):
    policy = Solving(error=ArithmeticError("singular"))
    bench = Bench(policy=policy)
    await bench.engine.prepared()
    with caplog.at_level(logging.ERROR):
        for _ in range(4):
            await run_one(bench, 8, SLOW)
        await until(lambda: caplog.records)
    assert "cannot be solved for the new costs" in caplog.text
    assert "singular" in caplog.text
    await run_one(bench, 1)
    assert bench.lane.gears[-1] == 8


async def test_without_times_nothing_is_refined():
    policy = Solving()
    bench = Bench(policy=policy, times={})
    for _ in range(10):
        await run_one(bench, 8, SLOW)
    assert bench.engine.times() == {}
    assert policy.solved == []
