"""The next batch is chosen while one runs, just early enough that the device need not wait for it."""

from dataclasses import replace

import pytest

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.planner import Batch, Planner
from ascend_serve.batching.policy import WAIT, FixedWait, PadUp, Policy, StepDown, View, policy_named
from ascend_serve.errors import DeadlineUnmet
from ascend_serve.simulating.host import Host
from ascend_serve.simulating.simulation import Settings, simulate
from ascend_serve.simulating.traces import poisson
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.timing import Stages, Timing

pytestmark = pytest.mark.unit

PICTURES = {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0}


def costs(*, copy: float = 0.0, host_ms: float = 0.0) -> CostTable:
    """Copies take `copy` times as long as compute, each way."""
    times = {gear: Timing(Stages(copy * ms, ms, copy * ms), 0.0, 1) for gear, ms in PICTURES.items()}
    return replace(CostTable.of(Gears.of(PICTURES), times), host_ms=host_ms)


def planner(table: CostTable, policy: Policy | None = None, **settings: float) -> Planner:
    whole = {"slots": 2, **{name: int(value) for name, value in settings.items() if name != "early_s"}}
    return Planner(
        [table], policy or PadUp(), max_queued_rows=100, early_s=settings.get("early_s", 0.0), **whole
    )


def sealed(machine: Planner, now: float) -> Batch:
    batch = machine.plan(now)
    assert batch is not None
    return batch


def test_it_is_chosen_when_there_is_just_time_to_copy_it_in() -> None:
    machine = planner(costs(copy=0.5))
    machine.offer(0.0, 1)
    first = sealed(machine, 0.0)  # copied in by 0.65 ms, computed by 1.95
    machine.offer(0.0001, 1)
    # A batch of four would have to begin by 0.65, and there may be so many by then.
    assert machine.plan(0.0006) is None
    assert machine.next_wakeup() == pytest.approx(0.00065)
    machine.offer(0.0007, 1)
    assert machine.plan(0.0007) is not None, "two rows run at gear 4, whose copy takes 1.3 ms"
    assert machine.finished(0.0026, first)


def test_a_smaller_one_may_grow_for_longer() -> None:
    machine = planner(costs(copy=0.5))
    machine.offer(0.0, 16)
    sealed(machine, 0.0)  # copied in by 4, computed by 12, back by 16 ms
    machine.offer(0.004, 1)
    assert machine.plan(0.009) is None
    assert machine.next_wakeup() == pytest.approx(0.01405), (
        "a row is computed in 1.95 ms, and back after the others"
    )
    for _ in range(7):
        machine.offer(0.01, 1)
    assert machine.plan(0.0093) is None
    assert machine.next_wakeup() == pytest.approx(0.0098), "8 rows are copied in within 2.2 ms"
    assert sealed(machine, 0.0098).rows == 8


def test_the_host_has_to_have_time_too_and_timers_are_late() -> None:
    machine = planner(costs(host_ms=0.5), early_s=0.0002)
    machine.offer(0.0, 1)
    sealed(machine, 0.0)  # back by 1.8 ms
    machine.offer(0.0001, 1)
    assert machine.plan(0.0002) is None
    assert machine.next_wakeup() == pytest.approx(0.0011)
    assert sealed(machine, 0.0011).rows == 1


def test_where_nothing_is_gained_the_next_batch_waits_for_the_one_that_runs() -> None:
    machine = planner(costs(host_ms=0.1), early_s=0.0002)
    machine.offer(0.0, 1)
    sealed(machine, 0.0)
    machine.offer(0.0001, 1)
    assert machine.plan(0.0014) is None
    assert machine.next_wakeup() is None


@pytest.mark.parametrize("settings", [{"in_flight": 1}, {"slots": 1}])
def test_one_in_flight_never_overlaps(settings: dict[str, float]) -> None:
    machine = planner(costs(copy=0.5, host_ms=0.5), **settings)
    machine.offer(0.0, 1)
    sealed(machine, 0.0)
    machine.offer(0.0, 1)
    assert machine.plan(10.0) is None
    assert machine.next_wakeup() is None


def test_costs_that_were_not_measured_foretell_nothing() -> None:
    machine = planner(replace(costs(copy=0.5), overlap=False))
    machine.offer(0.0, 1)
    sealed(machine, 0.0)
    machine.offer(0.0, 1)
    assert machine.plan(10.0) is None


def test_after_a_slow_batch_the_one_behind_it_is_expected_later() -> None:
    machine = planner(costs(copy=0.5))
    for _ in range(2):
        machine.offer(0.0, 16)
    first = sealed(machine, 0.0)  # back at 16 ms
    sealed(machine, 0.0)  # computed at 20, back at 24
    machine.finished(0.019, first)
    machine.offer(0.019, 1)
    assert machine.plan(0.02) is None
    assert machine.next_wakeup() == pytest.approx(0.02505), "as much later as the first was late"


def test_a_batch_that_failed_says_nothing_of_those_behind_it() -> None:
    machine = planner(costs(copy=0.5))
    for _ in range(2):
        machine.offer(0.0, 16)
    first = sealed(machine, 0.0)
    sealed(machine, 0.0)
    machine.failed(first)
    machine.offer(0.017, 1)
    assert machine.plan(0.017) is None
    assert machine.next_wakeup() == pytest.approx(0.02205), "24 less 1.95"


