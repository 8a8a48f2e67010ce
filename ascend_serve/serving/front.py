"""The `@serve.batch` in front of the engine, for `front: batch`.

`@serve.batch` closes a batch on size or timer and only then waits for the device, so a small batch can never grow
while the device is busy. It is therefore the front of the engine, never its policy: it hands whole arrivals
over, without waiting, and the engine decides what runs together. The batch function returns as soon as the arrivals
are offered: were it to wait for results, a small request would wait for the slowest request that happened to
arrive in the same turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ray import serve

from ascend_serve.engine import Engine, Request, Results
from ascend_serve.errors import AscendServeError, TicketCancelled
from ascend_serve.serving.served_model import Submit, Tensors


class Arrival:
    """A request on its way to the engine; its caller may leave at any point of it."""

    __slots__ = ("_gone", "_request", "deadline", "priority", "tensors")

    def __init__(self, tensors: Tensors, deadline: float | None, priority: int | None) -> None:
        self.tensors = tensors
        self.deadline = deadline
        self.priority = priority
        self._request: Request | None = None
        self._gone = False

    def enter(self, engine: Engine) -> None:
        """Offer to the engine, unless the caller left before.

        Raises:
            Refusal: the engine cannot take it now.
            TicketCancelled: the caller has left.
        """
        if self._gone:
            raise TicketCancelled("the caller left before the request was queued")
        self._request = engine.offer(self.tensors, deadline=self.deadline, priority=self.priority)

    async def result(self) -> Results:
        """The outputs, once the engine has run the request."""
        assert self._request is not None, "result() is awaited only after the front has let the arrival enter"
        return await self._request.result

    def leave(self) -> None:
        """The caller is gone: a ticket that has not run never will."""
        self._gone = True
        if self._request is not None:
            self._request.cancel()


_Hand = Callable[[Arrival], Awaitable[AscendServeError | None]]


def batched_submit(engine: Engine, max_batch_size: int, *, max_concurrent_batches: int) -> Submit:
    """`engine.submit` behind one `@serve.batch`, which hands whole arrivals to the engine.

    Made for each replica, since the decorator's permits cannot be changed later and follow from the replica's effective
    `max_ongoing_requests`. Errors are returned an item at a time: one that is raised would be every caller's, and
    a CancelledError raised inside leaves callers hanging (both: `ray/serve/batching.py`, facts §1.4).
    """

    @serve.batch(
        max_batch_size=max_batch_size, batch_wait_timeout_s=0, max_concurrent_batches=max_concurrent_batches
    )
    async def hand_over(arrivals: Sequence[Arrival]) -> list[AscendServeError | None]:
        return [_enter(arrival, engine) for arrival in arrivals]

    async def submit(
        tensors: Tensors, *, deadline: float | None = None, priority: int | None = None
    ) -> Results:
        return await _through(hand_over, tensors, deadline, priority)

    return submit


def _enter(arrival: Arrival, engine: Engine) -> AscendServeError | None:
    try:
        arrival.enter(engine)
    except AscendServeError as error:
        return error
    return None


async def _through(hand: _Hand, tensors: Tensors, deadline: float | None, priority: int | None) -> Results:
    """Send one request through the front and wait for its outputs.

    Raises:
        AscendServeError: the request was refused, expired, or its batch failed.
    """
    arrival = Arrival(tensors, deadline, priority)
    try:
        if (error := await hand(arrival)) is not None:
            raise error
        return await arrival.result()
    except asyncio.CancelledError:
        arrival.leave()
        raise
