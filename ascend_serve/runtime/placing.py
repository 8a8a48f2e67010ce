"""Places runs in time: when, by the host's clock, each stage of a run began on the device.

Events tell only how long it is from one to another of the same stream (facts: pyACL §6.3). So each stream gets an event
at a moment that the host's clock knows, and a stage began so long after its stream's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from ascend_serve.errors import AclError
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.streams import Streams
from ascend_serve.runtime.wiring import Wiring
from ascend_serve.spec.timing import DeviceRun, Stages

_SHARP_S = 0.0005
"""Uncertainty of the moment with which it is taken; a busy host may not get there in `_TRIES`."""

_TRIES = 10


class Placer:
    """Tells of runs. Its events are made once and last as long as the session.

    Args:
        device: of the session.
        streams: of the session.
        stack: closes what is made.
    """

    def __init__(self, device: Device, streams: Streams, stack: ExitStack) -> None:
        self._streams = streams
        self._staged = not device.shares_memory
        self._copy_in, self._compute, self._copy_out = (stack.enter_context(device.event()) for _ in range(3))
        self._at = 0.0

    def begin(self) -> None:
        """Take the moment from which runs are placed; waits until the device is idle, on the launcher.

        Raises:
            AclError: a stream takes no event.
        """
        self._streams.quiesce()
        for _ in range(_TRIES):
            before = time.monotonic()
            self._record()
            took = time.monotonic() - before
            self._at = before + took / 2
            if took <= _SHARP_S:
                return

    def _record(self) -> None:
        streams = self._streams
        if self._staged:
            streams.copy_in.record(self._copy_in)
            streams.copy_out.record(self._copy_out)
        streams.compute.record(self._compute)
        self._compute.synchronize()

    def tell(self, wiring: Wiring, stages: Stages, ran: Callable[[DeviceRun], None]) -> None:
        """Hand a run that has ended to `ran`; one whose events belong to an earlier moment is left out."""
        begins = wiring.begins
        with suppress(AclError):
            compute_at = self._at + begins.compute.ms_since(self._compute) / 1e3
            copy_in_at, copy_out_at = compute_at, compute_at + stages.compute_ms / 1e3
            if self._staged:
                copy_in_at = self._at + begins.copy_in.ms_since(self._copy_in) / 1e3
                copy_out_at = self._at + begins.copy_out.ms_since(self._copy_out) / 1e3
            ran(DeviceRun(wiring.slot.index, copy_in_at, compute_at, copy_out_at, stages))
