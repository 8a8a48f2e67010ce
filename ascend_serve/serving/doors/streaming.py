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
BYTES_AT_ONCE = 64 * 2**20
"""Bytes of requests of one stream from which on no other is taken before one has its answer."""

T = TypeVar("T")


async def answers_of(
    requests: AsyncIterator[bytes],
    answer: Callable[[bytes], Awaitable[bytes]],
    at_once: int = AT_ONCE,
    bytes_at_once: int = BYTES_AT_ONCE,
) -> AsyncGenerator[bytes, None]:
    """Answers to the requests of a stream, each as soon as it is there.

    Args:
        requests: as they come; their end ends the answers once all are given.
        answer: gives the answer to one; a request that fails has an answer too, so what it raises ends all.
        at_once: requests that may run at once.
        bytes_at_once: bytes of those that run, from which on no other is taken; one more may be on its way.

    Yields:
        Answers, in the order in which they finish. Closing the generator cancels what still runs.
    """
    # Told by each as it finishes: `asyncio.wait` would look at all that run for each answer.
    finished: asyncio.Queue[asyncio.Task[Any]] = asyncio.Queue()

    def started(work: Awaitable[T]) -> asyncio.Task[T]:
        task: asyncio.Task[T] = asyncio.ensure_future(work)
        task.add_done_callback(finished.put_nowait)
        return task

    running: dict[asyncio.Task[Any], int] = {}
    running_bytes = 0
    taking: asyncio.Task[bytes | None] | None = started(_next(requests))
    ended = False
    try:
        while running or taking is not None:
            done = [await finished.get()]
            while not finished.empty():
                done.append(finished.get_nowait())
            answered = []
            for task in done:
                if task is not taking:
                    running_bytes -= running.pop(task)
                    answered.append(task)
                    continue
                request: bytes | None = task.result()
                taking = None
                if request is not None:
                    running[started(answer(request))] = len(request)
                    running_bytes += len(request)
                ended = request is None
            request = None  # it is held no longer than it runs
            if taking is None and not ended and len(running) < at_once and running_bytes < bytes_at_once:
                taking = started(_next(requests))
            for task in answered:
                yield task.result()
    finally:
        for task in running:
            task.cancel()
        if taking is not None:
            taking.cancel()


async def _next(requests: AsyncIterator[bytes]) -> bytes | None:
    return await anext(requests, None)
