"""What the planner decides, one rule at a time; `test_planner_machine.py` has what holds in every case."""

import pytest

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.planner import Batch, Planner, TicketState
from ascend_serve.batching.policy import Fixed, FixedWait, PadUp, Policy, StepDown, View
from ascend_serve.errors import ConfigError, Draining, QueueFull, RequestTooLarge
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit

GEARS = (1, 4, 8, 16)
COSTS = {1: 1.3, 4: 2.6, 8: 4.4, 16: 8.0}


def planner(
    *,
    gears: tuple[int, ...] = GEARS,
    costs: dict[int, float] = COSTS,
    policy: Policy | None = None,
    slots: int = 2,
    max_queued_rows: int = 100,
    in_flight: int | None = None,
    priority_levels: int = 1,
) -> Planner:
    compiled = Gears(gears)
    table = CostTable.of(compiled, {gear: costs[gear] for gear in gears if gear in costs})
    return Planner(
        [table],
        policy or PadUp(),
        slots=slots,
        max_queued_rows=max_queued_rows,
        in_flight=in_flight,
        priority_levels=priority_levels,
    )


def offer(machine: Planner, *sizes: int) -> None:
    for rows in sizes:
        machine.offer(0.0, rows)


def sealed(machine: Planner) -> Batch:
    batch = machine.plan(0.0)
    assert batch is not None
    return batch


def sizes(batch: Batch) -> list[int]:
    return [piece.rows for piece in batch.pieces]


# --- when ----------------------------------------------------------------------------------------


def test_an_idle_device_takes_what_there_is() -> None:
    machine = planner()
    offer(machine, 1, 1, 1)
    batch = sealed(machine)
    assert (batch.gear, batch.rows, sizes(batch)) == (4, 3, [1, 1, 1])
    assert machine.plan(0.0) is None


def test_while_the_device_is_busy_the_next_batch_grows() -> None:
    machine = planner()
    offer(machine, 1)
    first = sealed(machine)
    for _ in range(15):
        offer(machine, 1)
        assert machine.plan(0.0) is None
    machine.finished(0.0, first)
    assert sealed(machine).rows == 15


def test_a_batch_that_fills_the_best_gear_is_sealed_early() -> None:
    machine = planner()
    offer(machine, 1)
    sealed(machine)
    offer(machine, *[1] * 16)
    assert (sealed(machine).rows, machine.running_batches) == (16, 2)


def test_the_best_gear_need_not_be_the_largest() -> None:
    machine = planner(costs=COSTS | {16: 9.5})
    offer(machine, 1)
    sealed(machine)
    offer(machine, *[1] * 9)
    early = sealed(machine)
    assert (early.gear, early.rows, machine.queued_rows) == (8, 8, 1)


def test_no_batch_is_sealed_early_without_a_free_slot() -> None:
    machine = planner(slots=2)
    offer(machine, *[1] * 48)
    first, second = sealed(machine), sealed(machine)
    assert machine.plan(0.0) is None
    machine.finished(0.0, second)
    assert sealed(machine).slot == second.slot
    assert first.slot != second.slot


def test_in_flight_one_never_overlaps() -> None:
    machine = planner(in_flight=1)
    offer(machine, *[1] * 32)
    first = sealed(machine)
    assert machine.plan(0.0) is None
    machine.finished(0.0, first)
    assert sealed(machine).rows == 16


# --- who -----------------------------------------------------------------------------------------


def test_a_request_that_does_not_fit_the_rest_waits_whole_and_nobody_overtakes_it() -> None:
    machine = planner()
    offer(machine, 10, 10, 1)
    first = sealed(machine)
    assert (sizes(first), first.gear) == ([10], 16)
    machine.finished(0.0, first)
    assert sizes(sealed(machine)) == [10, 1]


def test_a_request_of_exactly_the_largest_gear_is_kept_whole() -> None:
    machine = planner()
    offer(machine, 3, 16)
    assert [sizes(sealed(machine)), sizes(sealed(machine))] == [[3], [16]]


def test_a_split_ticket_is_done_when_its_last_piece_is_back_in_any_order() -> None:
    machine = planner()
    ticket = machine.offer(0.0, 32)
    first, second = sealed(machine), sealed(machine)
    assert machine.finished(0.0, second) == []
    assert not ticket.ended
    assert machine.finished(0.0, first) == [ticket]
    assert ticket.state is TicketState.DONE


