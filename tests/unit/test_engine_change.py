"""Settings of an engine that change while requests wait and run."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.journal import Bounded, Event, Retuned, decode, encode
from ascend_serve.batching.planner import Planner
from ascend_serve.batching.policy import Fixed, PadUp, Policy, StepDown
from ascend_serve.errors import ConfigError, DeadlineUnmet, QueueFull, RequestTooLarge
from ascend_serve.simulating.replaying import Recording, retrace
from ascend_serve.spec.gears import Gears
from tests.unit.engine_bench import Bench, doubled, turns

pytestmark = pytest.mark.unit


async def change(
    bench: Bench, policy: Policy | None = None, rows: int = 64, deadline_s: float | None = None
) -> None:
    await bench.engine.change(policy=policy or PadUp(), max_queued_rows=rows, default_deadline_s=deadline_s)


async def test_another_policy_decides_and_what_waits_and_runs_ends_well() -> None:
    bench = Bench(slots=1)
    running, waiting = bench.offer(2), bench.offer(8, first=2)
    await turns()
    assert bench.lane.gears == [4]
    await change(bench, Fixed(1))
    bench.lane.run()
    await turns()
    assert bench.lane.gears[1:] == [1]
    for _ in range(16):
        if bench.lane.batches:
            bench.lane.run()
            await turns()
    np.testing.assert_array_equal((await running.result)["y"], doubled(2))
    np.testing.assert_array_equal((await waiting.result)["y"], doubled(8, 2))
    assert set(bench.lane.gears[1:]) == {1}


async def test_a_policy_that_does_not_fit_changes_nothing() -> None:
    bench = Bench()
    with pytest.raises(ConfigError, match="gear 3 is not compiled"):
        await change(bench, Fixed(3), rows=1, deadline_s=1e-9)
    await change(bench, PadUp())
    request = bench.offer(3)
    await turns()
    assert bench.lane.gears == [4]
    bench.lane.run()
    await request.result


async def test_another_bound_holds_for_what_comes_and_not_for_what_waits() -> None:
    bench = Bench(slots=1)
    bench.offer(8)
    await turns()
    waiting = [bench.offer(8, first) for first in (8, 16)]
    await change(bench, rows=4)
    with pytest.raises(QueueFull, match="would pass max_queued_rows 4"):
        bench.offer(1)
    with pytest.raises(RequestTooLarge, match="at most 4 may wait"):
        bench.offer(5)
    for _ in range(3):
        bench.lane.run()
        await turns()
    for first, request in zip((8, 16), waiting, strict=True):
        np.testing.assert_array_equal((await request.result)["y"], doubled(8, first))
    with pytest.raises(ConfigError, match="max_queued_rows is 0"):
        await change(bench, rows=0)


async def test_another_default_deadline_holds_for_what_comes() -> None:
    bench = Bench()
    await change(bench, deadline_s=1e-4)
    with pytest.raises(DeadlineUnmet):
        bench.offer(1)
    await change(bench)
    bench.offer(1)


def test_the_planner_keeps_its_rules_when_less_may_wait_than_does() -> None:
    planner = Planner((CostTable.of(Gears((1, 4)), {1: 1.0, 4: 2.0}),), PadUp(), slots=1, max_queued_rows=16)
    for _ in range(4):
        planner.offer(0.0, 4)
    planner.bound(2)
    planner.check()
    assert planner.plan(0.0) is not None
    planner.check()


class Slow:
    """A policy whose solution waits for a gate, and then is `then`."""

    patience_ms = None

    def __init__(self, gate: threading.Event, then: Policy) -> None:
        self._gate, self._then = gate, then

    def usable(self, compiled: Gears) -> Gears:
        return compiled

    def choose(self, view: object) -> int:
        raise AssertionError("it is never asked before it is solved")

    def prepared(self, tables: Sequence[CostTable]) -> Policy:
        assert self._gate.wait(10)
        return self._then


async def test_a_policy_that_is_still_being_solved_gives_way_to_one_chosen_later() -> None:
    gate = threading.Event()
    bench = Bench(policy=PadUp())
    slow = Slow(gate, Fixed(8))
    bench.engine._solver._policy = slow
    first = bench.engine._loop.create_task(bench.engine.prepared())
    await turns()
    await change(bench, StepDown())
    gate.set()
    await first
    for row in range(3):
        bench.offer(1, row)
    await turns()
    assert bench.lane.gears[0] == 1, "the old policy's solution has taken the new one's place"


class Noting:
    """A journal in memory."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def note(self, event: Event) -> None:
        self.lines.append(encode(event))


async def test_a_journal_with_changes_is_retraced() -> None:
    journal = Noting()
    bench = Bench(slots=1, journal=journal)
    bench.offer(8)
    bench.offer(8, 8)
    await turns()
    await change(bench, Fixed(4), rows=8)
    for rows in (1, 4):
        with pytest.raises(QueueFull):
            bench.offer(rows)
    for _ in range(4):
        if bench.lane.batches:
            bench.now += 0.001
            bench.lane.run()
            await turns()
    kinds = [type(decode(line)) for line in journal.lines]
    assert Retuned in kinds
    assert Bounded in kinds
    found = retrace(Recording.read(journal.lines))
    assert found.departure is None
    assert found.decisions >= 5
