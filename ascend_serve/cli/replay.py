"""`ascend-serve replay`: what a planner did, whether it does so again, and what another policy would have done."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ascend_serve.batching.choice import Policy
from ascend_serve.batching.journal import Told
from ascend_serve.cli.loads import OUTCOME_HEADER, outcome_cells, outcome_told, policy, read_journal
from ascend_serve.cli.rows import print_rows
from ascend_serve.simulating.replaying import recorded, retrace, what_if


@click.command(name="replay")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=policy,
    metavar="NAME[:OPTION=VALUE,...]",
    help="Also simulate this policy on the recorded arrivals; may be given several times. "
    "[default: the recorded one]",
)
@click.option(
    "--slo-ms",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MS",
    help="Count as good what took at most this.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(file: Path, policies: tuple[Policy, ...], slo_ms: float | None, as_json: bool) -> None:
    """Show what a planner's journal FILE tells, beside what policies would have made of the same arrivals.

    The recorded decisions are taken again first, by the planner of this program: a departure is told, and the exit
    status is 1 then. Without --slo-ms a request is good that met its own deadline, or had none.
    """
    recording = read_journal(file)
    retraced = retrace(recording)
    chosen = policies or (recording.policy,)
    outcomes = [("recorded", recorded(recording))]
    outcomes += [(f"simulated {Told.of(one).shown()}", what_if(recording, one)) for one in chosen]
    told = [{"name": name, **outcome_told(outcome, slo_ms)} for name, outcome in outcomes]
    if as_json:
        answer = {"retraced": retraced._asdict(), "slo_ms": slo_ms, "outcomes": told}
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        was = told[0]
        decided = Told.of(recording.policy).shown()
        click.echo(f"journal: {was['offered']} requests in {was['seconds']:.3g} s, decided by {decided}")
        print_rows(("", *OUTCOME_HEADER), [(one["name"], *outcome_cells(one)) for one in told])
        click.echo(f"recorded decisions that came out the same again: {retraced.decisions}")
    if retraced.departure:
        click.echo(f"then the planner of this program departed: {retraced.departure}", err=True)
        raise SystemExit(1)