# --- at which gear -------------------------------------------------------------------------------


def test_the_gear_steps_down_to_what_was_taken() -> None:
    machine = planner(gears=(8, 12, 16), costs={})
    offer(machine, 9, 9)
    assert sealed(machine).gear == 12, "18 rows wait, but the first batch holds only 9 of them"


class AlwaysSmallest(PadUp):
    def choose(self, view: View) -> int:
        return view.gears.sizes[0]


def test_the_gear_steps_up_to_hold_the_first_ticket_whole() -> None:
    machine = planner(policy=AlwaysSmallest())
    offer(machine, 6, 1, 1, 1)
    batch = sealed(machine)
    assert (batch.gear, sizes(batch)) == (8, [6, 1, 1])


def test_fixed_runs_and_splits_at_its_own_gear() -> None:
    machine = planner(policy=Fixed(4))
    offer(machine, 6, 1)
    first, second = sealed(machine), machine.plan(0.0)
    assert (first.gear, sizes(first)) == (4, [4])
    assert second is None
    machine.finished(0.0, first)
    second = sealed(machine)
    assert (second.gear, sizes(second)) == (4, [1, 2]), "the small one goes first"


def test_fixed_is_sealed_early_at_its_own_gear() -> None:
    machine = planner(policy=Fixed(4))
    offer(machine, *[1] * 8)
    assert [sealed(machine).rows, sealed(machine).rows] == [4, 4]


class Wild(PadUp):
    def choose(self, view: View) -> int:
        return 3


def test_a_policy_that_invents_a_gear_is_caught_before_anything_is_taken() -> None:
    machine = planner(policy=Wild())
    offer(machine, 1)
    with pytest.raises(ValueError, match="chose gear 3"):
        machine.plan(0.0)
    machine.check()
    assert machine.queued_rows == 1


# --- ends ----------------------------------------------------------------------------------------


def test_a_cancelled_ticket_never_runs() -> None:
    machine = planner()
    kept, gone = machine.offer(0.0, 1), machine.offer(0.0, 2)
    assert machine.cancel(gone)
    assert not machine.cancel(gone)
    assert [piece.ticket for piece in sealed(machine).pieces] == [kept]
    assert gone.state is TicketState.CANCELLED


def test_the_result_of_a_ticket_that_was_cancelled_while_it_ran_is_dropped() -> None:
    machine = planner()
    ticket = machine.offer(0.0, 1)
    batch = sealed(machine)
    assert machine.cancel(ticket)
    assert machine.finished(0.0, batch) == []
    assert ticket.state is TicketState.CANCELLED


def test_cancelling_half_a_split_ticket_keeps_its_other_half_from_running() -> None:
    machine = planner()
    ticket = machine.offer(0.0, 20)
    sealed(machine)
    machine.cancel(ticket)
    assert (machine.queued_rows, machine.queued_tickets) == (0, 0)
    machine.check()


def test_a_failed_batch_fails_its_own_tickets_alone() -> None:
    machine = planner()
    offer(machine, 16)
    split = machine.offer(0.0, 20)
    other = machine.offer(0.0, 1)
    first, second = sealed(machine), sealed(machine)
    assert machine.failed(second) == [split]
    assert machine.queued_rows == 1, "the rest of the split ticket is dropped"
    assert [ticket.rows for ticket in machine.finished(0.0, first)] == [16]
    assert [piece.ticket for piece in sealed(machine).pieces] == [other]


def test_fail_all_ends_what_waits_and_what_runs_once() -> None:
    machine = planner()
    tickets = [machine.offer(0.0, rows) for rows in (1, 20, 3)]
    batch = sealed(machine)
    assert machine.fail_all() == tickets
    assert machine.fail_all() == []
    assert machine.finished(0.0, batch) == []
    assert machine.plan(0.0) is None
    machine.check()


def test_a_batch_comes_back_once() -> None:
    machine = planner()
    offer(machine, 1)
    batch = sealed(machine)
    machine.finished(0.0, batch)
    with pytest.raises(ValueError, match="is not running"):
        machine.finished(0.0, batch)
    with pytest.raises(ValueError, match="is not running"):
        machine.failed(batch)


