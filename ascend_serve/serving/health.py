"""Whether a replica can still serve: a fact about its device, never about what callers sent.

All models of a replica run on its one device, so what ends one of them ends the others too.

Serve replaces a replica after three failed checks in a row, so what makes one fail has to keep failing: an engine that
has given up refuses every request, also when the device comes back in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from ascend_serve.engine import Engine
from ascend_serve.errors import AscendServeError, LaneStalled
from ascend_serve.runtime.lane import Heartbeat

SECOND_LOOK_S = 0.5
"""After which a stall is believed: a process that got no CPU for long finds its lane without progress as well, but then
the lane has some as soon as the process runs again."""


async def watch_device(
    heartbeat: Callable[[], Heartbeat],
    engines: Sequence[Engine],
    *,
    stall_timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Check the device, and look at a stall twice; arguments and errors are those of `check_device`.

    Args:
        heartbeat: how the lane is doing by now.
        engines: what the lane runs for.
        stall_timeout_s: a lane that has work and makes no progress for longer is stalled.
        clock: that of the lane.
    """
    if heartbeat().stalled_for_s(clock()) > stall_timeout_s:
        await asyncio.sleep(SECOND_LOOK_S)
    check_device(heartbeat(), engines, now=clock(), stall_timeout_s=stall_timeout_s)


def check_device(beat: Heartbeat, engines: Sequence[Engine], *, now: float, stall_timeout_s: float) -> None:
    """Raise if the device failed or a batch does not come back; that ends all requests of the engines.

    Args:
        beat: how the lane is doing.
        engines: what the lane runs for.
        now: seconds of the lane's clock.
        stall_timeout_s: a lane that has work and makes no progress for longer is stalled.

    Raises:
        AclDeviceFault: the device or its driver reported a fault, now or earlier.
        LaneStalled: the device does not come back, or did not earlier.
    """
    fault = beat.fault or next((found for engine in engines if (found := engine.state().fault)), None)
    stalled_s = beat.stalled_for_s(now)
    if fault is None and stalled_s > stall_timeout_s:
        fault = LaneStalled(
            f"a batch has been on the device for {stalled_s:.1f} s without progress (limit stall_timeout_s = "
            f"{stall_timeout_s:g}); the replica is replaced"
        )
    if fault is not None:
        for engine in engines:
            # Its callers would wait for a device that does not come back.
            if isinstance(fault, AscendServeError):
                engine.fail(fault)
        raise fault
