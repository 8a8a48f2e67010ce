"""Which replica finishes first: paces against brute force, standings step by step, and a simulated mixed pool."""

import heapq
import random
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.routing import MOST_GEAR, Pace, PaceReport, Standing, ranked
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit

FAST = {1: 10.0, 4: 16.0, 8: 24.0, 16: 40.0}
SLOW = {gear: 3 * ms for gear, ms in FAST.items()}

tables = st.dictionaries(st.integers(1, 24), st.floats(0.01, 1e3), min_size=1, max_size=5)
rows = st.integers(0, 200)


def least_ms(table: Mapping[int, float], count: int) -> float:
    """The least time of any sequence of gears for `count` rows, by trying them all."""
    least = [0.0] * (count + 1)
    for wanted in range(1, count + 1):
        least[wanted] = min(ms + least[max(wanted - gear, 0)] for gear, ms in table.items())
    return least[count]


@given(tables, st.integers(0, 23))
def test_what_is_less_than_the_best_gear_takes_the_least_that_is_possible(
    table: dict[int, float], count: int
) -> None:
    pace = Pace(table)
    if count < pace.best:
        # More rows never take less time, so a slow small gear is no reason to be slow.
        least = min(least_ms(table, more) for more in range(count, pace.best + 1)) if count else 0.0
        assert pace.clear_s(count) == pytest.approx(least / 1e3)


@given(tables, rows, rows)
def test_more_rows_never_take_less_time(table: dict[int, float], some: int, more: int) -> None:
    pace = Pace(table)
    low, high = sorted((some, more))
    assert pace.clear_s(low) <= pace.clear_s(high) + 1e-12
    assert pace.clear_s(low) <= pace.clear_s(low + 0.5) + 1e-12 <= pace.clear_s(low + 1) + 2e-12


@given(tables, rows)
def test_no_device_is_quicker_than_its_best_gear(table: dict[int, float], count: int) -> None:
    pace = Pace(table)
    assert pace.clear_s(count) >= count * pace.row_s - 1e-12


@pytest.mark.parametrize(
    "table", [{}, {0: 1.0}, {MOST_GEAR + 1: 1.0}, {1: 0.0}, {1: -1.0}, {1: float("inf")}]
)
def test_a_table_that_is_none_is_refused(table: dict[int, float]) -> None:
    with pytest.raises(ValueError, match="gear"):
        Pace(table)


def test_an_idle_replica_takes_the_time_of_its_gear() -> None:
    idle = Standing(Pace(FAST))
    assert idle.finish_s(5.0, 1) == pytest.approx(0.010)
    assert idle.finish_s(5.0, 16) == pytest.approx(0.040)
    assert idle.finish_s(5.0, 24) == pytest.approx(0.064)


def test_a_request_that_had_fewer_rows_than_an_average_one_takes_their_time() -> None:
    busy = Standing(Pace(FAST), mean_rows=16.0)
    busy.sent(0.0)
    busy.measured("one", 1)
    assert busy.finish_s(0.004, 1) == pytest.approx(0.006 + 0.010)
    busy.mean_rows = 1.0  # as the replica tells it by now
    busy.sent(0.004)
    assert busy.finish_s(0.004, 0) > 0


def test_what_runs_is_waited_for_and_what_waits_is_run_together() -> None:
    busy = Standing(Pace(FAST))
    busy.sent(0.0)
    assert busy.finish_s(0.004, 1) == pytest.approx(0.006 + 0.010)
    busy.sent(0.004)
    # The second waits, and a third would run beside it.
    assert busy.finish_s(0.004, 1) == pytest.approx(0.006 + min(0.016, 2 * 0.010))


def test_what_we_sent_is_there_until_it_is_back() -> None:
    late = Standing(Pace(FAST))
    late.sent(0.0)
    assert late.finish_s(60.0, 1) == pytest.approx(0.010)  # any moment now
    assert late.rows == 1
    late.ended(60.0, "a")
    assert late.rows == 0


def test_a_batch_that_came_back_makes_room_for_the_next() -> None:
    busy = Standing(Pace(FAST))
    for key in "abc":
        busy.sent(0.0)
        busy.measured(key, 1)
    busy.ended(0.010, "a")
    assert busy.rows == 2
    # Two run since then.
    assert busy.finish_s(0.010, 1) == pytest.approx(0.016 + 0.010)
    assert busy.finish_s(0.018, 1) == pytest.approx(0.008 + 0.010)


def test_rows_count_once_they_are_known() -> None:
    standing = Standing(Pace(FAST), mean_rows=2.0)
    standing.sent(0.0)
    assert standing.rows == 2
    standing.measured("a", 32)
    assert standing.rows == 32
    standing.ended(1.0, "a")
    assert standing.rows == 0
    # Its end was told before its rows: nothing is left behind.
    standing.measured("a", 32)
    assert standing.rows == 0


def test_what_others_sent_is_done_in_time() -> None:
    shared = Standing(Pace(FAST))
    shared.sent(0.0)
    shared.seen(0.001, 17)
    assert shared.rows == 17
    assert shared.finish_s(10.0, 1) == pytest.approx(0.010)
    assert shared.rows == 1  # ours is not back


def test_forwarded_requests_are_done_in_time() -> None:
    desk = Standing(Pace(FAST))
    for _ in range(3):
        desk.forwarded(0.0, 1.0)
    # One runs, then two together.
    assert desk.finish_s(0.0, 1) == pytest.approx(0.010 + 0.016)
    assert desk.finish_s(0.012, 1) == pytest.approx(0.014 + 0.010)
    assert desk.finish_s(0.100, 1) == pytest.approx(0.010)
    assert desk.rows == 0


