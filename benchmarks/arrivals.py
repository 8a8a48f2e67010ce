"""When requests come in an open loop: whether or not earlier ones were answered. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BURST_S = 0.5
"""How long a stream with bursts stays at its high rate, then at its low one."""


def poisson(rate_per_s: float, seconds: float, seed: int) -> list[float]:
    """Arrival times of a Poisson stream, in seconds from its start, ascending and before `seconds`.

    Args:
        rate_per_s: arrivals a second on average.
        seconds: length of the stream.
        seed: the same seed gives the same stream, so that both sides of a comparison get one stream.

    Raises:
        ValueError: a rate or a length that is not above 0.
    """
    if rate_per_s <= 0 or seconds <= 0:
        raise ValueError(f"{rate_per_s} arrivals/s for {seconds} s: both must be above 0")
    return _of_unit_rate(rate_per_s * seconds, seed, lambda work: work / rate_per_s)


def bursts(rate_per_s: float, seconds: float, swing: float, seed: int) -> list[float]:
    """Arrival times of a Poisson stream whose rate alternates around its mean every `BURST_S` seconds.

    It begins with the high rate, `(1 + swing)` times the mean; the low one is `(1 - swing)` times the mean. The
    times are those of a stream of constant rate, with the clock stretched (time change of a Poisson process).

    Args:
        rate_per_s: arrivals a second on average over a high and a low stretch.
        seconds: length of the stream.
        swing: 0 (none) to below 1.
        seed: the same seed gives the same stream.

    Raises:
        ValueError: a rate or a length that is not above 0, or a swing outside 0 to 1.
    """
    if rate_per_s <= 0 or seconds <= 0 or not 0 <= swing < 1:
        raise ValueError(
            f"{rate_per_s} arrivals/s for {seconds} s with swing {swing}: rate and length must be above 0, the swing "
            "at least 0 and below 1"
        )
    edges = np.append(np.arange(0.0, seconds, BURST_S), seconds)
    rates = np.where(np.arange(len(edges) - 1) % 2 == 0, 1 + swing, 1 - swing) * rate_per_s
    work = np.append(0.0, np.cumsum(np.diff(edges) * rates))
    return _of_unit_rate(float(work[-1]), seed, lambda done: np.interp(done, work, edges))


def _of_unit_rate(work: float, seed: int, time_of: Callable[[Array], Array]) -> list[float]:
    """Times at which a stream of one arrival per unit of work arrives before `work`."""
    rng = np.random.default_rng(seed)
    block = int(work) + 16
    done = np.cumsum(rng.exponential(1.0, block))
    while done[-1] < work:
        done = np.append(done, done[-1] + np.cumsum(rng.exponential(1.0, block)))
    kept: list[float] = time_of(done[done < work]).tolist()
    return kept
