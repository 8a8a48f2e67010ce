"""What streams before and after tell of the host, for the simulator to predict a stream between them. Pure.

Batches that ran alone tell how long the host takes around a batch by its rows (`host_of`). What it takes more while
another batch is on its way, no batch tells by itself: there it cannot be told from waiting for the device. So it is
fitted: the simulator gets the streams that told, and `Host.beside_ms` is what makes it say of them what was measured.
They have another load than the stream that is predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from statistics import fmean

from ascend_serve.simulating.host import Host, host_of
from ascend_serve.simulating.replaying import Recording, arrivals_of, host_runs, recorded
from ascend_serve.simulating.simulation import Settings, simulate
from benchmarks.steady import Streamed

MOST_BESIDE_MS = 2.0
"""The most that is looked for."""

BODY = 0.95
"""Share of the rows, the quickest, by whose mean it is fitted: a stall in a stream of a second is chance."""

_STEPS = 6
_DRAWS = 2


def host_told(alone: Sequence[Streamed], loaded: Sequence[Streamed]) -> Host:
    """The host as these streams tell of it.

    Args:
        alone: most of whose batches, of all sizes, found the device idle.
        loaded: single rows at a load at which batches overlap; each alike in what passes outside the engine.
    """
    runs = [run for stream in (*alone, *loaded) for run in host_runs(stream.recording)]
    door_ms = max(0.0, fmean(fmean(one.latencies_ms) - recorded(one.recording).mean_ms for one in loaded))
    host = host_of(runs, door_ms=door_ms)
    return replace(host, beside_ms=beside_ms([one.recording for one in loaded], host))


def beside_ms(recordings: Sequence[Recording], host: Host) -> float:
    """The `Host.beside_ms` with which a simulation of recorded streams takes as long as they did.

    It is 0 where they took no longer than simulated without, and at most `MOST_BESIDE_MS`.

    Args:
        recordings: of streams; each is simulated with the policy and the tables that its header has.
        host: the rest of the host.
    """
    took_ms = body_ms([ms for one in recordings for ms in recorded(one).latencies_ms])
    least, most = 0.0, MOST_BESIDE_MS
    if _simulated_ms(recordings, host, least) >= took_ms:
        return least
    for _ in range(_STEPS):
        middle = (least + most) / 2
        if _simulated_ms(recordings, host, middle) < took_ms:
            least = middle
        else:
            most = middle
    return (least + most) / 2


def body_ms(latencies_ms: Sequence[float]) -> float:
    """Mean latency of the quickest `BODY` of at least one row."""
    ordered = sorted(latencies_ms)
    return fmean(ordered[: ceil(BODY * len(ordered))])


def _simulated_ms(recordings: Sequence[Recording], host: Host, beside_ms: float) -> float:
    host = replace(host, door_ms=0.0, beside_ms=beside_ms)
    return body_ms(
        [
            ms
            for one in recordings
            for draw in range(_DRAWS)
            for ms in simulate(
                one.header.tables,
                one.policy,
                arrivals_of(one),
                settings=Settings(
                    slots=one.header.slots, in_flight=one.header.in_flight, host=host, seed=draw
                ),
            ).latencies_ms
        ]
    )
