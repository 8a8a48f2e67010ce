"""When requests come in an open loop: whether or not earlier ones were answered. Pure."""

from __future__ import annotations

import numpy as np


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
    rng = np.random.default_rng(seed)
    block = int(rate_per_s * seconds) + 16
    times = np.cumsum(rng.exponential(1 / rate_per_s, block))
    while times[-1] < seconds:
        times = np.append(times, times[-1] + np.cumsum(rng.exponential(1 / rate_per_s, block)))
    kept: list[float] = times[times < seconds].tolist()
    return kept
