"""What an engine shows of itself."""

from __future__ import annotations

from dataclasses import dataclass

from ascend_serve.errors import AscendServeError


@dataclass(frozen=True, slots=True)
class EngineState:
    """The engine at one moment, for health checks and logs.

    Attributes:
        queued_tickets: tickets that wait.
        queued_rows: rows that wait.
        running_batches: batches at the lane.
        live_requests: requests that have not ended.
        draining: whether nothing new is taken.
        fault: the device's fault that ended everything, or None.
    """

    queued_tickets: int
    queued_rows: int
    running_batches: int
    live_requests: int
    draining: bool
    fault: AscendServeError | None
