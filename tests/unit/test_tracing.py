"""Timelines: what a journal and the runs on the device tell, as a trace viewer takes it."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ascend_serve.batching.journal import (
    Cancelled,
    Expired,
    Failed,
    FailedAll,
    Landed,
    Offered,
    Refused,
    Sealed,
)
from ascend_serve.errors import Refusal
from ascend_serve.metrics import Outcome
from ascend_serve.spec.timing import DeviceRun, Stages
from ascend_serve.tracing import ModelTrace, ReplicaTrace, Ring, timeline
from ascend_serve.tracing.story import UNDER_WAY, tell
from tests.unit.engine_bench import FAULT, SERVICE, Bench, turns
from tests.unit.trace_rules import check_trace

pytestmark = pytest.mark.unit


def run(slot: int, at: float, ms: float = 2.0) -> DeviceRun:
    """Copies of 1 ms around a run."""
    return DeviceRun(slot, at, at + 0.001, at + 0.001 + ms / 1e3, Stages(1.0, ms, 1.0))


def replica(
    *models: ModelTrace, began: float = 10.0, ended: float = 11.0, offset: float = 1000.0
) -> ReplicaTrace:
    return ReplicaTrace("app#M#1", "10.0.0.1", "Ascend310P3", began, ended, offset, models)


def drawn(*traces: ReplicaTrace) -> list[dict]:
    document = timeline(traces)
    check_trace(document)
    return document["traceEvents"]


def named(events: list[dict], phase: str) -> list[str]:
    return [event["name"] for event in events if event["ph"] == phase]


EVENTS = (
    Offered(10.0, 1, 3),
    Offered(10.01, 2, 2),
    Refused(10.02, 1, (0,), None, None, "QueueFull"),
    Sealed(10.02, 0, 0, 4, 4, ((1, 0, 3), (2, 0, 1))),
    Sealed(10.03, 1, 0, 1, 1, ((2, 1, 1),)),
    Landed(10.04, 0, Stages(1.0, 2.0, 1.0)),
    Landed(10.05, 1),
)
RUNS = (run(0, 10.025), run(1, 10.041))


# --- stories ---------------------------------------------------------------------------------------


def test_a_request_ends_when_all_of_its_rows_are_back() -> None:
    story = tell(EVENTS, RUNS, 11.0)
    first, second = story.requests
    assert (first.outcome, first.sealed_at, first.ended_at, first.batches) == ("done", 10.02, 10.04, [0])
    assert (second.outcome, second.sealed_at, second.ended_at, second.batches) == (
        "done",
        10.02,
        10.05,
        [0, 1],
    )
    assert [(batch.gear, batch.rows, batch.run) for batch in story.batches] == [
        (4, 4, RUNS[0]),
        (1, 1, RUNS[1]),
    ]
    assert story.refusals == ((10.02, "QueueFull"),)
    assert story.queue == ((10.0, 3), (10.01, 5), (10.02, 1), (10.03, 0))
    assert story.strays == ()


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (Cancelled(10.5, 1), "cancelled"),
        (Expired(10.5, (1,)), "expired"),
        (FailedAll(10.5), "failed"),
    ],
)
def test_other_ends(end: object, outcome: str) -> None:
    story = tell((Offered(10.0, 1, 3), end), (), 11.0)
    assert [(one.outcome, one.ended_at) for one in story.requests] == [(outcome, 10.5)]
    assert story.queue[-1] == (10.5, 0)


def test_a_failed_batch_fails_its_requests() -> None:
    events = (Offered(10.0, 1, 1), Sealed(10.1, 0, 0, 1, 1, ((1, 0, 1),)), Failed(10.2, 0))
    story = tell(events, (), 11.0)
    assert [one.outcome for one in story.requests] == ["failed"]
    assert story.batches[0].failed


def test_what_began_before_the_trace_or_has_not_ended_is_drawn_as_far_as_it_was_seen() -> None:
    events = (
        Landed(10.01, 1),
        Sealed(10.02, 0, 0, 4, 2, ((7, 0, 1), (9, 0, 1))),
        Offered(10.03, 12, 1),
        Cancelled(10.04, 3),
    )
    story = tell(events, (run(1, 9.99), run(0, 10.021)), 11.0)
    assert [(one.outcome, one.ended_at) for one in story.requests] == [(UNDER_WAY, 11.0)]
    assert [(one.ended_at, one.run) for one in story.batches] == [(11.0, None)]
    assert len(story.strays) == 2
    drawn(replica(ModelTrace("m", "1", events, (run(1, 9.99), run(0, 10.021)))))


async def test_a_story_tells_what_the_engine_told_its_recorder() -> None:
    """Random work through a real engine: every request is in the story with its own end."""
    bench = Bench(max_queued_rows=16)
    ring = Ring(10_000)
    bench.engine.follow(ring)
    rng = random.Random(5)
    refused = 0
    for _ in range(200):
        bench.now += rng.expovariate(500) + (0.1 if rng.random() < 0.05 else 0.0)
        choice = rng.random()
        if choice < 0.55:
            try:
                request = bench.offer(rng.randint(1, 9), deadline=bench.now + rng.choice([0.03, 5.0]))
            except Refusal:
                refused += 1
                continue
            request.result.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            if rng.random() < 0.1:
                request.cancel()
        elif bench.lane.batches and choice < 0.95:
            bench.lane.run(Stages(0.0, 1.0, 0.0))
        elif bench.lane.batches:
            bench.lane.fail(SERVICE)
        await turns()
    story = tell(*[ring.trace("m", "1").events, (), bench.now])
    told = Counter(outcome.value for outcome in bench.notes.outcomes())
    seen = Counter(request.outcome for request in story.requests if request.outcome != UNDER_WAY)
    assert refused
    assert {"done", "failed", "cancelled", "expired"} <= set(seen)
    assert told == seen
    assert len(story.refusals) == len(bench.notes.refused)
    assert len(story.batches) == len(bench.notes.sealed)
    bench.engine.fail(FAULT)
    drawn(replica(ring.trace("m", "1"), began=100.0, ended=bench.now + 1))


async def test_a_journal_that_follows_no_longer_is_told_nothing() -> None:
    book, ring = Ring(100), Ring(100)
    bench = Bench(journal=book)
    bench.engine.follow(ring)
    bench.offer(1)
    bench.engine.follow(None)
    bench.offer(1)
    assert [type(event) for event in ring.trace("m", "1").events] == [Offered]
    assert [type(event) for event in book.trace("m", "1").events][1:] == [Offered, Offered]
    await turns()
    bench.lane.run()
    assert Outcome.DONE in bench.notes.outcomes() or not bench.notes.outcomes()


# --- drawings --------------------------------------------------------------------------------------


def test_a_replica_is_a_process_with_engines_slots_and_requests() -> None:
    events = drawn(replica(ModelTrace("digits", "2", EVENTS, RUNS)))
    threads = [event["args"]["name"] for event in events if event["name"] == "thread_name"]
    assert threads == [
        "copy in",
        "compute",
        "copy out",
        "digits 2 slot 0",
        "digits 2 slot 1",
        "digits 2 refusals",
        "digits 2 requests 0",
        "digits 2 requests 1",
    ]
    slices = named(events, "X")
    assert slices.count("digits gear 4") == 3
    assert slices.count("digits gear 1") == 3
    assert {"gear 4", "gear 1", "3 rows", "2 rows", "waits"} <= set(slices)
    assert named(events, "i") == ["QueueFull"]
    assert len(named(events, "s")) == 3
    (batch,) = [event for event in events if event["name"] == "gear 4"]
    assert batch["args"] == {"batch": 0, "rows": 4, "padding": 0, "bucket": 0}
    assert (batch["ts"], batch["dur"]) == (pytest.approx(20_000), pytest.approx(20_000))


def test_replicas_are_joined_by_their_wall_clocks() -> None:
    first = replica(ModelTrace("m", "1", EVENTS, ()), began=10.0, offset=1000.0)
    # The same moments on a machine whose clock counts from elsewhere.
    moved = tuple(event._replace(at=event.at - 5) for event in EVENTS)
    second = replica(ModelTrace("m", "1", moved, ()), began=5.0, ended=6.0, offset=1005.0)
    events = drawn(first, second)
    times = {
        process: [event["ts"] for event in events if event["pid"] == process and event["ph"] == "X"]
        for process in (1, 2)
    }
    assert times[1] == pytest.approx(times[2])


def test_a_board_copies_nothing() -> None:
    board = DeviceRun(0, 10.025, 10.025, 10.027, Stages(0.0, 2.0, 0.0))
    events = drawn(replica(ModelTrace("m", "1", EVENTS, (board,))))
    assert named(events, "X").count("m gear 4") == 1


def test_nothing_at_all_is_a_trace_too() -> None:
    assert drawn() == []
    assert named(drawn(replica(ModelTrace("m", "1", (), ()))), "X") == []


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.001, 0.5)), max_size=30))
def test_requests_never_overlap_in_a_lane(spans: list[tuple[float, float]]) -> None:
    offers = [(at, number, length) for number, (at, length) in enumerate(sorted(spans))]
    events = [Offered(10 + at, number, 1) for at, number, _ in offers]
    events += [Cancelled(10 + at + length, number) for at, number, length in offers]
    events.sort(key=lambda event: event.at)
    at_once = max(
        (sum(at <= when < at + length for at, _, length in offers) for when, _, _ in offers), default=0
    )
    found = drawn(replica(ModelTrace("m", "1", tuple(events), ()), ended=13.0))
    lanes = [
        event for event in found if event["name"] == "thread_name" and "requests" in event["args"]["name"]
    ]
    assert len(lanes) == at_once


def test_a_ring_keeps_the_latest_and_says_how_many_it_lost() -> None:
    ring = Ring(3)
    for number in range(5):
        ring.note(Offered(number, number, 1))
        ring.ran(run(0, number))
    trace = ring.trace("m", "1")
    assert [event.ticket for event in trace.events] == [2, 3, 4]
    assert (trace.lost, len(trace.runs)) == (2, 3)
    assert replace(trace, lost=0) != trace
