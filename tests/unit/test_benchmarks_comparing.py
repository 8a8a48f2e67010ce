"""How a claim compares ours with a rival, where rounds were dropped and where one of them does not keep up."""

import math
from typing import Any

import pytest

from benchmarks.claims.comparing import ratio, tail
from benchmarks.claims.effort import grounds_of
from benchmarks.figures import Spread
from benchmarks.quiet import Kept
from benchmarks.rounds import Round
from benchmarks.verdicts import Grounds

pytestmark = pytest.mark.unit

INF = math.inf


def kept(quiet: dict[int, float], noisy: dict[int, float] | None = None) -> Kept[float]:
    return Kept(quiet, noisy or {})


def same(value: float) -> float:
    return value


def quiet(*values: float) -> Kept[float]:
    return kept(dict(enumerate(values)))


def seen(**fields: Any) -> Round:
    """A round of which only these matter."""
    everything: dict[str, Any] = dict.fromkeys(Round.__slots__, 0)
    return Round(**everything | fields)


def test_rounds_of_one_pass_are_compared() -> None:
    # The machine is ten times as slow in the third pass; ours lacks the first and theirs the second.
    ours = kept({1: 2.0, 2: 20.0, 3: 2.0}, {0: 99.0})
    theirs = kept({0: 4.0, 2: 40.0, 3: 4.0}, {1: 99.0})
    found = ratio(ours, theirs, same)
    assert found.figure == Spread(0.5, 0.5, 0.5)
    assert found.grounds == Grounds("2 pairs of quiet rounds, 2 dropped", trusted=True)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (kept({0: 1.0}, {1: 3.0}), kept({1: 4.0}, {0: 2.0})),
        (kept({}, {0: 1.0, 1: 3.0}), kept({}, {0: 2.0, 1: 4.0})),
        (kept({0: 1.0}), kept({}, {0: 2.0, 1: 4.0})),
    ],
)
def test_without_a_pass_in_which_both_were_quiet_nothing_is_judged(
    ours: Kept[float], theirs: Kept[float]
) -> None:
    found = ratio(ours, theirs, same)
    assert found.figure.least == 0.5
    assert found.grounds == Grounds("no pair of quiet rounds", trusted=False)


def test_a_rival_that_never_kept_up_is_named_whatever_ours_is() -> None:
    found = ratio(quiet(30.0, 40.0), quiet(INF, INF), same)
    assert found.figure == Spread(0.0, 0.0, 0.0)
    assert found.grounds.note == "2 pairs of quiet rounds, the rival never kept up"


@pytest.mark.parametrize("theirs", [INF, 20.0])
def test_ours_that_never_kept_up_is_above_any_bound(theirs: float) -> None:
    found = ratio(quiet(INF, INF), quiet(theirs, theirs), same)
    assert found.figure.least == INF
    assert "ours never kept up" in found.grounds.note


def test_a_round_in_which_one_did_not_keep_up_is_told() -> None:
    found = ratio(quiet(INF, 1.0, 1.0), quiet(2.0, INF, 2.0), same)
    assert found.figure == Spread(0.5, 0.0, INF)
    assert found.grounds.note == (
        "3 pairs of quiet rounds, ours kept up in all but 1, the rival kept up in all but 1"
    )


def test_where_p99_is_infinite_the_one_that_answers_more_is_better() -> None:
    def side(p99_ms: float, answers: int) -> Kept[Round]:
        return Kept({0: seen(p99_ms=p99_ms, answers=answers, refused=100, unsent=900 - answers)})

    sides = {"most": side(INF, 600), "quick": side(80.0, 10), "least": side(INF, 300)}
    assert sorted(sides, key=lambda name: tail(sides[name])) == ["quick", "most", "least"]


def test_rounds_that_were_never_quiet_are_no_grounds() -> None:
    assert grounds_of([quiet(1.0, 2.0), kept({}, {0: 1.0})]) == Grounds("no quiet round", trusted=False)
    assert grounds_of([quiet(1.0, 2.0), kept({0: 1.0}, {1: 1.0})]).note == "1 quiet rounds, 1 dropped"
