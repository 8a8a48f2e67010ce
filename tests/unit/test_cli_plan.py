"""The verb `plan`: what is printed, and with which exit status."""

import json

import pytest
from click.testing import CliRunner, Result

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.journal import Header, Landed, Offered, Sealed, Told, encode
from ascend_serve.batching.policy import PadUp
from ascend_serve.cli.plan import command
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.measured import MeasuredTimes
from ascend_serve.spec.timing import Stages, Timing

pytestmark = pytest.mark.unit

COSTS = "1:1.3,4:2.6,8:4.4,16:8.0"


def plan(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def told(*arguments: str):
    seconds = () if "--trace" in arguments else ("--seconds", "3")
    result = plan("--costs", COSTS, "--json", *seconds, *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_policies_are_set_side_by_side():
    answer = told("--rate", "1600")
    optimal, pad_up = answer["policies"]
    assert (optimal["policy"], pad_up["policy"]) == ("optimal", "pad_up")
    assert optimal["mean_ms"] < 0.7 * pad_up["mean_ms"]
    assert optimal["devices"] == pad_up["devices"] == 1
    assert answer["load"]["seed"] == 1
    assert answer["load"]["rows_per_s"] == pytest.approx(1600, rel=0.05)


def test_the_same_seed_gives_the_same_answer():
    assert (
        told("--rate", "500") == told("--rate", "500", "--seed", "1") != told("--rate", "500", "--seed", "2")
    )


def test_an_slo_asks_for_the_number_of_npus():
    answer = told("--rate", "3000", "--slo-ms", "20", "--good", "0.99", "--policy", "optimal")
    assert [one["devices"] for one in answer["policies"]] == [2]
    assert answer["policies"][0]["good"] >= 0.99


def test_a_number_of_npus_that_is_not_enough_is_told_and_fails():
    result = plan("--costs", COSTS, "--rate", "3000", "--seconds", "2", "--slo-ms", "20", "--devices", "1")
    assert result.exit_code == 1
    assert "1, not enough" in result.stdout
    assert "not good enough with 1 NPU: less than 99 % within 20 ms" in result.stderr


def test_the_table_is_for_people():
    result = plan(
        "--costs", COSTS, "--bursts", "200,1800,0.5", "--seconds", "2", "--slo-ms", "20", "--devices", "2"
    )
    assert result.exit_code == 0
    assert "rows/s, seed 1; gears 1: 1.3 ms, 4: 2.6 ms, 8: 4.4 ms, 16: 8 ms\n" in result.stdout
    assert "good: answered within 20 ms; wanted for 99 %\n" in result.stdout
    assert "\npolicy   NPUs  mean ms  p50 ms  p99 ms  good " in result.stdout
    assert "\noptimal  2     " in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("rate", "seconds", "policies"), [("3000", "2", "pad_up"), ("1500", "2", None), ("3000", "0.02", None)]
)
def test_a_load_above_what_is_cleared_is_noted(rate, seconds, policies):
    result = plan("--costs", COSTS, "--rate", rate, "--seconds", seconds, "--policy", "pad_up")
    assert result.exit_code == 0
    assert (f"note: {policies}: the load is more than is cleared" in result.stderr) is bool(policies)


def test_a_trace_is_a_load(tmp_path):
    (tmp_path / "arrivals.csv").write_text("seconds,rows\n0.0,4\n0.5,1\n1.0,16\n")
    answer = told("--trace", str(tmp_path / "arrivals.csv"), "--policy", "pad_up")
    assert answer["load"] == {"requests": 3, "rows_per_s": 21.0, "seed": None}
    assert answer["policies"][0]["batches"] == [
        {"bucket": 0, "gear": gear, "batches": 1} for gear in (1, 4, 16)
    ]


def test_costs_come_from_the_file_that_replicas_keep(tmp_path):
    times = {(0, 1): Timing(Stages(0.1, 1.0, 0.1), 0.0, 5), (1, 2): Timing(Stages(0.5, 4.0, 0.5), 0.0, 5)}
    file = tmp_path / "costs.json"
    file.write_bytes(MeasuredTimes("Ascend310P3", "CANN 8.0", times).to_json())
    for bucket, gears in (("0", [{"gear": 1, "total_ms": 1.2}]), ("1", [{"gear": 2, "total_ms": 5.0}])):
        result = plan("--costs", str(file), "--bucket", bucket, "--rate", "50", "--seconds", "1", "--json")
        assert json.loads(result.stdout)["gears"] == [pytest.approx(gear) for gear in gears]


def test_gears_are_advised_and_guesses_are_said_to_be_guesses():
    answer = told("--rate", "1200", "--policy", "optimal", "--gears-from", "1,2,4,16", "--at-most", "2")
    advice = answer["advice"]
    assert advice["ranked"] == 4 + 6
    assert len(advice["sets"]) == 5
    assert all(len(one["gears"]) <= 2 for one in advice["sets"])
    assert [one["gear"] for one in advice["guessed"]] == [2]
    text = plan("--costs", COSTS, "--rate", "900", "--seconds", "2", "--gears-from", "2,4,8").stdout
    assert "best of 7 sets of gears, with optimal:" in text
    assert "not measured, but guessed from a line through the measured ones: 2: 1." in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rate", "5", "--policy", "optimol"], "did you mean 'optimal'"),
        (["--rate", "5", "--policy", "fixed:gear"], "such as fixed:gear=8"),
        (["--rate", "5", "--policy", "optimal:objective=tail"], "needs slo_ms"),
        (["--rate", "5", "--policy", "fixed:gear=[1"], "'[1' is no value: give a number"),
        (["--rate", "5", "--gears-from", "1,x"], "'1,x' is no list of gears: give sizes such as 1,2,4,8"),
        (["--rate", "5", "--gears-from", "0,1"], "0 is not a whole number of at least 1"),
        (["--bursts", "1,2"], "such as 200,1800,0.5"),
        (["--rate", "5", "--good", "0.99"], "--good is the share of answers within --slo-ms: give that too"),
        (
            ["--rate", "5", "--at-most", "4"],
            "--at-most bounds the gears taken out of --gears-from: give that",
        ),
        (["--trace", "t.csv", "--seconds", "30"], "--seconds is for a load that is made up, and --trace"),
        (["--trace", "t.csv", "--seed", "1"], "--seed is for a load that is made up, and --trace"),
    ],
)
def test_a_wrong_option_says_what_is_right(arguments, words):
    result = plan("--costs", COSTS, *arguments)
    assert result.exit_code == 2
    assert words in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--costs", COSTS], "give one load"),
        (["--costs", COSTS, "--rate", "5", "--bursts", "1,2,3"], "give one load"),
        (["--costs", COSTS, "--rate", "-5"], "above 0"),
        (["--costs", COSTS, "--trace", "none.csv"], "cannot read none.csv"),
        (["--costs", COSTS, "--trace", "noise"], "noise is no text: give lines of seconds and rows"),
        (["--costs", "none.json", "--rate", "5"], "--costs none.json is neither a list of GEAR:MS"),
        (["--costs", "noise", "--rate", "5"], "give the file that replicas keep beside an artifact"),
        (["--costs", "1:a", "--rate", "5"], "--costs 1:a is neither a list of GEAR:MS"),
        (
            ["--costs", COSTS, "--rate", "1e6", "--seconds", "11"],
            "1,000,000 arrivals a second for 11 s are more than",
        ),
        (["--costs", COSTS, "--bursts", "1,1e6,1", "--seconds", "11"], "give fewer --seconds"),
        (["--costs", COSTS, "--rate", "inf"], "give fewer --seconds"),
        (["--costs", COSTS, "--rate", "1", "--seconds", "0.001"], "nothing arrived in 0.001 s"),
        (["--costs", "1:2,1:3", "--rate", "5"], "a gear is given twice"),
        (["--costs", "1:-2", "--rate", "5"], "cost of gear 1"),
        (["--costs", COSTS, "--bucket", "1", "--rate", "5"], "bucket 0 alone"),
    ],
)
def test_a_question_without_sense_is_refused(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noise").write_bytes(b"\xff\xfe")
    result = plan(*arguments)
    assert words in str(result.exception)


def test_a_journal_tells_what_the_host_adds(tmp_path):
    """Batches that ran alone took a millisecond more than the device, so answers come that much later."""
    journal = tmp_path / "log.jsonl"
    table = CostTable.of(Gears((1,)), {1: 1.0})
    events = [Header((table,), Told.of(PadUp()), slots=2, max_queued_rows=64)]
    for number in range(20):
        at = 0.1 * number
        events += [
            Offered(at, number, 1),
            Sealed(at, 0, 0, 1, 1, ((number, 0, 1),)),
            Landed(at + 0.002, 0, Stages(0.0, 1.0, 0.0)),
        ]
    journal.write_bytes(b"".join(map(encode, events)))
    bare = told("--rate", "20", "--policy", "pad_up")["policies"][0]
    hosted = told("--rate", "20", "--policy", "pad_up", "--host-from", str(journal))["policies"][0]
    assert hosted["mean_ms"] - bare["mean_ms"] == pytest.approx(1.0, abs=0.25)


def test_what_the_host_adds_is_said_once(tmp_path):
    result = plan(
        "--costs", COSTS, "--rate", "20", "--overhead-ms", "1", "--host-from", str(tmp_path / "log")
    )
    assert result.exit_code == 2
    assert "give one of them" in result.stderr
