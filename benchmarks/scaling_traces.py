"""Loads for autoscaling, each from a seed: a step, a ramp, bursts, and a day of which an hour takes a minute. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GRID_S = 0.1
"""The rate is held for so long; finer than anything that scales sees."""


@dataclass(frozen=True, slots=True)
class Load:
    """Single rows as they come.

    Attributes:
        name: what it is.
        seconds: how long it is.
        rates_per_s: the rate by time, one for each `GRID_S`.
        arrivals: seconds, ascending; a Poisson stream of that rate.
    """

    name: str
    seconds: float
    rates_per_s: Array
    arrivals: list[float]


def load(name: str, seed: int, *, scale: float = 1.0, speed: float = 1.0) -> Load:
    """The load of that name (see `NAMES`).

    Args:
        name: which.
        seed: of the stream, and of what is drawn in its shape; the same seed gives the same load.
        scale: multiplies all rates.
        speed: divides all times, of a load that is tried live.

    Raises:
        KeyError: no load has that name.
    """
    rng = np.random.default_rng([seed, NAMES.index(name)])
    rates = _SHAPES[name](rng) * scale
    if speed != 1.0:
        rates = rates[:: round(speed)]
    expected = np.concatenate([[0.0], np.cumsum(rates * GRID_S)])
    # A Poisson stream of changing rate is one of constant rate whose clock is stretched.
    units = np.cumsum(rng.exponential(1.0, int(expected[-1] + 6 * np.sqrt(expected[-1]) + 100)))
    times = np.interp(units[units < expected[-1]], expected, np.arange(len(expected)) * GRID_S)
    arrivals: list[float] = times.tolist()
    return Load(name, len(rates) * GRID_S, rates, arrivals)


def _span(seconds: float) -> Array:
    return np.arange(0.0, seconds, GRID_S)


def _step(rng: np.random.Generator) -> Array:
    """Ten times the load from one moment to the next, and back."""
    del rng
    at = _span(360.0)
    return np.where((at >= 60) & (at < 210), 600.0, 60.0)


def _ramp(rng: np.random.Generator) -> Array:
    """Up for two minutes and down again."""
    del rng
    return np.interp(_span(420.0), [0, 30, 150, 210, 330, 420], [60, 60, 700, 700, 60, 60])


def _bursts(rng: np.random.Generator) -> Array:
    """A quarter of a minute of five times the load, about once a minute."""
    at = _span(480.0)
    rates = np.full(len(at), 100.0)
    begin = 40.0
    while begin < 470:
        rates[(at >= begin) & (at < begin + 15)] = 500.0
        begin += rng.uniform(45, 75)
    return rates


def _day(rng: np.random.Generator) -> Array:
    """Night, morning, lunch, evening; a tenth of slow noise, as an autoregressive process of a quarter of a minute."""
    at = _span(1440.0)
    hours = [0, 3, 5, 7, 9, 11, 12.5, 14, 16, 18, 20.5, 22, 24]
    base = [90, 50, 60, 200, 430, 480, 400, 470, 440, 520, 690, 400, 90]
    memory = np.exp(-GRID_S / 15)
    noise = np.empty(len(at))
    state = 0.0
    for place, draw in enumerate(rng.normal(0.0, 0.1 * np.sqrt(1 - memory**2), len(at))):
        state = memory * state + draw
        noise[place] = state
    return np.interp(at / 60, hours, base) * np.exp(noise)


_SHAPES: dict[str, Callable[[np.random.Generator], Array]] = {
    "step": _step,
    "ramp": _ramp,
    "bursts": _bursts,
    "day": _day,
}
NAMES = tuple(_SHAPES)
