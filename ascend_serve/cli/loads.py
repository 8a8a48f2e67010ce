"""What `plan` and `replay` have in common: policies, costs and loads on a command line, and how an outcome is shown."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import Any

import click
import yaml

from ascend_serve.batching.choice import Policy
from ascend_serve.batching.costs import CostTable
from ascend_serve.batching.policy import policy_named
from ascend_serve.errors import ConfigError
from ascend_serve.simulating.outcome import Outcome
from ascend_serve.simulating.replaying import Recording
from ascend_serve.simulating.traces import Arrival, bursts, poisson, read_trace
from ascend_serve.spec.gears import Gears
from ascend_serve.spec.measured import MeasuredTimes

OUTCOME_HEADER = (
    "mean ms",
    "p50 ms",
    "p99 ms",
    "good",
    "good/s",
    "busy",
    "padding",
    "refused",
    "expired",
    "batches",
)
"""Above `outcome_cells`."""

MOST_ARRIVALS = 10_000_000
"""Of a load that is made up; each is an object of its own, so these are some gigabytes."""


def policy(text: str) -> Policy:
    """A policy, out of `optimal` or `optimal:objective=tail,slo_ms=20`; a click type.

    Raises:
        click.BadParameter: no such policy or option; the message says which is near.
    """
    name, _, rest = text.partition(":")
    options = {}
    for part in filter(None, rest.split(",")):
        option, equals, value = part.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r}: write options as NAME=VALUE, such as fixed:gear=8")
        try:
            options[option.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise click.BadParameter(
                f"{part!r}: {value!r} is no value: give a number, true or a word"
            ) from error
    try:
        return policy_named(name.strip(), **options)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from error


def sizes(text: str) -> Gears:
    """Gears, out of `1,4,8`; a click type.

    Raises:
        click.BadParameter: they are no gears.
    """
    try:
        return Gears.of(int(part) for part in text.split(","))
    except ConfigError as error:
        raise click.BadParameter(str(error)) from error
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no list of gears: give sizes such as 1,2,4,8") from error


def changing_rates(text: str) -> tuple[float, float, float]:
    """Two rates and how long each is held, out of `200,1800,0.5`; a click type.

    Raises:
        click.BadParameter: they are not three numbers.
    """
    try:
        low, high, period = map(float, text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: give two rates and seconds, such as 200,1800,0.5") from error
    return low, high, period


def read_costs(text: str, bucket: int) -> CostTable:
    """The cost table of one bucket, out of `1:1.3,4:2.6` or of a file of measured times.

    Raises:
        ConfigError: it is neither, or the file has no such bucket.
    """
    pairs = [part.partition(":") for part in text.split(",")]
    try:
        table = {int(gear): float(ms) for gear, _, ms in pairs}
    except ValueError:
        return _read_costs_file(Path(text), bucket)
    if len(table) < len(pairs):
        raise ConfigError(f"costs {text}: a gear is given twice")
    if bucket:
        raise ConfigError(f"bucket {bucket}: costs that are written out are of bucket 0 alone")
    return CostTable.of(Gears.of(table), table)


def read_load(
    rate: float | None,
    changing: tuple[float, float, float] | None,
    trace: Path | None,
    *,
    seconds: float,
    seed: int,
) -> list[Arrival]:
    """The arrivals of the one load that is given.

    Raises:
        ConfigError: not exactly one is given, it cannot be read, or it has no arrival or more than `MOST_ARRIVALS`.
    """
    if sum(load is not None for load in (rate, changing, trace)) != 1:
        raise ConfigError("give one load: --rate 1600, --bursts 200,1800,0.5 or --trace FILE")
    if trace is None:
        return _made_up(rate, changing, seconds, seed)
    try:
        with trace.open(encoding="utf-8") as lines:
            return read_trace(lines)
    except OSError as error:
        raise ConfigError(f"cannot read {trace}: {error.strerror}: give the path of a trace") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{trace} is no text: give lines of seconds and rows, such as '0.5,2'") from error
    except ConfigError as error:
        raise ConfigError(f"{trace}: {error}") from error


def outcome_told(outcome: Outcome, slo_ms: float | None) -> dict[str, Any]:
    """An outcome as JSON holds it; what has no value, such as the mean of no latencies, is null."""
    return {
        "offered": outcome.offered,
        "answered": len(outcome.latencies_ms),
        "refused": outcome.refused,
        "expired": outcome.expired,
        "cancelled": outcome.cancelled,
        "failed": outcome.failed,
        "late": outcome.late,
        "seconds": outcome.seconds,
        "mean_ms": _number(outcome.mean_ms),
        "p50_ms": _number(outcome.percentile_ms(0.5)),
        "p99_ms": _number(outcome.percentile_ms(0.99)),
        "good": _number(outcome.good(slo_ms)),
        "goodput_per_s": outcome.goodput_per_s(slo_ms),
        "rows_per_s": outcome.rows_per_s,
        "busy": outcome.busy,
        "padding": outcome.padding,
        "batches": [
            {"bucket": bucket, "gear": gear, "batches": count}
            for (bucket, gear), count in sorted(outcome.batches.items())
        ],
    }


def outcome_cells(told: Mapping[str, Any]) -> tuple[str, ...]:
    """What `outcome_told` gave, in the columns of `OUTCOME_HEADER`."""
    return (
        *(_shown(told[key], 1, 2) for key in ("mean_ms", "p50_ms", "p99_ms")),
        _shown(told["good"], 100, 2, " %"),
        _shown(told["goodput_per_s"], 1, 1),
        _shown(told["busy"], 100, 1, " %"),
        _shown(told["padding"], 100, 1, " %"),
        str(told["refused"]),
        str(told["expired"]),
        str(sum(one["batches"] for one in told["batches"])),
    )


def _made_up(
    rate: float | None, changing: tuple[float, float, float] | None, seconds: float, seed: int
) -> list[Arrival]:
    most = max(rate or 0.0, *(changing or ())[:2], 0.0)
    if most * seconds > MOST_ARRIVALS:
        raise ConfigError(
            f"{most:,.0f} arrivals a second for {seconds:g} s are more than the {MOST_ARRIVALS:,} that are simulated "
            "at the most: give fewer --seconds"
        )
    if changing is not None:
        arrivals = bursts(*changing, seconds, seed)
    else:
        assert rate is not None, "the caller saw that one load is given"
        arrivals = poisson(rate, seconds, seed)
    if not arrivals:
        raise ConfigError(f"nothing arrived in {seconds:g} s: give more --seconds, or a higher rate")
    return arrivals


def _read_costs_file(path: Path, bucket: int) -> CostTable:
    try:
        measured = MeasuredTimes.from_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"--costs {path} is neither a list of GEAR:MS, such as 1:1.3,4:2.6, nor a file that can be read: "
            f"{error.strerror}"
        ) from error
    except ConfigError as error:
        raise ConfigError(
            f"{path}: {error}: give the file that replicas keep beside an artifact, or a list of GEAR:MS, such as "
            "1:1.3,4:2.6"
        ) from error
    times = {gear: timing for (at, gear), timing in measured.times.items() if at == bucket}
    if not times:
        buckets = sorted({at for at, _ in measured.times})
        raise ConfigError(f"{path} has no bucket {bucket}; it has {buckets}")
    return CostTable.of(Gears.of(times), times)


def _shown(value: float | None, times: float, places: int, unit: str = "") -> str:
    return "-" if value is None else f"{value * times:.{places}f}{unit}"


def _number(value: float) -> float | None:
    return None if isnan(value) else value


def read_journal(file: Path) -> Recording:
    """A replica's journal.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    try:
        with file.open("rb") as lines:
            return Recording.read(lines)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}: give the path of a journal") from error
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
