"""Journals read again: the same decisions from the same events, and figures from others."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.journal import (
    Cancelled,
    Drained,
    Expired,
    Failed,
    FailedAll,
    Header,
    Landed,
    Offered,
    Refused,
    Retuned,
    Sealed,
    Told,
    encode,
)
from ascend_serve.batching.optimal import Optimal
from ascend_serve.batching.planner import Planner
from ascend_serve.batching.policy import Fixed, PadUp, policy_named
from ascend_serve.errors import ConfigError, Refusal, RequestError
from ascend_serve.simulating.replaying import (
    Recording,
    arrivals_of,
    host_runs,
    recorded,
    retrace,
    what_if,
)
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages

pytestmark = pytest.mark.unit

TABLES = (
    CostTable.of(Gears((1, 4, 8, 16)), {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0}),
    CostTable.of(Gears((1, 4)), {1: 2.0, 4: 6.0}),
)
SLOWER = tuple(CostTable(table.gears, tuple(ms * 1.5 for ms in table.ms)) for table in TABLES)
POLICIES = [PadUp(), Fixed(4), Optimal(), Optimal().prepared(TABLES), policy_named("fixed_wait", wait_ms=3)]


class Recorder:
    """Drives a planner as an engine does, and keeps the journal of it."""

    def __init__(self, policy, **settings):
        told = {"slots": 2, "max_queued_rows": 60, "in_flight": None, "priority_levels": 3, "deferred": False}
        told |= settings
        self.planner = Planner(TABLES, policy, **told)
        self.header = Header(TABLES, Told.of(policy), **told)
        self.events = []
        self.now = 5.0
        self.tickets = []
        self.running = []

    @property
    def recording(self):
        lines = map(encode, [self.header, *self.events])
        return Recording.read(list(lines))

    def offer(self, rows=1, fits=(0,), within=None, priority=None):
        deadline = None if within is None else self.now + within
        try:
            ticket = self.planner.offer(self.now, rows, fits=fits, deadline=deadline, priority=priority)
        except (Refusal, RequestError) as error:
            self.events.append(Refused(self.now, rows, fits, deadline, priority, type(error).__name__))
            return
        self.tickets.append(ticket)
        self.events.append(Offered(self.now, ticket.number, rows, fits, deadline, priority))

    def pump(self):
        while batch := self.planner.plan(self.now):
            pieces = tuple((piece.ticket.number, piece.start, piece.rows) for piece in batch.pieces)
            self.running.append(batch)
            self.events.append(Sealed(self.now, batch.slot, batch.bucket, batch.gear, batch.rows, pieces))
        if expired := self.planner.take_expired(self.now):
            self.events.append(Expired(self.now, tuple(ticket.number for ticket in expired)))

    def land(self, stages=None):
        if self.running:
            batch = self.running.pop(0)
            self.planner.finished(self.now, batch)
            self.events.append(Landed(self.now, batch.slot, stages))

    def fail(self):
        if self.running:
            batch = self.running.pop(0)
            self.planner.failed(batch)
            self.events.append(Failed(self.now, batch.slot))

    def cancel(self, place):
        if self.tickets:
            ticket = self.tickets[place % len(self.tickets)]
            if self.planner.cancel(ticket):
                self.events.append(Cancelled(self.now, ticket.number))

    def retune(self, policy):
        self.planner.retune(SLOWER, policy)
        self.events.append(Retuned(self.now, SLOWER, Told.of(policy)))

    def fail_all(self):
        self.planner.fail_all()
        self.events.append(FailedAll(self.now))

    def drain(self):
        self.planner.drain()
        self.events.append(Drained(self.now))


offers = st.tuples(
    st.integers(1, 24),
    st.sampled_from([(0,), (1,), (0, 1), (1, 0)]),
    st.none() | st.floats(0.0005, 0.05),
    st.none() | st.integers(1, 3),
)
moves = st.one_of(
    offers.map(lambda offer: lambda recorder: recorder.offer(*offer)),
    st.floats(0, 0.01).map(lambda passed: lambda recorder: setattr(recorder, "now", recorder.now + passed)),
    st.just(Recorder.pump),
    st.just(Recorder.land),
    st.just(Recorder.fail),
    st.integers(0, 99).map(lambda place: lambda recorder: recorder.cancel(place)),
    st.sampled_from([Optimal(), PadUp(), Fixed(4)]).map(
        lambda policy: lambda recorder: recorder.retune(policy)
    ),
)
Move = Callable[[Recorder], None]


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(POLICIES),
    st.integers(1, 3),
    st.booleans(),
    st.lists(moves, min_size=1, max_size=60),
    st.sampled_from([Recorder.pump, Recorder.drain, Recorder.fail_all]),
)
def test_the_same_events_bring_the_same_decisions(policy, slots, deferred, steps: list[Move], last: Move):
    recorder = Recorder(policy, slots=slots, deferred=deferred)
    recorder.offer()
    for step in steps:
        step(recorder)
    last(recorder)
    recorder.offer(2)
    recorder.pump()
    decisions = sum(isinstance(event, Sealed | Refused | Expired) for event in recorder.events)
    assert retrace(recorder.recording) == (decisions, None)


def served(policy=None, rows=(1, 3, 9, 2, 16, 5), overhead=0.0005):
    """A recording in which each request comes 4 ms after the one before, and each batch takes what its gear costs."""
    recorder = Recorder(policy or PadUp(), slots=1, max_queued_rows=100)
    ends = []
    begin = recorder.now
    coming = [(begin + 0.004 * place, count) for place, count in enumerate(rows)]
    while coming or ends:
        if coming and (not ends or coming[0][0] <= ends[0]):
            recorder.now, count = coming.pop(0)
            recorder.offer(count)
        else:
            recorder.now = ends.pop(0)
            gear = recorder.running[0].gear
            recorder.land(Stages(0.0, TABLES[0].ms_of(gear), 0.0))
        before = len(recorder.running)
        recorder.pump()
        ends += [
            recorder.now + TABLES[0].ms_of(one.gear) / 1e3 + overhead for one in recorder.running[before:]
        ]
    return recorder


def test_a_changed_decision_is_told():
    recorder = served()
    place = next(place for place, event in enumerate(recorder.events) if isinstance(event, Sealed))
    recorder.events[place] = recorder.events[place]._replace(gear=4)
    retraced = retrace(recorder.recording)
    assert retraced.decisions == 0
    assert f"event {place + 2}, at 5.000000 s: batch was" in retraced.departure


def test_another_policy_in_the_header_departs():
    recording = served().recording
    changed = replace(recording, header=recording.header._replace(policy=Told.of(Fixed())))
    assert retrace(changed).departure == (
        "event 3, at 5.000000 s: batch was gear 1 of bucket 0 in slot 0 with tickets 0, "
        "and is gear 16 of bucket 0 in slot 0 with tickets 0 now"
    )


def test_a_refusal_that_is_none_departs():
    recorder = Recorder(PadUp())
    recorder.events.append(Refused(5.0, 1, (0,), None, None, "QueueFull"))
    assert retrace(recorder.recording).departure.endswith(
        "answer to an offer was QueueFull, and is taken now"
    )


def test_what_was_is_told_in_figures():
    recorder = served(rows=(1, 1), overhead=0.0)
    seen = recorded(recorder.recording)
    assert seen.latencies_ms == pytest.approx([1.3, 1.3])
    assert seen.seconds == pytest.approx(0.0053)
    assert seen.busy == pytest.approx(2.6 / 5.3)
    assert (seen.offered, seen.padding, dict(seen.batches)) == (2, 0, {(0, 1): 2})


def test_ends_of_all_kinds_are_counted_once():
    recorder = Recorder(PadUp(), slots=1, max_queued_rows=6)
    for within in (None, None, 0.0015, None):
        recorder.offer(1, (0,), within)
    recorder.cancel(0)
    recorder.pump()
    recorder.offer(50)
    recorder.fail()
    recorder.offer()
    recorder.fail_all()
    seen = recorded(recorder.recording)
    ended = (len(seen.latencies_ms), seen.cancelled, seen.failed, seen.refused, seen.expired)
    assert sum(ended) == seen.offered
    assert seen.failed >= 2
    assert seen.cancelled == 1
    assert seen.refused >= 1


def test_the_same_policy_is_simulated_as_it_was():
    recording = served().recording
    was, simulated = recorded(recording), what_if(recording, PadUp())
    assert simulated.latencies_ms == pytest.approx(was.latencies_ms, rel=1e-6)
    assert simulated.batches == was.batches
    assert simulated.busy == pytest.approx(was.busy, rel=1e-6)


def test_another_policy_is_simulated_on_the_same_arrivals():
    recording = served().recording
    fixed = what_if(recording, Fixed())
    assert set(fixed.batches) == {(0, 16)}
    assert fixed.mean_ms > recorded(recording).mean_ms
    assert [arrival.rows for arrival in arrivals_of(recording)] == [1, 3, 9, 2, 16, 5]
    assert [arrival.at for arrival in arrivals_of(recording)] == pytest.approx([n * 0.004 for n in range(6)])


def test_timed_runs_count_more_than_the_cost_table():
    recorder = Recorder(PadUp(), slots=1)
    recorder.offer()
    recorder.pump()
    recorder.now += 0.003
    recorder.land(Stages(0.5, 2.0, 0.25))
    simulated = what_if(recorder.recording, PadUp())
    assert simulated.latencies_ms == pytest.approx([3.0])  # 2.75 of the device, and 0.25 of the host
    assert simulated.compute_ms == pytest.approx(2.0)


def test_what_a_row_cost_the_host_is_simulated_too():
    recorder = Recorder(PadUp(), slots=1)
    for rows in (1, 4, 8, 16) * 3:
        recorder.now += 0.1
        recorder.offer(rows)
        recorder.pump()
        ms = TABLES[0].ms_of(rows)
        recorder.now += (ms + 0.5 + 0.1 * rows) / 1e3
        recorder.land(Stages(0.0, ms, 0.0))
    assert host_runs(recorder.recording) == [
        (rows, pytest.approx(0.5 + 0.1 * rows)) for rows in (1, 4, 8, 16) * 3
    ]
    simulated = what_if(recorder.recording, Fixed())
    assert simulated.latencies_ms == pytest.approx([8.0 + 0.5 + 0.1 * rows for rows in (1, 4, 8, 16) * 3])


@pytest.mark.parametrize(("overlap", "sealed_ms"), [(True, 7.8), (False, 8.0)])
def test_a_planner_that_did_not_choose_ahead_does_not_in_simulation(overlap, sealed_ms):
    recorder = Recorder(PadUp())
    recorder.header = recorder.header._replace(
        tables=tuple(replace(table, host_ms=0.5, overlap=overlap) for table in TABLES)
    )
    recorder.offer(16)
    recorder.now += 0.0078
    recorder.offer(1)
    full, then = what_if(recorder.recording, PadUp(), timeline=True).timeline
    assert (full.gear, full.sealed_at) == (16, 0.0)
    assert then.sealed_at * 1e3 == pytest.approx(sealed_ms)


def test_refused_requests_come_again_and_callers_leave_again():
    recorder = Recorder(PadUp(), slots=1, max_queued_rows=4)
    recorder.offer(4)
    recorder.offer(2)
    recorder.now += 0.001
    recorder.cancel(0)
    arrivals = arrivals_of(recorder.recording)
    assert [(one.rows, one.leaves) for one in arrivals] == [(4, pytest.approx(0.001)), (2, None)]


def test_the_last_policy_and_tables_are_those_of_the_recording():
    recorder = served()
    recorder.retune(Optimal().prepared(SLOWER))
    assert recorder.recording.tables == SLOWER
    assert recorder.recording.policy == Optimal()
    assert served().recording.policy == PadUp()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "does not begin with its header"),
        ([Drained(1.0)], "does not begin with its header"),
        ([Recorder(PadUp()).header], "no event"),
        ([Recorder(PadUp()).header, Drained(1.0), Recorder(PadUp()).header], "second header"),
    ],
)
def test_what_is_no_whole_journal_is_refused(lines, words):
    with pytest.raises(ConfigError, match=words):
        Recording.read([encode(event) for event in lines])


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Landed(9.0, 1), "landed: no batch was sealed in slot 1"),
        (Failed(9.0, 1), "failed: no batch was sealed in slot 1"),
        (Cancelled(9.0, 3), "cancelled: ticket 3 was never offered"),
        (Expired(9.0, (0, 7, 8)), "expired: ticket 7 was never offered"),
        (Sealed(9.0, 0, 0, 4, 1, ((0, 0, 1),)), "sealed: slot 0 holds another batch"),
        (Sealed(9.0, 1, 0, 2, 1, ((0, 0, 1),)), "sealed: no cost table has gear 2 of bucket 0"),
        (Sealed(9.0, 1, 2, 4, 1, ((0, 0, 1),)), "sealed: no cost table has gear 4 of bucket 2"),
        (Sealed(9.0, 1, 0, 4, 1, ((5, 0, 1),)), "sealed: ticket 5 was never offered"),
        (
            Sealed(9.0, 1, 0, 4, 6, ((0, 0, 6),)),
            "sealed: it has 6 rows, in pieces of 6, and its gear has room for 4",
        ),
        (Sealed(9.0, 1, 0, 4, 2, ((0, 0, 1),)), "sealed: it has 2 rows, in pieces of 1"),
        (Offered(9.0, 1, 1, (0, 2)), "offered: there are 2 buckets"),
        (Refused(9.0, 1, (2,), None, None, "QueueFull"), "refused: there are 2 buckets"),
        (Retuned(9.0, TABLES[:1], Told.of(PadUp())), "retuned: its cost tables are of other gears"),
    ],
)
def test_events_about_what_never_was_are_refused(event, words):
    told = [
        Recorder(PadUp()).header,
        Offered(5.0, 0, 1),
        Sealed(5.0, 0, 0, 1, 1, ((0, 0, 1),)),
        event,
    ]
    with pytest.raises(ConfigError, match=f"^line 4 of the journal, {words}"):
        Recording.read(map(encode, told))
