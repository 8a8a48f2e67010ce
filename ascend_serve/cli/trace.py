"""`ascend-serve trace`: a timeline of a live application for Perfetto or chrome://tracing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import orjson

from ascend_serve.cli.live import application, ask_all, looking_seconds
from ascend_serve.cli.output import check_free
from ascend_serve.tracing import ReplicaTrace, timeline
from ascend_serve.tracing.story import tell


@click.command(name="trace")
@click.argument("name", required=False, metavar="[APPLICATION]")
@looking_seconds("How long to record.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("trace.json"),
    show_default=True,
    help="The file.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def command(name: str | None, seconds: float, output: Path, force: bool) -> None:
    """Record what the requests, batches and devices of a live APPLICATION do, in all of its replicas.

    The file is in Chrome's trace format: open it on https://ui.perfetto.dev or in chrome://tracing. A replica is a
    process; its threads are the engines of its device, its slots with the batch that each holds, and its requests.
    """
    check_free([output], force=force)
    with application(name) as handle:
        click.echo(f"recording for {seconds:g} s …", err=True)
        traces: list[ReplicaTrace] = ask_all(handle, "trace", seconds)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(orjson.dumps(timeline(traces)))
    for line in told(traces):
        click.echo(line, err=True)
    click.echo(str(output))


def told(traces: Sequence[ReplicaTrace]) -> list[str]:
    """What was recorded, a line for each model of each replica."""
    lines = []
    for trace in traces:
        for model in trace.models:
            story = tell(model.events, model.runs, trace.ended_at)
            ends = Counter(request.outcome for request in story.requests)
            shown = ", ".join(f"{count} {outcome}" for outcome, count in ends.most_common()) or "none"
            lines.append(
                f"{trace.replica} '{model.name}' on {trace.soc_name}: requests {shown}, {len(story.refusals)} refused, "
                f"{len(story.batches)} batches, {len(model.runs)} runs"
                + (f"; {model.lost} older events were too many to be kept" if model.lost else "")
            )
    return lines
