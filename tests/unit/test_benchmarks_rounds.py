"""What counts as a quiet round, what a card's accounts say, and how a claim is judged."""

import math
from dataclasses import replace

import pytest

from benchmarks.baselines.model import Model
from benchmarks.cards import Work
from benchmarks.figures import Spread
from benchmarks.quiet import Kept, Reading, foreign_cores, interleave
from benchmarks.results import plain
from benchmarks.timeline import COMPUTE, COPY_IN, COPY_OUT, idle_us, spans_of, window
from benchmarks.verdicts import Grounds, Verdict, at_least, at_most

pytestmark = pytest.mark.unit


def reading(at: float, machine: float, own: float) -> Reading:
    return Reading(at, machine, 0.0, own)


def test_foreign_load_is_what_the_machine_did_for_others() -> None:
    assert foreign_cores(reading(10, 100, 50), reading(12, 103, 51.5)) == pytest.approx(0.75)


def test_rounding_of_the_kernel_is_no_foreign_load() -> None:
    assert foreign_cores(reading(0, 0, 0), reading(1, 1.0, 1.01)) == 0.0


def test_sides_are_measured_in_turn_until_each_has_its_quiet_rounds() -> None:
    noise = {("a", 1): 0.9, ("b", 0): 0.31}
    order: list[tuple[str, int]] = []

    def measure(name: str, number: int) -> tuple[str, float]:
        order.append((name, number))
        return f"{name}{number}", noise.get((name, number), 0.3)

    kept = interleave(["a", "b"], measure, rounds=2, most=9)
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert kept["a"].rounds == ["a0", "a2"]
    assert kept["a"].noisy == {1: "a1"}
    assert kept["a"].all_rounds == [(0, "a0", True), (2, "a2", True), (1, "a1", False)]
    assert (kept["b"].rounds, kept["b"].dropped) == (["b1", "b2"], 1)


def test_a_machine_that_is_never_quiet_ends_and_is_not_trusted() -> None:
    kept: Kept[int] = interleave(["a"], lambda _, number: (number, 1.0), rounds=2, most=3)["a"]
    assert kept.rounds == [0, 1, 2]
    assert not kept.trusted
    assert kept.dropped == 0
    assert [counts for _, _, counts in kept.all_rounds] == [True] * 3


def test_a_card_tells_busy_share_and_padding() -> None:
    # Three batches of gear 4 with rows of 120,000 bytes: 12 bytes a nanosecond, and 10 us for each copy.
    done = Work(5, 9_000_000, 5, 5 * 10_000 + 20 * 10_000).since(Work(2, 1_200_000, 2, 2 * 10_000 + 80_000))
    assert done.batches == 3
    assert done.busy(0.02) == pytest.approx(0.39)
    assert done.rows(120_000) == pytest.approx(12)
    assert done.padding(9, 120_000) == pytest.approx(0.25)


def test_a_card_that_did_nothing_has_no_padding() -> None:
    assert Work(0, 0, 0, 0).padding(0, 4096) == 0.0


@pytest.mark.parametrize(
    ("verdict", "holds", "on_target"),
    [
        (at_least("x", Spread(0.95, 0.9, 1), 0.93, 0.99), True, False),
        (at_least("x", Spread(0.92, 0.9, 1), 0.93, 0.99), False, False),
        (at_most("x", Spread(300, 290, 310), 430, 300), True, True),
        (at_most("x", Spread(431, 290, 310), 430, None), False, True),
        (at_most("x", Spread(90, 80, 95), None, 100), True, True),
        (at_most("x", Spread(math.inf, 80, math.inf), 100, None), False, True),
    ],
)
def test_a_claim_is_judged_by_its_median(verdict: Verdict, holds: bool, on_target: bool) -> None:
    assert (verdict.holds, verdict.on_target) == (holds, on_target)


def test_a_verdict_says_floor_target_and_figure() -> None:
    grounds = Grounds("5 quiet rounds")
    line = at_least("share", Spread(0.95, 0.94, 0.96), 0.93, 0.99, grounds=grounds).line()
    assert line == ("PASS floor >= 0.93, MISS target >= 0.99: 0.95 (0.94-0.96)  share  [5 quiet rounds]")


@pytest.mark.parametrize("figure", [0.5, 2.0])
def test_what_no_quiet_round_tells_is_neither_met_nor_missed(figure: float) -> None:
    noisy = at_most("x", Spread.of([figure]), 1.0, None, 1, Grounds("no quiet round", trusted=False))
    assert noisy.line() == f"NOISY floor <= 1.0: {figure}  x  [no quiet round]"
    assert not noisy.holds
    # Without a floor there is nothing that could fail to hold.
    unbounded = replace(noisy, floor=None)
    assert unbounded.holds
    assert unbounded.line() == f"NOISY, no bound: {figure}  x  [no quiet round]"


def test_a_profile_becomes_spans_by_engine() -> None:
    def task(begin_us: float, length_us: float, **more: object) -> dict[str, object]:
        return {"ts": str(begin_us), "dur": length_us, "args": {"Task Type": "X", **more}}

    spans = spans_of(
        [
            {"name": "process_name", "args": {"name": "hardware"}},
            task(5000, 8000),
            task(1000, 200, operation="host to device"),
            task(13_100, 8000),
            task(13_000, 20, operation="device to host"),
        ]
    )
    assert spans == {COPY_IN: [(0.0, 0.2)], COMPUTE: [(4.0, 8.0), (12.1, 8.0)], COPY_OUT: [(12.0, 0.02)]}
    assert idle_us(spans) == pytest.approx([100.0])
    assert window(spans, 2.0, 10.0) == {COPY_IN: [], COMPUTE: [(2.0, 8.0)], COPY_OUT: []}


def test_results_are_plain_rounded_and_finite() -> None:
    assert plain({"a": (1, math.inf), 2: Spread(1.23456789, 0.0, 3)}) == {
        "a": [1, None],
        "2": {"median": 1.2346, "least": 0.0, "most": 3},
    }


def test_a_model_survives_the_command_line() -> None:
    model = Model("/x/m.om", "1,4,16", 150_528, 12)
    assert Model.of_words(model.words()) == model
    assert model.largest == 16
