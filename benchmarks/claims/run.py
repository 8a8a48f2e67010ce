"""Measure claims by name, print them, keep their rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.claims.effort import Effort, Finding
from benchmarks.claims.in_process import in_process, policy_live
from benchmarks.claims.of_the_device import pipeline, turnaround
from benchmarks.claims.over_http import http_share, open_loop
from benchmarks.claims.planner import planner
from benchmarks.claims.prediction import prediction
from benchmarks.node import ROOT, Node
from benchmarks.results import write

CLAIMS: dict[str, Callable[[Node, Effort], Finding]] = {
    "http_share": http_share,
    "policy_live": policy_live,
    "open_loop": open_loop,
    "in_process": in_process,
    "pipeline": pipeline,
    "planner": planner,
    "prediction": prediction,
    "turnaround": turnaround,
}


def run(node: Node, names: Sequence[str], effort: Effort) -> bool:
    """Measure claims, all when none is named; whether every floor holds, as quiet rounds tell."""
    lines: list[str] = []
    holds = True
    for name in names or CLAIMS:
        print(f"\n# claim {name}: {(CLAIMS[name].__doc__ or '').splitlines()[0]}\n", flush=True)
        found = CLAIMS[name](node, effort)
        if found.told:
            print(found.told + "\n")
        mine = [f"{name:12} {verdict.line()}" for verdict in found.verdicts]
        written = write(f"claim-{name}", {"verdicts": found.verdicts, "rounds": found.rounds})
        print("\n".join(mine))
        print(f"all rounds: {written.relative_to(ROOT)}", flush=True)
        lines += mine
        holds = holds and all(verdict.holds for verdict in found.verdicts)
    if len(names) != 1:
        print("\n# all claims\n\n" + "\n".join(lines))
    return holds
