"""The three streams that all sessions of a device share, and what they have to tell when something fails.

    copy_in     H2D          the next batch's rows
    compute     runs         in order, one at a time: a model never runs twice at once (facts: pyACL §11)
    copy_out    D2H          the last batch's results

A stream goes on after a failed task, and tells of it once, to the first who synchronises. Therefore the context is
asked to stop at its first failure; where the runtime cannot do that, what a stream told is kept here for everybody
(QUIRKS.md, Q3).
"""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress

from ascend_serve.errors import AclDeviceFault, AclError
from ascend_serve.runtime.device import Device
from ascend_serve.runtime.stream import Event, Stream


class Streams:
    """Three streams in one context; a board uses only `compute`.

    Args:
        copy_in: rows to the device.
        compute: runs.
        copy_out: results back.
        stops_on_failure: whether the context runs nothing further after a failed task.
    """

    def __init__(self, copy_in: Stream, compute: Stream, copy_out: Stream, *, stops_on_failure: bool) -> None:
        self.copy_in = copy_in
        self.compute = compute
        self.copy_out = copy_out
        self._stops_on_failure = stops_on_failure
        self._telling = threading.Lock()
        self._fault: AclDeviceFault | None = None

    @classmethod
    def make(cls, device: Device, stack: ExitStack) -> Streams:
        """Three new streams, which `stack` closes."""
        copy_in, compute, copy_out = (stack.enter_context(device.stream()) for _ in range(3))
        return cls(copy_in, compute, copy_out, stops_on_failure=compute.stop_on_failure())

    def reach(self, event: Event) -> None:
        """Wait, without the GIL, until an event is reached and what was queued before it has gone well.

        Raises:
            AclDeviceFault: something queued so far failed, here or in a stream beside it.
            AclError: the wait itself failed.
        """
        event.synchronize()
        if not self._stops_on_failure:
            # An event is reached even if the work before it failed; its stream tells.
            for stream in (self.copy_in, self.compute, self.copy_out):
                self._synchronize(stream)

    def quiesce(self) -> None:
        """Wait until nothing is queued any more, well or badly; what failed is told by `reach`."""
        for stream in (self.copy_in, self.compute, self.copy_out):
            with suppress(AclError):
                self._synchronize(stream)

    def discard(self) -> None:
        """Destroy the streams with whatever is queued on them; a stopped context would never run it."""
        for stream in (self.copy_in, self.compute, self.copy_out):
            with suppress(AclError):
                stream.close()

    def _synchronize(self, stream: Stream) -> None:
        # Two threads may come here: the launcher, for a batch that was refused, and the waiter, whose batch failed.
        with self._telling:
            try:
                stream.synchronize()
            except AclDeviceFault as fault:
                self._fault = self._fault or fault
            if self._fault is not None:
                raise self._fault
