"""A request on its way through the engine, and the errors it may end with."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from ascend_serve.batching.fitting import Size
from ascend_serve.batching.packing import Tensors
from ascend_serve.batching.planner import Batch, Ticket
from ascend_serve.errors import AscendServeError, DeadlineExpired, DeviceError

Results = dict[str, NDArray[Any]]
"""Output arrays by name, each of shape (rows, *row shape)."""


class Request:
    """A request that the engine has accepted.

    Attributes:
        result: ends with the outputs, or with DeadlineExpired, TicketCancelled or a DeviceError.
        ticket: what the planner knows of it.
        size: its rows and lengths.
        inputs: the caller's arrays.
        outputs: room for its results, from the sealing of its first batch on.
    """

    __slots__ = ("_cancel", "inputs", "outputs", "result", "size", "ticket")

    def __init__(
        self,
        ticket: Ticket,
        size: Size,
        inputs: Tensors,
        result: asyncio.Future[Results],
        cancel: Callable[[Request], None],
    ) -> None:
        self._cancel = cancel
        self.ticket = ticket
        self.size = size
        self.inputs = inputs
        self.outputs: Results = {}
        self.result = result

    def cancel(self) -> None:
        """Say that nobody waits for the result any more.

        Rows that wait never run; rows that run are dropped when they come back. `result` ends with
        TicketCancelled. Nothing happens if the request had ended.
        """
        self._cancel(self)


def copy_of(error: AscendServeError) -> AscendServeError:
    """A new exception of the same class and content, raised from the original.

    An error that ends several requests is copied for each: a shared one would gather the tracebacks of all who raise
    it.
    """
    fresh = copy.copy(error)
    fresh.__cause__ = error
    return fresh


def named(error: BaseException, batch: Batch) -> AscendServeError:
    """The error itself if it is one of ours, else one of ours for it."""
    if isinstance(error, AscendServeError):
        return error
    ours = DeviceError(f"a batch at gear {batch.gear} failed: {type(error).__name__}: {error}")
    ours.__cause__ = error
    return ours


def expiry_of(ticket: Ticket, now: float) -> DeadlineExpired:
    """Why a ticket that waited will not run any more."""
    waited_ms = (now - ticket.offered_at) * 1e3
    return DeadlineExpired(f"{ticket.reason}, after {waited_ms:.1f} ms in the queue")


def overrun_of(ticket: Ticket, now: float) -> DeadlineExpired:
    """Why a ticket that runs is not waited for any more."""
    waited_ms = (now - ticket.offered_at) * 1e3
    return DeadlineExpired(
        f"its batch has not come back from the device {waited_ms:.1f} ms after the request, and the deadline passed"
    )
