"""Many requests of one stream at once, answered as they finish.

Rests on asyncio alone. No more requests are taken from a stream than may run at once, so that gRPC's own flow control
holds a client back that sends faster than it is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

AT_ONCE = 256
"""Requests of one stream that may run at once: several of the largest batches."""

T = TypeVar("T")


async def answers_of(
    requests: AsyncIterator[bytes], answer: Callable[[bytes], Awaitable[bytes]], at_once: int = AT_ONCE
) -> AsyncGenerator[bytes, None]:
    """Answers to the requests of a stream, each as soon as it is there.

    Args:
        requests: as they come; their end ends the answers once all are given.
        answer: gives the answer to one; a request that fails has an answer too, so what it raises ends all.
        at_once: requests that may run at once.

    Yields:
        Answers, in the order in which they finish. Closing the generator cancels what still runs.
    """
    # Told by each as it finishes: `asyncio.wait` would look at all that run for each answer.
    finished: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()

    def started(work: Awaitable[T]) -> asyncio.Task[T]:
        task: asyncio.Task[T] = asyncio.ensure_future(work)
        task.add_done_callback(finished.put_nowait)
        return task

    running: set[asyncio.Task[Any]] = set()
    taking: asyncio.Task[bytes | None] | None = started(_next(requests))
    ended = False
    try:
        while running or taking is not None:
            done = [await finished.get()]
            while not finished.empty():
                done.append(finished.get_nowait())
            if taking in done:
                request = taking.result()
                taking = None
                if request is not None:
                    running.add(started(answer(request)))
                ended = request is None
            if taking is None and not ended and len(running) - len(running.intersection(done)) < at_once:
                taking = started(_next(requests))
            for task in done:
                if task in running:
                    running.remove(task)
                    yield task.result()
    finally:
        for task in running:
            task.cancel()
        if taking is not None:
            taking.cancel()


async def _next(requests: AsyncIterator[bytes]) -> bytes | None:
    return await anext(requests, None)
