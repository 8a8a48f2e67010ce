"""The time model: roofline, measured tables, and an engine's schedule."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from ascend_emulator.clock.roofline import Roofline, Work, roofline_of
from ascend_emulator.clock.schedule import LATE_NS, Schedule
from ascend_emulator.clock.table import time_of
from ascend_emulator.clock.timing import Timing, read_timing
from ascend_emulator.codes import Failure
from ascend_emulator.settings import read_settings
from ascend_emulator.soc import SOCS, find_soc
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.unit

MODELLED = read_settings({"ASCEND_EMULATOR_TIMING": "modelled"})
RESNET_FLOPS = 8.2e9


def resnet(rows: int) -> Work:
    return Work(flops=rows * RESNET_FLOPS, operators=54, moved_bytes=51e6 + rows * 0.6e6)


def nobody_asks() -> Work:
    raise AssertionError("a measured model's work is counted")


@pytest.fixture
def measured(tmp_path: Path) -> Callable[..., Timing]:
    def read(content: object, suffix: str = ".json") -> Timing:
        path = tmp_path / f"times{suffix}"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        timing = read_timing(replace(MODELLED, times=str(path)))
        assert timing is not None
        return timing

    return read


def test_functional_timing_has_no_model() -> None:
    assert read_timing(read_settings({})) is None


def test_a_resnet_50_follows_the_costs_the_constants_were_chosen_for() -> None:
    timing = read_timing(MODELLED)
    assert timing is not None
    times = {
        rows: timing.execute_ns("resnet50", (rows,), partial(resnet, rows)) / 1e6 for rows in (1, 4, 8, 16)
    }
    assert times[1] == pytest.approx(1.2, abs=0.1)
    assert times[16] == pytest.approx(8.0, abs=0.2)
    assert times[1] < times[4] < times[8] < times[16]


def test_the_slower_of_computing_and_moving_decides() -> None:
    roofline = Roofline(
        1e12, 1e11, compute_efficiency=0.5, bandwidth_efficiency=0.5, launch_us=7, operator_us=2
    )
    assert roofline.execute_ns(Work(flops=0.5e9, operators=3)) == 13_000 + 1_000_000
    assert roofline.execute_ns(Work(flops=0.5e9, operators=3, moved_bytes=0.1e9)) == 13_000 + 2_000_000


@pytest.mark.parametrize("name", SOCS)
def test_every_soc_has_a_roofline(name: str) -> None:
    roofline = roofline_of(find_soc(name))
    assert roofline.peak_flops == find_soc(name).fp16_tflops * 1e12
    assert roofline.bandwidth > 0


@pytest.mark.parametrize(
    ("content", "suffix"),
    [
        ({"models": {"m": {"1": 1.0, "4": 4.0, "8": 6.0}}}, ".json"),
        ("model,gear,ms\nm,1,1.0\nm,4,4.0\nm,8,6.0\n", ".csv"),
        ("gear,ms\n1,1.0\n4,4\n8,6.0\n", ".csv"),
    ],
    ids=["json", "csv with models", "csv for every model"],
)
def test_a_table_wins_and_is_interpolated(
    measured: Callable[..., Timing], content: object, suffix: str
) -> None:
    timing = measured(content, suffix)
    assert timing.has_table("m")
    assert timing.has_table("other") == (content == "gear,ms\n1,1.0\n4,4\n8,6.0\n")
    milliseconds = {gear: timing.execute_ns("m", (gear,), nobody_asks) / 1e6 for gear in (1, 2, 4, 6, 8, 16)}
    assert milliseconds == {1: 1.0, 2: 2.0, 4: 4.0, 6: 5.0, 8: 6.0, 16: 6.0}


def test_gears_of_several_numbers_and_static_models_are_listed_too(measured: Callable[..., Timing]) -> None:
    timing = measured('model,gear,ms\nhw,"224,448",3\nhw,448x224,5\nhw,"448,448",8\ns,static,2.5\n', ".csv")
    assert [timing.execute_ns("hw", gear, nobody_asks) for gear in ((224, 448), (448, 224), (448, 448))] == [
        3_000_000,
        5_000_000,
        8_000_000,
    ]
    assert 5_000_000 < timing.execute_ns("hw", (300, 448), nobody_asks) < 8_000_000
    assert timing.execute_ns("s", (), nobody_asks) == 2_500_000


@given(
    st.dictionaries(st.integers(1, 64), st.floats(1, 1e9), min_size=1),
    st.integers(1, 100),
)
def test_an_interpolated_time_lies_between_the_listed_ones(listed: dict[int, float], gear: int) -> None:
    time = time_of({(size,): ns for size, ns in listed.items()}, (gear,))
    assert min(listed.values()) <= time * (1 + 1e-9)
    assert time <= max(listed.values()) * (1 + 1e-9)


def test_links_and_parameters_can_be_set(measured: Callable[..., Timing]) -> None:
    timing = measured(
        {
            "h2d": {"gb_per_s": 2, "fixed_us": 5},
            "roofline": {"launch_us": 1, "operator_us": 0, "peak_flops": 1e12},
        }
    )
    assert timing.link("h2d").duration_ns(1000) == 5_500
    assert timing.link("d2h").duration_ns(12_000) == 11_000
    assert timing.execute_ns("any", (1,), lambda: Work(0.26e9, 50)) == 1_001_000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([], "must be an object"),
        ({"model": {}}, "unknown keys"),
        ({"models": {"m": {}}}, "lists no gear"),
        ({"models": {"m": {"x": 1}}}, "gear 'x'"),
        ({"models": {"m": {"0": 1}}}, "gear '0'"),
        ({"models": {"m": {"1": -1}}}, "0 or more"),
        ({"models": {"m": {"1": 1, " 1": 2}}}, "twice"),
        ({"h2d": {"gb_per_s": 1}}, "fixed_us"),
        ({"h2d": {"gb_per_s": 0, "fixed_us": 1}}, "above 0"),
        ({"models": 3}, "must be an object"),
        ({"roofline": {"launch": 1}}, "no parameter"),
        ({"roofline": {"compute_efficiency": 1.5}}, "at most 1"),
        ({"roofline": {"bandwidth": 0}}, "above 0"),
        ("{", "line 1"),
    ],
)
def test_a_wrong_table_is_named(measured: Callable[..., Timing], content: object, told: str) -> None:
    with pytest.raises(Failure, match=told) as caught:
        measured(content)
    assert "ASCEND_EMULATOR_TIMES" in caught.value.text
    assert caught.value.code == 507033


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "first line"),
        ("gear;ms\n", "first line"),
        ("gear,ms\n", "no times"),
        ("gear,ms\n1\n", "line 2"),
        ("gear,ms\n224,224,3\n", "quote a gear"),
        ("gear,ms\n1,2\n1,3\n", "twice"),
        ("gear,ms\n1,fast\n", "must be a number"),
    ],
)
def test_a_wrong_csv_is_named(measured: Callable[..., Timing], content: str, told: str) -> None:
    with pytest.raises(Failure, match=told):
        measured(content, ".csv")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"none\.json"):
        read_timing(replace(MODELLED, times=str(tmp_path / "none.json")))


# --- the schedule ---------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 3000), st.integers(0, 900_000)), min_size=1))
def test_late_wake_ups_do_not_add_up(tasks: list[tuple[int, int, int]]) -> None:
    """Whatever the delays of waking up, the schedule is the one an engine without delays has."""
    schedule = Schedule()
    free_at = now = 0
    for gap, duration, delay in tasks:
        ready = now + gap if gap % 2 else 0
        start, end = schedule.place(ready, duration, real_ns=0)
        assert start == max(ready, free_at)
        assert end == start + duration
        schedule.ended(start, end, told_ns=end + delay)
        free_at, now = end, end + delay
    counters = schedule.counters()
    assert counters.tasks == len(tasks)
    assert counters.busy_ns == sum(duration for _, duration, _ in tasks)
    assert counters.late == sum(delay > LATE_NS for _, _, delay in tasks)
    assert counters.latest_ns == max((delay for _, _, delay in tasks if delay > LATE_NS), default=0)
    assert (counters.slipped, counters.slipped_ns) == (0, 0)


def test_computing_that_takes_longer_than_the_model_slips_and_is_counted() -> None:
    schedule = Schedule()
    for _ in range(3):
        start, end = schedule.place(0, duration_ns=100, real_ns=150)
        schedule.ended(start, end, told_ns=end)
    assert end == 450
    assert schedule.counters().slipped == 3
    assert schedule.counters().slipped_ns == 150


def test_the_busy_share_is_that_of_the_last_second() -> None:
    schedule = Schedule()
    second = 1_000_000_000
    for start in (0, second, second + second // 2):
        schedule.ended(start, start + second // 4, told_ns=start + second // 4)
    assert schedule.busy_share(2 * second) == pytest.approx(0.5)
    assert schedule.busy_share(second * 5 // 4) == pytest.approx(0.25)
    assert schedule.busy_share(9 * second) == 0
