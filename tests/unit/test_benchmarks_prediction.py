"""What the claim `prediction` makes of streams, without an engine."""

from statistics import fmean

import pytest

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.journal import Drained, Header, Landed, Offered, Retuned, Sealed, Told
from ascend_serve.batching.policy import Optimal, PadUp
from ascend_serve.simulating.host import Host
from ascend_serve.simulating.replaying import Recording
from ascend_serve.simulating.simulation import Settings, simulate
from ascend_serve.simulating.traces import poisson
from ascend_serve.spec.gears import Gears
from benchmarks.claims.prediction import groups_of_any_size
from benchmarks.claims.telling import MOST_BESIDE_MS, beside_ms, body_ms, host_told
from benchmarks.rounds import LIMIT_PER_S
from benchmarks.steady import Streamed, recording_since

pytestmark = pytest.mark.unit

TIMES = {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0}
PICTURES = CostTable.of(Gears.of(TIMES), TIMES)
HEADER = Header((PICTURES,), Told.of(Optimal()), 2, 1 << 16)
FIXED = Host(0.5, 0.05, timer_ms=1.0)


def recording(times_s, latencies_ms):
    """A journal of rows that came and were answered then, each in a batch of its own."""
    events = []
    for number, (at, ms) in enumerate(zip(times_s, latencies_ms, strict=True)):
        events += [
            Offered(at, number, 1, (0,), None, None),
            Sealed(at, number, 0, 1, 1, ((number, 0, 1),)),
            Landed(at + ms / 1e3, number, None),
        ]
    return Recording(HEADER, tuple(sorted(events, key=lambda event: event.at)))


def simulated(host):
    """A recording of a stream as a simulation with that host has it."""
    arrivals = poisson(1000, 1.0, seed=4)
    seen = simulate([PICTURES], Optimal(), arrivals, settings=Settings(host=host))
    return recording([one.at for one in arrivals], seen.latencies_ms)


@pytest.mark.parametrize("truth_ms", [0.0, 0.7])
def test_what_a_batch_takes_more_beside_another_is_found_again(truth_ms):
    told = simulated(Host(0.5, 0.05, timer_ms=1.0, beside_ms=truth_ms))
    assert beside_ms([told], FIXED) == pytest.approx(truth_ms, abs=0.15)


def test_a_stream_that_was_quicker_than_simulated_tells_of_nothing_more():
    assert beside_ms([simulated(Host(0.1, 0.01, timer_ms=1.0))], FIXED) == 0


def test_no_more_is_found_than_is_looked_for():
    slow = simulated(Host(6.0, 0.5, timer_ms=1.0))
    assert beside_ms([slow], FIXED) == pytest.approx(MOST_BESIDE_MS, rel=0.05)


def test_the_host_is_told_by_batches_that_ran_alone_and_the_door_by_what_passes_outside():
    times, inside_ms = [0.0, 0.1, 0.2, 0.3], [1.9, 2.0, 1.9, 2.0]
    stream = Streamed([ms + 0.25 for ms in inside_ms], recording(times, inside_ms))
    host = host_told([stream], [stream])
    assert host.door_ms == pytest.approx(0.25)
    assert host.fixed_ms * fmean(host.spread) == pytest.approx(1.95 - 1.3)


def test_the_slowest_rows_are_not_counted():
    assert body_ms([1.0] * 95 + [1000.0] * 5) == 1.0
    assert body_ms([7.0]) == 7.0


def test_a_part_of_a_journal_has_the_tables_that_held_when_it_began():
    quicker = CostTable.of(Gears.of((1,)), {1: 0.5})
    slower = CostTable.of(Gears.of((1,)), {1: 2.5})
    told = Told.of(PadUp())
    happened = [
        Retuned(0.1, (quicker,), told),
        Offered(0.2, 0, 1, (0,), None, None),
        Retuned(0.3, (slower,), told),
        Drained(0.4),
    ]
    parts = [recording_since(HEADER, happened, first) for first in (0, 2, 3)]
    assert [part.header.tables for part in parts] == [(PICTURES,), (quicker,), (slower,)]
    assert [len(part.events) for part in parts] == [4, 2, 1]
    assert parts[0].tables == (slower,)


def test_groups_are_of_any_size_and_a_quarter_of_the_limit():
    groups = groups_of_any_size(16, 20.0, seed=3)
    assert {group.rows for group in groups} == set(range(1, 17))
    assert sum(group.rows for group in groups) / 20.0 == pytest.approx(LIMIT_PER_S / 4, rel=0.1)
    assert [group.at for group in groups] == sorted(group.at for group in groups)
    assert groups == groups_of_any_size(16, 20.0, seed=3)
