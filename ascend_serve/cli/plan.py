"""`ascend-serve plan`: NPUs that a load needs, what each policy gives, and gears to compile; by simulation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ascend_serve.batching.choice import Policy
from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.journal import Told
from ascend_serve.batching.policy import policy_named
from ascend_serve.cli.loads import (
    OUTCOME_HEADER,
    changing_rates,
    outcome_cells,
    outcome_told,
    policy,
    read_costs,
    read_journal,
    read_load,
    sizes,
)
from ascend_serve.cli.rows import print_rows
from ascend_serve.simulating.advisor import MOST_DEVICES, Fit, devices_for, fitted, rank_gears
from ascend_serve.simulating.host import Host, host_of
from ascend_serve.simulating.replaying import host_runs
from ascend_serve.simulating.simulation import Settings, simulate
from ascend_serve.simulating.traces import Arrival, mean_rate_per_ms
from ascend_serve.spec.gears import Gears

_USUAL_POLICIES = ("optimal", "pad_up")
_ABOVE_ZERO = click.FloatRange(min=0, min_open=True)
_SIMULATED_SETS = 5
_OVERRUN = 0.05
_OVERRUN_RUNS = 10
"""A load is more than was cleared if this share of its length, and so many of the longest runs, were still needed
after its last arrival."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of every policy and every set of gears.

    Attributes:
        arrivals: the load.
        settings: of the planners.
        devices: how many to try; None looks for the least that are good enough, if `slo_ms` is given.
        slo_ms: latency of a good answer.
        good: share of the requests that must be good.
    """

    arrivals: Sequence[Arrival]
    settings: Settings
    devices: int | None
    slo_ms: float | None
    good: float

    def answer(self, table: CostTable, one: Policy) -> dict[str, Any]:
        """What a policy gives with a cost table; `enough` is whether a number of devices that is good was found."""
        if self.devices is None and self.slo_ms is not None:
            found = devices_for(
                [table], one, self.arrivals, slo_ms=self.slo_ms, good=self.good, settings=self.settings
            )
            outcome, enough = found.outcome, found.devices is not None
        else:
            devices = self.devices or 1
            outcome = simulate([table], one, self.arrivals, devices=devices, settings=self.settings)
            enough = self.slo_ms is None or outcome.good(self.slo_ms) >= self.good
        return {"devices": outcome.devices, "enough": enough, **outcome_told(outcome, self.slo_ms)}


@click.command(name="plan")
@click.option(
    "--costs",
    required=True,
    metavar="FILE|GEAR:MS,...",
    help="Device times: the file that replicas keep beside an artifact, or text such as 1:1.3,4:2.6,8:4.4,16:8.0.",
)
@click.option("--bucket", metavar="N", default=0, show_default=True, help="Plan for this bucket of the file.")
@click.option("--rate", type=float, metavar="ROWS/S", help="Load: a Poisson stream of single rows.")
@click.option(
    "--bursts",
    "changing",
    type=changing_rates,
    metavar="LOW,HIGH,S",
    help="Load: two rates that take turns of S seconds.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Load: lines of 'seconds[,rows]', or of JSON.",
)
@click.option(
    "--seconds",
    type=_ABOVE_ZERO,
    metavar="S",
    default=30.0,
    show_default=True,
    help="Length of a load that is no trace.",
)
@click.option("--seed", metavar="N", default=1, show_default=True, help="Seed of a load that is no trace.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    type=policy,
    metavar="NAME[:OPTION=VALUE,...]",
    help="A policy to try; may be given several times. [default: optimal, pad_up]",
)
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    metavar="N",
    help="Try this many NPUs. [default: with --slo-ms the least that are good enough, else 1]",
)
@click.option(
    "--slo-ms", type=_ABOVE_ZERO, metavar="MS", help="The latency that a good answer has at the most."
)
@click.option(
    "--good",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="SHARE",
    default=0.99,
    show_default=True,
    help="Share of the requests that must be good.",
)
@click.option(
    "--gears-from", "candidates", type=sizes, metavar="GEAR,...", help="Say which of these to compile."
)
@click.option(
    "--at-most",
    type=click.IntRange(min=1),
    metavar="N",
    default=4,
    show_default=True,
    help="How many gears to compile at the most.",
)
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    metavar="N",
    default=2,
    show_default=True,
    help="Batches a device has room for.",
)
@click.option(
    "--overhead-ms",
    type=click.FloatRange(min=0),
    metavar="MS",
    help="What the host adds to each batch. [default: 0]",
)
@click.option(
    "--host-from",
    type=click.Path(path_type=Path),
    metavar="JOURNAL",
    help="What the host adds to each batch, by rows and with its spread, as a replica's journal tells.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    costs: str,
    bucket: int,
    rate: float | None,
    changing: tuple[float, float, float] | None,
    trace: Path | None,
    seconds: float,
    seed: int,
    policies: tuple[Policy, ...],
    devices: int | None,
    slo_ms: float | None,
    good: float,
    candidates: Gears | None,
    at_most: int,
    slots: int,
    overhead_ms: float | None,
    host_from: Path | None,
    as_json: bool,
) -> None:
    """Simulate the planner on a load: how many NPUs it needs, what each policy gives, which gears to compile.

    The planner and the policies are those that serve; a device is its cost table. Give one load: --rate, --bursts or
    --trace. The gears are judged with the first policy.

    \b
    ascend-serve plan --costs 1:1.3,4:2.6,8:4.4,16:8.0 --rate 3000 --slo-ms 20

    In the answer, `good` is the share of requests answered within --slo-ms (without it: answered at all), `good/s` how
    many of them a second, `busy` the share of time that the devices compute, and `padding` the share of what they
    compute that is no row. The exit status is 1 when --slo-ms is given and nothing that was tried is good enough; up
    to 256 NPUs are tried.
    """  # noqa: D301 - the \b is click's mark for a paragraph that is not wrapped
    _refuse_idle_options(slo_ms, candidates, trace)
    table = read_costs(costs, bucket)
    arrivals = read_load(rate, changing, trace, seconds=seconds, seed=seed)
    settings = Settings(slots=slots, host=_host(overhead_ms, host_from))
    question = _Question(arrivals, settings, devices, slo_ms, good)
    chosen = policies or tuple(map(policy_named, _USUAL_POLICIES))
    told: dict[str, Any] = {
        "load": {
            "requests": len(arrivals),
            "rows_per_s": mean_rate_per_ms(arrivals) * 1e3,
            "seed": None if trace else seed,
        },
        "slo_ms": slo_ms,
        "good": good,
        "gears": [{"gear": gear, "total_ms": table.total_ms_of(gear)} for gear in table.gears],
        "policies": [{"policy": Told.of(one).shown(), **question.answer(table, one)} for one in chosen],
    }
    if candidates is not None:
        devices_now = told["policies"][0]["devices"]
        told["advice"] = _advice(question, fitted(table, candidates), at_most, chosen[0], devices_now)
    if as_json:
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        _print(told)
    if not any(one["enough"] for one in told["policies"]):
        most = (
            f"{devices} NPU{'s' * (devices > 1)}" if devices else f"any number of NPUs up to {MOST_DEVICES}"
        )
        click.echo(f"not good enough with {most}: less than {_percent(good)} within {slo_ms:g} ms", err=True)
        raise SystemExit(1)
    if behind := [one["policy"] for one in told["policies"] if _falls_behind(one, arrivals, table)]:
        click.echo(
            f"note: {', '.join(behind)}: the load is more than is cleared, so latencies grow for as long as it lasts; "
            "--slo-ms looks for how many NPUs are enough, --devices tries a number",
            err=True,
        )


def _host(overhead_ms: float | None, journal: Path | None) -> Host:
    if journal is None:
        return Host(overhead_ms or 0.0)
    if overhead_ms is not None:
        raise click.UsageError("--overhead-ms and --host-from both say what the host adds: give one of them")
    return host_of(host_runs(read_journal(journal)))


def _refuse_idle_options(slo_ms: float | None, candidates: Gears | None, trace: Path | None) -> None:
    """Refuse what was said and would change nothing.

    Raises:
        click.UsageError: the option, what it belongs to, and the way out.
    """
    context = click.get_current_context()

    def said(name: str) -> bool:
        return context.get_parameter_source(name) is ParameterSource.COMMANDLINE

    if slo_ms is None and said("good"):
        raise click.UsageError(
            "--good is the share of answers within --slo-ms: give that too, or leave it out"
        )
    if candidates is None and said("at_most"):
        raise click.UsageError(
            "--at-most bounds the gears taken out of --gears-from: give that too, or leave it out"
        )
    for name in ("seconds", "seed"):
        if trace is not None and said(name):
            raise click.UsageError(
                f"--{name} is for a load that is made up, and --trace gives one as it was: leave one of them out"
            )


def _advice(question: _Question, fit: Fit, at_most: int, one: Policy, devices: int) -> dict[str, Any]:
    """The best sets of gears for that many devices, and what the policy gives with each."""
    ranked = rank_gears(fit, question.arrivals, at_most=min(at_most, len(fit.times)), devices=devices)
    return {
        "policy": Told.of(one).shown(),
        "guessed": [{"gear": gear, "total_ms": sum(fit.times[gear])} for gear in fit.guessed],
        "sets": [
            {"gears": list(one_set.gears), **question.answer(fit.table(one_set.gears), one)}
            for one_set in ranked[:_SIMULATED_SETS]
        ],
        "ranked": len(ranked),
    }


def _print(told: Mapping[str, Any]) -> None:
    load = told["load"]
    seed = "" if load["seed"] is None else f", seed {load['seed']}"
    gears = ", ".join(f"{one['gear']}: {one['total_ms']:g} ms" for one in told["gears"])
    click.echo(f"load: {load['requests']} requests, {load['rows_per_s']:.1f} rows/s{seed}; gears {gears}")
    if told["slo_ms"] is not None:
        click.echo(f"good: answered within {told['slo_ms']:g} ms; wanted for {_percent(told['good'])}")
    print_rows(
        ("policy", "NPUs", *OUTCOME_HEADER),
        [(one["policy"], _devices(one), *outcome_cells(one)) for one in told["policies"]],
    )
    advice = told.get("advice")
    if advice is None:
        return
    click.echo(f"\nbest of {advice['ranked']} sets of gears, with {advice['policy']}:")
    print_rows(
        ("gears", "NPUs", *OUTCOME_HEADER),
        [(",".join(map(str, one["gears"])), _devices(one), *outcome_cells(one)) for one in advice["sets"]],
    )
    if advice["guessed"]:
        guessed = ", ".join(f"{one['gear']}: {one['total_ms']:.3g} ms" for one in advice["guessed"])
        click.echo(f"not measured, but guessed from a line through the measured ones: {guessed}")


def _falls_behind(answer: Mapping[str, Any], arrivals: Sequence[Arrival], table: CostTable) -> bool:
    """Whether a queue was left when the load ended."""
    length = arrivals[-1].at
    longest = max(table.total_ms_of(gear) for gear in table.gears) / 1e3
    return bool(answer["seconds"] - length > max(_OVERRUN * length, _OVERRUN_RUNS * longest))


def _percent(share: float) -> str:
    return f"{share * 100:g} %"


def _devices(answer: Mapping[str, Any]) -> str:
    return str(answer["devices"]) if answer["enough"] else f"{answer['devices']}, not enough"