# --- bounds --------------------------------------------------------------------------------------


def test_a_full_queue_says_so_and_when_to_come_back() -> None:
    machine = planner(max_queued_rows=20)
    offer(machine, 16)
    with pytest.raises(QueueFull, match=r"16 rows wait; 5 more would pass max_queued_rows 20") as caught:
        machine.offer(0.0, 5)
    assert caught.value.retry_after_s == pytest.approx(0.008), "16 rows at 16 rows per 8 ms"
    offer(machine, 4)


def test_rows_that_run_do_not_count_as_waiting() -> None:
    machine = planner(max_queued_rows=16)
    offer(machine, 16)
    sealed(machine)
    offer(machine, 16)
    assert machine.queued_rows == 16


def test_a_request_that_could_never_wait_is_too_large() -> None:
    with pytest.raises(RequestTooLarge, match="21 rows: at most 20"):
        planner(max_queued_rows=20).offer(0.0, 21)


def test_a_ticket_has_rows() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        planner().offer(0.0, 0)


def test_draining_refuses_the_new_and_runs_the_old() -> None:
    machine = planner()
    offer(machine, 1)
    machine.drain()
    with pytest.raises(Draining):
        machine.offer(0.0, 1)
    assert sealed(machine).rows == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"slots": 0},
        {"max_queued_rows": 0},
        {"in_flight": 0},
        {"in_flight": 3},
        {"priority_levels": 0},
        {"policy": Fixed(5)},
        {"policy": FixedWait(max_batch_size=17)},
    ],
)
def test_bounds_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        planner(**wrong)  # type: ignore[arg-type]  # one wrong value each


def test_without_a_cost_table_there_is_no_planner() -> None:
    with pytest.raises(ConfigError, match="no cost table"):
        Planner([], PadUp(), slots=1, max_queued_rows=1)


@pytest.mark.parametrize("fits", [(), (1,), (-1,)])
def test_a_bucket_that_is_not_there_is_refused(fits: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="there are 1, from 0 on"):
        planner().offer(0.0, 1, fits=fits)


# --- retuning ------------------------------------------------------------------------------------


def test_retuning_changes_what_is_decided_next_and_nothing_else() -> None:
    machine = planner(max_queued_rows=20)
    offer(machine, *[1] * 9)
    kept = machine.rate_per_ms(0.0)
    machine.retune([CostTable.of(Gears(GEARS), COSTS)], StepDown())
    machine.check()
    assert (machine.queued_rows, machine.rate_per_ms(0.0)) == (9, kept)
    first = sealed(machine)
    assert (first.gear, first.rows) == (8, 8)
    machine.retune([CostTable.of(Gears(GEARS), COSTS)], PadUp())
    machine.finished(0.0, first)
    assert sealed(machine).rows == 1


def test_a_ticket_that_has_begun_is_retuned_in_its_bucket() -> None:
    machine = planner(policy=Fixed(4))
    ticket = machine.offer(0.0, 6)
    machine.finished(0.0, sealed(machine))
    machine.retune([CostTable.of(Gears(GEARS), COSTS)], PadUp())
    machine.check()
    batch = sealed(machine)
    assert (batch.gear, batch.rows, batch.pieces[0].start) == (4, 2, 4)
    assert machine.finished(0.0, batch) == [ticket]


def test_there_are_as_many_tables_after_retuning() -> None:
    table = CostTable.of(Gears(GEARS), COSTS)
    with pytest.raises(ConfigError, match="2 cost tables for 1 buckets"):
        planner().retune([table, table], PadUp())


def test_retuning_that_is_refused_changes_nothing() -> None:
    machine = planner()
    offer(machine, 3)
    with pytest.raises(ConfigError, match="gear 5 is not compiled"):
        machine.retune([CostTable.of(Gears(GEARS), COSTS)], Fixed(5))
    machine.check()
    assert sealed(machine).rows == 3


def test_check_says_which_rule_is_broken() -> None:
    machine = planner()
    offer(machine, 1)
    machine.check()
    machine._waiting.rows = 2
    with pytest.raises(AssertionError, match="waiting rows are counted right"):
        machine.check()
