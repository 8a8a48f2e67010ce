"""Arrivals to simulate with: random streams from a seed, and recorded ones from text."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import orjson

from ascend_serve.batching.fields import buckets, finite, maybe, positive
from ascend_serve.errors import ConfigError


class Arrival(NamedTuple):
    """One request of a trace; times are in seconds.

    Attributes:
        at: when it comes.
        rows: how many rows it has.
        fits: indices of the buckets it can run in.
        deadline: when it is no longer wanted, or None.
        priority: 1 is the most urgent; None is the middle.
        leaves: when its caller leaves, or None.
    """

    at: float
    rows: int = 1
    fits: tuple[int, ...] = (0,)
    deadline: float | None = None
    priority: int | None = None
    leaves: float | None = None


def poisson(rate_per_s: float, seconds: float, seed: int) -> list[Arrival]:
    """Single rows in a Poisson stream, from 0 to before `seconds`; the same seed gives the same stream.

    Raises:
        ConfigError: a rate or a length that is not above 0.
    """
    return [Arrival(at) for at in _stream(rate_per_s, 0.0, seconds, np.random.default_rng(seed))]


def bursts(low_per_s: float, high_per_s: float, period_s: float, seconds: float, seed: int) -> list[Arrival]:
    """Single rows whose rate changes between two values, each held for `period_s`, the low one first.

    Raises:
        ConfigError: a rate, a period or a length that is not above 0.
    """
    if not period_s > 0:
        raise ConfigError(f"bursts change every {period_s} s; the period must be above 0")
    rng = np.random.default_rng(seed)
    arrivals: list[Arrival] = []
    begin, rates = 0.0, (low_per_s, high_per_s)
    while begin < seconds:
        end = min(begin + period_s, seconds)
        arrivals += [Arrival(at) for at in _stream(rates[0], begin, end, rng)]
        begin, rates = end, (rates[1], rates[0])
    return arrivals


def read_trace(lines: Iterable[str]) -> list[Arrival]:
    """Arrivals from lines of text, in the order of their times, with the first at 0.

    A line is JSON, such as `{"at": 0.5, "rows": 2, "deadline": 0.6}`, with the names of `Arrival`; or
    comma-separated seconds and rows, such as `0.5,2`, rows being 1 when they are left out. Empty lines and a first
    line of words (a header) are passed over.

    Raises:
        ConfigError: a line cannot be read, or there is no arrival; the message has its number.
    """
    arrivals = list(_read(lines))
    if not arrivals:
        raise ConfigError("the trace has no arrival: give lines of seconds and rows, such as '0.5,2'")
    begin = min(arrival.at for arrival in arrivals)
    return sorted(_moved(arrival, -begin) for arrival in arrivals)


def mean_rate_per_ms(arrivals: Sequence[Arrival]) -> float:
    """Rows a millisecond of a trace, from 0 to its last arrival; that of one row a second when it has no length."""
    rows = sum(arrival.rows for arrival in arrivals)
    seconds = max((arrival.at for arrival in arrivals), default=0.0)
    return rows / (seconds * 1e3) if seconds > 0 else 1e-3


_READ: dict[str, Callable[[Any], Any]] = {
    "at": finite,
    "rows": positive,
    "fits": buckets,
    "deadline": maybe(finite),
    "priority": maybe(positive),
    "leaves": maybe(finite),
}
"""How each field of `Arrival` is read."""


def _stream(rate_per_s: float, begin: float, end: float, rng: np.random.Generator) -> list[float]:
    if not (rate_per_s > 0 and isfinite(rate_per_s) and end > begin and isfinite(end)):
        raise ConfigError(f"{rate_per_s} arrivals a second for {end - begin} s: both must be above 0")
    # Given how many there are, the times of a Poisson stream are independent and uniform.
    times = rng.uniform(begin, end, rng.poisson(rate_per_s * (end - begin)))
    times.sort()
    kept: list[float] = times.tolist()
    return kept


def _read(lines: Iterable[str]) -> Iterator[Arrival]:
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text:
            continue
        try:
            arrival = _from_json(text) if text.startswith("{") else _from_columns(text)
        except (ValueError, TypeError, csv.Error) as error:
            if number == 1 and text[0].isalpha():
                continue
            raise ConfigError(
                f"line {number} of the trace is {text[:60]!r}: {error}; "
                "write seconds and rows, such as '0.5,2', or JSON with the same names"
            ) from error
        yield arrival


def _from_columns(text: str) -> Arrival:
    at, *rest = next(csv.reader([text]))
    if len(rest) > 1:
        raise ValueError(f"it has {1 + len(rest)} columns")
    return _checked(Arrival(float(at), int(rest[0]) if rest else 1))


def _from_json(text: str) -> Arrival:
    told: dict[str, Any] = orjson.loads(text)
    return _checked(Arrival(**told))


def _checked(arrival: Arrival) -> Arrival:
    checked = {}
    for name, told in arrival._asdict().items():
        try:
            checked[name] = _READ[name](told)
        except ValueError as error:
            raise ValueError(f"its {name}: {error}") from error
    arrival = Arrival(**checked)
    if arrival.leaves is not None and arrival.leaves < arrival.at:
        raise ValueError(f"its caller leaves at {arrival.leaves:g} s, before it comes at {arrival.at:g} s")
    return arrival


def _moved(arrival: Arrival, by: float) -> Arrival:
    deadline = None if arrival.deadline is None else arrival.deadline + by
    leaves = None if arrival.leaves is None else arrival.leaves + by
    return arrival._replace(at=arrival.at + by, deadline=deadline, leaves=leaves)
