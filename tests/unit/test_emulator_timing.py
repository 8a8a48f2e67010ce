"""The time model of modelled cards."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ascend_emulator.codes import Failure
from ascend_emulator.settings import read_settings
from ascend_emulator.timing import Timing, Work, read_timing

pytestmark = pytest.mark.unit

MODELLED = read_settings({"ASCEND_EMULATOR_TIMING": "modelled"})


def table(tmp_path: Path, document: object) -> Timing:
    path = tmp_path / "times.json"
    path.write_text(json.dumps(document))
    timing = read_timing(replace(MODELLED, times=str(path)))
    assert timing is not None
    return timing


def test_functional_timing_has_no_model() -> None:
    assert read_timing(read_settings({})) is None


def test_a_resnet_50_follows_the_costs_the_constants_were_chosen_for() -> None:
    timing = read_timing(MODELLED)
    assert timing is not None
    work = Work(flops=16 * 8.2e9, operators=54, rows=16)
    times = {gear: timing.execute_ns("resnet50", gear, work) / 1e6 for gear in (1, 4, 8, 16)}
    assert times[1] == pytest.approx(1.2, abs=0.1)
    assert times[16] == pytest.approx(8.0, abs=0.2)
    assert times[1] < times[4] < times[8] < times[16]


def test_a_model_without_gears_does_all_its_work_at_once() -> None:
    timing = Timing(peak_flops=1e12)
    work = Work(flops=0.26e9, operators=0, rows=1)
    assert timing.execute_ns("any", 0, work) == 100_000 + 1_000_000


def test_a_table_wins_and_is_interpolated(tmp_path: Path) -> None:
    timing = table(tmp_path, {"models": {"m": {"1": 1.0, "4": 4.0, "8": 6.0}, "s": {"static": 2.5}}})
    assert timing.has_table("m")
    assert not timing.has_table("other")
    milliseconds = {gear: timing.execute_ns("m", gear, None) / 1e6 for gear in (1, 2, 4, 6, 8, 16)}
    assert milliseconds == {1: 1.0, 2: 2.0, 4: 4.0, 6: 5.0, 8: 6.0, 16: 6.0}
    assert timing.execute_ns("s", 0, None) == 2_500_000


def test_links_are_fixed_plus_bytes(tmp_path: Path) -> None:
    timing = table(tmp_path, {"h2d": {"gb_per_s": 2, "fixed_us": 5}})
    assert timing.links["h2d"].duration_ns(1000) == 5_500
    assert timing.links["d2h"].duration_ns(12_000) == 11_000


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"model": {}},
        {"models": {"m": {}}},
        {"models": {"m": {"x": 1}}},
        {"h2d": {"gb_per_s": 1}},
        {"models": 3},
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, document: object) -> None:
    with pytest.raises(Failure, match="ASCEND_EMULATOR_TIMES") as caught:
        table(tmp_path, document)
    assert caught.value.code == 507033


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"none\.json"):
        read_timing(replace(MODELLED, times=str(tmp_path / "none.json")))
