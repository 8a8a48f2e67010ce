"""Claims that need no device: what comes of them."""

import gc
import sys
from typing import Any, cast

import pytest

from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.policy import policy_named
from ascend_serve.spec.gears import Gears
from benchmarks.baselines.process import set_as_ours
from benchmarks.claims import planner
from benchmarks.claims.effort import Effort
from benchmarks.node import COSTS_MS, Node
from benchmarks.quiet import Kept

pytestmark = pytest.mark.unit


class Pretended(Effort):
    """Says what a mix costs, and runs nothing."""

    def alternate(self, names: Any, run: Any) -> Any:
        return {name: Kept({0: 4.0 + number}, {1: 9.0}) for number, name in enumerate(names)}


@pytest.fixture
def as_it_was():
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)


@pytest.mark.usefixtures("as_it_was")
def test_each_mix_of_tickets_is_held_against_its_floor() -> None:
    found = planner.planner(cast(Node, None), Pretended())
    assert [verdict.holds for verdict in found.verdicts] == [True, True] + [False] * (len(planner.MIXES) - 2)
    assert (
        found.verdicts[0].line().startswith("PASS floor <= 5.00: 4.00  CPU us a ticket, 1000 waiting, plain")
    )
    assert found.rounds[:2] == [
        {"mix": "plain", "us": 4.0, "pass": 0, "counts": True},
        {"mix": "plain", "us": 9.0, "pass": 1, "counts": False},
    ]


@pytest.mark.parametrize("mix", planner.MIXES, ids=lambda mix: mix.name)
def test_no_ticket_of_a_mix_expires(mix: planner.Mix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "TICKETS", 500)
    tables = [
        CostTable.of(Gears.of(COSTS_MS), {gear: ms * 2**bucket for gear, ms in COSTS_MS.items()})
        for bucket in range(mix.buckets)
    ]
    assert planner.cost_us(mix, policy_named(mix.policy).prepared(tables), tables) > 0


@pytest.mark.usefixtures("as_it_was")
def test_a_rivals_process_is_set_as_a_replica_of_ours_is() -> None:
    set_as_ours()
    assert sys.getswitchinterval() == pytest.approx(0.0002)
    assert gc.get_threshold() == (20_000, 50, 50)
