"""The claims over HTTP, with rounds that are made up: who is measured how often, what is compared, and what is told."""

import math
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from benchmarks import side_by_side, sides
from benchmarks.baselines.model import Model
from benchmarks.claims import over_http
from benchmarks.claims.effort import Effort, Finding
from benchmarks.rivals.environment import RivalsMissingError
from benchmarks.rounds import Round

pytestmark = pytest.mark.unit

WORK = SimpleNamespace(
    model="pictures",
    artifact=SimpleNamespace(fetch=lambda: "/m.om"),
    for_rivals=lambda: Model("/m.om", "1,4", 8, 4),
    raw=lambda path, headers: (path.encode(),),
    oip=lambda path, headers: (path.encode(),),
)


def seen(**fields: Any) -> Round:
    everything: dict[str, Any] = dict.fromkeys(Round.__slots__, 1.0)
    return Round(**everything | fields)


@pytest.fixture
def claims(monkeypatch, tmp_path):
    """Measures a claim, with a function that says what is seen of a side under a demand."""

    def measure(claim: Any, told: Any, *, foreign: float = 0.0) -> tuple[Finding, Counter[Any]]:
        counted: Counter[Any] = Counter()

        def one(pair: Any, number: int) -> tuple[Round, float]:
            side, demand = pair
            counted[side.name, demand.name] += 1
            return seen(side=side.name, demand=demand.name, **told(side.name, demand.name)), foreign

        monkeypatch.setattr(over_http, "large", lambda node: WORK)
        monkeypatch.setattr(over_http, "staged", lambda *rest: nullcontext())
        monkeypatch.setattr(over_http, "Bench", lambda *rest: None)
        monkeypatch.setattr(over_http, "measured", lambda bench: one)
        return claim(SimpleNamespace(scratch=tmp_path), Effort(3, 3, 1.0)), counted

    def no_rivals() -> Path:
        raise RivalsMissingError("no network")

    monkeypatch.setattr(side_by_side, "rivals_python", no_rivals)
    monkeypatch.setattr(sides, "free_ports", lambda count: list(range(21000, 21000 + count)))
    return measure


def under_load(name: str, demand: str) -> dict[str, float]:
    """Ours keeps up; of the rivals none does, and 20 ms answers the most."""
    if name.startswith("ours") or demand != "Poisson 80 %":
        return {"p50_ms": 3.0, "p99_ms": 30.0}
    answers = {"20ms": 600, "10ms": 500}.get(name.split()[2], 100)
    return {
        "p50_ms": math.inf,
        "p99_ms": math.inf,
        "answers": answers,
        "unsent": 1000 - answers,
        "refused": 0,
    }


def test_the_grid_is_tried_once_and_the_best_of_it_measured_in_full(claims) -> None:
    found, counted = claims(over_http.open_loop, under_load)
    grid = [f"serve.batch tuned {wait:g}ms {door}" for wait in over_http.GRID_MS for door in over_http.DOORS]
    assert {name for name, _ in counted} == {*grid, "ours optimal haproxy", "ours optimal direct"}
    for name in grid:
        is_finalist = "20ms" in name or "10ms" in name
        assert counted[name, "Poisson 80 %"] == (4 if is_finalist else 1)
        assert counted[name, "Poisson 20 %"] == (3 if is_finalist else 0)
    assert counted["ours optimal direct", "Poisson 80 %"] == 3
    lines = "\n".join(verdict.line() for verdict in found.verdicts)
    assert "0.00  p99 at 80 % over the best @serve.batch's (serve.batch tuned 20ms direct)" in lines
    assert "the rival never kept up" in lines
    assert "no bound: 30.0  our p99 ms, Poisson 80 %, haproxy  [3 quiet rounds]" in lines
    assert all(verdict.holds for verdict in found.verdicts)
    assert sum(bool(row.get("probe")) for row in found.rounds) == len(grid)


def test_where_ours_does_not_keep_up_the_claim_does_not_hold(claims) -> None:
    def told(name: str, demand: str) -> dict[str, float]:
        return {"p99_ms": math.inf, "p50_ms": 3.0}

    found, _ = claims(over_http.open_loop, told)
    assert [verdict.holds for verdict in found.verdicts if "over the best" in verdict.claim] == [False, False]


def test_on_a_noisy_machine_nothing_with_a_floor_holds(claims) -> None:
    found, _ = claims(over_http.open_loop, under_load, foreign=1.0)
    assert {verdict.holds for verdict in found.verdicts if verdict.floor is not None} == {False}
    assert not any("PASS" in verdict.line() or "MISS" in verdict.line() for verdict in found.verdicts)


def test_ours_that_serve_counts_as_well_is_shown_beside_without_a_floor(claims, tmp_path) -> None:
    found, counted = claims(
        over_http.http_share, lambda name, demand: {"server_us": 300.0, "limit_share": 0.95}
    )
    assert counted["ours accounted direct", "closed 64"] == 3
    of_serve = [verdict for verdict in found.verdicts if "accounting: serve" in verdict.claim]
    assert len(of_serve) == 6
    assert {(verdict.floor, verdict.target) for verdict in of_serve} == {(None, None)}
    # It is not taken for a rival, however fast it is.
    assert not any("(ours" in verdict.claim for verdict in found.verdicts)
    applications = yaml.safe_load((tmp_path / "fast.yaml").read_text())["applications"]
    args = {one["name"]: one["args"] for one in applications}
    assert args["accounted"]["accounting"] == "serve"
    assert args["optimal"]["batching"] == {"policy": "optimal"}


def test_a_rival_with_our_settings_has_those_of_the_process_as_well(claims, tmp_path) -> None:
    claims(over_http.http_share, lambda name, demand: {})
    tuned = {
        name: [one["args"]["tuned"] for one in yaml.safe_load((tmp_path / name).read_text())["applications"]
               if one["import_path"].startswith("benchmarks.baselines.serve_batch")]
        for name in ("fast.yaml", "stock.yaml", "plain.yaml")
    }  # fmt: skip
    assert tuned == {"fast.yaml": [True, True], "stock.yaml": [False, False], "plain.yaml": [False]}
