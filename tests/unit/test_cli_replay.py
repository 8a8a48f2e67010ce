"""The verb `replay`: what is printed, and with which exit status."""

import json

import pytest
from click.testing import CliRunner, Result

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.journal import Header, Landed, Offered, Sealed, Told, encode
from ascend_serve.batching.policy import PadUp
from ascend_serve.cli.replay import command
from ascend_serve.spec.gears import Gears

pytestmark = pytest.mark.unit

TABLE = CostTable.of(Gears((1, 4)), {1: 2.0, 4: 5.0})
HEADER = Header((TABLE,), Told.of(PadUp()), slots=1, max_queued_rows=100)
EVENTS = [
    Offered(1.0, 0, 1),
    Sealed(1.0, 0, 0, 1, 1, ((0, 0, 1),)),
    Offered(1.001, 1, 1),
    Offered(1.0015, 2, 1),
    Landed(1.002, 0),
    Sealed(1.002, 0, 0, 4, 2, ((1, 0, 1), (2, 0, 1))),
    Landed(1.007, 0),
]


@pytest.fixture
def replay(tmp_path):
    def call(*arguments: str, events=EVENTS) -> Result:
        file = tmp_path / "log.jsonl"
        file.write_bytes(b"".join(map(encode, [HEADER, *events])))
        return CliRunner().invoke(command, [str(file), *arguments])

    return call


def test_what_was_stands_beside_what_would_be(replay):
    result = replay("--json", "--policy", "pad_up", "--policy", "step_down", "--slo-ms", "5.2")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["retraced"] == {"decisions": 2, "departure": None}
    was, same, other = told["outcomes"]
    assert [one["name"] for one in (was, same, other)] == [
        "recorded",
        "simulated pad_up",
        "simulated step_down",
    ]
    assert was["mean_ms"] == pytest.approx((2 + 6 + 5.5) / 3)
    assert same["mean_ms"] == pytest.approx(was["mean_ms"])
    assert other["mean_ms"] == pytest.approx((2 + 3 + 4.5) / 3)
    assert (was["good"], other["good"]) == (pytest.approx(1 / 3), 1.0)
    assert (was["padding"], other["padding"]) == (pytest.approx(2 / 5), 0.0)


def test_the_table_is_for_people(replay):
    result = replay()
    assert result.exit_code == 0
    assert result.stdout.startswith("journal: 3 requests in 0.007 s, decided by pad_up\n")
    assert "recorded          4.50" in result.stdout
    assert "simulated pad_up  4.50" in result.stdout
    assert result.stdout.endswith("recorded decisions that came out the same again: 2\n")


def test_a_departure_is_told_and_fails(replay):
    result = replay(events=[*EVENTS[:5], Sealed(1.002, 0, 0, 1, 1, ((1, 0, 1),)), EVENTS[6]])
    assert result.exit_code == 1
    assert "came out the same again: 1\n" in result.stdout
    assert (
        "departed: event 7, at 1.002000 s: batch was gear 1 of bucket 0 in slot 0 with tickets 1, "
        "and is gear 4 of bucket 0 in slot 0 with tickets 1, 2 now" in result.stderr
    )


def test_a_file_that_is_none_is_told(replay, tmp_path):
    assert "cannot read" in str(CliRunner().invoke(command, [str(tmp_path / "none")]).exception)
    (tmp_path / "odd").write_text("hello\n")
    error = str(CliRunner().invoke(command, [str(tmp_path / "odd")]).exception)
    assert error.startswith(f"{tmp_path / 'odd'}: line 1: not a line of a journal")
