"""The planner against other people's rules, each written down anew in a few lines."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.planner import Batch, Planner
from ascend_serve.batching.policy import FixedWait, PadUp
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit

GEARS = Gears((1, 4, 8, 16))
TABLE = CostTable.of(GEARS, {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0})

steps = st.lists(st.integers(1, 16) | st.sampled_from(["back", "plan"]), max_size=80)


class FirstComeFirstServed:
    """Rounding up in the order of the offers: all that the planner did before it knew any other order."""

    def __init__(self, most_running: int) -> None:
        self.queue: deque[int] = deque()
        self.running = 0
        self.most_running = most_running

    def plan(self) -> tuple[int, list[int]] | None:
        """Gear and sizes of the next batch."""
        rows = sum(self.queue)
        if not rows or self.running == self.most_running or (self.running and rows < 16):
            return None
        target = 16 if self.running else max(GEARS.cover(rows), GEARS.cover(self.queue[0]))
        taken: list[int] = []
        while self.queue and sum(taken) + self.queue[0] <= target:
            taken.append(self.queue.popleft())
        self.running += 1
        return GEARS.cover(sum(taken)), taken


@given(steps, st.integers(1, 3))
def test_without_deadlines_and_large_tickets_it_is_first_come_first_served(
    steps: list[int | str], slots: int
) -> None:
    planner = Planner([TABLE], PadUp(), slots=slots, max_queued_rows=10_000)
    other = FirstComeFirstServed(slots)
    running: list[Batch] = []
    for now, step in enumerate(steps):
        if isinstance(step, int):
            planner.offer(float(now), step)
            other.queue.append(step)
        elif step == "back" and running:
            planner.finished(float(now), running.pop(0))
            other.running -= 1
        elif step == "plan":
            while (batch := planner.plan(float(now))) is not None:
                running.append(batch)
                assert other.plan() == (batch.gear, [piece.rows for piece in batch.pieces])
            assert other.plan() is None


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 8)), min_size=1, max_size=40),
    st.sampled_from([0.5, 2.5, 10.5]),
    st.integers(8, 16),
)
def test_fixed_wait_closes_batches_as_serve_batch_does(
    arrivals: list[tuple[int, int]], wait_ms: float, size: int
) -> None:
    """Groups close on size or by a timer from their first row, and wait for the device as they are."""
    closed: list[tuple[float, list[int]]] = []
    group: list[int] = []
    began = now = 0.0
    times = []
    for gap, rows in arrivals:
        now += gap
        times.append((now, rows))
        if group and now > began + wait_ms:
            closed.append((began + wait_ms, group))
            group = []
        if group and sum(group) + rows > size:
            closed.append((now, group))
            group = []
        if not group:
            began = now
        group.append(rows)
        if sum(group) == size:
            closed.append((now, group))
            group = []
    if group:
        closed.append((began + wait_ms, group))
    expected = []
    free_at = 0.0
    for at, group in closed:
        start = max(at, free_at)
        expected.append((start, group))
        free_at = start + TABLE.ms_of(GEARS.cover(sum(group)))

    started = starts(times, FixedWait(max_batch_size=size, wait_ms=wait_ms))
    assert [group for _, group in started] == [group for _, group in expected]
    assert [at for at, _ in started] == pytest.approx([at for at, _ in expected])


def starts(times: list[tuple[float, int]], policy: FixedWait) -> list[tuple[float, list[int]]]:
    """When the planner starts which sizes, on a device that runs one batch at a time; milliseconds."""
    planner = Planner([TABLE], policy, slots=1, max_queued_rows=10_000)
    coming = deque((at / 1e3, rows) for at, rows in times)
    started: list[tuple[float, list[int]]] = []
    running: Batch | None = None
    free_at = 0.0
    while coming or running or planner.queued_rows:
        wakeup = planner.next_wakeup()
        events = [coming[0][0]] if coming else []
        events += [free_at] if running else []
        events += [wakeup] if wakeup is not None else []
        now = min(events)
        if running and free_at <= now:
            planner.finished(now, running)
            running = None
        while coming and coming[0][0] <= now:
            planner.offer(now, coming.popleft()[1])
        batch = planner.plan(now)
        if batch is not None:
            running, free_at = batch, now + TABLE.ms_of(batch.gear) / 1e3
            started.append((now * 1e3, [piece.rows for piece in batch.pieces]))
    return started