def test_a_batch_that_a_timer_closes_is_closed_by_it_alone() -> None:
    machine = planner(costs(copy=0.5), FixedWait(wait_ms=100.0))
    machine.offer(0.0, 16)
    sealed(machine, 0.0)
    machine.offer(0.0, 1)
    assert machine.plan(0.05) is None
    assert machine.next_wakeup() == pytest.approx(0.1)


def test_a_deadline_counts_with_the_time_of_the_host() -> None:
    machine = planner(costs(host_ms=1.0), StepDown())
    machine.offer(0.0, 1, deadline=0.0024)
    assert machine.next_wakeup() == pytest.approx(0.0001), "1.3 ms of device and 1 of host"


def test_who_waits_on_a_device_that_stalls_is_not_taken_to_wait_longer_than_it_must() -> None:
    machine = planner(costs(), slots=3)
    for _ in range(2):
        machine.offer(0.0, 16)
    sealed(machine, 0.0)
    sealed(machine, 0.1)  # should have been back by 8 ms
    assert machine.offer(0.11, 1, deadline=0.13), (
        "8 ms for the one that is overdue, 8 for the other, 1.3 for this"
    )


def test_nothing_is_chosen_for_a_device_that_stalls_with_a_batch_to_go_on_with() -> None:
    machine = planner(costs(copy=0.5), slots=4)
    for _ in range(2):
        machine.offer(0.0, 16)
    first = sealed(machine, 0.0)
    sealed(machine, 0.0)
    machine.offer(0.0, 1)
    assert machine.plan(0.5) is None
    assert machine.next_wakeup() is None
    machine.finished(0.5, first)
    assert machine.plan(0.5) is None
    assert machine.next_wakeup() == pytest.approx(0.50605)


def test_a_device_that_stalls_alone_is_given_the_next_batch() -> None:
    machine = planner(costs(copy=0.5))
    machine.offer(0.0, 16)
    sealed(machine, 0.0)
    machine.offer(0.5, 1)
    assert machine.plan(0.5) is not None


def test_whoever_has_left_wakes_nobody() -> None:
    machine = planner(costs(copy=0.5))
    machine.offer(0.0, 16)
    sealed(machine, 0.0)
    ticket = machine.offer(0.004, 1)
    assert machine.plan(0.004) is None
    assert machine.next_wakeup() is not None
    machine.cancel(ticket)
    assert machine.next_wakeup() is None


def test_the_part_of_the_host_overlaps_the_run_before_it_for_deadlines_too() -> None:
    machine = planner(costs(host_ms=2.0))
    machine.offer(0.0, 16)
    sealed(machine, 0.0)  # back by 10 ms
    with pytest.raises(DeadlineUnmet):
        machine.offer(0.001, 1, deadline=0.0112)
    assert machine.offer(0.001, 1, deadline=0.0115)


def test_a_policy_that_may_wait_lets_no_deadline_pass_while_another_batch_runs() -> None:
    class Waits(PadUp):
        def choose(self, view: View) -> int:
            return 16 if view.rows >= 16 else WAIT

    times = {gear: Timing(Stages(2.0, 3.0, 0.0), 0.0, 1) for gear in (4, 16)}
    machine = planner(CostTable.of(Gears((4, 16)), times), Waits())
    machine.offer(0.0, 16)
    sealed(machine, 0.0)  # back by 5 ms
    machine.offer(0.001, 1, deadline=0.0105)
    assert machine.plan(0.004) is None, "it would be in time for the device, but the policy waits"
    wakeup = machine.next_wakeup()
    assert wakeup == pytest.approx(0.0045)
    sealed(machine, wakeup)


@pytest.mark.parametrize("rate", [400, 1000, 1400])
@pytest.mark.parametrize("copy", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("host_ms", [0.0, 0.5])
@pytest.mark.parametrize("policy", ["optimal", "pad_up"])
def test_overlap_makes_no_answers_slower(rate: int, copy: float, host_ms: float, policy: str) -> None:
    arrivals = poisson(rate, 0.5, seed=1)

    def mean_ms(in_flight: int) -> float:
        told = Settings(slots=in_flight, host=Host(host_ms))
        return simulate([costs(copy=copy)], policy_named(policy), arrivals, settings=told).mean_ms

    assert mean_ms(3) <= 1.1 * mean_ms(1)


def test_equal_stages_take_a_third_of_the_time_that_they_take_one_after_the_other() -> None:
    """A device whose copies take as long as its compute clears three times as much when they overlap."""
    arrivals = poisson(1000, 4.0, seed=1)
    seen = {
        in_flight: simulate(
            [costs(copy=1.0)], policy_named("optimal"), arrivals, settings=Settings(slots=in_flight)
        )
        for in_flight in (2, 3)
    }
    assert seen[3].mean_ms < 12.0, "the lone row takes 3.9 ms"
    assert seen[3].mean_ms < seen[2].mean_ms
