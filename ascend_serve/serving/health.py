"""Whether a replica can still serve: a fact about its device, never about what callers sent.

Serve replaces a replica after three failed checks in a row, so what makes one fail has to keep failing: an engine that
has given up refuses every request, also when the device comes back in between.
"""

from __future__ import annotations

from ascend_serve.engine import Engine
from ascend_serve.errors import LaneStalled
from ascend_serve.runtime.lane import Heartbeat


def check_device(beat: Heartbeat, engine: Engine, *, now: float, stall_timeout_s: float) -> None:
    """Raise if the device failed or a batch does not come back; a stall ends all requests of the engine.

    Args:
        beat: how the lane is doing.
        engine: what the lane runs for.
        now: seconds of the lane's clock.
        stall_timeout_s: a lane that has work and makes no progress for longer is stalled.

    Raises:
        AclDeviceFault: the device or its driver reported a fault, now or earlier.
        LaneStalled: the device does not come back, or did not earlier.
    """
    fault = beat.fault or engine.state().fault
    if fault is not None:
        raise fault
    stalled_s = beat.stalled_for_s(now)
    if stalled_s > stall_timeout_s:
        stalled = LaneStalled(
            f"a batch has been on the device for {stalled_s:.1f} s without progress (limit stall_timeout_s = "
            f"{stall_timeout_s:g}); the replica is replaced"
        )
        engine.fail(stalled)  # its callers would wait for a device that does not come back
        raise stalled