def test_what_it_says_it_has_counts_more_than_what_was_reckoned() -> None:
    desk = Standing(Pace(FAST))
    for _ in range(40):
        desk.forwarded(0.0, 1.0)
    desk.seen(0.001, 0)
    assert desk.finish_s(0.001, 1) == pytest.approx(0.010)


events = st.lists(
    st.tuples(
        st.sampled_from(["sent", "measured", "ended", "forwarded", "seen"]),
        st.integers(0, 5),
        st.floats(0, 0.2),
    ),
    max_size=40,
)


@given(tables, events, st.integers(1, 64))
def test_a_standing_stands_whatever_comes(
    table: dict[int, float], told: list[tuple[str, int, float]], asked: int
) -> None:
    standing, now, ours = Standing(Pace(table), 1.5), 0.0, 0
    for what, number, later in told:
        now += later
        if what == "sent":
            standing.sent(now)
            ours += 1
        elif what == "measured":
            standing.measured(str(number), 1 + number)
        elif what == "ended":
            standing.ended(now, str(number))
            ours = max(ours - 1, 0)
        elif what == "forwarded":
            standing.forwarded(now, number)
        else:
            standing.seen(now, number)
        finish = standing.finish_s(now, asked)
        assert finish >= Pace(table).clear_s(asked) - 1e-9
        assert finish <= Pace(table).clear_s(standing.rows + asked) + max(table.values()) / 1e3 + 1e-9
        assert standing.rows >= ours - 1e-9  # each of ours has at least a row
        assert finish <= standing.finish_s(now, asked + 1) + 1e-9


@given(st.lists(st.floats(0, 10), max_size=12), st.floats(0, 0.5))
def test_ranks_hold_every_place_once_and_in_order(finishes: list[float], alike: float) -> None:
    ranks = ranked(finishes, alike)
    assert sorted(place for rank in ranks for place in rank) == list(range(len(finishes)))
    firsts = [finishes[rank[0]] for rank in ranks]
    assert firsts == sorted(firsts)
    for rank in ranks:
        assert all(finishes[place] - finishes[rank[0]] <= alike for place in rank)


def test_a_report_goes_by_the_slowest_table_and_survives_the_way() -> None:
    gears = Gears((1, 4))
    quick, slow = CostTable.of(gears, {1: 1.0, 4: 2.0}), CostTable.of(gears, {1: 3.0123, 4: 8.0})
    report = PaceReport.of([quick, slow], mean_rows=1.234, batched=False)
    assert report.gear_ms == ((1, 3.0), (4, 8.0))
    assert PaceReport.parse(report.stats()) == report
    assert report.pace.clear_s(4) == pytest.approx(0.008)
    assert report.stats()["mean_rows"] == 1.2


@pytest.mark.parametrize("stats", [{}, {"gear_ms": {"1": 1.0}}, {"queue": 3}])
def test_what_is_no_report_is_none(stats: dict[str, object]) -> None:
    assert PaceReport.parse(stats) is None


Choose = Callable[[random.Random, float, Sequence[Standing], Sequence[int]], int]


def p99_ms(choose: Choose, *, hears: bool, count: int = 3000) -> float:
    """The p99 of requests of one row that come at random at 70 % of what a quick and a slow replica can do."""
    chance, tables = random.Random(7), (FAST, SLOW)
    per_s = 0.7 * sum(16 / table[16] * 1e3 for table in tables)
    due = 0.0
    events: list[tuple[float, int, int]] = []  # when, number, replica that is done or -1
    for number in range(count):
        due += chance.expovariate(per_s)
        events.append((due, number, -1))
    standings = [Standing(Pace(table)) for table in tables]
    waiting: list[list[float]] = [[], []]
    running: list[list[float]] = [[], []]
    latencies: list[float] = []

    def start(place: int, now: float) -> None:
        if waiting[place] and not running[place]:
            table, there = tables[place], len(waiting[place])
            gear = max(table, key=lambda gear: min(there, gear) / table[gear])
            running[place], waiting[place] = waiting[place][:gear], waiting[place][gear:]
            heapq.heappush(events, (now + table[gear] / 1e3, count + len(latencies), place))

    while events:
        now, _, place = heapq.heappop(events)
        if place < 0:
            chosen = choose(
                chance, now, standings, [len(waiting[one]) + len(running[one]) for one in range(2)]
            )
            if hears:
                standings[chosen].sent(now)
            else:
                standings[chosen].forwarded(now, 1.0)
            waiting[chosen].append(now)
            start(chosen, now)
        else:
            latencies += [now - begun for begun in running[place]]
            if hears:
                for _ in running[place]:
                    standings[place].ended(now, "")
            running[place] = []
            start(place, now)
    return sorted(latencies)[int(0.99 * count)] * 1e3


def finish_first(
    chance: random.Random, now: float, standings: Sequence[Standing], ongoing: Sequence[int]
) -> int:
    return chance.choice(ranked([one.finish_s(now, 1) for one in standings])[0])


def fewest(chance: random.Random, now: float, standings: Sequence[Standing], ongoing: Sequence[int]) -> int:
    return chance.choice([place for place in range(2) if ongoing[place] == min(ongoing)])


@pytest.mark.parametrize("hears", [True, False], ids=["told of the ends", "never told"])
def test_a_mixed_pool_answers_its_slowest_much_sooner_than_with_the_fewest_requests(hears: bool) -> None:
    assert p99_ms(finish_first, hears=hears) < 0.6 * p99_ms(fewest, hears=True)
